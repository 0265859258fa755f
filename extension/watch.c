/*
 * watch.c
 *	  What time brings about: bridges and nodes that fall silent, leases that
 *	  end, assignments that nobody answers, limits of tasks.
 *
 * Which tasks to look at comes from the worker's memory; whether their time
 * has come is decided on the locked row.  Rows that somebody else has locked
 * are left for a later turn.
 */
#include "unidesk.h"

#include "catalog/pg_type.h"

#include "common/protocol.h"
#include "common/reasons.h"
#include "door.h"
#include "memory.h"
#include "shared.h"
#include "suspect.h"
#include "transition.h"
#include "worker.h"

/* More deadlines than this wait for the next pass. */
#define DUE_MAX 1000
#define FLUSH_MAX 20000

static const UnideskActor system_actor = {UNIDESK_ACTOR_SYSTEM, 0};

/* A bridge is behind: silence proves nothing. */
static bool contact_doubtful;

/* When nodes that hold what ended were last asked what they have. */
static TimestampTz last_held_check;

static TimestampTz
seconds_ago(int seconds)
{
	return unidesk_now() - (TimestampTz) seconds * USECS_PER_SEC;
}

static void
end_silent_bridges(void)
{
	static SPIPlanPtr end_plan;
	static SPIPlanPtr close_plan;
	UnideskArgs args = {0};
	UnideskArgs none = {0};

	/*
	 * After a start, and so after an outage, bridges get a full grace too;
	 * but what a restore brought back of an earlier life is over.
	 */
	unidesk_arg_time(&args, Max(seconds_ago(unidesk_bridge_silent_after), (TimestampTz) 1));
	unidesk_arg_time(&args, unidesk_now());
	unidesk_arg_bool(&args, seconds_ago(unidesk_bridge_silent_after) >= unidesk_shared_worker_since());
	unidesk_execute(&end_plan,
					"UPDATE unidesk_data.bridge SET ended_at = $2 WHERE id IN (SELECT id FROM unidesk_data.bridge"
					" WHERE ended_at IS NULL AND ((last_beat < $1 AND $3)"
					" OR started_at < (SELECT since FROM unidesk_data.incarnation)) FOR UPDATE SKIP LOCKED)", &args);
	unidesk_execute(&close_plan,
					"UPDATE unidesk_data.node SET session = NULL, bridge_id = NULL, reconciled = false"
					" WHERE id IN (SELECT n.id FROM unidesk_data.node n JOIN unidesk_data.bridge b ON b.id = n.bridge_id"
					" WHERE b.ended_at IS NOT NULL FOR UPDATE OF n SKIP LOCKED) RETURNING id", &none);
	for (uint64 row = 0; row < SPI_processed; row++)
		unidesk_note_node(unidesk_column_int32(row, 1));
}

/* A bridge that is behind would make silent nodes of those it serves. */
static bool
bridge_is_behind(void)
{
	static SPIPlanPtr plan;
	UnideskArgs args = {0};

	unidesk_arg_int32(&args, unidesk_bridge_behind_after);
	return unidesk_execute(&plan,
						   "SELECT FROM unidesk_data.bridge WHERE ended_at IS NULL AND queue_age_ms > $1", &args) > 0;
}

TimestampTz
unidesk_last_contact(int32 node_id)
{
	TimestampTz since = unidesk_shared_worker_since();
	UnideskBeat beat;

	return unidesk_beat_get(node_id, &beat) ? Max(beat.last_seen, since) : since;
}

static void
take_offline(MemoryNode *node)
{
	static SPIPlanPtr plan;
	UnideskArgs args = {0};

	unidesk_arg_int32(&args, node->node_id);
	if (unidesk_execute(&plan,
						"UPDATE unidesk_data.node SET reconciled = false WHERE id = (SELECT id FROM unidesk_data.node"
						" WHERE id = $1 AND status IN (2, 4) FOR UPDATE SKIP LOCKED) RETURNING status", &args) == 0)
		return;
	unidesk_beat_expire(node->node_id);
	unidesk_node_move(node->node_id, unidesk_column_int32(0, 1), UNIDESK_NODE_OFFLINE,
					  UNIDESK_BY_WORKER, NULL, system_actor);
}

bool
unidesk_watch_contact(void)
{
	HASH_SEQ_STATUS scan;
	MemoryNode *node;
	bool		check_held;

	end_silent_bridges();
	contact_doubtful = bridge_is_behind();
	if (unidesk_memory == NULL || contact_doubtful)
		return false;
	check_held = unidesk_is_due(&last_held_check, unidesk_held_check);
	hash_seq_init(&scan, unidesk_memory->nodes);
	while ((node = hash_seq_search(&scan)) != NULL)
	{
		if (node->status != UNIDESK_NODE_ONLINE && node->status != UNIDESK_NODE_INVALID)
			continue;
		if (unidesk_last_contact(node->node_id) < seconds_ago(unidesk_offline_after))
			take_offline(node);
		else if (check_held && node->held_count > 0)
			/* Its next beat is answered with a request for its inventory. */
			unidesk_beat_expire(node->node_id);
	}
	return false;
}

/* It ends without its node, which may still have it; a stop as it was asked. */
static bool
end_without_node(UnideskDoor *door, UnideskLive *live, int to, int reason)
{
	return unidesk_attempt_end_without_node(door, live, to, reason, false, UNIDESK_BY_WORKER, system_actor);
}

static bool
is_over(TimestampTz base, int64 seconds)
{
	return base != 0 && base + seconds * USECS_PER_SEC <= unidesk_now();
}

/* What time did to an active task; true when it moved. */
static bool
watch_active(UnideskDoor *door, const MemoryTask *task, UnideskLive *live)
{
	if (live->left)
	{
		if (!is_over(task->left_at, unidesk_left_lease(task)))
			return false;
		return end_without_node(door, live, UD_ATTEMPT_LOST, UD_REASON_NODE_REPLACED);
	}
	/* Also of a silent node: it hears of it when it comes back. */
	if (live->want == UD_WANT_RUN && live->attempt_state <= UD_ATTEMPT_RUNNING && is_over(task->deadline, 0))
		return unidesk_attempt_stop(door, live, UD_ATTEMPT_TIMED_OUT, UD_REASON_RUN_TOTAL_TIMEOUT, UNIDESK_BY_WORKER, system_actor);
	if (task->node != NULL && task->node->status == UNIDESK_NODE_OFFLINE)
	{
		if (contact_doubtful || task->lease_s < 0 ||
			!is_over(unidesk_last_contact(live->node_id), (int64) task->lease_s + task->node->extra_lease_s))
			return false;
		return end_without_node(door, live, UD_ATTEMPT_LOST, UD_REASON_NODE_LEASE_OVER);
	}
	if (live->attempt_state == UD_ATTEMPT_STOPPING)
		return is_over(live->state_at, (int64) task->grace_s + unidesk_stop_limit) &&
			end_without_node(door, live, live->want_final, live->want_reason);
	if (live->attempt_state == UD_ATTEMPT_FINISHING)
		return is_over(live->state_at, unidesk_output_limit) &&
			end_without_node(door, live, UD_ATTEMPT_FAILED, UD_REASON_RUN_OUTPUT_LOST);
	if (live->attempt_state == UD_ATTEMPT_ASSIGNED)
		return is_over(live->placed_at, unidesk_withdraw_after) &&
			unidesk_attempt_stop(door, live, UD_ATTEMPT_REJECTED, UD_REASON_CTL_WITHDRAWN, UNIDESK_BY_WORKER, system_actor);
	if (live->attempt_state <= UD_ATTEMPT_PREPARING)
		return is_over(live->placed_at, task->prepare_s > 0 ? task->prepare_s : unidesk_prepare_limit) &&
			unidesk_attempt_stop(door, live, UD_ATTEMPT_TIMED_OUT, UD_REASON_PREP_TIMEOUT, UNIDESK_BY_WORKER, system_actor);
	if (live->attempt_state == UD_ATTEMPT_RUNNING)
		/* The agent ends it by itself; this is for one that does not. */
		return task->run_s > 0 && is_over(live->started_at, (int64) task->run_s + task->grace_s + UNIDESK_RUN_SLACK_S) &&
			unidesk_attempt_stop(door, live, UD_ATTEMPT_TIMED_OUT, UD_REASON_RUN_TIMEOUT, UNIDESK_BY_WORKER, system_actor);
	return false;
}

/* Is the node with its checkpoint gone, and not only busy? */
static bool
checkpoint_is_gone(const MemoryTask *task)
{
	MemoryNode *node = unidesk_memory_node(task->checkpoint_node);
	PlacementDemand demand = task->demand;

	if (node == NULL)
		return true;
	demand.labels = task->class != NULL ? task->class->demand.labels : NULL;
	switch (placement_check(&unidesk_memory->placement[node->index], &demand))
	{
		case UD_REASON_NONE:
		case UD_REASON_CAPACITY_CPUS:
		case UD_REASON_CAPACITY_MEMORY:
		case UD_REASON_CAPACITY_GPUS:
			return false;
	}
	return true;
}

/* What time did to a queued task; false when its row should be read again. */
static bool
watch_queued(UnideskDoor *door, const MemoryTask *task, UnideskLive *live)
{
	int			reason = is_over(task->deadline, 0) ? UD_REASON_RUN_TOTAL_TIMEOUT :
	task->queue_s > 0 && is_over(task->queued_at, task->queue_s) ? UD_REASON_CTL_QUEUE_TIMEOUT : UD_REASON_NONE;

	if (reason != UD_REASON_NONE)
	{
		unidesk_task_move(door, live, UNIDESK_TASK_FAILED, reason, UNIDESK_BY_WORKER, system_actor);
		return true;
	}
	if (task->checkpoint_node == 0 || live->checkpoint_node != task->checkpoint_node ||
		!is_over(task->queued_at, unidesk_checkpoint_wait) || (task->class == NULL && !task->waiting))
		return false;
	/* One that is only busy is looked at again, like any that is due. */
	if (checkpoint_is_gone(task))
		unidesk_checkpoint_give_up(door, live, live->checkpoint_node, system_actor);
	return true;
}

/* False when memory should read the row again; after a change a hint says so. */
static bool
watch_task(UnideskDoor *door, const MemoryTask *task, UnideskLock lock, UnideskLive *live)
{
	switch (lock)
	{
		case UNIDESK_BUSY:
			return true;		/* it comes again by its new due time */
		case UNIDESK_ABSENT:
			return false;
		case UNIDESK_LOCKED:
			break;
	}
	if (live->state == UNIDESK_TASK_ACTIVE)
		return watch_active(door, task, live);
	return live->state == UNIDESK_TASK_QUEUED && watch_queued(door, task, live);
}

void
unidesk_watch_deadlines(void)
{
	int64	   *due = palloc(sizeof(int64) * DUE_MAX);

	/* What is due stays so until a search is over. */
	int			due_count = unidesk_suspect_searching(UNIDESK_SUSPECT_DEADLINES) ? 0 :
	unidesk_memory_due(unidesk_now(), due, DUE_MAX);
	UnideskDoor *door = unidesk_door_open();
	UnideskLive *lives;
	UnideskLock *locks;
	int			count = 0;

	for (int i = 0; i < due_count; i++)
		if (unidesk_take_in(due[i]))
			unidesk_memory_read_tasks(due[i], due[i]);
		else
			due[count++] = due[i];
	count = unidesk_suspect_begin(UNIDESK_SUSPECT_DEADLINES, due, count, DUE_MAX);
	qsort(due, count, sizeof(int64), unidesk_compare_ids);
	lives = palloc(sizeof(UnideskLive) * (count + 1));
	locks = palloc(sizeof(UnideskLock) * (count + 1));
	unidesk_live_lock_many(due, count, lives, locks);
	for (int i = 0; i < count; i++)
	{
		MemoryTask *task = unidesk_memory_task(due[i]);

		/* Time alone may have brought it into the queue: read it again. */
		if (task != NULL && !watch_task(door, task, locks[i], &lives[i]))
			unidesk_memory_read_tasks(due[i], due[i]);
	}
	unidesk_door_close(door);
	unidesk_suspect_end();
}

bool
unidesk_flush_beats(void)
{
	static SPIPlanPtr plan;
	UnideskArgs args = {0};
	int32	   *node_ids = palloc(sizeof(int32) * FLUSH_MAX);
	TimestampTz *seen = palloc(sizeof(TimestampTz) * FLUSH_MAX);
	Datum	   *ids;
	Datum	   *times;
	int			count = unidesk_beat_take_dirty(node_ids, seen, FLUSH_MAX);

	if (count == 0)
		return false;
	ids = palloc(sizeof(Datum) * count);
	times = palloc(sizeof(Datum) * count);
	for (int i = 0; i < count; i++)
	{
		ids[i] = Int32GetDatum(node_ids[i]);
		times[i] = TimestampTzGetDatum(seen[i]);
	}
	unidesk_arg_array(&args, INT4OID, ids, NULL, count);
	unidesk_arg_array(&args, TIMESTAMPTZOID, times, NULL, count);

	/*
	 * A new row's foreign key would wait for whoever holds the node: such a
	 * node's next beat brings it here again.
	 */
	unidesk_execute(&plan,
					"WITH b AS MATERIALIZED (SELECT id, seen FROM unnest($1, $2) AS b (id, seen)),"
					" known AS (UPDATE unidesk_data.node_live l SET last_seen = b.seen FROM b"
					" WHERE l.node_id = b.id RETURNING l.node_id),"
					" fresh AS (SELECT n.id, b.seen FROM b JOIN unidesk_data.node n ON n.id = b.id"
					" WHERE b.id NOT IN (SELECT node_id FROM known) FOR KEY SHARE OF n SKIP LOCKED)"
					" INSERT INTO unidesk_data.node_live (node_id, last_seen) SELECT id, seen FROM fresh", &args);
	return false;
}
