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
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "common/hostlist.h"
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

/* Never a repository's; 168.63.129.16 and 100.100.100.200 serve metadata too. */
static const Network forbidden_v4[] = {
	{"169.254.0.0", 16}, {"168.63.129.16", 32}, {"100.100.100.200", 32},
};

static const Network forbidden_v6[] = {
	{"fe80::", 10}, {"fd00:ec2::254", 128},
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

/* What an address says; v4 when it is or carries one of IPv4. */
static const uint8_t *
address_bytes(const struct sockaddr *address, uint8_t bytes[16], bool *is_v4)
{
	*is_v4 = address->sa_family == AF_INET;
	if (*is_v4)
	{
		memcpy(bytes, (const char *) address + offsetof(struct sockaddr_in, sin_addr), 4);
		return bytes;
	}
	memcpy(bytes, (const char *) address + offsetof(struct sockaddr_in6, sin6_addr), 16);
	for (size_t i = 0; i < sizeof(embeddings) / sizeof(embeddings[0]); i++)
		if (in_network(AF_INET6, bytes, &embeddings[i].network))
		{
			*is_v4 = true;
			return bytes + embeddings[i].at;
		}
	return bytes;
}

static bool
in_networks(int family, const uint8_t *address, const Network *networks, size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (in_network(family, address, &networks[i]))
			return true;
	return false;
}

#define IN_NETWORKS(family, address, list) in_networks(family, address, list, sizeof(list) / sizeof((list)[0]))

bool
address_is_private(const struct sockaddr *address)
{
	uint8_t		bytes[16];
	bool		is_v4;
	const uint8_t *at;

	if (address->sa_family != AF_INET && address->sa_family != AF_INET6)
		return true;
	at = address_bytes(address, bytes, &is_v4);
	return is_v4 ? IN_NETWORKS(AF_INET, at, private_v4) : IN_NETWORKS(AF_INET6, at, private_v6);
}

bool
address_is_forbidden(const struct sockaddr *address)
{
	uint8_t		bytes[16];
	bool		is_v4;
	const uint8_t *at;

	if (address->sa_family != AF_INET && address->sa_family != AF_INET6)
		return true;
	at = address_bytes(address, bytes, &is_v4);
	return is_v4 ? IN_NETWORKS(AF_INET, at, forbidden_v4) : IN_NETWORKS(AF_INET6, at, forbidden_v6);
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

/* Where libgit2 would dial, and whether the list lets it. */
static int
parse_authority(const char *text, size_t len, const char *allowed_hosts, RepoUrl *out, UdError *err)
{
	const char *host;
	size_t		host_len;
	int			port = out->is_https ? 443 : 80;
	struct in6_addr v6;
	HostListed	listed;

	if (memchr(text, '@', len) != NULL)
		return REFUSE("repository URL holds a user name or password");
	if (!hostlist_split(text, len, &host, &host_len, &port) || host_len >= sizeof(out->host))
		return REFUSE("repository URL has no valid host or port");
	memcpy(out->host, host, host_len);
	out->host[host_len] = '\0';
	snprintf(out->port, sizeof(out->port), "%d", port);
	if (*text == '[' && inet_pton(AF_INET6, out->host, &v6) != 1)
		return REFUSE("repository URL has no valid host or port");
	listed = hostlist_find(allowed_hosts, host, host_len, port);
	out->is_listed = listed == HOST_BY_NAME;
	if (listed == HOST_NOT_LISTED)
		return REFUSE("repository host \"%.*s\" is not one that this node fetches from, see its UNIDESK_ALLOWED_GIT_HOSTS",
					  (int) len, text);
	if (!out->is_https && !out->is_listed)
		return REFUSE("repository URL is http, this node allows https only");
	return 0;
}

int
url_parse(const char *url, const char *allowed_hosts, RepoUrl *out, UdError *err)
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
	}
	else if (strncmp(url, "http://", 7) == 0)
		authority = url + 7;
	else
		return REFUSE("repository URL is not an https:// URL");
	if (strpbrk(url, "?#") != NULL)
		return REFUSE("repository URL has a query or fragment");
	return parse_authority(authority, strcspn(authority, "/"), allowed_hosts, out, err);
}
