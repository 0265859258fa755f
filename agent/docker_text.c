/*
 * docker_text.c
 *	  Texts going into requests and coming out of answers.
 */
#include "agent/docker_internal.h"

#include <stdio.h>
#include <string.h>

#include "agent/json.h"
#include "common/cleanup.h"
#include "common/reasons.h"

static void
escape(UdBuf *out, const char *text, const char *kept)
{
	for (; *text != '\0'; text++)
	{
		char		c = *text;

		if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || strchr(kept, c))
			ud_buf_append(out, text, 1);
		else
			ud_buf_printf(out, "%%%02X", (unsigned) (unsigned char) c);
	}
}

void
docker_escape_path(UdBuf *out, const char *text)
{
	escape(out, text, "-._~/:@");
}

void
docker_escape_query(UdBuf *out, const char *text)
{
	escape(out, text, "-._~");
}

int
docker_path(UdBuf *out, const char *before, const char *name, const char *after, UdError *err)
{
	/* "." and ".." are resolved before the engine looks at the path. */
	if (name[0] == '\0' || name[0] == '.' || name[0] == '/' || strstr(name, "/.") != NULL || strstr(name, "//") != NULL)
		return ud_error(err, UD_EINVAL, UD_REASON_NODE_AGENT_ERROR, "invalid name for the engine: \"%.100s\"", name);
	ud_buf_printf(out, "%s", before);
	docker_escape_path(out, name);
	ud_buf_printf(out, "%s", after);
	return 0;
}

struct json_object *
docker_map_of(const char *const *pairs)
{
	struct json_object *map = json_object_new_object();

	for (; pairs != NULL && *pairs != NULL; pairs++)
	{
		const char *equals = strchrnul(*pairs, '=');
		ud_auto_buf UdBuf key = {0};

		ud_buf_append(&key, *pairs, (size_t) (equals - *pairs));
		json_set_text(map, ud_buf_text(&key), *equals == '\0' ? "" : equals + 1);
	}
	return map;
}

char **
docker_pairs_of(struct json_object *map)
{
	size_t		count = 0;
	size_t		bytes = 0;
	char	  **pairs;
	char	   *next;

	if (json_object_is_type(map, json_type_object))
	{
		json_object_object_foreach(map, key, value)
		{
			if (!json_object_is_type(value, json_type_string))
				continue;
			count++;
			bytes += strlen(key) + strlen(json_object_get_string(value)) + 2;
		}
	}
	pairs = ud_malloc((count + 1) * sizeof(char *) + bytes);
	next = (char *) (pairs + count + 1);
	pairs[count] = NULL;
	if (count > 0)
	{
		char	  **slot = pairs;

		json_object_object_foreach(map, name, text)
		{
			if (!json_object_is_type(text, json_type_string))
				continue;
			*slot++ = next;
			next = stpcpy(next, name);
			*next++ = '=';
			next = stpcpy(next, json_object_get_string(text)) + 1;
		}
	}
	return pairs;
}

struct json_object *
docker_array_of(const char *const *texts)
{
	struct json_object *array;

	if (texts == NULL)
		return NULL;
	array = json_object_new_array();
	for (; *texts != NULL; texts++)
		json_object_array_add(array, json_object_new_string(*texts));
	return array;
}

int
docker_copy_text(struct json_object *object, const char *key, char *out, size_t size, UdError *err)
{
	const char *text = NULL;
	int			found = json_get_text(object, key, size - 1, &text, err);

	out[0] = '\0';
	if (found == 0)
		return ud_error(err, UD_EPROTO, UD_REASON_NODE_ENGINE_ERROR, "the engine's answer has no \"%s\"", key);
	if (found < 0)
		return found;
	snprintf(out, size, "%s", text);
	return 0;
}
