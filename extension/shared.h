/*
 * shared.h
 *	  Shared memory: the worker's latch, beats of nodes, wake-ups of bridges,
 *	  the mock clock.  Everything here can be lost at any time and is rebuilt
 *	  from tables.
 */
#ifndef UNIDESK_SHARED_H
#define UNIDESK_SHARED_H

#include "postgres.h"

#include "datatype/timestamp.h"

extern void unidesk_shared_setup(void);	/* from _PG_init */

/* The worker's side of the latch. */
extern void unidesk_shared_worker_started(void);
extern bool unidesk_shared_worker_alive(void);
/* Passes completed since the server's start. */
extern void unidesk_shared_pass_done(void);
extern uint64 unidesk_shared_passes(void);

/*
 * Wake the worker when the current transaction commits; cheap, any number of
 * times.  tasks_ended also wakes everybody in wait_task.
 */
extern void unidesk_wake_at_commit(bool tasks_ended);
/* Wake the worker now. */
extern void unidesk_wake_worker(void);

/* Sleep until a task ended or timeout_ms passed. */
extern void unidesk_shared_wait_prepare(void);
extern void unidesk_shared_wait_tasks(long timeout_ms);
extern void unidesk_shared_wait_done(void);

/* Beats: what is known of a node's contact, by node id. */
typedef struct UnideskBeat
{
	int64		session;
	TimestampTz last_seen;		/* 0: nothing since the server's start */
	bool		expired;		/* the worker called it offline; the next beat is
								 * answered with a request for its inventory */
	bool		dirty;			/* not yet flushed to node_live */
} UnideskBeat;

extern void unidesk_beat_set(int32 node_id, int64 session, TimestampTz at, bool *expired);
extern bool unidesk_beat_get(int32 node_id, UnideskBeat *beat);
extern void unidesk_beat_expire(int32 node_id);
extern void unidesk_beat_revive(int32 node_id);
/* Copies up to max dirty beats out and marks them clean; returns their number. */
extern int	unidesk_beat_take_dirty(int32 *node_ids, TimestampTz *seen, int max);

/*
 * At most one wake-up per bridge is outstanding: true when the worker should
 * NOTIFY now; cleared by the bridge's pull.
 */
extern bool unidesk_bridge_wake_wanted(int32 bridge_id);
extern void unidesk_bridge_pulled(int32 bridge_id);

/* Mock clock; 0 when it is not set. */
extern TimestampTz unidesk_shared_mock_now(void);
extern void unidesk_shared_set_mock_now(TimestampTz now);

#endif							/* UNIDESK_SHARED_H */
