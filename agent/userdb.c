/*
 * userdb.c
 *	  Which uid and gid an image's User means.
 */
#include "agent/userdb.h"

#include <ctype.h>
#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/reasons.h"

#define NAME_BYTES 256

/* A whole number that fits an id; (id) -1 means "no change" to chown. */
static bool
userdb_number(const char *text, size_t len, uint32_t *id)
{
	uint64_t	value = 0;

	if (len == 0 || len > 10)
		return false;
	for (size_t i = 0; i < len; i++)
	{
		if (!isdigit((unsigned char) text[i]))
			return false;
		value = value * 10 + (uint64_t) (text[i] - '0');
	}
	if (value > INT32_MAX)
		return false;
	*id = (uint32_t) value;
	return true;
}

/* Field number n (from 0) of a line of colon-separated fields. */
static bool
userdb_field(const char *line, size_t len, int n, const char **field, size_t *field_len)
{
	const char *end = line + len;

	for (;;)
	{
		const char *colon = memchr(line, ':', (size_t) (end - line));
		const char *stop = colon != NULL ? colon : end;

		if (n-- == 0)
		{
			*field = line;
			*field_len = (size_t) (stop - line);
			return true;
		}
		if (colon == NULL)
			return false;
		line = colon + 1;
	}
}

/*
 * Look for the line whose field number key is wanted; fill the ids found in
 * fields 2 and 3 (the latter only when second is not NULL).
 */
static bool
userdb_find(const char *text, int key, const char *wanted, uint32_t *first, uint32_t *second)
{
	size_t		wanted_len = strlen(wanted);

	while (*text)
	{
		size_t		len = strcspn(text, "\n");
		const char *field;
		size_t		field_len;

		if (userdb_field(text, len, key, &field, &field_len) &&
			field_len == wanted_len && memcmp(field, wanted, wanted_len) == 0 &&
			userdb_field(text, len, 2, &field, &field_len) && userdb_number(field, field_len, first) &&
			(second == NULL ||
			 (userdb_field(text, len, 3, &field, &field_len) && userdb_number(field, field_len, second))))
			return true;
		text += len + (text[len] == '\n');
	}
	return false;
}

int
userdb_resolve(const char *user, const char *passwd, const char *group, uid_t *uid, gid_t *gid, UdError *err)
{
	char		name[NAME_BYTES];
	const char *colon = strchr(user, ':');
	size_t		name_len = colon != NULL ? (size_t) (colon - user) : strlen(user);
	uint32_t	user_id = 0;
	uint32_t	group_id = 0;
	uint32_t	ignored;

	if (name_len >= sizeof(name))
		return ud_error(err, UD_EINVAL, UD_REASON_PREP_CREATE_FAILED, "the image's user name is too long");
	memcpy(name, user, name_len);
	name[name_len] = '\0';
	if (userdb_number(name, name_len, &user_id))
	{
		/* The group of a user that passwd knows, else 0, as the engine does. */
		if (!userdb_find(passwd, 2, name, &ignored, &group_id))
			group_id = 0;
	}
	else if (name_len > 0 && !userdb_find(passwd, 0, name, &user_id, &group_id))
		return ud_error(err, UD_EINVAL, UD_REASON_PREP_CREATE_FAILED, "the image's user \"%.64s\" is not in its /etc/passwd", name);
	if (colon != NULL && colon[1] != '\0' &&
		!userdb_number(colon + 1, strlen(colon + 1), &group_id) &&
		!userdb_find(group, 0, colon + 1, &group_id, NULL))
		return ud_error(err, UD_EINVAL, UD_REASON_PREP_CREATE_FAILED, "the image's group \"%.64s\" is not in its /etc/group", colon + 1);
	*uid = user_id;
	*gid = group_id;
	return 0;
}
