/*
 * docker_container.c
 *	  Containers that exist: start, stop, signals, waiting, removal, output.
 */
#include "agent/docker_internal.h"

#include <limits.h>
#include <stdio.h>
#include <time.h>

#include "agent/json.h"
#include "common/cleanup.h"
#include "common/reasons.h"

#define REMOVE_TRIES 50
#define REMOVE_PAUSE_MS 200
/* Of a container's output, looked at for its end. */
#define OUTPUT_BYTES_MAX (64 * 1024)

int
docker_act(Docker *docker, const char *method, const char *container, const char *action, struct json_object *body, const char *what, UdError *err)
{
	ud_auto_buf UdBuf path = {0};
	docker_auto_call DockerCall call = {
		.method = method,
		.body = body,
		.timeout_s = DOCKER_SLOW_CALL_S,
	};
	int			result = docker_path(&path, "/containers/", container, action, err);

	if (result != 0)
		return result;
	call.path = ud_buf_text(&path);
	result = docker_call(docker, &call, err);
	/* 304: it is so already. */
	if (result != 0 || call.status / 100 == 2 || call.status == 304)
		return result;
	return docker_refused(&call, what, err);
}

int
docker_stop(Docker *docker, const char *container, int timeout_s, UdError *err)
{
	char		action[32];

	snprintf(action, sizeof(action), "/stop?t=%d", timeout_s);
	return docker_act(docker, "POST", container, action, NULL, "stop the container", err);
}

int
docker_rename(Docker *docker, const char *container, const char *name, UdError *err)
{
	ud_auto_buf UdBuf action = {0};

	ud_buf_printf(&action, "/rename?name=");
	docker_escape_query(&action, name);
	return docker_act(docker, "POST", container, ud_buf_text(&action), NULL, "rename the container", err);
}

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
	return docker_act(docker, "DELETE", container, "?v=1", NULL, "remove the container", err);
}

int
docker_wait(Docker *docker, const char *container, int timeout_s, const atomic_bool *cancel, int wake_fd, int *exit_code, UdError *err)
{
	ud_auto_buf UdBuf path = {0};
	docker_auto_call DockerCall call = {
		.method = "POST",
		.timeout_s = timeout_s > 0 ? timeout_s : 1,
		.cancel = cancel,
		.wake_fd = wake_fd,
		.has_wake = wake_fd >= 0,
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

int
docker_remove_only(Docker *docker, const char *container, UdError *err)
{
	int			result = docker_act(docker, "DELETE", container, "?force=1", NULL, "remove the container", err);

	return result == UD_ENOENT ? 0 : result;
}

int
docker_output_tail(Docker *docker, const char *container, char *out, size_t size, UdError *err)
{
	ud_auto_buf UdBuf path = {0};
	ud_auto_buf UdBuf text = {0};
	docker_auto_call DockerCall call = {
		.method = "GET",
		.reply_max = OUTPUT_BYTES_MAX,
	};
	const unsigned char *bytes;
	int			result = docker_path(&path, "/containers/", container, "/logs?stdout=1&stderr=1&tail=5", err);

	out[0] = '\0';
	if (result != 0)
		return result;
	call.path = ud_buf_text(&path);
	result = docker_call_expect(docker, &call, "read the container's output", err);
	if (result != 0)
		return result;

	/*
	 * Without a terminal each piece has a header: stream, three zeros,
	 * length.
	 */
	bytes = (const unsigned char *) call.reply.data;
	for (size_t at = 0; at + 8 <= call.reply.len;)
	{
		size_t		len = (size_t) bytes[at + 4] << 24 | (size_t) bytes[at + 5] << 16 | (size_t) bytes[at + 6] << 8 | bytes[at + 7];

		at += 8;
		len = len < call.reply.len - at ? len : call.reply.len - at;
		ud_buf_append(&text, bytes + at, len);
		at += len;
	}
	text_make_valid_tail(out, size, text.data, text.len);
	return 0;
}
