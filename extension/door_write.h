/*
 * door_write.h
 *	  What a door has collected, between door.c (decides) and door_write.c
 *	  (writes).
 */
#ifndef UNIDESK_DOOR_WRITE_H
#define UNIDESK_DOOR_WRITE_H

#include "door.h"
#include "transition.h"

/* One row of task_event. */
typedef struct DoorEvent
{
	TimestampTz at;
	int64		task_id;
	int			seq;
	int			attempt;
	int			task_state;
	int			attempt_state;	/* 0: none */
	int			reason;
	UnideskActor actor;
	int			step_count;		/* written when more than one */
	int16		steps[UNIDESK_PATH_MAX];
	const char *data;			/* for people and programs, most often JSON;
								 * NULL: none */
} DoorEvent;

/* An attempt or task that ended. */
typedef struct DoorEnding
{
	UnideskLive live;			/* as it was at its end */
	int			state;			/* of the attempt, or of the task */
	int			reason;
	TimestampTz at;
	const UnideskReport *report;	/* NULL: none */
} DoorEnding;

typedef struct DoorEndings
{
	int			count;
	int			room;
	DoorEnding *items;
} DoorEndings;

struct UnideskDoor
{
	int			event_count;
	int			event_room;
	DoorEvent  *events;
	int			live_count;		/* distinct rows to write */
	int			live_room;
	UnideskLive **lives;
	DoorEndings tasks;			/* tasks that ended */
	DoorEndings attempts;		/* attempts for the history */
	DoorEndings held;			/* ends that nobody confirmed */
};

extern void unidesk_door_write(UnideskDoor *door);

#endif							/* UNIDESK_DOOR_WRITE_H */
