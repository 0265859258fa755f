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

/* watch.c: what time brings about.  started_at: nobody is called silent
 * before a full grace after it. */
extern void unidesk_watch_contact(TimestampTz started_at);
extern void unidesk_watch_deadlines(TimestampTz started_at);
extern void unidesk_flush_beats(void);

/*
 * pass.c: the scheduler.  Places queued tasks and stamps stops that have no
 * order yet; true when a limit stopped it and there is more to do.
 */
extern bool unidesk_schedule(void);
/*
 * Wake the bridges for which the last pass made orders.  In a transaction of
 * its own after that commit: a bridge whose wake-up is outstanding has not
 * pulled yet, and will see them.
 */
extern bool unidesk_bridges_to_wake(void);
extern bool unidesk_wake_bridges(void);
/* An ERROR ended the turn: forget what was being done. */
extern void unidesk_schedule_reset(void);

#endif							/* UNIDESK_WORKER_H */
