/*
 * control.c
 *	  Waiting for a task, and what SQL asks of the worker.
 */
#include "unidesk.h"

#include "access/transam.h"
#include "access/xact.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/snapmgr.h"

#include "people.h"
#include "request.h"
#include "shared.h"

#define WAIT_S_MAX 60
/* A missed wake-up costs this much, not a whole timeout. */
#define WAIT_SLICE_MS 1000
/* A pass that takes longer is stuck. */
#define TICK_MS_MAX 10000

/* State of a task, live or ended; 0 when there is none. */
static int
task_state(int64 task_id, bool *own)
{
	static SPIPlanPtr plan;
	UnideskArgs args = {0};

	unidesk_arg_int64(&args, task_id);
	if (unidesk_execute(&plan,
						"SELECT coalesce(t.state, l.state), t.xmin FROM unidesk_data.task t"
						" LEFT JOIN unidesk_data.live l ON l.task_id = t.id WHERE t.id = $1", &args) == 0)
		return 0;
	*own = TransactionIdIsCurrentTransactionId(DatumGetTransactionId(unidesk_column(0, 2, NULL)));
	return unidesk_column_int32(0, 1);
}

void
unidesk_check_may_wait(int64 task_id, bool own)
{
	if (own)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("task %lld was submitted in this transaction, which would wait for itself", (long long) task_id),
				 errhint("COMMIT first, then wait.")));
	if (IsolationUsesXactSnapshot())
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("a transaction above READ COMMITTED cannot see a task end"),
				 errhint("Wait in a transaction with isolation level READ COMMITTED.")));
}

static void
check_can_wait(int64 task_id)
{
	bool		own = false;

	if (!UNIDESK_TASK_IS_TERMINAL(task_state(task_id, &own)))
		unidesk_check_may_wait(task_id, own);
}

PG_FUNCTION_INFO_V1(unidesk_wait_task);

/*
 * unidesk.wait_task(task, timeout): wait at most timeout (60 s at most) for
 * the task's end; returns the state reached, ended or not.
 */
Datum
unidesk_wait_task(PG_FUNCTION_ARGS)
{
	int64		task_id;
	Interval   *timeout;
	TimestampTz until;
	int			state;
	bool		own;

	if (PG_ARGISNULL(0) || PG_ARGISNULL(1))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("task or timeout is missing"),
				 errhint("For example SELECT unidesk.wait_task(7, '30 s').")));
	task_id = PG_GETARG_INT64(0);
	timeout = PG_GETARG_INTERVAL_P(1);
	if (timeout->month != 0 || timeout->day != 0 || timeout->time < 0 || timeout->time > WAIT_S_MAX * USECS_PER_SEC)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("timeout is not between 0 and %d seconds", WAIT_S_MAX),
				 errhint("Call it again while the state is not a final one; a longer call would keep VACUUM from its work.")));
	until = GetCurrentTimestamp() + timeout->time;

	SPI_connect();
	unidesk_check_task_access(task_id, UNIDESK_VIEWER);
	check_can_wait(task_id);
	unidesk_shared_wait_prepare();
	for (;;)
	{
		long		left_ms;

		state = task_state(task_id, &own);
		left_ms = (until - GetCurrentTimestamp()) / 1000;
		if (UNIDESK_TASK_IS_TERMINAL(state) || state == 0 || left_ms <= 0)
			break;
		unidesk_shared_wait_tasks(Min(left_ms, WAIT_SLICE_MS));
		CHECK_FOR_INTERRUPTS();
	}
	unidesk_shared_wait_done();
	SPI_finish();
	if (state == 0)
		PG_RETURN_NULL();
	PG_RETURN_TEXT_P(cstring_to_text(unidesk_task_state_name(state)));
}

PG_FUNCTION_INFO_V1(unidesk_worker_alive);

/* unidesk.worker_alive(): does the background worker run? */
Datum
unidesk_worker_alive(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(unidesk_shared_worker_alive());
}

PG_FUNCTION_INFO_V1(unidesk_wake);

/* unidesk._wake(): wake the worker when this transaction commits. */
Datum
unidesk_wake(PG_FUNCTION_ARGS)
{
	unidesk_note_wake();
	PG_RETURN_VOID();
}

PG_FUNCTION_INFO_V1(unidesk_rescan);

/* unidesk._rescan(): rows were changed past the door; read everything again. */
Datum
unidesk_rescan(PG_FUNCTION_ARGS)
{
	unidesk_note_all();
	PG_RETURN_VOID();
}

PG_FUNCTION_INFO_V1(unidesk_note_node_sql);

/* unidesk._note_node(node): its rows were changed by SQL. */
Datum
unidesk_note_node_sql(PG_FUNCTION_ARGS)
{
	unidesk_note_node(PG_GETARG_INT32(0));
	PG_RETURN_VOID();
}

PG_FUNCTION_INFO_V1(unidesk_memory_differences);

/* unidesk._memory_differences(): what verify_memory found since the start. */
Datum
unidesk_memory_differences(PG_FUNCTION_ARGS)
{
	PG_RETURN_INT64(unidesk_shared_memory_differences());
}

PG_FUNCTION_INFO_V1(unidesk_labels_text);

/* unidesk._labels_canonical(labels jsonb): the text that rows store. */
Datum
unidesk_labels_text(PG_FUNCTION_ARGS)
{
	PG_RETURN_TEXT_P(cstring_to_text(unidesk_labels_canonical(PG_ARGISNULL(0) ? NULL : PG_GETARG_JSONB_P(0), "labels")));
}

PG_FUNCTION_INFO_V1(unidesk_last_seen);

/* unidesk._last_seen(node): last beat in shared memory, NULL when none. */
Datum
unidesk_last_seen(PG_FUNCTION_ARGS)
{
	UnideskBeat beat;

	if (!unidesk_beat_get(PG_GETARG_INT32(0), &beat))
		PG_RETURN_NULL();
	PG_RETURN_TIMESTAMPTZ(beat.last_seen);
}

PG_FUNCTION_INFO_V1(unidesk_tick);

/*
 * unidesk._tick(now): set the mock clock and let the worker make two whole
 * passes, the first of which may have begun before; NULL gives the real
 * clock back.  Only where unidesk.mock_clock is on.
 */
Datum
unidesk_tick(PG_FUNCTION_ARGS)
{
	if (!unidesk_mock_clock)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("the mock clock is off"),
				 errhint("Set unidesk.mock_clock = on and restart the server; tests only.")));
	if (!PG_ARGISNULL(0) && TIMESTAMP_NOT_FINITE(PG_GETARG_TIMESTAMPTZ(0)))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("the mock clock cannot be infinite"),
				 errhint("Give a time, or NULL for the real clock.")));
	unidesk_shared_set_mock_now(PG_ARGISNULL(0) ? 0 : PG_GETARG_TIMESTAMPTZ(0));
	if (!unidesk_shared_wait_passes(2, TICK_MS_MAX))
		ereport(ERROR, (errmsg("the worker made no pass in %d seconds", TICK_MS_MAX / 1000)));
	PG_RETURN_VOID();
}
