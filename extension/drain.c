/*
 * drain.c
 *	  Nodes on their way out of service.
 *
 * A node that drains gets nothing new.  What it was assigned and has not
 * accepted is withdrawn at once; what it has accepted may end by itself until
 * the deadline, and is stopped then.  Both end as preempted: the task goes
 * back into the queue, and none of its retries is used up.  When nothing is
 * left on the node, it is drained.
 *
 * The worker alone places, so its memory knows every attempt there is; only
 * what nodes hold beside them may be newer in the rows.
 */
#include "unidesk.h"

#include "common/protocol.h"
#include "common/reasons.h"
#include "door.h"
#include "memory.h"
#include "transition.h"
#include "worker.h"

/* A row that somebody else holds is tried again after this. */
#define AGAIN_US (100 * 1000)
/* So many rows are locked by one statement. */
#define LOCK_MAX 1000

static const UnideskActor system_actor = {UNIDESK_ACTOR_SYSTEM, 0};

static void
look_again(TimestampTz at)
{
	TimestampTz *due = &unidesk_memory->drain_due;

	*due = *due == 0 ? at : Min(*due, at);
}

/* Has this attempt to leave now? */
static bool
has_to_leave(const MemoryTask *task, bool deadline_is_over)
{
	/* What finishes holds nothing any more and cannot be stopped. */
	if (task->want != UD_WANT_RUN || task->attempt_state == UD_ATTEMPT_FINISHING)
		return false;
	return deadline_is_over || task->attempt_state == UD_ATTEMPT_ASSIGNED;
}

/* Tasks whose attempts have to leave, of all nodes that drain. */
typedef struct Leaving
{
	int64	   *ids;
	int			count;
	int			room;
} Leaving;

static bool
is_over(const MemoryNode *node, TimestampTz now)
{
	return node->drain_deadline != 0 && node->drain_deadline <= now;
}

static void
find_leaving(Leaving *leaving, MemoryNode *node, TimestampTz now)
{
	bool		deadline_is_over = is_over(node, now);
	dlist_iter	iter;

	if (node->drain_deadline != 0 && !deadline_is_over)
		look_again(node->drain_deadline);
	dlist_foreach(iter, &node->tasks)
	{
		MemoryTask *task = dlist_container(MemoryTask, on_node, iter.cur);

		if (!has_to_leave(task, deadline_is_over))
			continue;
		if (leaving->count == leaving->room)
		{
			leaving->room = Max(64, leaving->room * 2);
			leaving->ids = leaving->ids == NULL ? palloc(sizeof(int64) * leaving->room) :
				repalloc_huge(leaving->ids, sizeof(int64) * leaving->room);
		}
		leaving->ids[leaving->count++] = task->task_id;
	}
}

/* As many as one statement locks; the door keeps their rows until it is closed. */
static void
stop_attempts(UnideskDoor *door, const int64 *ids, int count, TimestampTz now)
{
	UnideskLive *lives = palloc(sizeof(UnideskLive) * count);
	UnideskLock *locks = palloc(sizeof(UnideskLock) * count);

	unidesk_live_lock_many(ids, count, lives, locks);
	for (int i = 0; i < count; i++)
	{
		UnideskLive *live = &lives[i];
		const MemoryNode *node = unidesk_memory_task(ids[i])->node;

		if (locks[i] == UNIDESK_BUSY)
			look_again(now + AGAIN_US);
		/* The row is newer: it may have been accepted, or be elsewhere. */
		else if (locks[i] == UNIDESK_LOCKED && live->state == UNIDESK_TASK_ACTIVE && live->node_id == node->node_id &&
				 (is_over(node, now) || live->attempt_state == UD_ATTEMPT_ASSIGNED))
			unidesk_attempt_stop(door, live, UD_ATTEMPT_PREEMPTED, UD_REASON_CTL_DRAINED, UNIDESK_BY_WORKER, system_actor);
	}
}

/* Nothing is left on it, as far as the memory knows. */
static void
finish(MemoryNode *node, TimestampTz now)
{
	static SPIPlanPtr plan;
	UnideskArgs args = {0};
	UnideskScheduling from = {0};
	UnideskScheduling to;

	unidesk_arg_int32(&args, node->node_id);
	if (unidesk_execute(&plan,
						"SELECT n.scheduling, n.scheduling_by, n.scheduling_reason, n.drain_deadline FROM unidesk_data.node n"
						" WHERE n.id = $1 AND NOT EXISTS (SELECT FROM unidesk_data.held h WHERE h.node_id = n.id)"
						" FOR NO KEY UPDATE OF n SKIP LOCKED", &args) == 0)
	{
		look_again(now + AGAIN_US);
		return;
	}
	from.state = unidesk_column_int32(0, 1);
	from.by = unidesk_column_int32(0, 2);
	from.reason = unidesk_column_text(0, 3);
	from.drain_deadline = unidesk_column_time(0, 4);
	to = from;
	to.state = UNIDESK_SCHEDULING_DRAINED;
	/* A person may have thought better of it. */
	if (from.state == UNIDESK_SCHEDULING_DRAINING)
		unidesk_node_schedule(node->node_id, &from, &to, UNIDESK_BY_WORKER, system_actor);
}

void
unidesk_drain_nodes(void)
{
	TimestampTz now = unidesk_now();
	Leaving		leaving = {0};
	UnideskDoor *door;
	dlist_iter	iter;

	unidesk_memory->drain_due = 0;
	if (dlist_is_empty(&unidesk_memory->draining))
		return;
	dlist_foreach(iter, &unidesk_memory->draining)
	{
		MemoryNode *node = dlist_container(MemoryNode, draining, iter.cur);

		if (dlist_is_empty(&node->tasks) && node->held_count == 0)
			finish(node, now);
		else
			find_leaving(&leaving, node, now);
	}
	if (leaving.count == 0)
		return;
	qsort(leaving.ids, leaving.count, sizeof(int64), unidesk_compare_ids);
	door = unidesk_door_open();
	for (int i = 0; i < leaving.count; i += LOCK_MAX)
		stop_attempts(door, leaving.ids + i, Min(LOCK_MAX, leaving.count - i), now);
	unidesk_door_close(door);
}
