/*
 * worker.c
 *	  The scheduler's background worker: one per server.
 *
 * It sleeps on its latch, which commits set, and on a timer; a turn is a few
 * short transactions.  Until the extension is there it sleeps quietly; while its
 * objects are of another version than the library it sleeps too, and says so
 * once.  An ERROR ends the turn and not the worker.
 */
#include "unidesk.h"

#include "access/xact.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "storage/latch.h"
#include "utils/memutils.h"

#include "memory.h"
#include "shared.h"
#include "worker.h"

#define ERROR_PAUSE_MS 1000

PGDLLEXPORT void unidesk_worker_main(Datum arg);

static MemoryContext turn_context;

/* Another timeline is another life: its fences are not those of the old server. */
static bool
part_follow_timeline(void)
{
	static SPIPlanPtr plan;
	UnideskArgs none = {0};

	unidesk_execute(&plan, "SELECT unidesk_data._follow_timeline()", &none);
	if (DatumGetBool(unidesk_column(0, 1, NULL)))
	{
		ForceSyncCommit();
		ereport(LOG, (errmsg("the server is on a new timeline: the incarnation was renewed")));
	}
	return true;
}

/* Until the next deadline of a task, at most unidesk.worker_nap. */
static long
nap_ms(void)
{
	TimestampTz due = unidesk_memory_next_due();
	long		left;

	if (due == 0 || !unidesk_objects_fit())
		return unidesk_worker_nap;
	left = (long) ((due - unidesk_now()) / 1000) + 1;
	return Max(1, Min(left, unidesk_worker_nap));
}

/* One turn; returns how long to sleep, in ms. */
static long
turn(void)
{
	static TimestampTz last_watch;
	static TimestampTz last_flush;
	static bool timeline_followed;
	bool		watch = unidesk_is_due(&last_watch, 1);
	bool		more = false;

	if (!timeline_followed)
		timeline_followed = unidesk_in_transaction("incarnation", part_follow_timeline);
	if (watch)
		unidesk_in_transaction("watch", unidesk_watch_contact);
	if (unidesk_is_due(&last_flush, unidesk_beat_flush))
		unidesk_in_transaction("flush beats", unidesk_flush_beats);
	if (unidesk_memory_has_work(unidesk_now()))
	{
		more = unidesk_in_transaction("schedule", unidesk_schedule);
		unidesk_schedule_committed();
		if (unidesk_verify_memory)
			unidesk_in_transaction("verify memory", unidesk_memory_verify);
	}
	/* The memory that says whether there are any is new now. */
	if (watch)
	{
		unidesk_in_transaction("downtimes", unidesk_watch_downtimes);
		unidesk_in_transaction("updates", unidesk_watch_updates);
	}
	if (unidesk_bridges_to_wake())
		unidesk_in_transaction("wake bridges", unidesk_wake_bridges);
	unidesk_shared_pass_done();
	return more ? 0 : nap_ms();
}

/* A turn whose ERROR is reported, rolled back, and followed by a pause. */
static long
guarded_turn(void)
{
	volatile long nap = ERROR_PAUSE_MS;

	PG_TRY();
	{
		nap = turn();
	}
	PG_CATCH();
	{
		int			code = geterrcode();

		MemoryContextSwitchTo(turn_context);
		EmitErrorReport();
		FlushErrorState();
		AbortCurrentTransaction();
		unidesk_schedule_failed(code);
		pgstat_report_activity(STATE_IDLE, NULL);
		unidesk_shared_pass_done();
	}
	PG_END_TRY();
	return nap;
}

void
unidesk_worker_main(Datum arg)
{
	unidesk_worker_connect("1s");
	turn_context = AllocSetContextCreate(TopMemoryContext, "unidesk turn", ALLOCSET_DEFAULT_SIZES);
	MemoryContextSwitchTo(turn_context);
	unidesk_warn_of_settings();
	unidesk_shared_worker_started();

	for (;;)
	{
		long		nap_ms = guarded_turn();

		MemoryContextReset(turn_context);
		if (nap_ms > 0)
			WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, nap_ms, PG_WAIT_EXTENSION);
		ResetLatch(MyLatch);
		CHECK_FOR_INTERRUPTS();
		if (unidesk_worker_reload())
		{
			unidesk_warn_of_settings();
			/* Its deadlines are by the old settings. */
			unidesk_memory_discard();
		}
	}
}

void
unidesk_worker_setup(void)
{
	unidesk_worker_register("unidesk scheduler", "unidesk_worker_main");
	unidesk_worker_register("unidesk keeper", "unidesk_keeper_main");
}
