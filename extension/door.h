/*
 * door.h
 *	  The one door for state: every change of a task's, attempt's or node's
 *	  state goes through these functions, which write the row, the event and
 *	  the reason in one transaction and force a synchronous commit.
 *
 * A door is opened for one call, moves are made on rows that are locked and
 * read (UnideskLive), and closing it writes all of them with a few statements
 * over arrays: a batch of a hundred reports costs little more than one.  Rows
 * must outlive the door; what a move did is visible in them at once.
 *
 * All expect an open SPI connection and run as the owner.
 */
#ifndef UNIDESK_DOOR_H
#define UNIDESK_DOOR_H

#include "unidesk.h"

#include "report.h"

/* The columns of live that decide about moves; read under the row's lock. */
typedef struct UnideskLive
{
	int64		task_id;
	int			state;			/* UnideskTaskState */
	int			reason;
	int			seq;			/* events written so far */
	int			attempt;
	int64		incarnation;
	int32		node_id;
	int			attempt_state;	/* UdAttemptState, 0 when not active */
	int			phase;
	int			want;			/* UdWant, 0 when not active */
	int			want_final;		/* UdAttemptState when want is stop */
	int			want_reason;
	int32		cpus_milli;
	int64		memory;
	int			gpus;
	int64		gpu_mask;
	int			max_retries;
	int			user_failures;
	int			infra_failures;
	int			on_lost;		/* UnideskOnLost */
	int32		excluded_node;	/* 0: none */
	TimestampTz not_before;		/* 0: none */
	TimestampTz placed_at;		/* 0 for NULL */
	TimestampTz started_at;
	TimestampTz state_at;
	bool		left;			/* on a machine that another one replaced ... */
	pg_uuid_t	left_on;		/* ... this one; see identity.h */
	int			restart_exit_code;	/* 0: none */
	int			restarts;		/* after that exit code, so far */
	int32		checkpoint_node;	/* has its checkpoint; 0: none */
	bool		has_retry_on;
	uint64		retry_on[4];	/* a bit for each exit code */
	bool		needs_order;	/* a stop that the worker has to number */
	bool		requeued;		/* it waits from now on: its attempt, if it
								 * had one, is over */
	bool		dirty;			/* the door has to write it */
} UnideskLive;

typedef enum UnideskLock
{
	UNIDESK_LOCKED,
	UNIDESK_ABSENT,				/* no such row: the task ended or never was */
	UNIDESK_BUSY				/* somebody else holds the row */
} UnideskLock;

/* Lock a task's live row.  Waits only when wait is true. */
extern UnideskLock unidesk_live_lock(int64 task_id, bool wait, UnideskLive *live);

/*
 * Lock many in the order of their ids, waiting for each; returns how many of
 * them there are, which are the first in lives.
 */
extern int	unidesk_live_lock_waiting(const int64 *task_ids, int count, UnideskLive *lives);

/*
 * The same for many tasks by one statement, without waiting; ids ascending (as
 * qsort makes them with unidesk_compare_ids) and distinct.
 */
extern int	unidesk_compare_ids(const void *a, const void *b);
extern void unidesk_live_lock_many(const int64 *task_ids, int count, UnideskLive *lives, UnideskLock *locks);

typedef struct UnideskDoor UnideskDoor;

extern UnideskDoor *unidesk_door_open(void);

/* Write everything that went through; the door stays open. */
extern void unidesk_door_flush(UnideskDoor *door);

/* The same, and it is over. */
extern void unidesk_door_close(UnideskDoor *door);

/*
 * Move the attempt of a locked row to a state that its agent reported or the
 * worker decided; walks the path and, at a terminal state, ends the attempt
 * and decides what becomes of the task.  confirmed: nothing of the attempt
 * runs any more, its allocation is free; else it becomes a row of held.
 * The report must outlive the door.  Returns false when the machine has no
 * such walk; nothing is changed then.
 */
extern bool unidesk_attempt_move(UnideskDoor *door, UnideskLive *live, int to, const UnideskReport *report,
								 bool confirmed, int by, UnideskActor actor);

/*
 * Ask for the end of a live attempt: state stopping, want stop, to end as
 * final.  The worker makes the order.  False when it is too late (finishing)
 * or a stop is under way that does not give way to this one.  Preempted, and
 * with the reason CTL_HELD, the task is held then and not queued.
 */
extern bool unidesk_attempt_stop(UnideskDoor *door, UnideskLive *live, int final, int reason, int by, UnideskActor actor);

/*
 * Move a task that has no live attempt; a terminal state removes the live row.
 * One that is queued waits from now on, by what the row in memory says of
 * excluded_node, not_before and failures.
 */
extern void unidesk_task_move(UnideskDoor *door, UnideskLive *live, int to, int reason, int by, UnideskActor actor);

/*
 * Tell of something that moves nothing: one more event, with a text that
 * begins with what it is ("late: "; unidesk_data._is_note knows them all).
 */
extern void unidesk_task_note(UnideskDoor *door, UnideskLive *live, int attempt, int attempt_state,
							  int reason, const char *text, UnideskActor actor);

/*
 * The checkpoint of a locked row without an attempt is out of reach: what it
 * was on is told, and the task starts from an empty one anywhere.
 */
extern void unidesk_checkpoint_give_up(UnideskDoor *door, UnideskLive *live, int32 node_id, UnideskActor actor);

/*
 * An active attempt is over although its node has not said so: it ends as to,
 * or as asked when it was being stopped.  confirmed: nothing of it runs.
 */
extern bool unidesk_attempt_end_without_node(UnideskDoor *door, UnideskLive *live, int to, int reason,
											 bool confirmed, int by, UnideskActor actor);

/* A node's name, "#<id>" when there is none; and the error for a name that is none. */
extern char *unidesk_node_name(int32 node_id);
extern void unidesk_no_such_node(const char *name) pg_attribute_noreturn();

/* Move a node's status, at once; nothing happens when it has it already. */
extern void unidesk_node_move(int32 node_id, int from, int to, int by, const char *why, UnideskActor actor);

/* Whether a node takes work, and who said so. */
typedef struct UnideskScheduling
{
	int			state;			/* UnideskNodeScheduling */
	int32		by;				/* account, 0: nobody yet */
	const char *reason;			/* NULL: none was given */
	TimestampTz drain_deadline; /* when attempts are stopped; 0: never */
} UnideskScheduling;

/*
 * Move whether a node, whose row is locked, takes work; within a state reason
 * and deadline may change.  Nothing happens when all of it is so already.
 */
extern void unidesk_node_schedule(int32 node_id, const UnideskScheduling *from, const UnideskScheduling *to,
								  int by, UnideskActor actor);

/* Something worth knowing about a node. */
extern void unidesk_node_event(int32 node_id, const char *what, const char *data, UnideskActor actor);

#endif							/* UNIDESK_DOOR_H */
