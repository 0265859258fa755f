/*
 * proxy.c
 *	  The HTTP proxy that the environment names for a host.
 */
#include "common/proxy.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "common/hostlist.h"

static const char *
variable(const char *lower, const char *upper)
{
	const char *value = getenv(lower);

	if (value == NULL || *value == '\0')
		value = getenv(upper);
	return value != NULL && *value != '\0' ? value : NULL;
}

/* "example.org" and ".example.org" both mean it and all below it. */
static bool
item_matches(const char *item, size_t len, const char *host, int port)
{
	size_t		host_len = strlen(host);
	const char *name;
	size_t		name_len;
	int			item_port = port;

	if (len == 1 && *item == '*')
		return true;
	if (len > 1 && item[0] == '*' && item[1] == '.')
	{
		item++;
		len--;
	}
	if (len > 1 && *item == '.')
	{
		item++;
		len--;
	}
	if (!hostlist_split(item, len, &name, &name_len, &item_port) || item_port != port || name_len > host_len)
		return false;
	return strncasecmp(host + host_len - name_len, name, name_len) == 0
		&& (name_len == host_len || host[host_len - name_len - 1] == '.');
}

static bool
is_reached_directly(const char *host, int port)
{
	const char *list = variable("no_proxy", "NO_PROXY");

	while (list != NULL && *list != '\0')
	{
		size_t		len;

		list += strspn(list, ", ");
		len = strcspn(list, ", ");
		if (len > 0 && item_matches(list, len, host, port))
			return true;
		list += len;
	}
	return false;
}

int
proxy_find(bool is_tls, const char *host, int port, Proxy *out, UdError *err)
{
	const char *name = is_tls ? "https_proxy" : "http_proxy";
	const char *value = is_tls ? variable("https_proxy", "HTTPS_PROXY") : variable("http_proxy", "HTTP_PROXY");
	const char *proxy_host;
	const char *at;
	size_t		host_len;

	memset(out, 0, sizeof(*out));
	if (value == NULL || is_reached_directly(host, port))
		return 0;
	if (strncasecmp(value, "http://", 7) == 0)
		value += 7;
	out->port = 80;
	at = memrchr(value, '@', strcspn(value, "/"));
	if (at != NULL && (size_t) (at - value) < sizeof(out->user))
	{
		memcpy(out->user, value, (size_t) (at - value));
		value = at + 1;
	}
	if (!hostlist_split(value, strcspn(value, "/"), &proxy_host, &host_len, &out->port) || host_len >= sizeof(out->host)
		|| strcspn(value, "/") + 1 < strlen(value))
		return ud_error(err, UD_EINVAL, 0, "%s is not [http://][user:password@]host[:port]", name);
	snprintf(out->host, sizeof(out->host), "%.*s", (int) host_len, proxy_host);
	return 1;
}
