/*
 * listen.h
 *	  The LISTEN connection: the database's calls for attention, and the token
 *	  map, which is read here so that a big one delays no message.
 */
#ifndef LISTEN_H
#define LISTEN_H

#include <stdbool.h>
#include <stdint.h>

#include "db.h"
#include "loop.h"

struct Bridge;

typedef struct Listen
{
	struct Bridge *bridge;		/* borrowed */
	Db			db;
	int32_t		listened_id;	/* bridge whose channel is listened to */
	int32_t		listening_id;	/* that the call in flight will make it */
	bool		tokens_due;
	bool		tokens_wished;	/* as soon as the last load is old enough */
	int64_t		tokens_at;		/* when the last load began */
	LoopTimer	timer;
} Listen;

extern void listen_init(Listen *listen, struct Bridge *bridge);
extern void listen_start(Listen *listen);
extern void listen_release(Listen *listen);

/* The bridge's id is known or has changed. */
extern void listen_to_bridge(Listen *listen);

/* Load the token map again; at most once a second, however often it is called. */
extern void listen_refresh_tokens(Listen *listen);

#endif							/* LISTEN_H */
