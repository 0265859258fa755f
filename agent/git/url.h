/*
 * url.h
 *	  Which repositories may be dialled: the policy on URLs and addresses.
 *
 * People outside write these URLs and the node stands inside somebody's
 * network, so only https to public addresses is allowed, unless the node's
 * owner lists a host with its port: that one may have any address and answer
 * plain http too, because a commit's id vouches for what is received.
 */
#ifndef GIT_URL_H
#define GIT_URL_H

#include <netinet/in.h>
#include <stdbool.h>
#include <sys/socket.h>

#include "common/error.h"

#define URL_BYTES_MAX 2048

typedef struct RepoUrl
{
	bool		is_https;
	char		host[256];		/* without brackets */
	char		port[6];
	bool		is_listed;		/* its host and port are named in the list */
} RepoUrl;

/*
 * Syntax, scheme, and host against a list (common/hostlist.h); nothing is
 * resolved.  Failure is prep.repo_refused.
 */
extern int	url_parse(const char *url, const char *allowed_hosts, RepoUrl *out, UdError *err) UD_MUSTCHECK;

/* Loopback, private, link-local, metadata, or otherwise not the public internet. */
extern bool address_is_private(const struct sockaddr *address);

/*
 * Link-local, or where clouds answer with a machine's credentials: no node has
 * a repository there, so not even one that may dial private addresses.
 */
extern bool address_is_forbidden(const struct sockaddr *address);

#endif							/* GIT_URL_H */
