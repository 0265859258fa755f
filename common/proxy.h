/*
 * proxy.h
 *	  The HTTP proxy that the environment names for a host.
 *
 * http_proxy for http and ws, https_proxy for https and wss, no_proxy for the
 * hosts that are reached directly; upper case too.  A proxy is
 * [http://][user:password@]host[:port] and is asked to CONNECT.
 */
#ifndef UD_PROXY_H
#define UD_PROXY_H

#include <stdbool.h>

#include "common/error.h"

typedef struct Proxy
{
	char		host[256];		/* without brackets */
	int			port;
	char		user[512];		/* "user:password" as it is written, or "" */
} Proxy;

/*
 * 1: *out is to be asked; 0: there is none for this host; UD_EINVAL: what the
 * environment says is no proxy of ours.  No message holds the password.
 */
extern int	proxy_find(bool is_tls, const char *host, int port, Proxy *out, UdError *err) UD_MUSTCHECK;

#endif							/* UD_PROXY_H */
