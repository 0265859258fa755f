/*
 * shared.h
 *	  Shared memory.  Everything in it can be lost at any time and is rebuilt
 *	  from tables.
 *
 *	shared.c	the worker's latch, waiters, bridges' wake-ups, mock clock
 *	beats.c		last contact with each node
 *	hints.c		which rows changed, on their way to the worker
 *	recent.c	newest orders, on their way to the bridges
 *	space.c		room on the database's volume (space.h)
 */
#ifndef UNIDESK_SHARED_H
#define UNIDESK_SHARED_H

#include "postgres.h"

#include "datatype/timestamp.h"
#include "storage/lwlock.h"

extern void unidesk_shared_setup(void); /* from _PG_init */

/* Each part's share of the memory, and its start; shared.c calls them. */
extern Size unidesk_beats_bytes(void);
extern void unidesk_beats_startup(LWLockPadded *locks);
extern Size unidesk_hints_bytes(void);
extern void unidesk_hints_startup(void);
extern Size unidesk_recent_bytes(void);
extern void unidesk_recent_startup(LWLock *lock);

/* The one tranche of locks: this many over the beats, and one over recent. */
#define UNIDESK_BEAT_LOCKS 16

extern void unidesk_hints_setup(void);

/* The worker's latch. */
extern void unidesk_shared_worker_started(void);
extern bool unidesk_shared_worker_alive(void);	/* and does its work */

/* When it started; 0 before its first start. */
extern TimestampTz unidesk_shared_worker_since(void);

/* The objects are of another version than the library: the worker stands still. */
extern void unidesk_shared_set_other_version(bool other);

extern void unidesk_wake_worker(void);

/* The keeper's latch. */
extern void unidesk_shared_keeper_started(void);
extern void unidesk_wake_keeper(void);

/* Rounds of the keeper that somebody waits for, by number. */
extern uint64 unidesk_shared_want_tidy(void);
extern uint64 unidesk_shared_tidy_wanted(void);
extern uint64 unidesk_shared_tidy_done(void);
extern void unidesk_shared_set_tidy_done(uint64 number);

/* The segment of log_chunk that new chunks go to; segment.c. */
extern int	unidesk_shared_log_intake(void);
extern void unidesk_shared_set_log_intake(int segment);

/* Passes completed since the server's start. */
extern void unidesk_shared_pass_done(void);
extern uint64 unidesk_shared_passes(void);

/*
 * Wake the worker and wait until it has made this many passes, the first of
 * which may have begun before; false when it does not in time.
 */
extern bool unidesk_shared_wait_passes(int count, int timeout_ms);

/* Differences between the worker's memory and the rows, found by verify_memory. */
extern void unidesk_shared_memory_differed(void);
extern uint64 unidesk_shared_memory_differences(void);

/* Sleep until a task ended or timeout_ms passed. */
extern void unidesk_shared_wait_prepare(void);
extern void unidesk_shared_wait_tasks(long timeout_ms);
extern void unidesk_shared_wait_done(void);
extern void unidesk_shared_tasks_ended(void);

/*
 * The same for those who follow a task's log, by the task's slot: woken when
 * more of it is there, when its attempt moved, and for other tasks of the slot.
 * unidesk_shared_wait_done() ends this one too.
 */
#define UNIDESK_FOLLOW_SLOTS 256

extern int	unidesk_follow_slot(int64 task_id);
extern void unidesk_shared_follow_prepare(int slot);
extern void unidesk_shared_follow(int slot, long timeout_ms);
extern void unidesk_shared_wake_followers(int slot);

/* Raises unless what others do to the task can be waited for here; own: it is this transaction's. */
extern void unidesk_check_may_wait(int64 task_id, bool own);

/*
 * At most one wake-up per bridge is outstanding: true when the worker should
 * NOTIFY now; cleared by the bridge's pull.
 */
extern bool unidesk_bridge_wake_wanted(int32 bridge_id);
extern void unidesk_bridge_pulled(int32 bridge_id);

/* Mock clock; 0 when it is not set. */
extern TimestampTz unidesk_shared_mock_now(void);
extern void unidesk_shared_set_mock_now(TimestampTz now);

/* What an agent says of its node's Docker Engine. */
typedef enum UnideskEngine
{
	UNIDESK_ENGINE_UNSAID = 0,
	UNIDESK_ENGINE_OK,
	UNIDESK_ENGINE_DOWN
} UnideskEngine;

/* Beats: what is known of a node's contact, by node id. */
typedef struct UnideskBeat
{
	int64		session;
	TimestampTz last_seen;		/* 0: nothing since the server's start */
	int64		rev;			/* how far the session has read its orders */
	bool		expired;		/* the worker called it offline; the next beat
								 * is answered with a request for its
								 * inventory */
	bool		dirty;			/* not yet flushed to node_live */
	int64		confirmed;		/* session whose seal has arrived (identity.h) */
	int64		sequence;		/* the session's newest beat or inventory:
								 * they come by two ways, in any order */
	UnideskEngine engine;		/* what the session said last, when the row
								 * says so too */
} UnideskBeat;

extern void unidesk_beat_set(int32 node_id, int64 session, int64 sequence, int64 rev, TimestampTz at, bool *expired);
extern bool unidesk_beat_get(int32 node_id, UnideskBeat *beat);
extern void unidesk_beat_expire(int32 node_id);
extern void unidesk_beat_revive(int32 node_id);
extern void unidesk_beat_confirm(int32 node_id, int64 session);
extern void unidesk_beat_set_engine(int32 node_id, int64 session, UnideskEngine engine);

/* Copies up to max dirty beats out and marks them clean; returns their number. */
extern int	unidesk_beat_take_dirty(int32 *node_ids, TimestampTz *seen, int max);

/*
 * Hints: rows to read again.  Noted while a transaction changes them, handed
 * to the worker when it commits; a hint too many costs a look, so what a
 * rolled-back subtransaction noted is harmless.
 */
typedef enum UnideskHintKind
{
	UNIDESK_HINT_TASKS,			/* first..last, from live */
	UNIDESK_HINT_NODE			/* first: a node's row and what is held on it */
} UnideskHintKind;

typedef struct UnideskHint
{
	UnideskHintKind kind;
	int64		first;
	int64		last;
} UnideskHint;

extern void unidesk_note_task(int64 task_id);
extern void unidesk_note_tasks(int64 first, int64 last);
extern void unidesk_note_node(int32 node_id);

/* Everything may have changed. */
extern void unidesk_note_all(void);

/* Wake the worker at commit, without a hint. */
extern void unidesk_note_wake(void);

/* Wake who follows the task's log at commit; unidesk_note_task() does too. */
extern void unidesk_note_log(int64 task_id);

/* Wake everybody in wait_task at commit. */
extern void unidesk_note_task_ended(void);

/* The worker takes what came; *rescan: some were lost, read everything. */
extern int	unidesk_hints_take(UnideskHint *hints, int max, bool *rescan);
extern bool unidesk_hints_pending(void);

/*
 * Recent orders, appended by the worker after their commit, in order.  A
 * bridge whose cursor is not older than the memory reaches reads its rows by
 * key; any other scans live.
 */
extern void unidesk_recent_add(int32 bridge_id, int64 order_no, int64 task_id);

/* All orders up to this one are forgotten. */
extern void unidesk_recent_forget(int64 order_no);

/*
 * All orders up to this one are committed and were appended or forgotten; 0
 * while that is not known.
 */
extern int64 unidesk_recent_newest(void);

/*
 * Tasks with orders newer than cursor for a bridge (0: any); -1 when the memory does
 * not reach back that far, or they are more than max.
 */
extern int	unidesk_recent_find(int32 bridge_id, int64 cursor, int64 *tasks, int max);

#endif							/* UNIDESK_SHARED_H */
