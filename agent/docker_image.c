/*
 * docker_image.c
 *	  Images: looking at them, naming and removing them.
 */
#include "agent/docker_internal.h"

#include <stdlib.h>
#include <string.h>

#include "agent/json.h"
#include "common/cleanup.h"
#include "common/reasons.h"

#define ARGUMENTS_MAX 4096
#define ARGUMENT_BYTES_MAX 131072

static int
get_texts(struct json_object *config, const char *key, char ***out, UdError *err)
{
	if (json_get_texts(config, key, ARGUMENTS_MAX, ARGUMENT_BYTES_MAX, out, err) < 0)
		return UD_EPROTO;
	if (*out == NULL)
		*out = ud_calloc(1, sizeof(char *));
	return 0;
}

static int
fill_image(struct json_object *reply, DockerImage *image, UdError *err)
{
	struct json_object *config = NULL;
	ud_auto_json struct json_object *none = json_object_new_object();
	const char *user = "";

	if (docker_copy_text(reply, "Id", image->id, sizeof(image->id), err) < 0
		|| json_get_object(reply, "Config", &config, err) < 0)
		return UD_EPROTO;
	if (config == NULL)
		config = none;
	if (json_get_text(config, "User", 256, &user, err) < 0
		|| get_texts(config, "Entrypoint", &image->entrypoint, err) < 0
		|| get_texts(config, "Cmd", &image->cmd, err) < 0)
		return UD_EPROTO;
	image->user = ud_strdup(user);
	return 0;
}

int
docker_image_inspect(Docker *docker, const char *name, DockerImage *image, UdError *err)
{
	ud_auto_buf UdBuf path = {0};
	docker_auto_call DockerCall call = {
		.method = "GET",
	};
	ud_auto_json struct json_object *reply = NULL;
	int			result;

	memset(image, 0, sizeof(*image));
	result = docker_path(&path, "/images/", name, "/json", err);
	if (result != 0)
		return result;
	call.path = ud_buf_text(&path);
	result = docker_call_expect(docker, &call, "look at the image", err);
	if (result != 0)
		return result;
	reply = docker_reply_object(&call, err);
	if (reply == NULL)
		return UD_EPROTO;
	result = fill_image(reply, image, err);
	if (result != 0)
		docker_image_release(image);
	return result;
}

void
docker_image_release(DockerImage *image)
{
	free(image->user);
	free(image->entrypoint);
	free(image->cmd);
	memset(image, 0, sizeof(*image));
}

int
docker_image_remove(Docker *docker, const char *name, UdError *err)
{
	ud_auto_buf UdBuf path = {0};
	docker_auto_call DockerCall call = {
		.method = "DELETE",
		.timeout_s = DOCKER_SLOW_CALL_S,
	};
	int			result;

	result = docker_path(&path, "/images/", name, "", err);
	if (result != 0)
		return result;
	call.path = ud_buf_text(&path);
	return docker_call_expect(docker, &call, "remove the image", err);
}
