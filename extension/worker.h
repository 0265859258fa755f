/*
 * worker.h
 *	  The background workers: what they share, and the parts of their turns.
 *
 * There are two, so that nothing that takes its time delays the scheduler:
 *
 *	worker.c	the scheduler
 *	keeper.c	partitions, retention, compaction of logs, room on the volume
 *
 * Parts run inside a transaction, as the owner, with an open SPI connection.
 */
#ifndef UNIDESK_WORKER_H
#define UNIDESK_WORKER_H

#include "unidesk.h"

extern void unidesk_worker_setup(void); /* from _PG_init */

/* background.c: what both begin with, and do between turns. */
extern void unidesk_worker_register(const char *name, const char *function);
extern void unidesk_worker_connect(const char *lock_timeout);

/* Read the configuration again when asked to; true: it was. */
extern bool unidesk_worker_reload(void);

/* Run one part in its own transaction, as the owner; false as well while the
 * extension is not there or its objects are of another version. */
extern bool unidesk_in_transaction(const char *activity, bool (*part) (void));

/* Were they there, and of this version, in the last transaction? */
extern bool unidesk_objects_fit(void);

/* Is it every_s since *last, which is then now?  A clock that went back makes
 * it due as well. */
extern bool unidesk_is_due(TimestampTz *last, int64 every_s);

/* watch.c: what time brings about. */
extern bool unidesk_watch_contact(void);
extern bool unidesk_flush_beats(void);

/* downtime.c: announced downtimes begin, are confirmed and end. */
extern bool unidesk_watch_downtimes(void);

/* Agents that are connected and were not told of an update hear of it. */
extern bool unidesk_watch_updates(void);

/* Deadlines of tasks that have come. */
extern void unidesk_watch_deadlines(void);

/* drain.c: nodes that are to be emptied; after a refresh of the memory. */
extern void unidesk_drain_nodes(void);

/*
 * pass.c: the scheduler.  Brings the memory up to date, places queued tasks
 * and stamps stops that have no order yet; true when a limit stopped it and
 * there is more to do.
 */
extern bool unidesk_schedule(void);

/* Its transaction has committed: the memory follows. */
extern void unidesk_schedule_committed(void);

/* An ERROR with this code ended the turn: forget everything. */
extern void unidesk_schedule_failed(int sqlerrcode);

/*
 * Wake the bridges for which the last passes made orders.  In a transaction of
 * its own after that commit: a bridge whose wake-up is outstanding has not
 * pulled yet, and will see them.
 */
extern bool unidesk_bridges_to_wake(void);
extern bool unidesk_wake_bridges(void);

#endif							/* UNIDESK_WORKER_H */
