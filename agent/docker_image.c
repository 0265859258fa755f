/*
 * docker_image.c
 *	  Images: looking at them, listing, importing and removing them.
 */
#include "agent/docker_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent/json.h"
#include "common/cleanup.h"
#include "common/reasons.h"

#define TAGS_MAX 10000
#define TAG_BYTES_MAX 1024
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

	result = docker_path(&path, "/images/", name, "?noprune=1", err);
	if (result != 0)
		return result;
	call.path = ud_buf_text(&path);
	return docker_call_expect(docker, &call, "remove the image", err);
}

static int
fill_entry(struct json_object *item, DockerImageEntry *out, UdError *err)
{
	struct json_object *labels = NULL;
	const char *parent = "";

	if (!json_object_is_type(item, json_type_object))
		return ud_error(err, UD_EPROTO, UD_REASON_NODE_ENGINE_ERROR, "the engine's list holds something else");
	if (docker_copy_text(item, "Id", out->id, sizeof(out->id), err) < 0
		|| json_get_text(item, "ParentId", sizeof(out->parent) - 1, &parent, err) < 0
		|| json_get_int(item, "Size", 0, INT64_MAX, &out->size, err) < 0
		|| json_get_int(item, "Created", INT64_MIN, INT64_MAX, &out->created, err) < 0
		|| json_get_object(item, "Labels", &labels, err) < 0
		|| json_get_texts(item, "RepoTags", TAGS_MAX, TAG_BYTES_MAX, &out->tags, err) < 0)
		return UD_EPROTO;
	strcpy(out->parent, parent);
	if (out->tags == NULL)
		out->tags = ud_calloc(1, sizeof(char *));
	/* How older engines write that there is no tag. */
	if (out->tags[0] != NULL && strcmp(out->tags[0], "<none>:<none>") == 0)
		out->tags[0] = NULL;
	out->labels = docker_pairs_of(labels);
	return 0;
}

int
docker_image_list(Docker *docker, DockerImageEntry **out, int *count, UdError *err)
{
	docker_auto_call DockerCall call = {
		.method = "GET",
		.path = "/images/json?all=1",
	};
	ud_auto_json struct json_object *reply = NULL;
	struct json_object *list;
	int			result;

	*out = NULL;
	*count = 0;
	result = docker_call_expect(docker, &call, "list the images", err);
	if (result != 0)
		return result;
	reply = docker_reply_list(&call, &list, err);
	if (reply == NULL)
		return UD_EPROTO;
	*count = (int) json_object_array_length(list);
	*out = ud_calloc((size_t) *count + 1, sizeof(**out));
	for (int i = 0; i < *count; i++)
		if (fill_entry(json_object_array_get_idx(list, (size_t) i), &(*out)[i], err) != 0)
		{
			docker_image_list_free(*out, *count);
			*out = NULL;
			*count = 0;
			return UD_EPROTO;
		}
	return 0;
}

void
docker_image_list_free(DockerImageEntry *images, int count)
{
	for (int i = 0; i < count; i++)
	{
		free(images[i].tags);
		free(images[i].labels);
	}
	free(images);
}

/* The end of a tar, which is all that an empty one has. */
static const uint8_t empty_tar[1024];

int
docker_image_import_empty(Docker *docker, const char *name, const char *label, UdError *err)
{
	ud_auto_buf UdBuf path = {0};
	docker_auto_call DockerCall call = {
		.method = "POST",
		.has_upload = true,
	};
	int			ends[2];
	int			result;

	if (pipe2(ends, O_CLOEXEC) != 0)
		return ud_error(err, UD_EIO, UD_REASON_NODE_AGENT_ERROR, "could not make a pipe: %s", strerror(errno));
	/* It fits: no pipe holds less than a page. */
	result = write(ends[1], empty_tar, sizeof(empty_tar)) == (ssize_t) sizeof(empty_tar) ? 0 :
		ud_error(err, UD_EIO, UD_REASON_NODE_AGENT_ERROR, "could not write to a pipe");
	close(ends[1]);
	call.upload_fd = ends[0];
	ud_buf_printf(&path, "/images/create?fromSrc=-&repo=");
	docker_escape_query(&path, name);
	ud_buf_printf(&path, "&changes=");
	docker_escape_query(&path, "LABEL ");
	docker_escape_query(&path, label);
	call.path = ud_buf_text(&path);
	if (result == 0)
		result = docker_call_expect(docker, &call, "import an empty image", err);
	close(ends[0]);
	return result;
}
