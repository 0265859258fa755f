/*
 * follow.c
 *	  Following a task's log: what is stored from an offset on, or a wait for it.
 *
 * Each turn takes new snapshots: first whether more can come, then what is
 * stored.  So an attempt that is seen to have ended is seen with every byte
 * that came before.
 */
#include "unidesk.h"

#include "access/xact.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/tuplestore.h"

#include "people.h"
#include "shared.h"

#define FOLLOW_BYTES_MAX (1024 * 1024)
#define FOLLOW_S_MAX 60
/* Commits wake; this is for what time alone decides. */
#define FOLLOW_SLICE_MS 5000
/*
 * The result comes before the end of the log.  When nothing has come for so long,
 * twice what an agent waits for an answer, the rest is not waited for.
 */
#define LATE_S 60

#define MARKER_TEXT "[unidesk: retention removed %lld bytes of log here]\n"

/* What is asked for, and what one look found. */
typedef struct Follow
{
	int64		task_id;
	int32		attempt;		/* 0: the newest, until a look knows it */
	int64		offset;
	bool		own;			/* the task's row is this transaction's */
	bool		is_over;		/* the attempt ended, or will never begin */
	int64		stored_from;
	int64		stored_until;	/* 0: nothing is stored */
	TimestampTz stored_at;		/* when the newest came */
	int64		log_end;		/* as reported; 0: not, or none */
	bool		removed;		/* by retention, all of it */
} Follow;

static void
row_out(ReturnSetInfo *result, const Follow *follow, const char *stream, int64 offset, Datum bytes)
{
	Datum		values[4];
	bool		nulls[4] = {false};

	values[0] = Int32GetDatum(follow->attempt);
	values[1] = CStringGetTextDatum(stream);
	values[2] = Int64GetDatum(offset);
	values[3] = bytes;
	tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
}

/* A text is laid out as a bytea is. */
static void
text_out(ReturnSetInfo *result, const Follow *follow, const char *stream, int64 offset, const char *text)
{
	row_out(result, follow, stream, offset, CStringGetTextDatum(text));
}

static void
look_at_task(Follow *follow)
{
	static SPIPlanPtr plan;
	UnideskArgs args = {0};
	int32		newest;
	bool		task_ended;
	bool		newest_runs;

	unidesk_arg_int64(&args, follow->task_id);
	if (unidesk_execute(&plan,
						"SELECT coalesce(l.attempt, t.attempts), t.state IS NOT NULL, coalesce(l.state = 4, false), t.xmin"
						" FROM unidesk_data.task t LEFT JOIN unidesk_data.live l ON l.task_id = t.id WHERE t.id = $1", &args) == 0)
		elog(ERROR, "task %lld is gone", (long long) follow->task_id);
	newest = unidesk_column_int32(0, 1);
	task_ended = DatumGetBool(unidesk_column(0, 2, NULL));
	newest_runs = DatumGetBool(unidesk_column(0, 3, NULL));
	follow->own = TransactionIdIsCurrentTransactionId(DatumGetTransactionId(unidesk_column(0, 4, NULL)));
	if (follow->attempt == 0)
		follow->attempt = Max(newest, 1);
	if (follow->attempt > newest + 1)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("task %lld has no attempt %d yet", (long long) follow->task_id, follow->attempt),
				 errhint("Its newest is %d; the next one can be waited for.", newest)));
	follow->is_over = follow->attempt > newest ? task_ended : follow->attempt < newest || !newest_runs;
}

static void
look_at_log(Follow *follow)
{
	static SPIPlanPtr plan;
	UnideskArgs args = {0};

	unidesk_arg_int64(&args, follow->task_id);
	unidesk_arg_int32(&args, follow->attempt);
	follow->stored_until = 0;
	if (unidesk_execute(&plan,
						"SELECT least((SELECT \"offset\" FROM unidesk_data.log_chunk WHERE task_id = $1 AND attempt = $2 ORDER BY \"offset\" LIMIT 1),"
						" (SELECT \"offset\" FROM unidesk_data.log_block WHERE task_id = $1 AND attempt = $2 ORDER BY \"offset\" LIMIT 1)),"
						" s.until, s.at FROM ("
						"(SELECT \"offset\" + octet_length(bytes) AS until, at FROM unidesk_data.log_chunk"
						" WHERE task_id = $1 AND attempt = $2 ORDER BY \"offset\" DESC LIMIT 1) UNION ALL"
						" (SELECT \"offset\" + length, at FROM unidesk_data.log_block"
						" WHERE task_id = $1 AND attempt = $2 ORDER BY \"offset\" DESC LIMIT 1)) s ORDER BY s.until DESC LIMIT 1", &args) == 0)
		return;
	follow->stored_from = unidesk_column_int64(0, 1);
	follow->stored_until = unidesk_column_int64(0, 2);
	follow->stored_at = unidesk_column_time(0, 3);
}

/* The attempt has ended: is the end of its log still to come? */
static bool
rest_may_come(Follow *follow)
{
	static SPIPlanPtr plan;
	UnideskArgs args = {0};
	TimestampTz newest;

	unidesk_arg_int64(&args, follow->task_id);
	unidesk_arg_int32(&args, follow->attempt);
	/* A log whose end nobody reported ends where it ends. */
	if (unidesk_execute(&plan,
						"SELECT e.log_end, e.ended_at, coalesce(e.ended_at <= r.removed_before, false) FROM ("
						"SELECT ended_at, log_end FROM unidesk_data.attempt WHERE task_id = $1 AND attempt = $2"
						" UNION ALL SELECT ended_at, log_end FROM unidesk_data.task WHERE id = $1 AND attempts = $2 AND state IS NOT NULL) e"
						" LEFT JOIN unidesk_data.retention r ON r.project_id = (SELECT project_id FROM unidesk_data.task WHERE id = $1)"
						" WHERE e.log_end IS NOT NULL LIMIT 1", &args) == 0)
		return false;
	follow->log_end = unidesk_column_int64(0, 1);
	follow->removed = follow->stored_until == 0 && follow->log_end > 0 && DatumGetBool(unidesk_column(0, 3, NULL));
	newest = unidesk_column_time(0, 2);
	if (follow->stored_until > 0)
		newest = Max(newest, follow->stored_at);
	return follow->stored_until < follow->log_end && !follow->removed &&
		newest + LATE_S * USECS_PER_SEC > unidesk_now();
}

/* What is stored from the offset on, as much of it as one call gives. */
static void
give_bytes(ReturnSetInfo *result, const Follow *follow)
{
	static SPIPlanPtr plan;
	UnideskArgs args = {0};
	int64		from = Max(follow->offset, follow->stored_from);

	if (follow->stored_from > follow->offset)
		text_out(result, follow, "marker", follow->offset,
				 psprintf(MARKER_TEXT, (long long) (follow->stored_from - follow->offset)));
	unidesk_arg_int64(&args, follow->task_id);
	unidesk_arg_int32(&args, follow->attempt);
	unidesk_arg_int64(&args, from);
	unidesk_arg_int64(&args, from + FOLLOW_BYTES_MAX);
	/* By the index: a long log has very many chunks. */
	unidesk_arg_int64(&args, from - UNIDESK_LOG_BLOCK_BYTES_MAX);
	unidesk_execute(&plan,
					"SELECT unidesk._stream_name(stream), \"offset\" + skip, substring(bytes, skip + 1, length - skip - beyond) FROM ("
					"SELECT *, greatest($3 - \"offset\", 0)::integer AS skip, greatest(\"offset\" + length - $4, 0)::integer AS beyond"
					" FROM unidesk_data.log_piece WHERE task_id = $1 AND attempt = $2 AND stored_from > $5 AND stored_from < $4 AND stored_until > $3"
					" AND \"offset\" < $4 AND \"offset\" + length > $3) p ORDER BY \"offset\"", &args);
	for (uint64 row = 0; row < SPI_processed; row++)
		row_out(result, follow, unidesk_column_text(row, 1), unidesk_column_int64(row, 2), unidesk_column(row, 3, NULL));
}

static void
give_end(ReturnSetInfo *result, const Follow *follow)
{
	int64		end = follow->removed ? follow->log_end : follow->stored_until;

	if (follow->removed && follow->offset < end)
		text_out(result, follow, "marker", follow->offset, psprintf(MARKER_TEXT, (long long) (end - follow->offset)));
	text_out(result, follow, "end", end, "");
}

/* True when there is something to give: it is given. */
static bool
look(ReturnSetInfo *result, Follow *follow)
{
	bool		given = true;

	/* Its memory is each turn's own: there may be very many. */
	SPI_connect();
	look_at_task(follow);
	look_at_log(follow);
	if (follow->stored_until > follow->offset)
		give_bytes(result, follow);
	else if (follow->is_over && !rest_may_come(follow))
		give_end(result, follow);
	else
		given = false;
	SPI_finish();
	return given;
}

static void
follow_until(ReturnSetInfo *result, Follow *follow, TimestampTz until)
{
	int			slot = unidesk_follow_slot(follow->task_id);

	unidesk_shared_follow_prepare(slot);
	while (!look(result, follow))
	{
		long		left_ms = (until - GetCurrentTimestamp()) / 1000;

		if (left_ms <= 0)
			break;
		unidesk_check_may_wait(follow->task_id, follow->own);
		unidesk_shared_follow(slot, Min(left_ms, FOLLOW_SLICE_MS));
		CHECK_FOR_INTERRUPTS();
	}
	unidesk_shared_wait_done();
}

PG_FUNCTION_INFO_V1(unidesk_task_log_follow);

/* unidesk.task_log_follow(task, offset, attempt, timeout). */
Datum
unidesk_task_log_follow(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	Follow		follow = {0};
	Interval   *timeout;

	if (PG_ARGISNULL(0) || PG_ARGISNULL(1) || PG_ARGISNULL(3))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("task, offset or timeout is missing"),
				 errhint("For example SELECT * FROM unidesk.task_log_follow(7, 0, timeout => '30 s').")));
	follow.task_id = PG_GETARG_INT64(0);
	follow.offset = PG_GETARG_INT64(1);
	timeout = PG_GETARG_INTERVAL_P(3);
	if (follow.offset < 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("offset is negative"),
				 errhint("Begin with 0; go on where the last row you got ends.")));
	if (!PG_ARGISNULL(2))
	{
		follow.attempt = PG_GETARG_INT32(2);
		if (follow.attempt < 1)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("attempt is not positive"),
					 errhint("Attempts count from 1; NULL is the newest.")));
	}
	if (timeout->month != 0 || timeout->day != 0 || timeout->time < 0 || timeout->time > FOLLOW_S_MAX * USECS_PER_SEC)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("timeout is not between 0 and %d seconds", FOLLOW_S_MAX),
				 errhint("Call it again when it gives no rows; a longer call would keep VACUUM from its work.")));

	InitMaterializedSRF(fcinfo, 0);
	SPI_connect();
	unidesk_check_task_access(follow.task_id, UNIDESK_VIEWER);
	SPI_finish();
	follow_until(result, &follow, GetCurrentTimestamp() + timeout->time);
	return (Datum) 0;
}
