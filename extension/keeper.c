/*
 * keeper.c
 *	  The keeper: a background worker for what takes its time.
 *
 * It measures the room on the volume, makes and drops partitions, merges log
 * chunks into blocks and keeps what projects keep within bounds.  Each step is
 * a transaction of its own with a short wait for locks: one that fails is
 * reported and comes again with the next round, and nothing waits for it.
 */
#include "unidesk.h"

#include "access/xact.h"
#include "access/xlog.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/bgwriter.h"
#include "storage/latch.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

#include "keeper.h"
#include "shared.h"
#include "space.h"
#include "worker.h"

#define MEASURE_EVERY_MS 2000
#define ROUND_EVERY_S 600
/* While the volume is full. */
#define URGENT_ROUND_EVERY_S 30
/* Merging leaves the processor to others in between. */
#define STEP_PAUSE_US 2000

PGDLLEXPORT void unidesk_keeper_main(Datum arg);

static MemoryContext keeper_context;

/* The statements of a round, and the one that is to run now. */
static char **steps;
static int	step_count;
static const char *step;

/* A step did what it may do at once, and there is more. */
static bool more_to_do;

/* Run one part; what it could not do comes again. */
static bool
try_part(const char *activity, bool (*part) (void), bool *failed)
{
	volatile bool result = false;

	PG_TRY();
	{
		result = unidesk_in_transaction(activity, part);
	}
	PG_CATCH();
	{
		ErrorData  *error;

		MemoryContextSwitchTo(keeper_context);
		error = CopyErrorData();
		FlushErrorState();
		AbortCurrentTransaction();
		MemoryContextSwitchTo(keeper_context);
		pgstat_report_activity(STATE_IDLE, NULL);
		ereport(WARNING,
				(errcode(error->sqlerrcode),
				 errmsg("left for later: %s: %s", activity, error->message)));
		if (failed != NULL)
			*failed = true;
	}
	PG_END_TRY();
	return result;
}

/* Runs step, a call of one of the functions in 10_storage.sql. */
static bool
part_step(void)
{
	int			result = SPI_execute(step, false, 0);

	if (result < 0)
		elog(ERROR, "could not execute \"%s\"", step);
	/* Bytes removed. */
	if (result == SPI_OK_SELECT && SPI_gettypeid(SPI_tuptable->tupdesc, 1) == INT8OID && unidesk_column_int64(0, 1) > 0)
		more_to_do = true;
	return true;
}

static bool
part_list_steps(void)
{
	static SPIPlanPtr plan;
	UnideskArgs args = {0};
	MemoryContext context;
	uint64		used;
	uint64		size;
	int64		excess = 0;

	unidesk_space_get(&used, &size);
	if (unidesk_space_level() >= UNIDESK_SPACE_WARN)
		excess = (int64) used - (int64) (size / 100 * Max(unidesk_disk_warn - 5, 0));
	unidesk_arg_time(&args, unidesk_now());
	unidesk_arg_int32(&args, unidesk_event_keep);
	unidesk_arg_int32(&args, unidesk_log_keep);
	unidesk_arg_int64(&args, (int64) unidesk_log_keep_size * 1024 * 1024);
	unidesk_arg_int32(&args, unidesk_key_keep);
	unidesk_arg_int64(&args, excess);
	unidesk_arg_int64(&args, (int64) (size - used));
	unidesk_arg_int64(&args, unidesk_space_share());
	step_count = unidesk_execute(&plan, "SELECT unidesk_data._tidy_steps($1, $2, $3, $4, $5, $6, $7, $8)", &args);
	context = MemoryContextSwitchTo(keeper_context);
	steps = palloc(sizeof(char *) * (step_count + 1));
	for (int i = 0; i < step_count; i++)
		steps[i] = pstrdup(unidesk_column_text(i, 1));
	MemoryContextSwitchTo(context);
	return true;
}

/* Partitions and retention. */
static bool
tidy(void)
{
	step_count = 0;
	more_to_do = false;
	if (!try_part("list of steps", part_list_steps, NULL))
		return false;
	for (int i = 0; i < step_count; i++)
	{
		step = steps[i];
		try_part(step, part_step, NULL);
		CHECK_FOR_INTERRUPTS();
	}
	return true;
}

static void
measure(void)
{
	if (!unidesk_space_measure())
		return;
	unidesk_wake_worker();
	/* WAL that is not needed any more is room, and no room for it is a PANIC. */
	if (unidesk_space_level() >= UNIDESK_SPACE_NO_LOGS)
		RequestCheckpoint(CHECKPOINT_IMMEDIATE | CHECKPOINT_FORCE);
}

static void
merge_logs(void)
{
	bool		failed = false;

	try_part("log intake", unidesk_segment_begin, NULL);
	while (!failed && try_part("merging logs", unidesk_segment_step, &failed))
	{
		measure();
		pg_usleep(STEP_PAUSE_US);
		CHECK_FOR_INTERRUPTS();
	}
	while (!failed && try_part("emptying a log segment", unidesk_segment_empty, &failed))
		CHECK_FOR_INTERRUPTS();
	if (failed)
		unidesk_segment_failed();
}

static void
keeper_round(void)
{
	static TimestampTz last_tidy;
	uint64		wanted = unidesk_shared_tidy_wanted();
	bool		asked = wanted != unidesk_shared_tidy_done();

	measure();
	if (asked || unidesk_space_level() >= UNIDESK_SPACE_NO_LOGS)
		unidesk_segment_hurry();
	merge_logs();
	if (asked || unidesk_is_due(&last_tidy, unidesk_space_level() >= UNIDESK_SPACE_WARN ? URGENT_ROUND_EVERY_S : ROUND_EVERY_S))
	{
		/* Not there yet, or not done. */
		if (!tidy() || more_to_do)
			last_tidy = 0;
		measure();
	}
	unidesk_shared_set_tidy_done(wanted);
}

void
unidesk_keeper_main(Datum arg)
{
	/* Its statements wait for nobody: others would wait behind them. */
	unidesk_worker_connect("200ms");
	keeper_context = AllocSetContextCreate(TopMemoryContext, "unidesk keeper", ALLOCSET_DEFAULT_SIZES);
	MemoryContextSwitchTo(keeper_context);
	unidesk_shared_keeper_started();
	for (;;)
	{
		keeper_round();
		MemoryContextReset(keeper_context);
		if (unidesk_shared_tidy_wanted() == unidesk_shared_tidy_done())
			WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, MEASURE_EVERY_MS, PG_WAIT_EXTENSION);
		ResetLatch(MyLatch);
		CHECK_FOR_INTERRUPTS();
		unidesk_worker_reload();
	}
}

PG_FUNCTION_INFO_V1(unidesk_tidy);

/* unidesk._tidy(): let the keeper make a whole round now, and wait for it. */
Datum
unidesk_tidy(PG_FUNCTION_ARGS)
{
	uint64		wanted = unidesk_shared_want_tidy();

	for (int i = 0; unidesk_shared_tidy_done() < wanted; i++)
	{
		if (i > 60000)
			ereport(ERROR, (errmsg("the keeper made no round in 60 seconds")));
		unidesk_wake_keeper();
		pg_usleep(1000);
		CHECK_FOR_INTERRUPTS();
	}
	PG_RETURN_VOID();
}
