/*
 * server.h
 *	  The listening socket, the HTTP answers, admission of agents, and the
 *	  bridge between libwebsockets' callbacks and conn.h.
 */
#ifndef SERVER_H
#define SERVER_H

#include <stddef.h>
#include <stdint.h>

#include <libwebsockets.h>

#include "common/error.h"
#include "loop.h"
#include "map.h"

struct Bridge;

typedef struct Server
{
	struct Bridge *bridge;		/* borrowed */
	struct lws_context *context;	/* owned */
	struct lws_vhost *vhost;	/* borrowed from context */
	LoopSource	listener;
	int			listen_fd;		/* -1: does not listen (any more) */
	size_t		sockets;		/* accepted, upgraded or not */
	size_t		sockets_max;
	Map			per_address;	/* address key -> sockets */
	lws_sorted_usec_list_t tick;
	unsigned	refused;		/* since the last line about it */
	char		refused_why[96];
	int			ticks;
	uint8_t    *frame;			/* owned; LWS_PRE and the largest frame */
} Server;

extern int	server_start(Server *server, struct Bridge *bridge, UdError *err) UD_MUSTCHECK;

/* Stop accepting. */
extern void server_stop_listening(Server *server);
extern void server_release(Server *server);

#endif							/* SERVER_H */
