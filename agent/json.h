/*
 * json.h
 *	  Typed, checked access to JSON that came from outside, and text made fit
 *	  to go into JSON.
 */
#ifndef AGENT_JSON_H
#define AGENT_JSON_H

#include <json-c/json.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/buf.h"
#include "common/error.h"

static inline void
json_cleanup(struct json_object **object)
{
	json_object_put(*object);
}

#define ud_auto_json __attribute__((cleanup(json_cleanup)))

/*
 * Parse one JSON object of at most 16 levels, valid UTF-8, nothing behind it;
 * no bytes at all are an empty object.  NULL and err when it is anything else.
 */
extern struct json_object *json_parse_object(const void *bytes, size_t len, UdError *err);

/*
 * Members of object.  Each returns 1 when the member is there and fits, 0
 * when it is absent or null, negative and err when it has another type, is
 * out of range, longer than max bytes, or contains a NUL.
 */
extern int	json_get_text(struct json_object *object, const char *key, size_t max, const char **out, UdError *err);
extern int	json_get_int(struct json_object *object, const char *key, int64_t min, int64_t max, int64_t *out, UdError *err);
extern int	json_get_number(struct json_object *object, const char *key, double min, double max, double *out, UdError *err);
extern int	json_get_bool(struct json_object *object, const char *key, bool *out, UdError *err);
extern int	json_get_object(struct json_object *object, const char *key, struct json_object **out, UdError *err);

/*
 * An array of at most count_max strings of at most max bytes each, as a
 * NULL-terminated array in one piece with its texts; free with free().
 * Absent: *out = NULL.
 */
extern int	json_get_texts(struct json_object *object, const char *key, int count_max, size_t max, char ***out, UdError *err);

extern void json_set_text(struct json_object *object, const char *key, const char *value);
extern void json_set_int(struct json_object *object, const char *key, int64_t value);
extern void json_set_bool(struct json_object *object, const char *key, bool value);
extern void json_set_number(struct json_object *object, const char *key, double value);

/* Append the object's compact text to out. */
extern void json_write(struct json_object *object, UdBuf *out);

/*
 * Copy bytes as valid UTF-8 without control characters (newline and tab
 * stay), at most size - 1 bytes, cut between characters, NUL-terminated.
 * What is invalid, or turns the direction of text round, becomes "?".
 */
extern void text_make_valid(char *out, size_t size, const void *bytes, size_t len);

/* The same, keeping the end rather than the beginning. */
extern void text_make_valid_tail(char *out, size_t size, const void *bytes, size_t len);

#endif							/* AGENT_JSON_H */
