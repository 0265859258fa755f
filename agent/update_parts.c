/*
 * update_parts.c
 *	  Which images an agent may be replaced by, and which container it is in.
 */
#include "agent/update.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/json.h"
#include "common/cleanup.h"

#define PATTERN_CHARS "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._/:@*-"
#define ID_DIGITS 64

/* The next item without blanks around it; NULL at the end. */
static const char *
next_pattern(const char **list, size_t *len)
{
	const char *item = *list + strspn(*list, " ,");

	*len = strcspn(item, ",");
	*list = item + *len;
	while (*len > 0 && item[*len - 1] == ' ')
		(*len)--;
	return *len > 0 ? item : NULL;
}

const char *
update_bad_pattern(const char *list, size_t *len)
{
	const char *item;

	while ((item = next_pattern(&list, len)) != NULL)
		if (strspn(item, PATTERN_CHARS) < *len || *len >= UPDATE_IMAGE_BYTES)
			return item;
	return NULL;
}

/* Back to the last "*" alone: it can take what an earlier one could have. */
static bool
fits(const char *pattern, size_t len, const char *text)
{
	const char *end = pattern + len;
	const char *star = NULL;
	const char *from = NULL;

	while (*text != '\0')
	{
		if (pattern < end && *pattern == '*')
		{
			star = pattern++;
			from = text;
		}
		else if (pattern < end && *pattern == *text)
		{
			pattern++;
			text++;
		}
		else if (star != NULL && *from != '/')
		{
			pattern = star + 1;
			text = ++from;
		}
		else
			return false;
	}
	while (pattern < end && *pattern == '*')
		pattern++;
	return pattern == end;
}

bool
update_is_allowed(const char *list, const char *image)
{
	const char *item;
	size_t		len;

	while ((item = next_pattern(&list, &len)) != NULL)
		if (fits(item, len, image))
			return true;
	return false;
}

void
update_full_name(const char *image, char out[UPDATE_IMAGE_BYTES])
{
	const char *slash = strrchr(image, '/');
	const char *last = slash != NULL ? slash : image;
	bool		named = strchr(last, ':') != NULL || strchr(last, '@') != NULL;

	snprintf(out, UPDATE_IMAGE_BYTES, "%s%s", image, named ? "" : ":latest");
}

/* An id that stands there, alone between its neighbours. */
static bool
take_id(const char *text, char id[80])
{
	if (strspn(text, "0123456789abcdef") != ID_DIGITS)
		return false;
	memcpy(id, text, ID_DIGITS);
	id[ID_DIGITS] = '\0';
	return true;
}

/*
 * The engine mounts these files of the container's own folder.  A line is "id
 * parent device root target ...".
 */
static bool
id_of_mount(const char *line, char id[80])
{
	char		root[1024];
	char		target[64];
	const char *found = root;
	const char *last = NULL;

	if (sscanf(line, "%*s %*s %*s %1023s %63s", root, target) != 2 ||
		(strcmp(target, "/etc/hostname") != 0 && strcmp(target, "/etc/hosts") != 0 && strcmp(target, "/etc/resolv.conf") != 0))
		return false;
	while ((found = strstr(found, "/containers/")) != NULL)
		last = found++;
	return last != NULL && take_id(last + strlen("/containers/"), id);
}

/* "n:controllers:/docker/<id>", or ".../docker-<id>.scope" under systemd. */
static bool
id_of_cgroup(const char *line, char id[80])
{
	ud_auto_free char *copy = strndup(line, strcspn(line, "\n"));
	const char *last = strrchr(copy, '/');

	if (last == NULL)
		return false;
	last++;
	if (strncmp(last, "docker-", 7) == 0)
		return strcmp(last + strcspn(last, "."), ".scope") == 0 && take_id(last + 7, id);
	return strlen(last) == ID_DIGITS && strstr(copy, "/docker/") != NULL && take_id(last, id);
}

bool
update_own_container(const char *mountinfo, const char *cgroup, char id[80])
{
	for (const char *line = mountinfo; *line != '\0'; line = strchrnul(line, '\n'), line += *line == '\n')
		if (id_of_mount(line, id))
			return true;
	for (const char *line = cgroup; *line != '\0'; line = strchrnul(line, '\n'), line += *line == '\n')
		if (id_of_cgroup(line, id))
			return true;
	return false;
}

void
update_write_order(int64_t incarnation, int32_t order, char out[UPDATE_ORDER_BYTES])
{
	snprintf(out, UPDATE_ORDER_BYTES, "%016llx-%d", (unsigned long long) incarnation, order);
}

bool
update_read_order(const char *text, int64_t *incarnation, int32_t *order)
{
	char	   *end;
	long		number;

	if (strspn(text, "0123456789abcdef") != 16 || text[16] != '-' || text[17] < '1' || text[17] > '9')
		return false;
	number = strtol(text + 17, &end, 10);
	if (*end != '\0' || number > 999999999)
		return false;
	*incarnation = (int64_t) strtoull(text, NULL, 16);
	*order = (int32_t) number;
	return true;
}

void
update_line(char *out, size_t size, const char *text)
{
	size_t		len;

	text_make_valid(out, size, text, strlen(text));
	for (char *c = out; *c != '\0'; c++)
		if ((unsigned char) *c < 0x20 || *c == 0x7f)
			*c = ' ';
	for (len = strlen(out); len > 0 && out[len - 1] == ' '; len--)
		out[len - 1] = '\0';
}
