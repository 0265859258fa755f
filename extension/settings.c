/*
 * settings.c
 *	  The settings unidesk.*, each with its unit; docs/settings.md lists them.
 */
#include "unidesk.h"

#include <limits.h>

#include "miscadmin.h"
#include "utils/guc.h"

#include "common/hostlist.h"
#include "shared.h"

char	   *unidesk_database;
bool		unidesk_worker;
bool		unidesk_mock_clock;
bool		unidesk_verify_memory;
int			unidesk_max_nodes;
int			unidesk_beat_interval;
int			unidesk_offline_after;
int			unidesk_session_silent_after;
int			unidesk_bridge_silent_after;
int			unidesk_lease;
int			unidesk_lease_margin;
int			unidesk_agent_lease_margin;
int			unidesk_grace;
int			unidesk_withdraw_after;
int			unidesk_report_repeat;
int			unidesk_infra_retries;
int			unidesk_retry_backoff;
int			unidesk_retry_backoff_max;
int			unidesk_retry_jitter;
int			unidesk_checkpoint_restarts;
int			unidesk_checkpoint_min_run;
int			unidesk_checkpoint_wait;
int			unidesk_pass_placements;
int			unidesk_max_demands;
int			unidesk_worker_nap;
int			unidesk_beat_flush;
int			unidesk_log_budget;
int			unidesk_log_credit;
int			unidesk_disk_floor;
int			unidesk_fetch_timeout;
int			unidesk_build_timeout;
int			unidesk_log_keep;
int			unidesk_event_keep;
int			unidesk_exclude_for;
int			unidesk_foreign_keep;
int			unidesk_left_limit;
int			unidesk_stop_limit;
int			unidesk_output_limit;
int			unidesk_prepare_limit;
int			unidesk_held_check;
int			unidesk_bridge_behind_after;
int			unidesk_log_keep_size;
int			unidesk_log_compact_after;
int			unidesk_key_keep;
int			unidesk_volume_size;
int			unidesk_disk_warn;
int			unidesk_disk_stop_logs;
int			unidesk_disk_stop_submits;
char	   *unidesk_allowed_git_hosts;

/*
 * Settings are read from a file one by one and in any order, so one cannot
 * refuse another.  Where two do not fit, what is used instead is computed here,
 * and the worker says so.
 */
int
unidesk_beat_interval_used(void)
{
	/* One beat may be lost, or a healthy node is called offline. */
	return Min(unidesk_beat_interval, Max(unidesk_offline_after / 2, 1));
}

int
unidesk_session_silent_after_used(void)
{
	/* Or another machine takes over a node between two of its beats. */
	return Max(unidesk_session_silent_after, 2 * unidesk_beat_interval_used());
}

int
unidesk_agent_lease_margin_used(void)
{
	/* Or the shortest lease is over on the node while its beats are in time. */
	return Min(unidesk_agent_lease_margin, unidesk_lease_margin);
}

static void
warn_unfit(const char *name, int set, const char *other, int used)
{
	if (set != used)
		ereport(WARNING,
				(errmsg("unidesk.%s of %d s does not fit %s: %d s is used", name, set, other, used),
				 errhint("Change one of them and reload; docs/settings.md says how they belong together.")));
}

void
unidesk_warn_of_settings(void)
{
	warn_unfit("beat_interval", unidesk_beat_interval,
			   "unidesk.offline_after, which has to be at least twice as long", unidesk_beat_interval_used());
	warn_unfit("session_silent_after", unidesk_session_silent_after,
			   "unidesk.beat_interval, of which it has to be at least twice", unidesk_session_silent_after_used());
	warn_unfit("agent_lease_margin", unidesk_agent_lease_margin,
			   "unidesk.lease_margin, which it must not exceed", unidesk_agent_lease_margin_used());
}

/* One integer setting that a reload changes. */
typedef struct IntSetting
{
	const char *name;
	const char *description;
	int		   *variable;
	int			boot;
	int			min;
	int			max;
	int			unit;			/* GUC_UNIT_* */
} IntSetting;

#define DAY_S (24 * 3600)

static const IntSetting int_settings[] = {
	{"unidesk.beat_interval", "Time between two beats of an agent.",
	&unidesk_beat_interval, 15, 1, 3600, GUC_UNIT_S},
	{"unidesk.offline_after", "A node that is silent for longer is offline.",
	&unidesk_offline_after, 90, 2, DAY_S, GUC_UNIT_S},
	{"unidesk.session_silent_after", "Another machine may take over a node whose session is silent for longer.",
	&unidesk_session_silent_after, 45, 1, DAY_S, GUC_UNIT_S},
	{"unidesk.bridge_silent_after", "A bridge that is silent for longer is over, and its sessions with it.",
	&unidesk_bridge_silent_after, 30, 15, DAY_S, GUC_UNIT_S},
	{"unidesk.lease", "Lease of a task that names none.",
	&unidesk_lease, 7200, 0, 30 * DAY_S, GUC_UNIT_S},
	{"unidesk.lease_margin", "A lease is at least offline_after + grace + this.",
	&unidesk_lease_margin, 60, 0, DAY_S, GUC_UNIT_S},
	{"unidesk.agent_lease_margin", "A node ends a task this long before its lease and grace are over.",
	&unidesk_agent_lease_margin, 30, 0, DAY_S, GUC_UNIT_S},
	{"unidesk.grace", "Time between TERM and KILL of a task that names none.",
	&unidesk_grace, 30, 0, DAY_S, GUC_UNIT_S},
	{"unidesk.withdraw_after", "An assignment that is not answered for this long is withdrawn.",
	&unidesk_withdraw_after, 60, 1, DAY_S, GUC_UNIT_S},
	{"unidesk.report_repeat", "An agent repeats a report that is not acknowledged for this long.",
	&unidesk_report_repeat, 5, 1, 3600, GUC_UNIT_S},
	{"unidesk.infra_retries", "Attempts of one task that may end for reasons of infrastructure before it fails.",
	&unidesk_infra_retries, 20, 0, 10000, 0},
	{"unidesk.retry_backoff", "Wait before the first retry; doubled with each, up to retry_backoff_max.",
	&unidesk_retry_backoff, 5, 0, 3600, GUC_UNIT_S},
	{"unidesk.retry_backoff_max", "Longest wait before a retry, but for what a server asks for.",
	&unidesk_retry_backoff_max, 300, 0, DAY_S, GUC_UNIT_S},
	{"unidesk.retry_jitter", "Percentage of the wait before a retry that is left to chance.",
	&unidesk_retry_jitter, 50, 0, 100, 0},
	{"unidesk.checkpoint_restarts", "How often a task may end with its restart_exit_code and be started again.",
	&unidesk_checkpoint_restarts, 1000, 0, 1000000, 0},
	{"unidesk.checkpoint_min_run", "An attempt that ran shorter than this before its restart_exit_code is started again after unidesk.retry_backoff.",
	&unidesk_checkpoint_min_run, 1, 0, DAY_S, GUC_UNIT_S},
	{"unidesk.checkpoint_wait", "A task waits this long for the node that has its checkpoint, then starts elsewhere without it.",
	&unidesk_checkpoint_wait, DAY_S, 0, 365 * DAY_S, GUC_UNIT_S},
	{"unidesk.exclude_for", "A node on which an attempt failed for reasons of infrastructure does not get its retry for this long.",
	&unidesk_exclude_for, 60, 0, DAY_S, GUC_UNIT_S},
	{"unidesk.foreign_keep", "Attempts of another incarnation, found on a node after a restore, are stopped after this.",
	&unidesk_foreign_keep, DAY_S, 0, 365 * DAY_S, GUC_UNIT_S},
	{"unidesk.left_limit", "An attempt without a lease whose machine another one replaced is lost after this.",
	&unidesk_left_limit, 7 * DAY_S, 1, 365 * DAY_S, GUC_UNIT_S},
	{"unidesk.stop_limit", "A stop that an online node does not confirm for this long after the grace is over all the same.",
	&unidesk_stop_limit, 3600, 1, 30 * DAY_S, GUC_UNIT_S},
	{"unidesk.output_limit", "An attempt whose program has ended, but not the storing of its output, fails after this.",
	&unidesk_output_limit, DAY_S, 1, 30 * DAY_S, GUC_UNIT_S},
	{"unidesk.prepare_limit", "Longest preparation of a task that names no prepare_timeout.",
	&unidesk_prepare_limit, 4 * 3600, 1, 30 * DAY_S, GUC_UNIT_S},
	{"unidesk.held_check", "Nodes that hold what has ended are asked this often what they have.",
	&unidesk_held_check, 60, 1, DAY_S, GUC_UNIT_S},
	{"unidesk.bridge_behind_after", "While a bridge has messages that wait for longer, no node's silence counts.",
	&unidesk_bridge_behind_after, 5000, 1, DAY_S * 1000, GUC_UNIT_MS},
	{"unidesk.pass_placements", "Placements that one pass of the scheduler writes at most.",
	&unidesk_pass_placements, 1000, 1, 100000, 0},
	{"unidesk.max_demands", "Different demands of one person that the scheduler looks at; tasks with others wait.",
	&unidesk_max_demands, 1000, 1, 100000, 0},
	{"unidesk.worker_nap", "The worker looks at everything at least this often.",
	&unidesk_worker_nap, 1000, 10, 60000, GUC_UNIT_MS},
	{"unidesk.beat_flush", "Beats are written from shared memory to node_live this often.",
	&unidesk_beat_flush, 30, 1, 3600, GUC_UNIT_S},
	{"unidesk.log_budget", "Bytes of log that an attempt may write; the rest is cut, with a marker.",
	&unidesk_log_budget, 100 * 1024, 4, INT_MAX / 2, GUC_UNIT_KB},
	{"unidesk.log_credit", "Bytes of log that an agent may send ahead of their acknowledgement.",
	&unidesk_log_credit, 256, 1, 16 * 1024, GUC_UNIT_KB},
	{"unidesk.disk_floor", "A node with less free disk accepts no work.",
	&unidesk_disk_floor, 2048, 0, INT_MAX / 2, GUC_UNIT_MB},
	{"unidesk.fetch_timeout", "Longest fetch of a repository.",
	&unidesk_fetch_timeout, 3600, 1, 7 * DAY_S, GUC_UNIT_S},
	{"unidesk.build_timeout", "Longest build of an environment.",
	&unidesk_build_timeout, 7200, 1, 7 * DAY_S, GUC_UNIT_S},
	{"unidesk.log_keep", "Days that logs are kept.",
	&unidesk_log_keep, 30, 1, 36500, 0},
	{"unidesk.event_keep", "Days that events are kept.",
	&unidesk_event_keep, 365, 1, 36500, 0},
	{"unidesk.log_keep_size", "Bytes that the stored logs of a project may take; 0: no limit.",
	&unidesk_log_keep_size, 0, 0, INT_MAX, GUC_UNIT_MB},
	{"unidesk.log_compact_after", "Log chunks older than this are merged and compressed.",
	&unidesk_log_compact_after, 900, 1, DAY_S, GUC_UNIT_S},
	{"unidesk.key_keep", "Days that idempotency keys of ended tasks are kept.",
	&unidesk_key_keep, 30, 1, 36500, 0},
	{"unidesk.volume_size", "Size of the database's volume where its file system does not limit it; 0: the file system's.",
	&unidesk_volume_size, 0, 0, INT_MAX, GUC_UNIT_MB},
	{"unidesk.disk_warn", "Percentage of the volume above which the oldest logs are removed early.",
	&unidesk_disk_warn, 80, 1, 100, 0},
	{"unidesk.disk_stop_logs", "Percentage of the volume above which no log bytes are taken.",
	&unidesk_disk_stop_logs, 90, 1, 100, 0},
	{"unidesk.disk_stop_submits", "Percentage of the volume above which no tasks are taken or placed.",
	&unidesk_disk_stop_submits, 95, 1, 100, 0},
};

static bool
check_git_hosts(char **value, void **extra, GucSource source)
{
	size_t		len;
	const char *bad = hostlist_bad_item(*value, &len);

	if (bad == NULL)
		return true;
	GUC_check_errdetail("\"%.*s\" is neither host, host:port nor *.", (int) Min(len, 100), bad);
	return false;
}

void
unidesk_define_settings(void)
{
	DefineCustomStringVariable("unidesk.database",
							   "Database that holds the extension; one per server.",
							   NULL, &unidesk_database, "unidesk",
							   PGC_POSTMASTER, 0, NULL, NULL, NULL);
	DefineCustomBoolVariable("unidesk.worker",
							 "Run the background worker. Off where a dump is only being proven.",
							 NULL, &unidesk_worker, true,
							 PGC_POSTMASTER, 0, NULL, NULL, NULL);
	DefineCustomBoolVariable("unidesk.mock_clock",
							 "Let unidesk._tick set the clock. For tests only.",
							 NULL, &unidesk_mock_clock, false,
							 PGC_POSTMASTER, 0, NULL, NULL, NULL);
	DefineCustomBoolVariable("unidesk.verify_memory",
							 "Compare the worker's memory with the rows after each pass. For tests only: it reads everything.",
							 NULL, &unidesk_verify_memory, false,
							 PGC_SIGHUP, 0, NULL, NULL, NULL);
	DefineCustomIntVariable("unidesk.max_nodes",
							"Node ids reach up to this; sizes shared memory.",
							NULL, &unidesk_max_nodes, 16384, 16, 1000000,
							PGC_POSTMASTER, 0, NULL, NULL, NULL);
	DefineCustomStringVariable("unidesk.allowed_git_hosts",
							   "Hosts that repositories of new tasks may lie on: host or host:port, separated by commas, or * for any.",
							   NULL, &unidesk_allowed_git_hosts, HOSTLIST_ANY,
							   PGC_SUSET, 0, check_git_hosts, NULL, NULL);
	for (size_t i = 0; i < lengthof(int_settings); i++)
	{
		const IntSetting *s = &int_settings[i];

		DefineCustomIntVariable(s->name, s->description, NULL, s->variable,
								s->boot, s->min, s->max, PGC_SIGHUP, s->unit,
								NULL, NULL, NULL);
	}
	MarkGUCPrefixReserved("unidesk");
}

TimestampTz
unidesk_now(void)
{
	TimestampTz mock = unidesk_mock_clock ? unidesk_shared_mock_now() : 0;

	return mock != 0 ? mock : GetCurrentTimestamp();
}
