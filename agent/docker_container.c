/*
 * docker_container.c
 *	  Containers that exist: start, signals, waiting, removal.
 */
#include "agent/docker_internal.h"

#include <limits.h>
#include <time.h>

#include "agent/json.h"
#include "common/cleanup.h"
#include "common/reasons.h"

#define REMOVE_TRIES 50
#define REMOVE_PAUSE_MS 200

int
docker_start(Docker *docker, const char *container, UdError *err)
{
	ud_auto_buf UdBuf path = {0};
	docker_auto_call DockerCall call = {
		.method = "POST",
		.timeout_s = DOCKER_SLOW_CALL_S,
	};
	int			result;

	result = docker_path(&path, "/containers/", container, "/start", err);
	if (result != 0)
		return result;
	call.path = ud_buf_text(&path);
	result = docker_call(docker, &call, err);
	if (result != 0 || call.status == 204 || call.status == 304)
		return result;
	result = docker_refused(&call, "start the container", err);
	if (result == UD_EINVAL && err != NULL)
		err->reason = UD_REASON_RUN_START_FAILED;
	return result;
}

int
docker_kill(Docker *docker, const char *container, const char *signal, UdError *err)
{
	ud_auto_buf UdBuf path = {0};
	docker_auto_call DockerCall call = {
		.method = "POST",
	};
	int			result;

	result = docker_path(&path, "/containers/", container, "/kill?signal=", err);
	if (result != 0)
		return result;
	docker_escape_query(&path, signal);
	call.path = ud_buf_text(&path);
	return docker_call_expect(docker, &call, "signal the container", err);
}

int
docker_remove(Docker *docker, const char *container, UdError *err)
{
	const struct timespec pause = {
		.tv_nsec = REMOVE_PAUSE_MS * 1000000L,
	};
	int			result = 0;

	for (int i = 0; i < REMOVE_TRIES; i++)
	{
		ud_auto_buf UdBuf path = {0};
		docker_auto_call DockerCall call = {
			.method = "DELETE",
			.timeout_s = DOCKER_SLOW_CALL_S,
		};

		result = docker_path(&path, "/containers/", container, "?force=1&v=1", err);
		if (result != 0)
			return result;
		call.path = ud_buf_text(&path);
		result = docker_call_expect(docker, &call, "remove the container", err);
		if (result == UD_ENOENT)
			return 0;
		/* 409: somebody else is removing it.  Ours ends when that has. */
		if (result != UD_EEXIST)
			return result;
		nanosleep(&pause, NULL);
	}
	return result;
}

int
docker_remove_ended(Docker *docker, const char *container, UdError *err)
{
	ud_auto_buf UdBuf path = {0};
	docker_auto_call DockerCall call = {
		.method = "DELETE",
		.timeout_s = DOCKER_SLOW_CALL_S,
	};
	int			result = docker_path(&path, "/containers/", container, "?v=1", err);

	if (result != 0)
		return result;
	call.path = ud_buf_text(&path);
	return docker_call_expect(docker, &call, "remove the container", err);
}

int
docker_wait(Docker *docker, const char *container, int timeout_s, const atomic_bool *cancel, int *exit_code, UdError *err)
{
	ud_auto_buf UdBuf path = {0};
	docker_auto_call DockerCall call = {
		.method = "POST",
		.timeout_s = timeout_s > 0 ? timeout_s : 1,
		.cancel = cancel,
	};
	ud_auto_json struct json_object *reply = NULL;
	int64_t		code = 0;
	int			result;

	result = docker_path(&path, "/containers/", container, "/wait?condition=not-running", err);
	if (result != 0)
		return result;
	call.path = ud_buf_text(&path);
	result = docker_call_expect(docker, &call, "wait for the container", err);
	if (result != 0)
		return result;
	reply = docker_reply_object(&call, err);
	if (reply == NULL)
		return UD_EPROTO;
	/* An engine that stops ends the answer without a code. */
	result = json_get_int(reply, "StatusCode", INT_MIN, INT_MAX, &code, err);
	if (result == 0)
		return ud_error(err, UD_EIO, UD_REASON_NODE_ENGINE_ERROR, "the engine stopped waiting for the container");
	if (result < 0)
		return UD_EPROTO;
	*exit_code = (int) code;
	return 0;
}
