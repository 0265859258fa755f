/*
 * worker.h
 *	  The parts of a turn of the background worker.
 *
 * All run inside a transaction, as the owner, with an open SPI connection.
 */
#ifndef UNIDESK_WORKER_H
#define UNIDESK_WORKER_H

#include "unidesk.h"

extern void unidesk_worker_setup(void); /* from _PG_init */

/* watch.c: what time brings about. */
extern bool unidesk_watch_contact(void);
extern bool unidesk_flush_beats(void);

/* Deadlines of tasks that have come. */
extern void unidesk_watch_deadlines(void);

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
