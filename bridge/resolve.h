/*
 * resolve.h
 *	  The database host's addresses, looked up without blocking the loop.
 *
 * libpq looks names up with getaddrinfo() inside PQconnectStart: with a dead
 * name server every attempt would stop all agents for seconds.
 */
#ifndef RESOLVE_H
#define RESOLVE_H

#include <netdb.h>
#include <stdbool.h>

#include "loop.h"

typedef void (*ResolveDone) (void *arg, const char *hosts, const char *addresses, const char *failure);

typedef struct Resolver
{
	Loop	   *loop;			/* borrowed */
	struct gaicb request;
	struct addrinfo hints;
	char	   *host;			/* owned, while a look-up runs */
	bool		running;		/* glibc may still write into request */
	int			failed;			/* EAI_*: it could not even be started */
	LoopTimer	timer;
	ResolveDone done;			/* NULL: nobody waits any more */
	void	   *arg;
} Resolver;

/* True for a text that libpq would have to look up: one name, no path. */
extern bool resolve_is_needed(const char *host);

/*
 * Look up, then call done with lists for libpq's "host" and "hostaddr", or
 * with the failure's text.  done never comes before this returns.
 */
extern void resolve_start(Resolver *resolver, Loop *loop, const char *host, ResolveDone done, void *arg);

/* done will not come; the look-up itself may go on in the background. */
extern void resolve_abandon(Resolver *resolver);

#endif							/* RESOLVE_H */
