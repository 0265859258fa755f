/*
 * docker.c
 *	  The engine itself: version, facts, volumes.
 */
#include "agent/docker_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/json.h"
#include "common/cleanup.h"
#include "common/reasons.h"

/* What this client was written for; minor numbers of API version 1. */
#define API_MINOR_MIN 40
#define API_MINOR_MAX 47

/* The minor number of "1.41", or -1. */
static int
api_minor(const char *version)
{
	int			major;
	int			minor;
	char		rest;

	if (sscanf(version, "%d.%d%c", &major, &minor, &rest) != 2 || major != 1 || minor < 0)
		return -1;
	return minor;
}

static int
negotiate(Docker *docker, UdError *err)
{
	docker_auto_call DockerCall call = {
		.method = "GET",
		.path = "/version",
		.unversioned = true,
		.timeout_s = 5,
	};
	char		newest[16];
	const char *oldest = "1.0";
	int			minor;
	int			result;
	ud_auto_json struct json_object *reply = NULL;

	result = docker_call_expect(docker, &call, "ask for the engine's version", err);
	if (result != 0)
		return result;
	reply = docker_reply_object(&call, err);
	if (reply == NULL)
		return UD_EPROTO;
	result = docker_copy_text(reply, "ApiVersion", newest, sizeof(newest), err);
	if (result != 0)
		return result;
	if (json_get_text(reply, "MinAPIVersion", 15, &oldest, err) < 0)
		return UD_EPROTO;
	minor = api_minor(newest);
	if (minor > API_MINOR_MAX)
		minor = API_MINOR_MAX;
	if (minor < API_MINOR_MIN || api_minor(oldest) > minor)
		return ud_error(err, UD_EPROTO, UD_REASON_NODE_ENGINE_ERROR,
						"the engine speaks API %s to %s, needed is one from 1.%d to 1.%d",
						oldest, newest, API_MINOR_MIN, API_MINOR_MAX);
	snprintf(docker->prefix, sizeof(docker->prefix), "/v1.%d", minor);
	return 0;
}

Docker *
docker_open(const char *socket_path, UdError *err)
{
	Docker	   *docker = ud_calloc(1, sizeof(*docker));

	docker->socket_path = ud_strdup(socket_path);
	if (negotiate(docker, err) != 0)
	{
		docker_close(docker);
		return NULL;
	}
	return docker;
}

void
docker_close(Docker *docker)
{
	if (docker == NULL)
		return;
	free(docker->socket_path);
	free(docker);
}

int
docker_ping(Docker *docker, UdError *err)
{
	docker_auto_call DockerCall call = {
		.method = "GET",
		.path = "/_ping",
		.unversioned = true,
		.timeout_s = 5,
	};

	return docker_call_expect(docker, &call, "ping the engine", err);
}

/* Copy a text that may be absent or of any length. */
static void
copy_loosely(struct json_object *object, const char *key, char *out, size_t size)
{
	const char *text = NULL;
	UdError		ignored;

	out[0] = '\0';
	if (json_get_text(object, key, 65536, &text, &ignored) > 0)
		text_make_valid(out, size, text, strlen(text));
}

int
docker_info(Docker *docker, DockerInfo *info, UdError *err)
{
	docker_auto_call DockerCall call = {
		.method = "GET",
		.path = "/info",
	};
	ud_auto_json struct json_object *reply = NULL;
	int64_t		cpus = 0;
	int			result;

	memset(info, 0, sizeof(*info));
	result = docker_call_expect(docker, &call, "ask what the engine is", err);
	if (result != 0)
		return result;
	reply = docker_reply_object(&call, err);
	if (reply == NULL)
		return UD_EPROTO;
	copy_loosely(reply, "ID", info->engine_id, sizeof(info->engine_id));
	copy_loosely(reply, "ServerVersion", info->version, sizeof(info->version));
	copy_loosely(reply, "OperatingSystem", info->os, sizeof(info->os));
	copy_loosely(reply, "KernelVersion", info->kernel, sizeof(info->kernel));
	copy_loosely(reply, "Architecture", info->arch, sizeof(info->arch));
	snprintf(info->api_version, sizeof(info->api_version), "%s", docker->prefix + 2);
	if (json_get_int(reply, "NCPU", 0, 1000000, &cpus, err) < 0
		|| json_get_int(reply, "MemTotal", 0, INT64_MAX, &info->memory, err) < 0
		|| json_get_bool(reply, "LiveRestoreEnabled", &info->live_restore, err) < 0)
		return UD_EPROTO;
	info->cpus_milli = cpus * 1000;
	return 0;
}

int
docker_volume_mountpoint(Docker *docker, const char *volume, char **mountpoint, UdError *err)
{
	ud_auto_buf UdBuf path = {0};
	docker_auto_call DockerCall call = {
		.method = "GET",
	};
	ud_auto_json struct json_object *reply = NULL;
	const char *text = NULL;
	int			result;

	result = docker_path(&path, "/volumes/", volume, "", err);
	if (result != 0)
		return result;
	call.path = ud_buf_text(&path);
	result = docker_call_expect(docker, &call, "look for the volume", err);
	if (result != 0)
		return result;
	reply = docker_reply_object(&call, err);
	if (reply == NULL || json_get_text(reply, "Mountpoint", 4095, &text, err) < 0)
		return UD_EPROTO;
	if (text == NULL || text[0] != '/')
		return ud_error(err, UD_EPROTO, UD_REASON_NODE_NO_DATA_MOUNT,
						"volume \"%s\" is in no directory of this machine", volume);
	*mountpoint = ud_strdup(text);
	return 0;
}
