/*
 * suspect.h
 *	  The one task that makes passes fail: finding it, and leaving it out.
 *
 * Several parts of a pass do something with many tasks in one statement.  When
 * such a part fails, the following passes try it with half of the tasks, and so
 * on, until one alone fails.  (What fails in placing is found in pass.c: there
 * the order of the tasks matters.)  All of it is the worker's own and outlives
 * its memory, which every ERROR throws away.
 */
#ifndef UNIDESK_SUSPECT_H
#define UNIDESK_SUSPECT_H

#include "unidesk.h"

typedef enum UnideskSuspectPart
{
	UNIDESK_SUSPECT_NONE,
	UNIDESK_SUSPECT_DEADLINES,
	UNIDESK_SUSPECT_TELL,
	UNIDESK_SUSPECT_STOPS
} UnideskSuspectPart;

/*
 * A part begins that is to work on count tasks.  Returns how many it shall work
 * on: while one of the part's tasks is searched for, ids, which has room for
 * max, gets others.
 */
extern int	unidesk_suspect_begin(UnideskSuspectPart part, int64 *ids, int count, int max);
extern void unidesk_suspect_end(void);

/* Is a search on, in this part or (NONE) in any? */
extern bool unidesk_suspect_searching(UnideskSuspectPart part);

/* The pass has committed: what was tried is not to blame. */
extern void unidesk_suspect_committed(void);

/*
 * The pass failed; passing: for a reason that is no task's fault.  True when it
 * was in such a part.  *culprit becomes the task once there is no other, and
 * *how what could not be done with it, as the text of a note.
 */
extern bool unidesk_suspect_failed(bool passing, int64 *culprit, const char **how);

/* Leave a task out, for longer each time; returns for how long, in seconds. */
extern int	unidesk_leave_out(int64 task_id);

/* Until when it is left out; 0: it is not. */
extern TimestampTz unidesk_left_out_until(int64 task_id);

/* Was it ever? */
extern bool unidesk_was_left_out(int64 task_id);

/* Its time has come: it takes part again, in what failed with it alone first.
 * False: it was not left out. */
extern bool unidesk_take_in(int64 task_id);

#endif							/* UNIDESK_SUSPECT_H */
