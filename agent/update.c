/*
 * update.c
 *	  The agent's own replacement, ordered by the server.
 *
 * The record is stored before the container that replaces the agent starts,
 * and by that container at its end: nothing that happens in between loses
 * what became of it, and no order is carried out twice.  An order of which
 * there is no record yet (while an image is pulled) simply comes again.
 */
#include "agent/update.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "agent/agent.h"
#include "agent/docker_clone.h"
#include "agent/json.h"
#include "common/cleanup.h"
#include "common/log.h"

#define UPDATE_FILE "update"
/* Always of this length: see data_store_file. */
#define UPDATE_FILE_BYTES 2048
#define PROC_BYTES_MAX (256 * 1024)
#define PULL_TIMEOUT_S 3600
#define REPLACE_WAIT_TEXT "60"
#define LOOK_MS 1000
/* A container that was killed is started again so often. */
#define HELPER_STARTS_MAX 3

static int
record_store(const DataDir *data, const UpdateRecord *record, UdError *err)
{
	ud_auto_json struct json_object *object = json_object_new_object();
	ud_auto_buf UdBuf text = {0};
	char		order[UPDATE_ORDER_BYTES];
	char		bytes[UPDATE_FILE_BYTES];

	update_write_order(record->incarnation, record->order, order);
	json_set_text(object, "order", order);
	json_set_text(object, "state", record->state);
	json_set_text(object, "helper", record->helper);
	json_set_text(object, "message", record->message);
	json_write(object, &text);
	if (text.len > UPDATE_FILE_BYTES)
		return ud_error(err, UD_EINVAL, 0, "the record of the update is too long");
	memset(bytes, ' ', sizeof(bytes));
	memcpy(bytes, text.data, text.len);
	return data_store_file(data, UPDATE_FILE, bytes, sizeof(bytes), err);
}

/* Zeroed when there is none, or none that can be read: orders come again. */
static void
record_read(const DataDir *data, UpdateRecord *record)
{
	ud_auto_buf UdBuf text = {0};
	ud_auto_json struct json_object *object = NULL;
	const char *order = "";
	const char *state = "";
	const char *helper = "";
	const char *message = "";
	UdError		err;

	memset(record, 0, sizeof(*record));
	if (data_read_file(data, UPDATE_FILE, UPDATE_FILE_BYTES, &text, &err) < 0)
		return;
	while (text.len > 0 && text.data[text.len - 1] == ' ')
		text.len--;
	object = json_parse_object(text.data, text.len, &err);
	if (object == NULL || json_get_text(object, "order", sizeof(record->helper), &order, &err) < 0 ||
		json_get_text(object, "state", sizeof(record->state) - 1, &state, &err) < 0 ||
		json_get_text(object, "helper", sizeof(record->helper) - 1, &helper, &err) < 0 ||
		json_get_text(object, "message", sizeof(record->message) - 1, &message, &err) < 0 ||
		!update_read_order(order, &record->incarnation, &record->order))
	{
		ud_warning("the record of the last update cannot be read, and is ignored");
		memset(record, 0, sizeof(*record));
		return;
	}
	snprintf(record->state, sizeof(record->state), "%s", state);
	snprintf(record->helper, sizeof(record->helper), "%s", helper);
	snprintf(record->message, sizeof(record->message), "%s", message);
}

static bool
is_begun(const UpdateRecord *record)
{
	return record->order != 0 && strcmp(record->state, "begun") == 0;
}

void
update_open(Agent *agent)
{
	record_read(&agent->data, &agent->update.record);
}

/* From now on the server is told this. */
static void
publish(Agent *agent, const UpdateRecord *record)
{
	agent_lock(agent);
	agent->update.record = *record;
	agent->info_changes++;
	agent_unlock(agent);
	agent->wake();
}

/* Keep and tell an outcome; where it cannot be kept, it is told at least. */
static void
conclude(Agent *agent, UpdateRecord *record, const char *state, const char *why)
{
	UdError		err;

	snprintf(record->state, sizeof(record->state), "%s", state);
	update_line(record->message, sizeof(record->message), why);
	ud_info("the ordered update is %s%s%s", state, why[0] != '\0' ? ": " : "", record->message);
	if (record_store(&agent->data, record, &err) < 0)
		ud_err("what became of the update could not be kept: %s", err.message);
	publish(agent, record);
}

void
update_take_order(Agent *agent, int64_t incarnation, int64_t order, const void *body, size_t len)
{
	UdError		err;
	ud_auto_json struct json_object *object = json_parse_object(body, len, &err);
	const char *image = NULL;
	Update	   *update = &agent->update;

	if (object == NULL || order < 1 || order > 999999999 ||
		json_get_text(object, "image", UPDATE_IMAGE_BYTES - 8, &image, &err) <= 0)
	{
		ud_warning("an order to update that cannot be understood is ignored");
		return;
	}
	agent_lock(agent);
	if (update->record.order == order && update->record.incarnation == incarnation)
		agent->info_changes++;
	else
	{
		update->wanted_incarnation = incarnation;
		update->wanted_order = (int32_t) order;
		snprintf(update->wanted_image, sizeof(update->wanted_image), "%s", image);
		pthread_cond_broadcast(&agent->changed);
	}
	agent_unlock(agent);
}

void
update_report(const Agent *agent, struct json_object *object)
{
	const UpdateRecord *record = &agent->update.record;
	struct json_object *update;
	struct json_object *abilities = json_object_new_array();
	char		order[UPDATE_ORDER_BYTES];

	json_object_array_add(abilities, json_object_new_string("update"));
	json_object_object_add(object, "abilities", abilities);
	if (record->order == 0)
		return;
	update = json_object_new_object();
	update_write_order(record->incarnation, record->order, order);
	order[16] = '\0';
	json_set_text(update, "incarnation", order);
	json_set_int(update, "order", record->order);
	json_set_text(update, "state", record->state);
	json_set_text(update, "message", record->message);
	json_object_object_add(object, "update", update);
}

/* A file of /proc as one text; "" when there is none. */
static void
read_proc(const char *path, UdBuf *out)
{
	ud_auto_fd int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t		got;

	if (fd < 0)
		return;
	ud_buf_reserve(out, PROC_BYTES_MAX);
	while (out->len < PROC_BYTES_MAX && (got = read(fd, out->data + out->len, PROC_BYTES_MAX - out->len)) > 0)
		out->len += (size_t) got;
}

/* What the engine says of our own container; NULL: none, and why. */
static struct json_object *
own_container(Agent *agent, char why[512])
{
	ud_auto_buf UdBuf mountinfo = {0};
	ud_auto_buf UdBuf cgroup = {0};
	struct json_object *container;
	char		id[80];
	UdError		err;

	read_proc("/proc/self/mountinfo", &mountinfo);
	read_proc("/proc/self/cgroup", &cgroup);
	if (!update_own_container(ud_buf_text(&mountinfo), ud_buf_text(&cgroup), id))
	{
		snprintf(why, 512, "this agent does not run in a container: replace it on its machine");
		return NULL;
	}
	container = docker_clone_inspect(agent->docker, id, &err);
	if (container == NULL)
		snprintf(why, 512, "this agent's container %.12s is not known to its engine: %.400s", id, err.message);
	return container;
}

/* Ours to give to the helper: it finds the same engine and the same data. */
static int
make_helper(Agent *agent, struct json_object *container, const char *image, UpdateRecord *record, UdError *err)
{
	const AgentConfig *config = agent->config;
	const char *name = "";
	char		program[1024];
	char		order[UPDATE_ORDER_BYTES];
	ssize_t		len = readlink("/proc/self/exe", program, sizeof(program) - 1);
	ud_auto_free char *helper = NULL;
	ud_auto_free char *socket = ud_asprintf("UNIDESK_DOCKER_SOCKET=%s", config->docker_socket);
	ud_auto_free char *data = ud_asprintf("UNIDESK_DATA=%s", config->data);
	const char *environment[] = {socket, data, NULL};
	int			result;

	if (len < 0)
		return ud_error(err, UD_EIO, 0, "the agent's own program is not known");
	program[len] = '\0';
	if (json_get_text(container, "Name", 250, &name, err) <= 0 || name[0] != '/')
		return ud_error(err, UD_EPROTO, 0, "the engine does not say what this agent's container is called");
	name++;
	update_write_order(record->incarnation, record->order, order);
	helper = ud_asprintf("%s-update", name);
	result = docker_remove_only(agent->docker, helper, err);
	if (result == 0)
	{
		const char *command[] = {program, "--replace", name, image, REPLACE_WAIT_TEXT, order, NULL};

		result = docker_clone_helper(agent->docker, container, command, environment, helper, record->helper, err);
	}
	return result;
}

/* The container is made, and known of, before it starts. */
static int
start_helper(Agent *agent, struct json_object *container, const char *image, UpdateRecord *record, UdError *err)
{
	int			result = make_helper(agent, container, image, record, err);

	if (result != 0)
		return result;
	snprintf(record->state, sizeof(record->state), "begun");
	result = record_store(&agent->data, record, err);
	if (result == 0)
	{
		publish(agent, record);
		result = docker_start(agent->docker, record->helper, err);
	}
	return result;
}

/* The image is on this machine then. */
static int
provide_image(Agent *agent, const char *image, DockerImage *found, UdError *err)
{
	int			result = docker_image_inspect(agent->docker, image, found, err);

	if (result != UD_ENOENT)
		return result;
	ud_info("the image \"%s\" is pulled", image);
	result = docker_image_pull(agent->docker, image, PULL_TIMEOUT_S, &agent->exiting, err);
	return result != 0 ? result : docker_image_inspect(agent->docker, image, found, err);
}

static void
carry_out(Agent *agent, const char *ordered, UpdateRecord *record)
{
	const char *allowed = agent->config->update_images;
	ud_auto_json struct json_object *container = NULL;
	const char *own_image = "";
	char		image[UPDATE_IMAGE_BYTES];
	char		why[512];
	DockerImage found = {0};
	UdError		err = {0};
	int			result;

	update_full_name(ordered, image);
	ud_info("the server orders an update to \"%s\"", image);
	if (allowed == NULL || !update_is_allowed(allowed, image))
	{
		snprintf(why, sizeof(why), allowed == NULL ? "UNIDESK_UPDATE_IMAGES is not set on this node, so that no image is allowed" :
				 "UNIDESK_UPDATE_IMAGES of this node does not allow \"%s\"", image);
		conclude(agent, record, "refused", why);
		return;
	}
	container = own_container(agent, why);
	if (container == NULL)
	{
		conclude(agent, record, "refused", why);
		return;
	}
	result = provide_image(agent, image, &found, &err);
	/* It comes again when we do. */
	if (result == UD_ECANCELLED)
		return;
	if (result == 0 && json_get_text(container, "Image", 80, &own_image, &err) == 1 && strcmp(own_image, found.id) == 0)
		conclude(agent, record, "applied", "it ran that image already");
	else if (result != 0 || start_helper(agent, container, image, record, &err) != 0)
		conclude(agent, record, "failed", err.message);
	docker_image_release(&found);
}

/* Its work is done, for us or for the agent before us. */
static void
remove_helper(Agent *agent)
{
	UpdateRecord record;
	UdError		err;

	agent_lock(agent);
	record = agent->update.record;
	agent_unlock(agent);
	if (docker_remove_only(agent->docker, record.helper, &err) != 0)
	{
		ud_warning("%s", err.message);
		return;
	}
	record.helper[0] = '\0';
	if (record_store(&agent->data, &record, &err) < 0)
		ud_warning("%s", err.message);
	publish(agent, &record);
}

/* It does not run, and has said nothing: somebody killed it. */
static void
start_again(Agent *agent, UpdateRecord *record, bool is_there, int *starts)
{
	UdError		err;

	if (is_there && (*starts)++ < HELPER_STARTS_MAX && docker_start(agent->docker, record->helper, &err) == 0)
		return;
	conclude(agent, record, "failed", "what replaced the agent was cut off: order it again");
}

/* How far is the container that replaces us, or that has replaced the one before us? */
static void
follow(Agent *agent, int *starts)
{
	UpdateRecord record;
	UpdateRecord kept;
	DockerContainer helper = {0};
	UdError		err;
	int			result;

	agent_lock(agent);
	record = agent->update.record;
	agent_unlock(agent);
	/* First this, then its record: it writes that as its last act. */
	result = docker_inspect(agent->docker, record.helper, &helper, &err);
	record_read(&agent->data, &kept);
	if (kept.order == record.order && kept.incarnation == record.incarnation && !is_begun(&kept))
	{
		ud_info("the ordered update is %s%s%s", kept.state, kept.message[0] != '\0' ? ": " : "", kept.message);
		publish(agent, &kept);
	}
	else if (result == UD_ENOENT || (result == 0 && strcmp(helper.state, "running") != 0 && strcmp(helper.state, "restarting") != 0))
		start_again(agent, &record, result == 0, starts);
	docker_container_release(&helper);
}

void *
update_main(void *arg)
{
	Agent	   *agent = arg;
	Update	   *update = &agent->update;
	int			starts = 0;

	agent_lock(agent);
	while (!atomic_load(&agent->exiting))
	{
		char		image[UPDATE_IMAGE_BYTES];
		UpdateRecord record = {0};

		if (update->record.helper[0] != '\0')
		{
			bool		begun = is_begun(&update->record);

			agent_unlock(agent);
			if (begun)
				follow(agent, &starts);
			else
				remove_helper(agent);
			agent_pause(agent, LOOK_MS);
			agent_lock(agent);
			continue;
		}
		if (update->wanted_order == 0)
		{
			agent_wait_changed(agent, 60 * LOOK_MS);
			continue;
		}
		record.incarnation = update->wanted_incarnation;
		record.order = update->wanted_order;
		update->wanted_order = 0;
		snprintf(image, sizeof(image), "%s", update->wanted_image);
		agent_unlock(agent);
		starts = 0;
		carry_out(agent, image, &record);
		agent_lock(agent);
	}
	agent_unlock(agent);
	return NULL;
}

int
update_finish(const char *data_path, const char *order, bool applied, const char *why, UdError *err)
{
	ud_auto_fd int root = open(data_path, O_DIRECTORY | O_RDONLY | O_CLOEXEC);
	const DataDir data = {
		.path = data_path,
		.root_fd = root,
	};
	UpdateRecord record;

	if (root < 0)
		return ud_error(err, UD_EIO, 0, "could not open \"%s\"", data_path);
	/* Whoever reads it removes the container that it names. */
	record_read(&data, &record);
	if (!update_read_order(order, &record.incarnation, &record.order))
		return ud_error(err, UD_EINVAL, 0, "\"%.100s\" is no order's number", order);
	snprintf(record.state, sizeof(record.state), "%s", applied ? "applied" : "failed");
	update_line(record.message, sizeof(record.message), why);
	return record_store(&data, &record, err);
}
