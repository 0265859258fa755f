/*
 * url.c
 *	  The policy on URLs and addresses.
 *
 * The host's characters are restricted so far that our idea of the host and
 * libgit2's (which decodes percent signs) cannot differ.
 */
#include "agent/git/url.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "common/reasons.h"

#define REFUSE(...) ud_error(err, UD_EINVAL, UD_REASON_PREP_REPO_REFUSED, __VA_ARGS__)

typedef struct Network
{
	const char *address;
	int			bits;
} Network;

static const Network private_v4[] = {
	{"0.0.0.0", 8}, {"10.0.0.0", 8}, {"100.64.0.0", 10}, {"127.0.0.0", 8},
	{"169.254.0.0", 16}, {"172.16.0.0", 12}, {"192.0.0.0", 24}, {"192.0.2.0", 24},
	{"192.168.0.0", 16}, {"198.18.0.0", 15}, {"198.51.100.0", 24}, {"203.0.113.0", 24},
	{"224.0.0.0", 3},
	{"168.63.129.16", 32},		/* a cloud's metadata service on a public
								 * address */
};

static const Network private_v6[] = {
	{"::", 96},					/* ::, ::1 and the old v4-compatible ones */
	{"64:ff9b:1::", 48}, {"100::", 64}, {"2001::", 23}, {"2001:db8::", 32},
	{"fc00::", 7}, {"fe80::", 10}, {"fec0::", 10}, {"ff00::", 8},
};

/* Prefixes that carry an IPv4 address, and the byte where it starts. */
typedef struct Embedding
{
	Network		network;
	int			at;
} Embedding;

static const Embedding embeddings[] = {
	{{"::ffff:0:0", 96}, 12}, {{"64:ff9b::", 96}, 12}, {{"2002::", 16}, 2},
};

static bool
in_network(int family, const uint8_t *address, const Network *network)
{
	uint8_t		wanted[16];
	int			bytes = network->bits / 8;
	int			rest = network->bits % 8;

	if (inet_pton(family, network->address, wanted) != 1)
		abort();
	if (memcmp(address, wanted, (size_t) bytes) != 0)
		return false;
	return rest == 0 || ((address[bytes] ^ wanted[bytes]) >> (8 - rest)) == 0;
}

static bool
v4_is_private(const uint8_t *address)
{
	for (size_t i = 0; i < sizeof(private_v4) / sizeof(private_v4[0]); i++)
		if (in_network(AF_INET, address, &private_v4[i]))
			return true;
	return false;
}

bool
address_is_private(const struct sockaddr *address)
{
	uint8_t		v6[16];

	if (address->sa_family == AF_INET)
	{
		struct sockaddr_in in4;

		memcpy(&in4, address, sizeof(in4));
		return v4_is_private((const uint8_t *) &in4.sin_addr);
	}
	if (address->sa_family != AF_INET6)
		return true;
	memcpy(v6, (const char *) address + offsetof(struct sockaddr_in6, sin6_addr), sizeof(v6));
	for (size_t i = 0; i < sizeof(embeddings) / sizeof(embeddings[0]); i++)
		if (in_network(AF_INET6, v6, &embeddings[i].network))
			return v4_is_private(v6 + embeddings[i].at);
	for (size_t i = 0; i < sizeof(private_v6) / sizeof(private_v6[0]); i++)
		if (in_network(AF_INET6, v6, &private_v6[i]))
			return true;
	return false;
}

/* Printable ASCII, no blanks, and no control characters in disguise. */
static bool
has_clean_characters(const char *url)
{
	for (const char *c = url; *c != '\0'; c++)
	{
		if ((unsigned char) *c <= 0x20 || (unsigned char) *c >= 0x7f || *c == '\\')
			return false;
		if (*c == '%' && (!isxdigit((unsigned char) c[1]) || !isxdigit((unsigned char) c[2])
						  || c[1] < '2' || strncasecmp(c + 1, "7f", 2) == 0))
			return false;
	}
	return true;
}

static int
parse_port(const char *text, size_t len, RepoUrl *out, UdError *err)
{
	if (len == 0 || len >= sizeof(out->port) || strspn(text, "0123456789") < len)
		return REFUSE("repository URL has no valid port");
	memcpy(out->port, text, len);
	out->port[len] = '\0';
	if (atoi(out->port) < 1 || atoi(out->port) > 65535)
		return REFUSE("repository URL has no valid port");
	return 0;
}

/* host, host:port, [v6] or [v6]:port */
static int
parse_authority(const char *text, size_t len, RepoUrl *out, UdError *err)
{
	const char *allowed = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_";
	const char *end = text + len;
	const char *port;
	size_t		host_len;

	if (memchr(text, '@', len) != NULL)
		return REFUSE("repository URL holds a user name or password");
	if (len > 0 && *text == '[')
	{
		struct in6_addr v6;

		host_len = strcspn(++text, "]");
		if (text + host_len >= end || host_len >= sizeof(out->host))
			return REFUSE("repository URL has no valid host");
		memcpy(out->host, text, host_len);
		out->host[host_len] = '\0';
		port = text + host_len + 1;
		if (inet_pton(AF_INET6, out->host, &v6) != 1)
			return REFUSE("repository URL has no valid host");
	}
	else
	{
		host_len = strspn(text, allowed);
		if (host_len > len)
			host_len = len;
		if (host_len == 0 || host_len >= sizeof(out->host) || *text == '-' || *text == '.')
			return REFUSE("repository URL has no valid host");
		memcpy(out->host, text, host_len);
		out->host[host_len] = '\0';
		port = text + host_len;
	}
	if (port == end)
		return 0;
	if (*port != ':')
		return REFUSE("repository URL has no valid host");
	return parse_port(port + 1, (size_t) (end - port - 1), out, err);
}

int
url_parse(const char *url, bool allow_private, RepoUrl *out, UdError *err)
{
	const char *authority;

	memset(out, 0, sizeof(*out));
	if (strlen(url) > URL_BYTES_MAX)
		return REFUSE("repository URL is longer than %d bytes", URL_BYTES_MAX);
	if (*url == '-' || !has_clean_characters(url))
		return REFUSE("repository URL has forbidden characters");
	if (strncmp(url, "https://", 8) == 0)
	{
		out->is_https = true;
		authority = url + 8;
		strcpy(out->port, "443");
	}
	else if (strncmp(url, "http://", 7) == 0)
	{
		if (!allow_private)
			return REFUSE("repository URL is http, this node allows https only");
		authority = url + 7;
		strcpy(out->port, "80");
	}
	else
		return REFUSE("repository URL is not an https:// URL");
	if (strpbrk(url, "?#") != NULL)
		return REFUSE("repository URL has a query or fragment");
	return parse_authority(authority, strcspn(authority, "/"), out, err);
}
