/*
 * watch.c
 *	  What time brings about: bridges and nodes that fall silent, leases that
 *	  end, assignments that nobody answers, limits of tasks.
 *
 * Rows that somebody else has locked are left for the next turn.
 */
#include "unidesk.h"

#include "catalog/pg_type.h"

#include "common/protocol.h"
#include "common/reasons.h"
#include "door.h"
#include "shared.h"
#include "transition.h"
#include "worker.h"

/* More than this many per turn wait for the next. */
#define PER_TURN_MAX "1000"
#define FLUSH_MAX 20000

static const UnideskActor system_actor = {UNIDESK_ACTOR_SYSTEM, 0};

static TimestampTz
seconds_ago(int seconds)
{
	return unidesk_now() - (TimestampTz) seconds * USECS_PER_SEC;
}

static void
end_silent_bridges(void)
{
	static SPIPlanPtr plan;
	UnideskArgs args = {0};

	unidesk_arg_time(&args, seconds_ago(unidesk_bridge_silent_after));
	unidesk_arg_time(&args, unidesk_now());
	unidesk_execute(&plan,
					"WITH over AS (UPDATE unidesk_data.bridge SET ended_at = $2"
					" WHERE ended_at IS NULL AND last_beat < $1 RETURNING id)"
					" UPDATE unidesk_data.node SET session = NULL, bridge_id = NULL, reconciled = false"
					" WHERE bridge_id IN (SELECT id FROM over)", &args);
}

/* A bridge that is behind would make silent nodes of those it serves. */
static bool
bridge_is_behind(void)
{
	static SPIPlanPtr plan;
	UnideskArgs args = {0};

	return unidesk_execute(&plan,
						   "SELECT FROM unidesk_data.bridge WHERE ended_at IS NULL AND queue_age_ms > 5000", &args) > 0;
}

/* Last contact with a node as far as this server knows; never before start. */
static TimestampTz
last_contact(int32 node_id, TimestampTz flushed, TimestampTz started_at)
{
	UnideskBeat beat;
	TimestampTz seen = Max(flushed, started_at);

	if (unidesk_beat_get(node_id, &beat))
		seen = Max(seen, beat.last_seen);
	return seen;
}

typedef struct Candidate
{
	int64		id;
	int			state;
	TimestampTz flushed;
	int			lease_s;
} Candidate;

/* Rows (id, state, flushed time, lease) of the last statement, copied. */
static Candidate *
copy_candidates(uint64 count)
{
	Candidate  *candidates = palloc(sizeof(Candidate) * (count + 1));

	for (uint64 i = 0; i < count; i++)
	{
		bool		isnull;
		Datum		flushed = unidesk_column(i, 3, &isnull);

		candidates[i].id = unidesk_column_int64(i, 1);
		candidates[i].state = unidesk_column_int32(i, 2);
		candidates[i].flushed = isnull ? 0 : DatumGetTimestampTz(flushed);
		candidates[i].lease_s = unidesk_column_int32(i, 4);
	}
	return candidates;
}

void
unidesk_watch_contact(TimestampTz started_at)
{
	static SPIPlanPtr plan;
	static SPIPlanPtr close_plan;
	UnideskArgs args = {0};
	Candidate  *nodes;
	uint64		count;

	end_silent_bridges();
	if (bridge_is_behind())
		return;
	count = unidesk_execute(&plan,
							"SELECT n.id::bigint, n.status, l.last_seen, 0 FROM unidesk_data.node n"
							" LEFT JOIN unidesk_data.node_live l ON l.node_id = n.id"
							" WHERE n.status IN (2, 4) ORDER BY n.id FOR UPDATE OF n SKIP LOCKED", &args);
	nodes = copy_candidates(count);
	for (uint64 i = 0; i < count; i++)
	{
		UnideskArgs close = {0};

		if (last_contact((int32) nodes[i].id, nodes[i].flushed, started_at) >= seconds_ago(unidesk_offline_after))
			continue;
		unidesk_beat_expire((int32) nodes[i].id);
		unidesk_node_move((int32) nodes[i].id, nodes[i].state, UNIDESK_NODE_OFFLINE, UNIDESK_BY_WORKER, NULL, system_actor);
		unidesk_arg_int32(&close, (int32) nodes[i].id);
		unidesk_execute(&close_plan, "UPDATE unidesk_data.node SET reconciled = false WHERE id = $1", &close);
	}
}

/* Attempts whose node is offline and whose lease is over. */
static void
end_lost_leases(TimestampTz started_at)
{
	static SPIPlanPtr plan;
	UnideskArgs args = {0};
	Candidate  *attempts;
	uint64		count;

	count = unidesk_execute(&plan,
							"SELECT l.task_id, l.node_id, nl.last_seen, l.lease_s FROM unidesk_data.live l"
							" JOIN unidesk_data.node n ON n.id = l.node_id AND n.status = 3"
							" LEFT JOIN unidesk_data.node_live nl ON nl.node_id = n.id"
							" WHERE l.state = 4 AND l.lease_s IS NOT NULL ORDER BY l.task_id LIMIT " PER_TURN_MAX, &args);
	attempts = copy_candidates(count);
	for (uint64 i = 0; i < count; i++)
	{
		UnideskLive live;
		UnideskReport lost;

		if (last_contact(attempts[i].state, attempts[i].flushed, started_at) >= seconds_ago(attempts[i].lease_s))
			continue;
		if (unidesk_live_lock(attempts[i].id, false, &live) != UNIDESK_LOCKED || live.state != UNIDESK_TASK_ACTIVE)
			continue;
		unidesk_report_init(&lost);
		lost.reason = UD_REASON_NODE_LEASE_OVER;
		unidesk_attempt_move(&live,
							 live.attempt_state == UD_ATTEMPT_STOPPING ? live.want_final : UD_ATTEMPT_LOST,
							 &lost, false, UNIDESK_BY_WORKER, system_actor);
	}
}

/* Stop what select names: columns task_id, 0, NULL, 0. */
static void
stop_selected(SPIPlanPtr *plan, const char *select, UnideskArgs *args, int final, int reason)
{
	uint64		count = unidesk_execute(plan, select, args);
	Candidate  *attempts = copy_candidates(count);

	for (uint64 i = 0; i < count; i++)
	{
		UnideskLive live;

		if (unidesk_live_lock(attempts[i].id, false, &live) == UNIDESK_LOCKED && live.state == UNIDESK_TASK_ACTIVE)
			unidesk_attempt_stop(&live, final, reason, UNIDESK_BY_WORKER, system_actor);
	}
}

/* Assignments on a live session that nobody answers. */
static void
withdraw_unanswered(void)
{
	static SPIPlanPtr plan;
	UnideskArgs args = {0};

	unidesk_arg_time(&args, seconds_ago(unidesk_withdraw_after));
	stop_selected(&plan,
				  "SELECT l.task_id, 0, NULL::timestamptz, 0 FROM unidesk_data.live l"
				  " JOIN unidesk_data.node n ON n.id = l.node_id AND n.status <> 3"
				  " WHERE l.state = 4 AND l.attempt_state = 1 AND l.state_at < $1 LIMIT " PER_TURN_MAX,
				  &args, UD_ATTEMPT_REJECTED, UD_REASON_CTL_WITHDRAWN);
}

/* Preparations and runs beyond their limit; the agent ends runs by itself, a
 * grace earlier. */
static void
stop_overdue(void)
{
	static SPIPlanPtr prepare_plan;
	static SPIPlanPtr run_plan;
	UnideskArgs args = {0};

	unidesk_arg_time(&args, unidesk_now());
	stop_selected(&prepare_plan,
				  "SELECT l.task_id, 0, NULL::timestamptz, 0 FROM unidesk_data.live l"
				  " WHERE l.state = 4 AND l.attempt_state IN (2, 3) AND l.prepare_s IS NOT NULL"
				  " AND l.placed_at + make_interval(secs => l.prepare_s) < $1 LIMIT " PER_TURN_MAX,
				  &args, UD_ATTEMPT_TIMED_OUT, UD_REASON_PREP_TIMEOUT);
	stop_selected(&run_plan,
				  "SELECT l.task_id, 0, NULL::timestamptz, 0 FROM unidesk_data.live l"
				  " WHERE l.state = 4 AND l.attempt_state = 4 AND l.run_s IS NOT NULL"
				  " AND l.started_at + make_interval(secs => l.run_s + l.grace_s + 30) < $1 LIMIT " PER_TURN_MAX,
				  &args, UD_ATTEMPT_TIMED_OUT, UD_REASON_RUN_TIMEOUT);
}

static void
fail_unplaced(void)
{
	static SPIPlanPtr plan;
	UnideskArgs args = {0};
	Candidate  *tasks;
	uint64		count;

	unidesk_arg_time(&args, unidesk_now());
	count = unidesk_execute(&plan,
							"SELECT task_id, 0, NULL::timestamptz, 0 FROM unidesk_data.live"
							" WHERE state = 3 AND queue_s IS NOT NULL"
							" AND queued_at + make_interval(secs => queue_s) < $1 LIMIT " PER_TURN_MAX, &args);
	tasks = copy_candidates(count);
	for (uint64 i = 0; i < count; i++)
	{
		UnideskLive live;

		if (unidesk_live_lock(tasks[i].id, false, &live) == UNIDESK_LOCKED && live.state == UNIDESK_TASK_QUEUED)
			unidesk_task_move(&live, UNIDESK_TASK_FAILED, UD_REASON_CTL_QUEUE_TIMEOUT, UNIDESK_BY_WORKER, system_actor);
	}
}

void
unidesk_watch_deadlines(TimestampTz started_at)
{
	end_lost_leases(started_at);
	withdraw_unanswered();
	stop_overdue();
	fail_unplaced();
}

void
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
		return;
	ids = palloc(sizeof(Datum) * count);
	times = palloc(sizeof(Datum) * count);
	for (int i = 0; i < count; i++)
	{
		ids[i] = Int32GetDatum(node_ids[i]);
		times[i] = TimestampTzGetDatum(seen[i]);
	}
	unidesk_arg_array(&args, INT4OID, ids, NULL, count);
	unidesk_arg_array(&args, TIMESTAMPTZOID, times, NULL, count);
	unidesk_execute(&plan,
					"INSERT INTO unidesk_data.node_live (node_id, last_seen)"
					" SELECT b.id, b.seen FROM unnest($1, $2) AS b (id, seen)"
					" JOIN unidesk_data.node n ON n.id = b.id ORDER BY b.id"
					" ON CONFLICT (node_id) DO UPDATE SET last_seen = excluded.last_seen", &args);
}
