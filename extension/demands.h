/*
 * demands.h
 *	  How many different demands one person may have in the queue.
 */
#ifndef UNIDESK_DEMANDS_H
#define UNIDESK_DEMANDS_H

#include "memory.h"

/*
 * The owner of a task that needs a class of its own, to be counted there; NULL
 * when there are too many already: the task waits then.
 */
extern MemoryOwner *unidesk_demand_owner(MemoryTask *task);

/* After a row was read: does it say whether the task waits?  If not, it will. */
extern void unidesk_demand_note(MemoryTask *task);

/* Out of both lists. */
extern void unidesk_demand_forget(MemoryTask *task);

extern bool unidesk_demands_have_work(void);

/* Tasks that waited enter the queue where there is room.  Needs SPI.  True:
 * not all of them yet. */
extern bool unidesk_demands_admit(void);

/* Write to rows of live why they wait, or that they do not any more; the same. */
extern bool unidesk_demands_tell(void);

#endif							/* UNIDESK_DEMANDS_H */
