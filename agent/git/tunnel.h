/*
 * tunnel.h
 *	  A connection through an HTTP proxy, by CONNECT.
 */
#ifndef GIT_TUNNEL_H
#define GIT_TUNNEL_H

#include "agent/git/url.h"
#include "common/error.h"
#include "common/proxy.h"

/*
 * fd is connected to the proxy and does not block; afterwards it is as if it
 * were connected to target.  A refusal (403) is prep.repo_refused, all else
 * prep.repo_unreachable.
 */
extern int	tunnel_open(int fd, const Proxy *proxy, const RepoUrl *target, int timeout_ms, UdError *err) UD_MUSTCHECK;

#endif							/* GIT_TUNNEL_H */
