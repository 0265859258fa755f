/*
 * unidesk.h
 *	  What the files of the extension share: settings, clock, codes, SPI helpers.
 *
 * Subjects with a header of their own: door.h (the one door for state),
 * shared.h (shared memory), report.h (bodies of reports).
 */
#ifndef UNIDESK_H
#define UNIDESK_H

#include "postgres.h"

#include "executor/spi.h"
#include "utils/timestamp.h"
#include "utils/uuid.h"

#define UNIDESK_EXTENSION "unidesk"
#define UNIDESK_VERSION "0.2"
#define UNIDESK_OWNER_ROLE "unidesk_owner"
#define UNIDESK_BRIDGE_ROLE "unidesk_bridge"
#define UNIDESK_BRIDGE_API_VERSION 1

/* Settings (settings.c); docs/settings.md lists them. */
extern char *unidesk_database;
extern bool unidesk_worker;
extern bool unidesk_mock_clock;
extern bool unidesk_verify_memory;
extern int	unidesk_max_nodes;
extern int	unidesk_beat_interval;	/* s */
extern int	unidesk_offline_after;	/* s */
extern int	unidesk_session_silent_after;	/* s */
extern int	unidesk_bridge_silent_after;	/* s */
extern int	unidesk_lease;		/* s */
extern int	unidesk_lease_margin;	/* s */
extern int	unidesk_agent_lease_margin; /* s */
extern int	unidesk_grace;		/* s */
extern int	unidesk_withdraw_after; /* s */
extern int	unidesk_report_repeat;	/* s */
extern int	unidesk_infra_retries;
extern int	unidesk_retry_backoff;	/* s */
extern int	unidesk_retry_backoff_max;	/* s */
extern int	unidesk_retry_jitter;	/* % */
extern int	unidesk_checkpoint_restarts;
extern int	unidesk_checkpoint_min_run; /* s */
extern int	unidesk_checkpoint_wait;	/* s */
extern int	unidesk_pass_placements;
extern int	unidesk_max_demands;
extern int	unidesk_worker_nap; /* ms */
extern int	unidesk_beat_flush; /* s */
extern int	unidesk_log_budget; /* kB */
extern int	unidesk_log_credit; /* kB */
extern int	unidesk_disk_floor; /* MB */
extern int	unidesk_fetch_timeout;	/* s */
extern int	unidesk_build_timeout;	/* s */
extern int	unidesk_log_keep;	/* days */
extern int	unidesk_event_keep; /* days */
extern int	unidesk_exclude_for;	/* s */
extern int	unidesk_log_keep_size;	/* MB */
extern int	unidesk_log_compact_after;	/* s */
extern int	unidesk_key_keep;	/* days */
extern int	unidesk_volume_size;	/* MB */
extern int	unidesk_disk_warn;	/* % */
extern int	unidesk_disk_stop_logs; /* % */
extern int	unidesk_disk_stop_submits;	/* % */
extern int	unidesk_foreign_keep;	/* s */
extern int	unidesk_left_limit; /* s */
extern int	unidesk_stop_limit; /* s */
extern int	unidesk_output_limit;	/* s */
extern int	unidesk_prepare_limit;	/* s */
extern int	unidesk_held_check; /* s */
extern int	unidesk_bridge_behind_after;	/* ms */
extern char *unidesk_allowed_git_hosts;

/* A block of log holds no more; a chunk, which is one message, holds less. */
#define UNIDESK_LOG_BLOCK_BYTES_MAX (256 * 1024)

extern void unidesk_define_settings(void);

/* What is used of settings that have to fit others, in seconds. */
extern int	unidesk_beat_interval_used(void);
extern int	unidesk_session_silent_after_used(void);
extern int	unidesk_agent_lease_margin_used(void);

/* Into the log: which of them do not fit. */
extern void unidesk_warn_of_settings(void);

/* The server's clock, or the mock clock where unidesk.mock_clock is on. */
extern TimestampTz unidesk_now(void);

/* States of a task; numbers are stored in rows and never reused. */
#define UNIDESK_TASK_STATES(X) \
	X(HELD, 1, "held") \
	X(BLOCKED, 2, "blocked") \
	X(QUEUED, 3, "queued") \
	X(ACTIVE, 4, "active") \
	X(SUCCEEDED, 5, "succeeded") \
	X(FAILED, 6, "failed") \
	X(CANCELLED, 7, "cancelled") \
	X(SKIPPED, 8, "skipped")

#define UNIDESK_NODE_STATUSES(X) \
	X(REGISTERED, 1, "registered") \
	X(ONLINE, 2, "online") \
	X(OFFLINE, 3, "offline") \
	X(INVALID, 4, "invalid") \
	X(RETIRED, 5, "retired")

#define UNIDESK_NODE_SCHEDULINGS(X) \
	X(OPEN, 1, "open") \
	X(OWNER, 2, "owner") \
	X(CORDONED, 3, "cordoned") \
	X(DRAINING, 4, "draining") \
	X(DRAINED, 5, "drained")

typedef enum UnideskTaskState
{
#define X(name, number, text) UNIDESK_TASK_##name = number,
	UNIDESK_TASK_STATES(X)
#undef X
} UnideskTaskState;

typedef enum UnideskNodeStatus
{
#define X(name, number, text) UNIDESK_NODE_##name = number,
	UNIDESK_NODE_STATUSES(X)
#undef X
} UnideskNodeStatus;

typedef enum UnideskNodeScheduling
{
#define X(name, number, text) UNIDESK_SCHEDULING_##name = number,
	UNIDESK_NODE_SCHEDULINGS(X)
#undef X
} UnideskNodeScheduling;

#define UNIDESK_TASK_IS_TERMINAL(s) ((s) >= UNIDESK_TASK_SUCCEEDED)

/* What becomes of a task whose node is lost. */
typedef enum UnideskOnLost
{
	UNIDESK_ON_LOST_REQUEUE = 1,
	UNIDESK_ON_LOST_WAIT = 2,
	UNIDESK_ON_LOST_FAIL = 3
} UnideskOnLost;

/* Who moved something: kind and the id of an account or node. */
typedef enum UnideskActorKind
{
	UNIDESK_ACTOR_SYSTEM = 0,
	UNIDESK_ACTOR_ACCOUNT = 1,
	UNIDESK_ACTOR_NODE = 2
} UnideskActorKind;

typedef struct UnideskActor
{
	UnideskActorKind kind;
	int32		id;
} UnideskActor;

/*
 * Text from outside (valid UTF-8).  Plain: without control characters and
 * marks of direction.  Shown: for a message; those replaced by "?", and cut.
 */
extern bool unidesk_is_plain(const char *text);
extern char *unidesk_shown(const char *given);

extern const char *unidesk_task_state_name(int state);
extern const char *unidesk_node_status_name(int status);
extern const char *unidesk_scheduling_name(int scheduling);

/*
 * Arguments of a kept plan, built up one by one; the first execution of a
 * plan takes the types from them.
 */
#define UNIDESK_ARGS_MAX 40

typedef struct UnideskArgs
{
	int			count;
	Oid			types[UNIDESK_ARGS_MAX];
	Datum		values[UNIDESK_ARGS_MAX];
	char		nulls[UNIDESK_ARGS_MAX];
} UnideskArgs;

extern void unidesk_arg(UnideskArgs *args, Oid type, Datum value);
extern void unidesk_arg_null(UnideskArgs *args, Oid type);
extern void unidesk_arg_int16(UnideskArgs *args, int16 value);
extern void unidesk_arg_int32(UnideskArgs *args, int32 value);
extern void unidesk_arg_int64(UnideskArgs *args, int64 value);
extern void unidesk_arg_bool(UnideskArgs *args, bool value);
extern void unidesk_arg_text(UnideskArgs *args, const char *value); /* NULL is NULL */
extern void unidesk_arg_time(UnideskArgs *args, TimestampTz value); /* 0 is NULL */

/* Arrays of count elements; nulls may be NULL. */
extern void unidesk_arg_array(UnideskArgs *args, Oid element, Datum *values, bool *nulls, int count);

/*
 * Run a statement whose plan is made once per session and kept in *plan.
 * Returns the rows processed; SPI_tuptable holds what it returned.  The text
 * names everything with its schema.
 */
extern uint64 unidesk_execute(SPIPlanPtr *plan, const char *sql, UnideskArgs *args);

/*
 * The same for a statement that finds its rows by keys, most of them in
 * arrays: one plan for all calls, which scans no table that has a fitting
 * index, however small it was when the plan was made.  Not for statements that
 * join two arrays.
 */
extern uint64 unidesk_execute_by_key(SPIPlanPtr *plan, const char *sql, UnideskArgs *args);

/* The same two for statements that only read: over the active snapshot. */
extern uint64 unidesk_query(SPIPlanPtr *plan, const char *sql, UnideskArgs *args);
extern uint64 unidesk_query_by_key(SPIPlanPtr *plan, const char *sql, UnideskArgs *args);

/* Columns of row n of SPI_tuptable, counted from 1; *isnull may be NULL, then
 * a NULL reads as 0. */
extern Datum unidesk_column(uint64 row, int column, bool *isnull);
extern int32 unidesk_column_int32(uint64 row, int column);
extern int64 unidesk_column_int64(uint64 row, int column);
extern TimestampTz unidesk_column_time(uint64 row, int column);

/* Copied into the current context; NULL for NULL. */
extern char *unidesk_column_text(uint64 row, int column);

#endif							/* UNIDESK_H */
