/*
 * door.c
 *	  The one door for state.
 *
 * A move is looked up in the transition tables, written to the row, and told
 * in one event row, all in the caller's transaction.  ForceSyncCommit makes
 * sure that what was acknowledged survives a crash whatever the session's
 * synchronous_commit says.
 *
 *	attempt ends as			the task becomes
 *	succeeded				succeeded
 *	cancelled				cancelled
 *	timed_out				failed
 *	failed					queued while its retries last, else failed
 *	lost					by on_lost: queued or failed
 *	rejected, preempted		queued; costs no retry
 *
 * A retry counts against max_retries when its reason counts; reasons of
 * infrastructure have a bound of their own, unidesk.infra_retries.
 */
#include "unidesk.h"

#include "access/xact.h"
#include "catalog/pg_type.h"

#include "common/protocol.h"
#include "common/reasons.h"
#include "door.h"
#include "shared.h"
#include "transition.h"

#define BACKOFF_DOUBLINGS_MAX 6

#define LIVE_COLUMNS \
	"task_id, state, reason, seq, attempt, incarnation, node_id, attempt_state," \
	" phase, want, want_final, want_reason, cpus_milli, memory, gpus, gpu_mask," \
	" max_retries, user_failures, infra_failures, on_lost, placed_at, started_at"

static TimestampTz
column_time(uint64 row, int column)
{
	bool		isnull;
	Datum		value = unidesk_column(row, column, &isnull);

	return isnull ? 0 : DatumGetTimestampTz(value);
}

static void
read_live(UnideskLive *live)
{
	live->task_id = unidesk_column_int64(0, 1);
	live->state = unidesk_column_int32(0, 2);
	live->reason = unidesk_column_int32(0, 3);
	live->seq = unidesk_column_int32(0, 4);
	live->attempt = unidesk_column_int32(0, 5);
	live->incarnation = unidesk_column_int64(0, 6);
	live->node_id = unidesk_column_int32(0, 7);
	live->attempt_state = unidesk_column_int32(0, 8);
	live->phase = unidesk_column_int32(0, 9);
	live->want = unidesk_column_int32(0, 10);
	live->want_final = unidesk_column_int32(0, 11);
	live->want_reason = unidesk_column_int32(0, 12);
	live->cpus_milli = unidesk_column_int32(0, 13);
	live->memory = unidesk_column_int64(0, 14);
	live->gpus = unidesk_column_int32(0, 15);
	live->gpu_mask = unidesk_column_int64(0, 16);
	live->max_retries = unidesk_column_int32(0, 17);
	live->user_failures = unidesk_column_int32(0, 18);
	live->infra_failures = unidesk_column_int32(0, 19);
	live->on_lost = unidesk_column_int32(0, 20);
	live->placed_at = column_time(0, 21);
	live->started_at = column_time(0, 22);
}

UnideskLock
unidesk_live_lock(int64 task_id, bool wait, UnideskLive *live)
{
	static SPIPlanPtr lock_plan;
	static SPIPlanPtr skip_plan;
	static SPIPlanPtr exists_plan;
	UnideskArgs args = {0};

	unidesk_arg_int64(&args, task_id);
	if (wait)
		unidesk_execute(&lock_plan,
						"SELECT " LIVE_COLUMNS " FROM unidesk_data.live WHERE task_id = $1 FOR UPDATE", &args);
	else
		unidesk_execute(&skip_plan,
						"SELECT " LIVE_COLUMNS " FROM unidesk_data.live WHERE task_id = $1 FOR UPDATE SKIP LOCKED", &args);
	if (SPI_processed == 1)
	{
		read_live(live);
		return UNIDESK_LOCKED;
	}
	if (wait)
		return UNIDESK_ABSENT;
	/* Skipped or absent: a plain read tells, and never waits. */
	return unidesk_execute(&exists_plan, "SELECT FROM unidesk_data.live WHERE task_id = $1", &args) == 1 ?
		UNIDESK_BUSY : UNIDESK_ABSENT;
}

/* The event's columns, last in every statement that writes one. */
static void
arg_event(UnideskArgs *args, UnideskLive *live, int task_state, int attempt_state, int reason,
		  UnideskActor actor, const int16 *path, int path_length, const char *data)
{
	unidesk_arg_time(args, unidesk_now());
	unidesk_arg_int64(args, live->task_id);
	unidesk_arg_int32(args, ++live->seq);
	unidesk_arg_int32(args, live->attempt);
	unidesk_arg_int16(args, task_state);
	if (attempt_state != 0)
		unidesk_arg_int16(args, attempt_state);
	else
		unidesk_arg_null(args, INT2OID);
	unidesk_arg_int16(args, reason);
	unidesk_arg_int16(args, actor.kind);
	unidesk_arg_int32(args, actor.id);
	if (path_length > 1)
	{
		Datum		steps[UNIDESK_PATH_MAX];

		for (int i = 0; i < path_length; i++)
			steps[i] = Int16GetDatum(path[i]);
		unidesk_arg_array(args, INT2OID, steps, NULL, path_length);
	}
	else
		unidesk_arg_null(args, INT2ARRAYOID);
	unidesk_arg_text(args, data);
}

#define INSERT_EVENT \
	"INSERT INTO unidesk_data.task_event (at, task_id, seq, attempt, task_state, attempt_state," \
	" reason, actor_kind, actor_id, steps, data) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)"

static void
changed(UnideskLive *live)
{
	ForceSyncCommit();
	unidesk_note_task(live->task_id);
	if (UNIDESK_TASK_IS_TERMINAL(live->state))
		unidesk_note_task_ended();
}

/* A move that leaves the attempt alive. */
static void
write_progress(UnideskLive *live, int to, const UnideskReport *report,
			   const int16 *path, int path_length, UnideskActor actor)
{
	static SPIPlanPtr plan;
	UnideskArgs args = {0};
	bool		starts = false;

	for (int i = 0; i < path_length; i++)
		starts |= path[i] == UD_ATTEMPT_RUNNING;
	if (starts && live->started_at == 0)
		live->started_at = unidesk_now();
	live->attempt_state = to;
	if (report != NULL && report->phase != 0)
		live->phase = report->phase;

	arg_event(&args, live, UNIDESK_TASK_ACTIVE, to, live->want_reason, actor, path, path_length, NULL);
	unidesk_arg_int16(&args, live->phase);
	unidesk_arg_time(&args, live->started_at);
	unidesk_execute(&plan,
					"WITH event AS (" INSERT_EVENT ")"
					" UPDATE unidesk_data.live SET attempt_state = $6, state_at = $1, seq = $3,"
					" phase = $12, started_at = $13 WHERE task_id = $2", &args);
	changed(live);
}

/* The attempt stays where it is, but its preparation goes on. */
static void
write_phase(UnideskLive *live, int phase)
{
	static SPIPlanPtr plan;
	UnideskArgs args = {0};

	unidesk_arg_int64(&args, live->task_id);
	unidesk_arg_int16(&args, phase);
	unidesk_execute(&plan, "UPDATE unidesk_data.live SET phase = $2 WHERE task_id = $1", &args);
}

/* How an attempt ended, for the rows that tell it. */
static void
arg_ending(UnideskArgs *args, const UnideskReport *report)
{
	if (report != NULL && report->has_exit_code)
		unidesk_arg_int32(args, report->exit_code);
	else
		unidesk_arg_null(args, INT4OID);
	if (report != NULL && report->image_id != NULL)
		unidesk_arg(args, BYTEAOID, PointerGetDatum(report->image_id));
	else
		unidesk_arg_null(args, BYTEAOID);
	if (report != NULL && report->has_stages)
	{
		Datum		stages[UNIDESK_STAGES];
		bool		nulls[UNIDESK_STAGES];

		for (int i = 0; i < UNIDESK_STAGES; i++)
		{
			stages[i] = Int32GetDatum(report->stage_ms[i]);
			nulls[i] = report->stage_ms[i] < 0;
		}
		unidesk_arg_array(args, INT4OID, stages, nulls, UNIDESK_STAGES);
	}
	else
		unidesk_arg_null(args, INT4ARRAYOID);
	if (report != NULL && report->log_end >= 0)
		unidesk_arg_int64(args, report->log_end);
	else
		unidesk_arg_null(args, INT8OID);
	unidesk_arg_text(args, report != NULL ? report->message : NULL);
}

/* The row of history of an attempt that did not end its task well. */
static void
write_history(UnideskLive *live, int state, int reason, const UnideskReport *report)
{
	static SPIPlanPtr plan;
	UnideskArgs args = {0};

	unidesk_arg_int64(&args, live->task_id);
	unidesk_arg_int32(&args, live->attempt);
	unidesk_arg_int64(&args, live->incarnation);
	unidesk_arg_int32(&args, live->node_id);
	unidesk_arg_int16(&args, state);
	unidesk_arg_int16(&args, reason);
	unidesk_arg_time(&args, live->placed_at);
	unidesk_arg_time(&args, live->started_at);
	unidesk_arg_time(&args, unidesk_now());
	arg_ending(&args, report);
	unidesk_execute(&plan,
					"INSERT INTO unidesk_data.attempt (task_id, attempt, incarnation, node_id, state, reason,"
					" placed_at, started_at, ended_at, exit_code, image_id, stage_ms, log_end, message)"
					" VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)", &args);
}

/* The end of the attempt is not confirmed: its allocation stays. */
static void
write_held(UnideskLive *live, int reason)
{
	static SPIPlanPtr plan;
	UnideskArgs args = {0};

	unidesk_arg_int64(&args, live->incarnation);
	unidesk_arg_int64(&args, live->task_id);
	unidesk_arg_int32(&args, live->attempt);
	unidesk_arg_int32(&args, live->node_id);
	unidesk_arg_int32(&args, live->cpus_milli);
	unidesk_arg_int64(&args, live->memory);
	unidesk_arg_int16(&args, live->gpus);
	unidesk_arg_int64(&args, live->gpu_mask);
	unidesk_arg_int16(&args, reason);
	unidesk_arg_time(&args, unidesk_now());
	unidesk_execute(&plan,
					"INSERT INTO unidesk_data.held (incarnation, task_id, attempt, node_id, cpus_milli,"
					" memory, gpus, gpu_mask, reason, since)"
					" VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)", &args);
	unidesk_note_node(live->node_id);
}

/* The task ends: its live row goes, its task row is written the second time. */
static void
write_task_end(UnideskLive *live, int task_state, int attempt_state, int reason,
			   const UnideskReport *report, UnideskActor actor, const int16 *path, int path_length)
{
	static SPIPlanPtr plan;
	UnideskArgs args = {0};

	arg_event(&args, live, task_state, attempt_state, reason, actor, path, path_length, NULL);
	unidesk_arg_time(&args, live->placed_at);
	unidesk_arg_time(&args, live->started_at);
	if (live->node_id != 0)
		unidesk_arg_int32(&args, live->node_id);
	else
		unidesk_arg_null(&args, INT4OID);
	if (live->attempt > 0)
		unidesk_arg_int64(&args, live->incarnation);
	else
		unidesk_arg_null(&args, INT8OID);
	arg_ending(&args, report);
	unidesk_execute(&plan,
					"WITH event AS (" INSERT_EVENT "),"
					" gone AS (DELETE FROM unidesk_data.live WHERE task_id = $2)"
					" UPDATE unidesk_data.task SET state = $5, reason = $7, ended_at = $1, attempts = $4,"
					" placed_at = $12, started_at = $13, node_id = $14, incarnation = $15, exit_code = $16,"
					" image_id = $17, stage_ms = $18, log_end = $19, message = $20 WHERE id = $2", &args);
	live->state = task_state;
	changed(live);
}

/* Back into the queue; not before some seconds when the last try failed. */
static void
write_requeue(UnideskLive *live, int attempt_state, int reason, int wait_s, int excluded_node,
			  UnideskActor actor, const int16 *path, int path_length)
{
	static SPIPlanPtr plan;
	UnideskArgs args = {0};

	arg_event(&args, live, UNIDESK_TASK_QUEUED, attempt_state, reason, actor, path, path_length, NULL);
	unidesk_arg_int32(&args, wait_s);
	if (excluded_node != 0)
		unidesk_arg_int32(&args, excluded_node);
	else
		unidesk_arg_null(&args, INT4OID);
	unidesk_arg_int16(&args, live->user_failures);
	unidesk_arg_int16(&args, live->infra_failures);
	unidesk_execute(&plan,
					"WITH event AS (" INSERT_EVENT ")"
					" UPDATE unidesk_data.live SET state = $5, reason = $7, seq = $3, queued_at = $1,"
					" not_before = $1 + pg_catalog.make_interval(secs => $12),"
					" excluded_node = $13, user_failures = $14, infra_failures = $15,"
					" incarnation = NULL, node_id = NULL, session = NULL, attempt_state = NULL, phase = NULL,"
					" want = NULL, want_final = NULL, want_reason = NULL, order_no = NULL, gpu_mask = NULL,"
					" placed_at = NULL, started_at = NULL, state_at = $1 WHERE task_id = $2", &args);
	live->state = UNIDESK_TASK_QUEUED;
	live->attempt_state = 0;
	changed(live);
}

static int
backoff_s(int failures)
{
	int			doublings = Min(failures - 1, BACKOFF_DOUBLINGS_MAX);

	return failures <= 0 ? 0 : unidesk_retry_backoff << doublings;
}

/* What becomes of the task: a terminal state, or queued. */
static int
task_after(UnideskLive *live, int attempt_state, int reason, int *wait_s, int *excluded_node)
{
	*wait_s = 0;
	*excluded_node = 0;
	switch (attempt_state)
	{
		case UD_ATTEMPT_SUCCEEDED:
			return UNIDESK_TASK_SUCCEEDED;
		case UD_ATTEMPT_CANCELLED:
			return UNIDESK_TASK_CANCELLED;
		case UD_ATTEMPT_TIMED_OUT:
			return UNIDESK_TASK_FAILED;
		case UD_ATTEMPT_PREEMPTED:
			return UNIDESK_TASK_QUEUED;
		case UD_ATTEMPT_LOST:
			if (live->on_lost == UNIDESK_ON_LOST_FAIL)
				return UNIDESK_TASK_FAILED;
			break;
		case UD_ATTEMPT_REJECTED:
			*wait_s = backoff_s(1);
			return UNIDESK_TASK_QUEUED;
	}
	if (!ud_reason_is_retryable(reason))
		return UNIDESK_TASK_FAILED;
	if (ud_reason_counts(reason))
	{
		if (live->user_failures >= live->max_retries)
			return UNIDESK_TASK_FAILED;
		*wait_s = backoff_s(++live->user_failures);
	}
	else
	{
		if (live->infra_failures >= unidesk_infra_retries)
			return UNIDESK_TASK_FAILED;
		*wait_s = backoff_s(++live->infra_failures);
		*excluded_node = attempt_state == UD_ATTEMPT_LOST ? 0 : live->node_id;
	}
	return UNIDESK_TASK_QUEUED;
}

static int
ending_reason(UnideskLive *live, int to, const UnideskReport *report)
{
	if (to == UD_ATTEMPT_SUCCEEDED)
		return UD_REASON_NONE;
	if (live->want == UD_WANT_STOP && live->want_final == to)
		return live->want_reason;
	if (report != NULL && report->reason != 0)
		return report->reason;
	switch (to)
	{
		case UD_ATTEMPT_TIMED_OUT:
			return UD_REASON_RUN_TIMEOUT;
		case UD_ATTEMPT_LOST:
			return UD_REASON_NODE_CONTAINER_GONE;
		case UD_ATTEMPT_REJECTED:
			return UD_REASON_NODE_REJECTED;
		default:
			return report != NULL && report->has_exit_code ? UD_REASON_RUN_EXIT_CODE : UD_REASON_NODE_AGENT_ERROR;
	}
}

static void
end_attempt(UnideskLive *live, int to, const UnideskReport *report, bool confirmed,
			int by, UnideskActor actor, const int16 *path, int path_length)
{
	int			reason = ending_reason(live, to, report);
	int			wait_s;
	int			excluded_node;
	int			task_state;
	bool		ran = false;

	for (int i = 0; i < path_length; i++)
		ran |= path[i] == UD_ATTEMPT_RUNNING;
	if (ran && live->started_at == 0)
	{
		/* Start and end came in one report: the run's time tells the start. */
		int32		run_ms = report != NULL ? Max(report->stage_ms[UNIDESK_STAGES - 1], 0) : 0;

		live->started_at = unidesk_now() - (TimestampTz) run_ms * 1000;
	}
	task_state = task_after(live, to, reason, &wait_s, &excluded_node);
	unidesk_check_task_move(live->state, task_state, by);
	if (to != UD_ATTEMPT_SUCCEEDED)
		write_history(live, to, reason, report);
	if (!confirmed)
		write_held(live, reason);
	if (UNIDESK_TASK_IS_TERMINAL(task_state))
		write_task_end(live, task_state, to, reason, report, actor, path, path_length);
	else
		write_requeue(live, to, reason, wait_s, excluded_node, actor, path, path_length);
}

bool
unidesk_attempt_move(UnideskLive *live, int to, const UnideskReport *report,
					 bool confirmed, int by, UnideskActor actor)
{
	int16		path[UNIDESK_PATH_MAX];
	int			length;
	bool		ran;

	Assert(live->state == UNIDESK_TASK_ACTIVE);
	/* In stopping the exit code is kept, the final state is what was asked. */
	if (live->attempt_state == UD_ATTEMPT_STOPPING && UD_ATTEMPT_IS_TERMINAL(to) && to != UD_ATTEMPT_LOST)
		to = live->want_final;
	if (to == live->attempt_state)
	{
		if (report != NULL && report->phase != 0 && report->phase != live->phase)
			write_phase(live, report->phase);
		return false;
	}
	ran = report != NULL && (report->has_exit_code || report->log_end >= 0) && UD_ATTEMPT_IS_TERMINAL(to);
	length = unidesk_attempt_path(live->attempt_state, to, ran, by, path);
	if (length == 0)
		return false;
	if (UD_ATTEMPT_IS_TERMINAL(to))
		end_attempt(live, to, report, confirmed, by, actor, path, length);
	else
		write_progress(live, to, report, path, length, actor);
	return true;
}

bool
unidesk_attempt_stop(UnideskLive *live, int final, int reason, int by, UnideskActor actor)
{
	static SPIPlanPtr plan;
	UnideskArgs args = {0};
	int16		path[UNIDESK_PATH_MAX];

	if (live->want == UD_WANT_STOP)
		return false;
	if (unidesk_attempt_path(live->attempt_state, UD_ATTEMPT_STOPPING, false, by, path) == 0)
		return false;
	live->attempt_state = UD_ATTEMPT_STOPPING;
	live->want = UD_WANT_STOP;
	live->want_final = final;
	live->want_reason = reason;
	arg_event(&args, live, UNIDESK_TASK_ACTIVE, UD_ATTEMPT_STOPPING, reason, actor, path, 1, NULL);
	unidesk_arg_int16(&args, final);
	/* order_no NULL: the worker has to make the order. */
	unidesk_execute(&plan,
					"WITH event AS (" INSERT_EVENT ")"
					" UPDATE unidesk_data.live SET attempt_state = $6, state_at = $1, seq = $3,"
					" want = 2, want_final = $12, want_reason = $7, order_no = NULL WHERE task_id = $2", &args);
	changed(live);
	return true;
}

void
unidesk_task_move(UnideskLive *live, int to, int reason, int by, UnideskActor actor)
{
	static SPIPlanPtr plan;
	UnideskArgs args = {0};

	Assert(live->state != UNIDESK_TASK_ACTIVE);
	unidesk_check_task_move(live->state, to, by);
	if (UNIDESK_TASK_IS_TERMINAL(to))
	{
		write_task_end(live, to, 0, reason, NULL, actor, NULL, 0);
		return;
	}
	arg_event(&args, live, to, 0, reason, actor, NULL, 0, NULL);
	unidesk_execute(&plan,
					"WITH event AS (" INSERT_EVENT ")"
					" UPDATE unidesk_data.live SET state = $5, reason = $7, seq = $3, state_at = $1"
					" WHERE task_id = $2", &args);
	live->state = to;
	live->reason = reason;
	changed(live);
}

void
unidesk_node_event(int32 node_id, const char *what, const char *data, UnideskActor actor)
{
	static SPIPlanPtr plan;
	UnideskArgs args = {0};

	unidesk_arg_time(&args, unidesk_now());
	unidesk_arg_int32(&args, node_id);
	unidesk_arg_text(&args, what);
	unidesk_arg_int16(&args, actor.kind);
	unidesk_arg_int32(&args, actor.id);
	unidesk_arg_text(&args, data);
	unidesk_execute(&plan,
					"INSERT INTO unidesk_data.node_event (at, node_id, what, actor_kind, actor_id, data)"
					" VALUES ($1, $2, $3, $4, $5, $6)", &args);
}

void
unidesk_node_move(int32 node_id, int from, int to, int by, const char *why, UnideskActor actor)
{
	static SPIPlanPtr plan;
	UnideskArgs args = {0};

	if (from == to)
		return;
	if (!unidesk_node_move_allowed(from, to, by))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("node cannot go from %s to %s",
						unidesk_node_status_name(from), unidesk_node_status_name(to)),
				 errhint("SELECT * FROM unidesk.transition shows what is possible.")));
	unidesk_arg_int32(&args, node_id);
	unidesk_arg_int16(&args, to);
	unidesk_arg_time(&args, unidesk_now());
	unidesk_execute(&plan,
					"UPDATE unidesk_data.node SET status = $2, status_since = $3 WHERE id = $1", &args);
	unidesk_node_event(node_id, unidesk_node_status_name(to), why, actor);
	ForceSyncCommit();
	unidesk_note_node(node_id);
}
