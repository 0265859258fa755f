/*
 * hostlist.h
 *	  A list of the hosts that repositories may lie on.
 *
 * Items separated by commas: "*" is any host, "host[:port]" or "[v6][:port]"
 * exactly that host at exactly that port, 443 when none is given.  The agent's
 * UNIDESK_ALLOWED_GIT_HOSTS and the server's unidesk.allowed_git_hosts are
 * both read by this.
 */
#ifndef UD_HOSTLIST_H
#define UD_HOSTLIST_H

#include <stdbool.h>
#include <stddef.h>

#define HOSTLIST_ANY "*"
#define HOSTLIST_DEFAULT_PORT 443

typedef enum HostListed
{
	HOST_NOT_LISTED,
	HOST_BY_ANY,				/* by "*" only */
	HOST_BY_NAME
} HostListed;

/*
 * "host[:port]" or "[v6][:port]" in len bytes; *host (borrowed) without
 * brackets, *port as it was when none is given.
 */
extern bool hostlist_split(const char *text, size_t len, const char **host, size_t *host_len, int *port);

/* The item that is none, its length in *len; NULL when all are good. */
extern const char *hostlist_bad_item(const char *list, size_t *len);

/* Names are compared without regard to case, addresses as they are written. */
extern HostListed hostlist_find(const char *list, const char *host, size_t host_len, int port);

#endif							/* UD_HOSTLIST_H */
