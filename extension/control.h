/*
 * control.h
 *	  What people ask of tasks, one (control_task.c) or many (control_bulk.c):
 *	  cancel, hold, release, requeue.
 */
#ifndef UNIDESK_CONTROL_H
#define UNIDESK_CONTROL_H

#include "unidesk.h"

#include "door.h"

/* What came of asking. */
typedef enum UnideskAnswer
{
	UNIDESK_DONE,				/* the row, or what is wanted of it, changed */
	UNIDESK_AS_ASKED,			/* it was so already */
	/* Nothing changed, because the task ... */
	UNIDESK_IS_HELD,			/* waits for a release */
	UNIDESK_IS_BLOCKED,			/* waits for other tasks */
	UNIDESK_HAS_RESULT,			/* is finishing */
	UNIDESK_IS_CANCELLED,		/* is being stopped for that */
	UNIDESK_IS_OVERDUE			/* is being stopped: a limit is over */
} UnideskAnswer;

/* Ask it of a locked row. */
typedef UnideskAnswer (*UnideskAsk) (UnideskDoor *door, UnideskLive *live, UnideskActor actor);

extern UnideskAnswer unidesk_ask_cancel(UnideskDoor *door, UnideskLive *live, UnideskActor actor);
extern UnideskAnswer unidesk_ask_hold(UnideskDoor *door, UnideskLive *live, UnideskActor actor);
extern UnideskAnswer unidesk_ask_release(UnideskDoor *door, UnideskLive *live, UnideskActor actor);
extern UnideskAnswer unidesk_ask_requeue(UnideskDoor *door, UnideskLive *live, UnideskActor actor);

/* The state a task ended in; 0 when it is live, or is none. */
extern int	unidesk_ended_state(int64 task_id);

#endif							/* UNIDESK_CONTROL_H */
