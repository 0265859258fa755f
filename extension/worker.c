/*
 * worker.c
 *	  The background worker: one per server, connected to unidesk.database.
 *
 * It sleeps on its latch, which commits set, and on a timer; a turn is a few
 * short transactions.  It connects with no role named, since a missing role
 * would be FATAL in a loop, and becomes the owner for each transaction.  Until
 * the extension is there it sleeps quietly; while its objects are of another
 * version than the library it sleeps too, and says so once.  An ERROR ends the turn and not
 * the worker.
 */
#include "unidesk.h"

#include "access/xact.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "tcop/tcopprot.h"
#include "utils/acl.h"
#include "utils/guc.h"
#include "utils/inval.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

#include "memory.h"
#include "shared.h"
#include "version.h"
#include "worker.h"

#define RESTART_S 1
#define ERROR_PAUSE_MS 1000
#define MAINTENANCE_EVERY_S 600
/* After an ERROR: most often somebody was reading what it has to lock. */
#define MAINTENANCE_AGAIN_S 60

PGDLLEXPORT void unidesk_worker_main(Datum arg);

static MemoryContext turn_context;

/* What the last transaction found, and what that of the turn before did. */
static UnideskInstalled installed = UNIDESK_INSTALLED_NONE;

/* Are the objects those that this library works on?  Says so when they are not. */
static bool
can_work(void)
{
	char	   *version;
	UnideskInstalled before = installed;

	installed = unidesk_installed(&version);
	if (installed != before)
	{
		bool		other = installed == UNIDESK_INSTALLED_OLDER || installed == UNIDESK_INSTALLED_NEWER;

		unidesk_shared_set_other_version(other);
		if (other)
			ereport(WARNING,
					(errmsg("the scheduler stands still: the extension's objects are of version %s, its library is of version %s",
							version, UNIDESK_VERSION),
					 errhint("%s", unidesk_version_hint(installed))));
		else if (before == UNIDESK_INSTALLED_OLDER && installed == UNIDESK_INSTALLED_SAME)
			ereport(LOG, (errmsg("the extension's objects are of version %s now: the scheduler works", version)));
	}
	return installed == UNIDESK_INSTALLED_SAME;
}

/* Shown in pg_stat_activity while the worker sleeps. */
static const char *
idle_activity(void)
{
	return installed == UNIDESK_INSTALLED_OLDER ? "stands still until ALTER EXTENSION unidesk UPDATE" :
		installed == UNIDESK_INSTALLED_NEWER ? "stands still: the objects are newer than the library" : NULL;
}

/* Run one part in its own transaction, as the owner. */
static bool
in_transaction(const char *activity, bool (*part) (void))
{
	Oid			owner;
	Oid			saved_user;
	int			saved_context;
	bool		result = false;

	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	PushActiveSnapshot(GetTransactionSnapshot());
	pgstat_report_activity(STATE_RUNNING, activity);
	owner = get_role_oid(UNIDESK_OWNER_ROLE, true);
	if (can_work() && OidIsValid(owner))
	{
		GetUserIdAndSecContext(&saved_user, &saved_context);
		SetUserIdAndSecContext(owner, saved_context | SECURITY_LOCAL_USERID_CHANGE);
		SPI_connect();
		result = part();
		SPI_finish();
		SetUserIdAndSecContext(saved_user, saved_context);
	}
	PopActiveSnapshot();
	CommitTransactionCommand();
	pgstat_report_stat(false);
	pgstat_report_activity(STATE_IDLE, idle_activity());
	MemoryContextSwitchTo(turn_context);
	return result;
}

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

static bool
part_maintain(void)
{
	static SPIPlanPtr plan;
	UnideskArgs args = {0};

	unidesk_arg_int32(&args, unidesk_event_keep);
	unidesk_arg_int32(&args, unidesk_log_keep);
	unidesk_execute(&plan, "SELECT unidesk_data._maintain_partitions($1, $2)", &args);
	return true;
}

static bool
is_due(TimestampTz *last, int64 every_s)
{
	TimestampTz now = unidesk_now();

	/* A clock that went back makes it due as well. */
	if (*last != 0 && now >= *last && now - *last < every_s * USECS_PER_SEC)
		return false;
	*last = now;
	return true;
}

/* Until the next deadline of a task, at most unidesk.worker_nap. */
static long
nap_ms(void)
{
	TimestampTz due = unidesk_memory_next_due();
	long		left;

	if (due == 0 || installed != UNIDESK_INSTALLED_SAME)
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
	static TimestampTz last_maintenance;
	static bool maintained;
	static bool timeline_followed;
	bool		more = false;

	if (!timeline_followed)
		timeline_followed = in_transaction("incarnation", part_follow_timeline);
	if (is_due(&last_maintenance, maintained ? MAINTENANCE_EVERY_S : MAINTENANCE_AGAIN_S))
	{
		maintained = false;		/* also when the next line raises */
		maintained = in_transaction("partitions", part_maintain);
		if (!maintained)
			last_maintenance = 0;	/* the extension is not there yet */
	}
	if (is_due(&last_watch, 1))
		in_transaction("watch", unidesk_watch_contact);
	if (is_due(&last_flush, unidesk_beat_flush))
		in_transaction("flush beats", unidesk_flush_beats);
	if (unidesk_memory_has_work(unidesk_now()))
	{
		more = in_transaction("schedule", unidesk_schedule);
		unidesk_schedule_committed();
		if (unidesk_verify_memory)
			in_transaction("verify memory", unidesk_memory_verify);
	}
	if (unidesk_bridges_to_wake())
		in_transaction("wake bridges", unidesk_wake_bridges);
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
	pqsignal(SIGTERM, die);
	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	BackgroundWorkerUnblockSignals();
	BackgroundWorkerInitializeConnection(unidesk_database, NULL, 0);
	SetConfigOption("search_path", "pg_catalog, pg_temp", PGC_SUSET, PGC_S_OVERRIDE);
	/* The door and the pass force a synchronous commit where one is needed. */
	SetConfigOption("synchronous_commit", "off", PGC_SUSET, PGC_S_OVERRIDE);
	SetConfigOption("lock_timeout", "1s", PGC_SUSET, PGC_S_OVERRIDE);
	SetConfigOption("statement_timeout", "0", PGC_SUSET, PGC_S_OVERRIDE);
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
		if (ConfigReloadPending)
		{
			ConfigReloadPending = false;
			ProcessConfigFile(PGC_SIGHUP);
			unidesk_warn_of_settings();
		}
	}
}

void
unidesk_worker_setup(void)
{
	BackgroundWorker worker = {0};

	worker.bgw_flags = BGWORKER_SHMEM_ACCESS | BGWORKER_BACKEND_DATABASE_CONNECTION;
	worker.bgw_start_time = BgWorkerStart_RecoveryFinished;
	worker.bgw_restart_time = RESTART_S;
	strlcpy(worker.bgw_library_name, "unidesk", sizeof(worker.bgw_library_name));
	strlcpy(worker.bgw_function_name, "unidesk_worker_main", sizeof(worker.bgw_function_name));
	strlcpy(worker.bgw_name, "unidesk scheduler", sizeof(worker.bgw_name));
	strlcpy(worker.bgw_type, "unidesk scheduler", sizeof(worker.bgw_type));
	RegisterBackgroundWorker(&worker);
}
