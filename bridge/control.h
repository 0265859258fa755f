/*
 * control.h
 *	  The control connection: this bridge's instance row and its beat, orders
 *	  (pull), ends of sessions; it shares its connection with the relay's
 *	  control channel, in turns.
 */
#ifndef CONTROL_H
#define CONTROL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "db.h"
#include "loop.h"
#include "pgarray.h"

struct Bridge;

/* A session opened since the last pull, with what it was sent at its start. */
typedef struct OpenedSession
{
	uint64_t	session;
	int64_t		revision;
} OpenedSession;

typedef struct Control
{
	struct Bridge *bridge;		/* borrowed */
	Db			db;
	int32_t		instance;		/* random: names this process to register() */
	int32_t		id;				/* the instance row's; 0 before the first one */
	bool		registered;		/* since this connection was made */
	bool		beat_due;
	bool		pull_due;
	bool		deregister_due;
	bool		deregistered;
	bool		pulled_last;	/* whose turn it is: pull or messages */
	int64_t		beat_at;		/* when the last one succeeded; 0: none */
	int64_t		not_before;		/* after an error */
	int64_t		cursor;
	OpenedSession *opened;		/* owned */
	size_t		opened_count;
	size_t		opened_size;
	size_t		opened_sent;	/* so many are named in the pull in flight */
	uint64_t   *closed;			/* owned; sessions to be closed */
	size_t		closed_count;
	size_t		closed_size;
	size_t		closed_sent;
	PgArray		arrays[2];
	LoopTimer	beat_timer;
	LoopTimer	pull_timer;
	LoopTimer	retry_timer;
} Control;

extern void control_init(Control *control, struct Bridge *bridge);
extern void control_start(Control *control);
extern void control_release(Control *control);

/* Make the next call, if the connection is idle. */
extern void control_kick(Control *control);

/* Look for orders as soon as possible. */
extern void control_pull(Control *control);
extern void control_session_opened(Control *control, uint64_t session, int64_t revision);
extern void control_close_session(Control *control, uint64_t session);

/* Leave: the last call. */
extern void control_deregister(Control *control);

/* Connected, registered and the last beat succeeded not long ago. */
extern bool control_is_well(const Control *control, int64_t now);

#endif							/* CONTROL_H */
