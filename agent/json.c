/*
 * json.c
 *	  Typed access to JSON from outside, and valid text for JSON to outside.
 */
#include "agent/json.h"

#include <limits.h>
#include <math.h>
#include <string.h>

#define JSON_DEPTH_MAX 16

struct json_object *
json_parse_object(const void *bytes, size_t len, UdError *err)
{
	struct json_tokener *tokener;
	struct json_object *object;
	enum json_tokener_error result;
	size_t		end;

	if (len == 0)
		return json_object_new_object();
	if (len > INT_MAX / 2)
	{
		ud_error(err, UD_EPROTO, 0, "JSON is too long");
		return NULL;
	}
	tokener = json_tokener_new_ex(JSON_DEPTH_MAX);
	if (tokener == NULL)
	{
		ud_error(err, UD_EIO, 0, "could not make a JSON parser");
		return NULL;
	}
	json_tokener_set_flags(tokener, JSON_TOKENER_STRICT | JSON_TOKENER_VALIDATE_UTF8);
	object = json_tokener_parse_ex(tokener, bytes, (int) len);
	result = json_tokener_get_error(tokener);
	end = json_tokener_get_parse_end(tokener);
	json_tokener_free(tokener);
	if (object == NULL || result != json_tokener_success || end != len ||
		!json_object_is_type(object, json_type_object))
	{
		json_object_put(object);
		ud_error(err, UD_EPROTO, 0, "body is not one valid JSON object");
		return NULL;
	}
	return object;
}

/* The member, or NULL when absent or null. */
static struct json_object *
json_member(struct json_object *object, const char *key)
{
	struct json_object *value = NULL;

	return json_object_object_get_ex(object, key, &value) ? value : NULL;
}

static int
json_wrong(UdError *err, const char *key, const char *expected)
{
	return ud_error(err, UD_EPROTO, 0, "field \"%s\" is not %s", key, expected);
}

/* True when value is a string of at most max bytes without NUL. */
static bool
json_is_text(struct json_object *value, size_t max)
{
	size_t		len;

	if (!json_object_is_type(value, json_type_string))
		return false;
	len = (size_t) json_object_get_string_len(value);
	return len <= max && strlen(json_object_get_string(value)) == len;
}

int
json_get_text(struct json_object *object, const char *key, size_t max, const char **out, UdError *err)
{
	struct json_object *value = json_member(object, key);

	if (value == NULL)
		return 0;
	if (!json_is_text(value, max))
		return json_wrong(err, key, "a text of allowed length");
	*out = json_object_get_string(value);
	return 1;
}

int
json_get_int(struct json_object *object, const char *key, int64_t min, int64_t max, int64_t *out, UdError *err)
{
	struct json_object *value = json_member(object, key);
	int64_t		number;

	if (value == NULL)
		return 0;
	if (!json_object_is_type(value, json_type_int))
		return json_wrong(err, key, "an integer");
	number = json_object_get_int64(value);
	if (number < min || number > max)
		return json_wrong(err, key, "in its range");
	*out = number;
	return 1;
}

int
json_get_number(struct json_object *object, const char *key, double min, double max, double *out, UdError *err)
{
	struct json_object *value = json_member(object, key);
	double		number;

	if (value == NULL)
		return 0;
	if (!json_object_is_type(value, json_type_int) && !json_object_is_type(value, json_type_double))
		return json_wrong(err, key, "a number");
	number = json_object_get_double(value);
	if (!isfinite(number) || number < min || number > max)
		return json_wrong(err, key, "in its range");
	*out = number;
	return 1;
}

int
json_get_bool(struct json_object *object, const char *key, bool *out, UdError *err)
{
	struct json_object *value = json_member(object, key);

	if (value == NULL)
		return 0;
	if (!json_object_is_type(value, json_type_boolean))
		return json_wrong(err, key, "true or false");
	*out = json_object_get_boolean(value);
	return 1;
}

int
json_get_object(struct json_object *object, const char *key, struct json_object **out, UdError *err)
{
	struct json_object *value = json_member(object, key);

	if (value == NULL)
		return 0;
	if (!json_object_is_type(value, json_type_object))
		return json_wrong(err, key, "an object");
	*out = value;
	return 1;
}

int
json_get_texts(struct json_object *object, const char *key, int count_max, size_t max, char ***out, UdError *err)
{
	struct json_object *value = json_member(object, key);
	size_t		count;
	size_t		bytes = 0;
	char	   *next;

	*out = NULL;
	if (value == NULL)
		return 0;
	if (!json_object_is_type(value, json_type_array))
		return json_wrong(err, key, "an array");
	count = json_object_array_length(value);
	if (count > (size_t) count_max)
		return json_wrong(err, key, "an array of allowed length");
	for (size_t i = 0; i < count; i++)
	{
		struct json_object *item = json_object_array_get_idx(value, i);

		if (!json_is_text(item, max))
			return json_wrong(err, key, "an array of texts of allowed length");
		bytes += (size_t) json_object_get_string_len(item) + 1;
	}
	*out = ud_malloc((count + 1) * sizeof(char *) + bytes);
	next = (char *) (*out + count + 1);
	for (size_t i = 0; i < count; i++)
	{
		(*out)[i] = next;
		next = stpcpy(next, json_object_get_string(json_object_array_get_idx(value, i))) + 1;
	}
	(*out)[count] = NULL;
	return 1;
}

void
json_set_text(struct json_object *object, const char *key, const char *value)
{
	json_object_object_add(object, key, json_object_new_string(value));
}

void
json_set_int(struct json_object *object, const char *key, int64_t value)
{
	json_object_object_add(object, key, json_object_new_int64(value));
}

void
json_set_bool(struct json_object *object, const char *key, bool value)
{
	json_object_object_add(object, key, json_object_new_boolean(value));
}

void
json_set_number(struct json_object *object, const char *key, double value)
{
	json_object_object_add(object, key, json_object_new_double(value));
}

void
json_write(struct json_object *object, UdBuf *out)
{
	size_t		len;
	const char *text = json_object_to_json_string_length(object, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE, &len);

	ud_buf_append(out, text, len);
}

/*
 * Length of the valid UTF-8 character at bytes, 0 when there is none:
 * overlong forms, surrogates and what is above U+10FFFF are refused, because
 * PostgreSQL refuses them.
 */
static size_t
text_character(const uint8_t *bytes, size_t len)
{
	uint8_t		first = bytes[0];
	size_t		need;
	uint8_t		low = 0x80;
	uint8_t		high = 0xbf;

	if (first < 0x80)
		return 1;
	if (first >= 0xc2 && first <= 0xdf)
		need = 2;
	else if (first >= 0xe0 && first <= 0xef)
		need = 3;
	else if (first >= 0xf0 && first <= 0xf4)
		need = 4;
	else
		return 0;
	if (len < need)
		return 0;
	if (first == 0xe0)
		low = 0xa0;
	else if (first == 0xed)
		high = 0x9f;
	else if (first == 0xf0)
		low = 0x90;
	else if (first == 0xf4)
		high = 0x8f;
	if (bytes[1] < low || bytes[1] > high)
		return 0;
	for (size_t i = 2; i < need; i++)
		if (bytes[i] < 0x80 || bytes[i] > 0xbf)
			return 0;
	return need;
}

/* C0 and C1 controls, and what turns the direction of text round. */
static bool
text_is_control(const uint8_t *c, size_t len)
{
	if (len == 1)
		return (c[0] < 0x20 && c[0] != '\n' && c[0] != '\t') || c[0] == 0x7f;
	if (len == 2)
		return (c[0] == 0xc2 && c[1] < 0xa0) || (c[0] == 0xd8 && c[1] == 0x9c);
	if (len != 3 || c[0] != 0xe2)
		return false;
	return (c[1] == 0x80 && (c[2] == 0x8e || c[2] == 0x8f || (c[2] >= 0xaa && c[2] <= 0xae)))
		|| (c[1] == 0x81 && c[2] >= 0xa6 && c[2] <= 0xa9);
}

void
text_make_valid(char *out, size_t size, const void *bytes, size_t len)
{
	const uint8_t *in = bytes;
	size_t		used = 0;

	while (len > 0)
	{
		size_t		take = text_character(in, len);
		bool		bad = take == 0 || text_is_control(in, take);

		if (take == 0)
			take = 1;
		if (used + take + 1 > size)
			break;
		if (bad)
			out[used++] = '?';
		else
		{
			memcpy(out + used, in, take);
			used += take;
		}
		in += take;
		len -= take;
	}
	out[used] = '\0';
}

void
text_make_valid_tail(char *out, size_t size, const void *bytes, size_t len)
{
	const uint8_t *in = bytes;

	if (len > size - 1)
	{
		in += len - (size - 1);
		len = size - 1;
		/* Do not begin inside a character. */
		while (len > 0 && (*in & 0xc0) == 0x80)
		{
			in++;
			len--;
		}
	}
	text_make_valid(out, size, in, len);
}
