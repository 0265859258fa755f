/*
 * background.c
 *	  What the background workers share: start, transactions, reload.
 *
 * A worker connects with no role named, since a missing role would be FATAL
 * in a loop, and becomes the owner for each transaction.  While the objects are
 * of another version than the library it stands still, and says so once.
 */
#include "unidesk.h"

#include "access/xact.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "tcop/tcopprot.h"
#include "utils/acl.h"
#include "utils/guc.h"
#include "utils/snapmgr.h"

#include "shared.h"
#include "version.h"
#include "worker.h"

#define RESTART_S 1

/* What the last transaction found, and what that of the turn before did. */
static UnideskInstalled installed = UNIDESK_INSTALLED_NONE;

bool
unidesk_objects_fit(void)
{
	return installed == UNIDESK_INSTALLED_SAME;
}

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
					(errmsg("%s stands still: the extension's objects are of version %s, its library is of version %s",
							MyBgworkerEntry->bgw_name, version, UNIDESK_VERSION),
					 errhint("%s", unidesk_version_hint(installed))));
		else if (before == UNIDESK_INSTALLED_OLDER && installed == UNIDESK_INSTALLED_SAME)
			ereport(LOG, (errmsg("the extension's objects are of version %s now: %s works", version, MyBgworkerEntry->bgw_name)));
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

bool
unidesk_in_transaction(const char *activity, bool (*part) (void))
{
	MemoryContext context = CurrentMemoryContext;
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
	MemoryContextSwitchTo(context);
	return result;
}

bool
unidesk_is_due(TimestampTz *last, int64 every_s)
{
	TimestampTz now = unidesk_now();

	if (*last != 0 && now >= *last && now - *last < every_s * USECS_PER_SEC)
		return false;
	*last = now;
	return true;
}

void
unidesk_worker_connect(const char *lock_timeout)
{
	pqsignal(SIGTERM, die);
	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	BackgroundWorkerUnblockSignals();
	BackgroundWorkerInitializeConnection(unidesk_database, NULL, 0);
	SetConfigOption("search_path", "pg_catalog, pg_temp", PGC_SUSET, PGC_S_OVERRIDE);
	/* The door and the pass force a synchronous commit where one is needed. */
	SetConfigOption("synchronous_commit", "off", PGC_SUSET, PGC_S_OVERRIDE);
	SetConfigOption("lock_timeout", lock_timeout, PGC_SUSET, PGC_S_OVERRIDE);
	SetConfigOption("statement_timeout", "0", PGC_SUSET, PGC_S_OVERRIDE);
}

bool
unidesk_worker_reload(void)
{
	if (!ConfigReloadPending)
		return false;
	ConfigReloadPending = false;
	ProcessConfigFile(PGC_SIGHUP);
	return true;
}

void
unidesk_worker_register(const char *name, const char *function)
{
	BackgroundWorker worker = {0};

	worker.bgw_flags = BGWORKER_SHMEM_ACCESS | BGWORKER_BACKEND_DATABASE_CONNECTION;
	worker.bgw_start_time = BgWorkerStart_RecoveryFinished;
	worker.bgw_restart_time = RESTART_S;
	strlcpy(worker.bgw_library_name, "unidesk", sizeof(worker.bgw_library_name));
	strlcpy(worker.bgw_function_name, function, sizeof(worker.bgw_function_name));
	strlcpy(worker.bgw_name, name, sizeof(worker.bgw_name));
	strlcpy(worker.bgw_type, name, sizeof(worker.bgw_type));
	RegisterBackgroundWorker(&worker);
}
