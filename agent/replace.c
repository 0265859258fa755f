/*
 * replace.c
 *	  An agent's container replaced by one of another image.
 *
 * The two would use one data directory, so the old agent is stopped before the
 * new one starts: the seconds in between are those of any restart of an agent,
 * which tasks do not notice.  The new container has no restart policy until it
 * has proven itself, and the old one keeps its own: after a reboot in the middle
 * the old one starts.
 */
#include "agent/replace.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "agent/data.h"
#include "agent/docker_clone.h"
#include "agent/json.h"
#include "common/cleanup.h"
#include "common/log.h"

#define STOP_TIMEOUT_S 30
#define LOOK_EVERY_MS 100
#define NAME_SUFFIX "-next"

typedef struct Replace
{
	Docker	   *docker;
	const char *name;			/* of the agent's container */
	char	   *next_name;		/* owned */
	struct json_object *old;	/* owned; as the engine describes it */
	struct json_object *old_image;	/* owned; NULL when it is gone */
	char	   *alive;			/* owned; touched when a beat is acknowledged */
} Replace;

static void
replace_release(Replace *r)
{
	free(r->next_name);
	free(r->alive);
	json_object_put(r->old);
	json_object_put(r->old_image);
}

#define ud_auto_replace __attribute__((cleanup(replace_release)))

/* The value of a variable that the container was made with, or fallback. */
static const char *
variable_of(struct json_object *container, const char *name, const char *fallback)
{
	struct json_object *config;
	struct json_object *env;
	size_t		len = strlen(name);

	if (!json_object_object_get_ex(container, "Config", &config) ||
		!json_object_object_get_ex(config, "Env", &env) || !json_object_is_type(env, json_type_array))
		return fallback;
	for (size_t i = 0; i < json_object_array_length(env); i++)
	{
		const char *text = json_object_get_string(json_object_array_get_idx(env, i));

		if (text != NULL && strncmp(text, name, len) == 0 && text[len] == '=' && text[len + 1] != '\0')
			return text + len + 1;
	}
	return fallback;
}

/* An earlier call that was cut off between removal and renaming. */
static int
finish_renaming(Replace *r, UdError *err)
{
	ud_auto_json struct json_object *next = docker_clone_inspect(r->docker, r->next_name, NULL);

	if (next == NULL)
		return ud_error(err, UD_ENOENT, 0, "there is no container \"%s\"", r->name);
	ud_info("an earlier replacement is finished first");
	return docker_rename(r->docker, r->next_name, r->name, err);
}

/* Look at what is there, and refuse what could not be undone. */
static int
replace_look(Replace *r, UdError *err)
{
	struct json_object *host;
	const char *image = NULL;
	bool		auto_remove = false;
	struct stat info;
	int			result;

	r->old = docker_clone_inspect(r->docker, r->name, err);
	if (r->old == NULL && err->code == UD_ENOENT)
	{
		result = finish_renaming(r, err);
		if (result != 0)
			return result;
		r->old = docker_clone_inspect(r->docker, r->name, err);
	}
	if (r->old == NULL)
		return err->code != 0 ? err->code : UD_EIO;
	r->alive = ud_asprintf("%s/%s", variable_of(r->old, "UNIDESK_DATA", "/data"), DATA_ALIVE);
	if (json_get_text(r->old, "Image", 80, &image, err) == 1)
		r->old_image = docker_clone_inspect_image(r->docker, image, NULL);
	if (json_get_object(r->old, "HostConfig", &host, err) == 1 && json_get_bool(host, "AutoRemove", &auto_remove, err) == 1 && auto_remove)
		return ud_error(err, UD_EINVAL, 0, "the container \"%s\" was started with --rm, so it could not come back: stop it, and start the new image with --restart always", r->name);
	if (stat(r->alive, &info) < 0)
		return ud_error(err, UD_ENOENT, 0, "there is no \"%s\": is \"%s\" an agent that has been connected, and was this one started with --volumes-from %s? (%s)",
						r->alive, r->name, r->name, strerror(errno));
	return 0;
}

/* 1 when the new agent's beat was acknowledged, 0 when it has ended, negative and err. */
static int
replace_wait(Replace *r, const char *id, const struct timespec *before, int wait_s, UdError *err)
{
	const struct timespec pause = {
		.tv_nsec = LOOK_EVERY_MS * 1000000L,
	};

	for (int64_t waited = 0; waited < (int64_t) wait_s * 1000; waited += LOOK_EVERY_MS)
	{
		struct stat info;
		DockerContainer container;
		bool		running;
		int			result;

		if (stat(r->alive, &info) == 0 && (info.st_mtim.tv_sec != before->tv_sec || info.st_mtim.tv_nsec != before->tv_nsec))
			return 1;
		result = docker_inspect(r->docker, id, &container, err);
		running = result == 0 && strcmp(container.state, "running") == 0;
		docker_container_release(&container);
		if (result != 0)
			return result;
		if (!running)
			return 0;
		nanosleep(&pause, NULL);
	}
	return ud_error(err, UD_ETIMEDOUT, 0, "the server has acknowledged no beat of it within %d s", wait_s);
}

/* The new container, beside the old one; what an earlier call left goes. */
static int
replace_make(Replace *r, const char *image, char next[80], UdError *err)
{
	ud_auto_json struct json_object *new_image = docker_clone_inspect_image(r->docker, image, err);
	int			result;

	if (new_image == NULL)
		return err->code == UD_ENOENT ? ud_error(err, UD_ENOENT, 0, "there is no image \"%s\" on this machine: docker pull %s", image, image) : err->code;
	result = docker_remove_only(r->docker, r->next_name, err);
	return result != 0 ? result : docker_clone_create(r->docker, r->old, r->old_image, image, r->next_name, next, err);
}

/* The old agent goes on, also one that an earlier call has stopped. */
static void
replace_undo(Replace *r)
{
	UdError		err;

	if (docker_remove_only(r->docker, r->next_name, &err) != 0)
		ud_err("%s", err.message);
	if (docker_start(r->docker, r->name, &err) != 0)
		ud_err("the old agent does not start: %s", err.message);
	else
		ud_info("the old agent goes on");
}

/* Start the new one in place of the old, until it has proven itself. */
static int
replace_try(Replace *r, const char *next, int wait_s, UdError *err)
{
	struct stat before;
	char		output[300] = "";
	int			result;

	ud_info("the agent is stopped and its successor started");
	result = docker_stop(r->docker, r->name, STOP_TIMEOUT_S, err);

	if (result != 0)
		return result;
	if (stat(r->alive, &before) < 0)
		return ud_error(err, UD_EIO, 0, "could not look at \"%s\": %s", r->alive, strerror(errno));
	result = docker_start(r->docker, next, err);
	if (result != 0)
		return result;
	result = replace_wait(r, next, &before.st_mtim, wait_s, err);
	if (result == 1)
		return 0;
	if (docker_output_tail(r->docker, next, output, sizeof(output), NULL) != 0)
		output[0] = '\0';
	if (result == 0)
		return ud_error(err, UD_EIO, 0, "the new agent ended: %s", output);
	if (output[0] != '\0')
		ud_info("its last output: %s", output);
	return result;
}

/* The new one is the agent now. */
static int
replace_commit(Replace *r, const char *next, UdError *err)
{
	int			result = docker_set_restart_policy(r->docker, next, r->old, err);

	if (result == 0)
		result = docker_remove_only(r->docker, r->name, err);
	if (result == 0)
		result = docker_rename(r->docker, next, r->name, err);
	return result;
}

int
replace_agent(Docker *docker, const char *container, const char *image, int wait_s, UdError *err)
{
	ud_auto_replace Replace r = {
		.docker = docker,
		.name = container,
		.next_name = ud_asprintf("%s" NAME_SUFFIX, container),
	};
	char		next[80] = "";
	int			result = replace_look(&r, err);

	if (result != 0)
		return result;
	result = replace_make(&r, image, next, err);
	if (result == 0)
		result = replace_try(&r, next, wait_s, err);
	if (result != 0)
	{
		replace_undo(&r);
		return result;
	}
	result = replace_commit(&r, next, err);
	if (result == 0)
		ud_info("the container \"%s\" runs \"%s\" now", container, image);
	return result;
}
