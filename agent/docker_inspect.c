/*
 * docker_inspect.c
 *	  What containers there are, and what the engine knows about them.
 */
#include "agent/docker_internal.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/json.h"
#include "common/cleanup.h"
#include "common/reasons.h"

#define NAME_BYTES_MAX 1024

/* Names come with a slash in front; one that does not fit is cut. */
static void
set_name(DockerContainer *container, const char *name)
{
	snprintf(container->name, sizeof(container->name), "%s", name[0] == '/' ? name + 1 : name);
}

static int
fill_state(struct json_object *reply, DockerContainer *out, UdError *err)
{
	struct json_object *state = NULL;
	const char *error = "";
	int64_t		code = 0;

	if (json_get_object(reply, "State", &state, err) < 0)
		return UD_EPROTO;
	if (state == NULL)
		return ud_error(err, UD_EPROTO, UD_REASON_NODE_ENGINE_ERROR, "the engine's answer has no \"State\"");
	if (docker_copy_text(state, "Status", out->state, sizeof(out->state), err) < 0
		|| json_get_int(state, "ExitCode", INT_MIN, INT_MAX, &code, err) < 0
		|| json_get_bool(state, "OOMKilled", &out->oom_killed, err) < 0
		|| json_get_text(state, "Error", 65536, &error, err) < 0)
		return UD_EPROTO;
	out->exit_code = (int) code;
	text_make_valid(out->error, sizeof(out->error), error, strlen(error));
	return 0;
}

static int
fill_inspected(struct json_object *reply, DockerContainer *out, UdError *err)
{
	struct json_object *config = NULL;
	struct json_object *labels = NULL;
	const char *name = "";

	if (docker_copy_text(reply, "Id", out->id, sizeof(out->id), err) < 0
		|| docker_copy_text(reply, "Image", out->image_id, sizeof(out->image_id), err) < 0
		|| json_get_text(reply, "Name", NAME_BYTES_MAX, &name, err) < 0
		|| json_get_object(reply, "Config", &config, err) < 0
		|| (config != NULL && json_get_object(config, "Labels", &labels, err) < 0)
		|| fill_state(reply, out, err) < 0)
		return UD_EPROTO;
	set_name(out, name);
	out->labels = docker_pairs_of(labels);
	return 0;
}

int
docker_inspect(Docker *docker, const char *container, DockerContainer *out, UdError *err)
{
	ud_auto_buf UdBuf path = {0};
	docker_auto_call DockerCall call = {
		.method = "GET",
	};
	ud_auto_json struct json_object *reply = NULL;
	int			result;

	memset(out, 0, sizeof(*out));
	result = docker_path(&path, "/containers/", container, "/json", err);
	if (result != 0)
		return result;
	call.path = ud_buf_text(&path);
	result = docker_call_expect(docker, &call, "look at the container", err);
	if (result != 0)
		return result;
	reply = docker_reply_object(&call, err);
	if (reply == NULL)
		return UD_EPROTO;
	return fill_inspected(reply, out, err);
}

static int
fill_listed(struct json_object *item, DockerContainer *out, UdError *err)
{
	struct json_object *labels = NULL;
	char	  **names = NULL;

	if (!json_object_is_type(item, json_type_object))
		return ud_error(err, UD_EPROTO, UD_REASON_NODE_ENGINE_ERROR, "the engine's list holds something else");
	if (docker_copy_text(item, "Id", out->id, sizeof(out->id), err) < 0
		|| docker_copy_text(item, "State", out->state, sizeof(out->state), err) < 0
		|| docker_copy_text(item, "ImageID", out->image_id, sizeof(out->image_id), err) < 0
		|| json_get_int(item, "Created", INT64_MIN, INT64_MAX, &out->created, err) < 0
		|| json_get_object(item, "Labels", &labels, err) < 0
		|| json_get_texts(item, "Names", 1024, NAME_BYTES_MAX, &names, err) < 0)
		return UD_EPROTO;
	if (names != NULL && names[0] != NULL)
		set_name(out, names[0]);
	free(names);
	out->labels = docker_pairs_of(labels);
	return 0;
}

static void
make_list_path(UdBuf *path, const char *const *labels)
{
	ud_auto_json struct json_object *filters = json_object_new_object();

	if (labels != NULL && labels[0] != NULL)
		json_object_object_add(filters, "label", docker_array_of(labels));
	ud_buf_printf(path, "/containers/json?all=1&filters=");
	docker_escape_query(path, json_object_to_json_string_ext(filters, JSON_C_TO_STRING_PLAIN));
}

int
docker_list(Docker *docker, const char *const *labels, DockerContainer **out, int *count, UdError *err)
{
	ud_auto_buf UdBuf path = {0};
	docker_auto_call DockerCall call = {
		.method = "GET",
	};
	ud_auto_json struct json_object *reply = NULL;
	struct json_object *list;
	int			result;

	*out = NULL;
	*count = 0;
	make_list_path(&path, labels);
	call.path = ud_buf_text(&path);
	result = docker_call_expect(docker, &call, "list the containers", err);
	if (result != 0)
		return result;
	reply = docker_reply_list(&call, &list, err);
	if (reply == NULL)
		return UD_EPROTO;
	*count = (int) json_object_array_length(list);
	*out = ud_calloc((size_t) *count, sizeof(**out));
	for (int i = 0; i < *count; i++)
		if (fill_listed(json_object_array_get_idx(list, (size_t) i), &(*out)[i], err) != 0)
		{
			docker_container_list_free(*out, *count);
			*out = NULL;
			*count = 0;
			return UD_EPROTO;
		}
	return 0;
}

void
docker_container_release(DockerContainer *container)
{
	free(container->labels);
	memset(container, 0, sizeof(*container));
}

void
docker_container_list_free(DockerContainer *containers, int count)
{
	for (int i = 0; i < count; i++)
		docker_container_release(&containers[i]);
	free(containers);
}

const char *
docker_container_label(const DockerContainer *container, const char *key)
{
	size_t		len = strlen(key);

	for (char **label = container->labels; label != NULL && *label != NULL; label++)
		if (strncmp(*label, key, len) == 0 && (*label)[len] == '=')
			return *label + len + 1;
	return NULL;
}

int
docker_container_size(Docker *docker, const char *container, int64_t *bytes, UdError *err)
{
	ud_auto_buf UdBuf path = {0};
	docker_auto_call DockerCall call = {
		.method = "GET",
	};
	ud_auto_json struct json_object *reply = NULL;
	int			result;

	*bytes = 0;
	result = docker_path(&path, "/containers/", container, "/json?size=1", err);
	if (result != 0)
		return result;
	call.path = ud_buf_text(&path);
	result = docker_call_expect(docker, &call, "measure the container", err);
	if (result != 0)
		return result;
	reply = docker_reply_object(&call, err);
	if (reply == NULL || json_get_int(reply, "SizeRw", 0, INT64_MAX, bytes, err) < 0)
		return UD_EPROTO;
	return 0;
}
