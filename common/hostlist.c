/*
 * hostlist.c
 *	  A list of the hosts that repositories may lie on.
 *
 * Linked into the extension as well: no allocation, no error struct.
 */
#include "common/hostlist.h"

#include <string.h>
#include <strings.h>

#define HOST_BYTES_MAX 255
#define NAME_CHARS "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_"
#define V6_CHARS "0123456789abcdefABCDEF:."

static bool
read_port(const char *text, size_t len, int *port)
{
	int			number = 0;

	if (len == 0 || len > 5)
		return false;
	for (size_t i = 0; i < len; i++)
	{
		if (text[i] < '0' || text[i] > '9')
			return false;
		number = number * 10 + (text[i] - '0');
	}
	*port = number;
	return number >= 1 && number <= 65535;
}

bool
hostlist_split(const char *text, size_t len, const char **host, size_t *host_len, int *port)
{
	bool		is_v6 = len > 0 && text[0] == '[';
	const char *chars = is_v6 ? V6_CHARS : NAME_CHARS;
	size_t		at = is_v6 ? 1 : 0;
	size_t		from = at;

	while (at < len && strchr(chars, text[at]) != NULL && text[at] != '\0')
		at++;
	*host = text + from;
	*host_len = at - from;
	if (*host_len == 0 || *host_len > HOST_BYTES_MAX || **host == '-' || **host == '.')
		return false;
	if (is_v6 && (at == len || text[at++] != ']'))
		return false;
	return at == len || (text[at] == ':' && read_port(text + at + 1, len - at - 1, port));
}

/* The next item without blanks around it; NULL at the end. */
static const char *
next_item(const char **list, size_t *len)
{
	const char *item = *list + strspn(*list, " ,");

	*len = strcspn(item, ",");
	*list = item + *len;
	while (*len > 0 && item[*len - 1] == ' ')
		(*len)--;
	return *len > 0 ? item : NULL;
}

static bool
is_any(const char *item, size_t len)
{
	return len == 1 && *item == '*';
}

const char *
hostlist_bad_item(const char *list, size_t *len)
{
	const char *item;

	while ((item = next_item(&list, len)) != NULL)
	{
		const char *host;
		size_t		host_len;
		int			port = HOSTLIST_DEFAULT_PORT;

		if (!is_any(item, *len) && !hostlist_split(item, *len, &host, &host_len, &port))
			return item;
	}
	return NULL;
}

HostListed
hostlist_find(const char *list, const char *host, size_t host_len, int port)
{
	HostListed	found = HOST_NOT_LISTED;
	const char *item;
	size_t		len;

	while ((item = next_item(&list, &len)) != NULL)
	{
		const char *item_host;
		size_t		item_len;
		int			item_port = HOSTLIST_DEFAULT_PORT;

		if (is_any(item, len))
			found = HOST_BY_ANY;
		else if (hostlist_split(item, len, &item_host, &item_len, &item_port) && item_port == port
				 && item_len == host_len && strncasecmp(item_host, host, host_len) == 0)
			return HOST_BY_NAME;
	}
	return found;
}
