/*
 * docker_archive.c
 *	  One file out of a container, which the engine sends as a tar.
 *
 * The tar comes from the engine, but names, sizes and contents in it come
 * from the image: nothing in it is believed before it is checked.
 */
#include "agent/docker_internal.h"

#include <string.h>

#include "common/cleanup.h"
#include "common/reasons.h"

#define TAR_BLOCK 512
#define TAR_SIZE_AT 124
#define TAR_SIZE_BYTES 12
#define TAR_TYPE_AT 156
/* Headers and their extensions around the one file. */
#define TAR_EXTRA_BYTES 65536

/* An octal field; -1 when it is not one, a size beyond 8 GiB included. */
static int64_t
tar_number(const uint8_t *field, size_t len)
{
	int64_t		number = 0;
	size_t		i = 0;

	while (i < len && field[i] == ' ')
		i++;
	for (; i < len && field[i] != '\0' && field[i] != ' '; i++)
	{
		if (field[i] < '0' || field[i] > '7')
			return -1;
		number = number * 8 + (field[i] - '0');
	}
	return number;
}

static int
broken_tar(UdError *err)
{
	return ud_error(err, UD_EPROTO, UD_REASON_NODE_ENGINE_ERROR, "the engine sent a tar that is not one");
}

/* Find the first real entry; extensions of its header are stepped over. */
static int
find_file(const UdBuf *tar, const uint8_t **data, size_t *size, UdError *err)
{
	size_t		at = 0;

	while (at + TAR_BLOCK <= tar->len)
	{
		const uint8_t *header = tar->data + at;
		int64_t		len = tar_number(header + TAR_SIZE_AT, TAR_SIZE_BYTES);
		char		type = (char) header[TAR_TYPE_AT];

		at += TAR_BLOCK;
		if (len < 0 || (uint64_t) len > tar->len - at)
			return broken_tar(err);
		if (type == '0' || type == '\0')
		{
			*data = tar->data + at;
			*size = (size_t) len;
			return 0;
		}
		if (strchr("xgLK", type) == NULL)
			return ud_error(err, UD_EINVAL, 0, "not a regular file");
		at += ((size_t) len + TAR_BLOCK - 1) / TAR_BLOCK * TAR_BLOCK;
	}
	return broken_tar(err);
}

int
docker_read_file(Docker *docker, const char *container, const char *path, size_t size_max, UdBuf *out, UdError *err)
{
	ud_auto_buf UdBuf url = {0};
	docker_auto_call DockerCall call = {
		.method = "GET",
		.reply_max = size_max + TAR_EXTRA_BYTES,
	};
	const uint8_t *data = NULL;
	size_t		size = 0;
	int			result;

	result = docker_path(&url, "/containers/", container, "/archive?path=", err);
	if (result != 0)
		return result;
	docker_escape_query(&url, path);
	call.path = ud_buf_text(&url);
	result = docker_call_expect(docker, &call, "read a file of the container", err);
	if (call.reply_too_long)
		return ud_error(err, UD_EINVAL, 0, "\"%.200s\" is longer than %zu bytes", path, size_max);
	if (result != 0)
		return result;
	result = find_file(&call.reply, &data, &size, err);
	if (result == UD_EINVAL)
		return ud_error(err, UD_EINVAL, 0, "\"%.200s\" is not a regular file", path);
	if (result != 0)
		return result;
	if (size > size_max)
		return ud_error(err, UD_EINVAL, 0, "\"%.200s\" is longer than %zu bytes", path, size_max);
	ud_buf_append(out, data, size);
	return 0;
}
