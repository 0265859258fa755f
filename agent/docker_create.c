/*
 * docker_create.c
 *	  Making a task's container.
 *
 * What a task may never have is written here, in one place, and not taken
 * from anywhere: no field of a task reaches HostConfig but numbers, mounts
 * the agent chose, GPU names and a network the node's owner named.
 */
#include "agent/docker_internal.h"

#include <string.h>

#include "agent/json.h"
#include "common/cleanup.h"
#include "common/reasons.h"

static struct json_object *
make_log_config(void)
{
	struct json_object *config = json_object_new_object();
	struct json_object *options = json_object_new_object();

	/* Only for what unidesk-init itself says; a task's output goes elsewhere. */
	json_set_text(options, "max-size", "1m");
	json_set_text(options, "max-file", "2");
	json_set_text(options, "compress", "false");
	json_set_text(config, "Type", "local");
	json_object_object_add(config, "Config", options);
	return config;
}

static struct json_object *
make_mounts(const DockerCreate *create)
{
	struct json_object *mounts = json_object_new_array();

	for (int i = 0; i < create->mount_count; i++)
	{
		const DockerMount *mount = &create->mounts[i];
		struct json_object *object = json_object_new_object();

		/*
		 * No propagation is named: which one is possible depends on where the
		 * source lies, and the engine knows.
		 */
		json_set_text(object, "Type", "bind");
		json_set_text(object, "Source", mount->source);
		json_set_text(object, "Target", mount->target);
		json_set_bool(object, "ReadOnly", mount->read_only);
		json_object_array_add(mounts, object);
	}
	return mounts;
}

static struct json_object *
make_device_requests(const char *const *gpus)
{
	static const char *const gpu[] = {"gpu", NULL};
	struct json_object *requests = json_object_new_array();
	struct json_object *request = json_object_new_object();
	struct json_object *capabilities = json_object_new_array();

	json_object_array_add(capabilities, docker_array_of(gpu));
	json_set_text(request, "Driver", "nvidia");
	json_object_object_add(request, "DeviceIDs", docker_array_of(gpus));
	json_object_object_add(request, "Capabilities", capabilities);
	json_object_array_add(requests, request);
	return requests;
}

static struct json_object *
make_host_config(const DockerCreate *create)
{
	static const char *const dropped[] = {"NET_RAW", "MKNOD", "AUDIT_WRITE", NULL};
	static const char *const security[] = {"no-new-privileges", NULL};
	struct json_object *host = json_object_new_object();
	struct json_object *restart = json_object_new_object();

	json_set_text(restart, "Name", "no");
	json_object_object_add(host, "RestartPolicy", restart);
	json_object_object_add(host, "CapDrop", docker_array_of(dropped));
	json_object_object_add(host, "SecurityOpt", docker_array_of(security));
	json_object_object_add(host, "LogConfig", make_log_config());
	json_object_object_add(host, "Mounts", make_mounts(create));
	json_set_bool(host, "Privileged", false);
	json_set_bool(host, "AutoRemove", false);
	/* An engine may be set to put its own init first; ours has to be PID 1. */
	json_set_bool(host, "Init", false);
	json_set_text(host, "IpcMode", "private");
	if (create->network_mode != NULL)
		json_set_text(host, "NetworkMode", create->network_mode);
	if (create->memory > 0)
	{
		json_set_int(host, "Memory", create->memory);
		json_set_int(host, "MemorySwap", create->memory);
	}
	if (create->shm_size > 0)
		json_set_int(host, "ShmSize", create->shm_size);
	if (create->cpus_milli > 0)
		json_set_int(host, "NanoCpus", create->cpus_milli * 1000000);
	if (create->pids_limit > 0)
		json_set_int(host, "PidsLimit", create->pids_limit);
	if (create->gpus != NULL && create->gpus[0] != NULL)
		json_object_object_add(host, "DeviceRequests", make_device_requests(create->gpus));
	return host;
}

static struct json_object *
make_body(const DockerCreate *create)
{
	static const char *const no_check[] = {"NONE", NULL};
	struct json_object *body = json_object_new_object();
	struct json_object *check = json_object_new_object();

	json_set_text(body, "Image", create->image);
	if (create->entrypoint != NULL)
		json_object_object_add(body, "Entrypoint", docker_array_of(create->entrypoint));
	if (create->command != NULL)
		json_object_object_add(body, "Cmd", docker_array_of(create->command));
	if (create->environment != NULL)
		json_object_object_add(body, "Env", docker_array_of(create->environment));
	json_object_object_add(body, "Labels", docker_map_of(create->labels));
	if (create->working_dir != NULL)
		json_set_text(body, "WorkingDir", create->working_dir);
	if (create->user != NULL)
		json_set_text(body, "User", create->user);
	/* An image's own stop signal would hide from unidesk-init who stops it. */
	json_set_text(body, "StopSignal", "SIGTERM");
	if (create->stop_timeout_s > 0)
		json_set_int(body, "StopTimeout", create->stop_timeout_s);
	/* A health check would run beside the task, at times of its own. */
	json_object_object_add(check, "Test", docker_array_of(no_check));
	json_object_object_add(body, "Healthcheck", check);
	json_object_object_add(body, "HostConfig", make_host_config(create));
	return body;
}

int
docker_create(Docker *docker, const DockerCreate *create, char container_id[80], UdError *err)
{
	ud_auto_json struct json_object *body = make_body(create);
	ud_auto_json struct json_object *reply = NULL;
	ud_auto_buf UdBuf path = {0};
	docker_auto_call DockerCall call = {
		.method = "POST",
		.body = body,
		.timeout_s = DOCKER_SLOW_CALL_S,
	};
	int			result;

	container_id[0] = '\0';
	ud_buf_printf(&path, "/containers/create?name=");
	docker_escape_query(&path, create->name);
	call.path = ud_buf_text(&path);
	result = docker_call_expect(docker, &call, "create the container", err);
	if (result == UD_EINVAL && err != NULL)
		err->reason = UD_REASON_PREP_CREATE_FAILED;
	if (result == UD_ENOENT && err != NULL)
		err->reason = UD_REASON_PREP_IMAGE_GONE;
	if (result == UD_EEXIST && err != NULL)
		err->reason = UD_REASON_NODE_NAME_CONFLICT;
	if (result != 0)
		return result;
	reply = docker_reply_object(&call, err);
	if (reply == NULL)
		return UD_EPROTO;
	return docker_copy_text(reply, "Id", container_id, 80, err);
}
