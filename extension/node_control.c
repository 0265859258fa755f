/*
 * node_control.c
 *	  What administrators do to nodes: cordon, drain, open.
 *
 * The functions say what shall be and can be called again: the last call's
 * reason and deadline count.  They write the row; what follows from it, the
 * worker does (drain.c).
 */
#include "unidesk.h"

#include "fmgr.h"
#include "miscadmin.h"
#include "utils/builtins.h"

#include "door.h"
#include "people.h"
#include "transition.h"

#define REASON_BYTES_MAX 500
#define DEADLINE_DAYS_MAX 366

/* The node's row, locked. */
typedef struct TargetNode
{
	int32		id;
	UnideskScheduling now;
} TargetNode;

static void
check_caller(const char *function)
{
	PreventCommandIfReadOnly(function);
	unidesk_require_admin("take nodes out of service and back");
}

static char *
node_argument(FunctionCallInfo fcinfo)
{
	if (PG_ARGISNULL(0))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("node is missing"),
				 errhint("Give its name: SELECT name FROM unidesk.nodes.")));
	return text_to_cstring(PG_GETARG_TEXT_PP(0));
}

/* Why: whoever finds the node like this wants to know. */
static char *
reason_argument(FunctionCallInfo fcinfo, int number)
{
	char	   *reason = PG_ARGISNULL(number) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(number));

	if (reason == NULL || reason[strspn(reason, " ")] == '\0')
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("reason is missing"),
				 errhint("Say why, for those who find the node like this: reason => 'new disk'.")));
	if (strlen(reason) > REASON_BYTES_MAX || !unidesk_is_plain(reason))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("reason is longer than %d bytes or has control characters", REASON_BYTES_MAX),
				 errhint("Give one line of text.")));
	return reason;
}

/* When what still runs is stopped; 0: never. */
static TimestampTz
deadline_argument(FunctionCallInfo fcinfo, int number)
{
	Interval   *wait;
	double		days;
	TimestampTz now = unidesk_now();

	if (PG_ARGISNULL(number))
		return 0;
	wait = PG_GETARG_INTERVAL_P(number);
	days = (double) wait->month * DAYS_PER_MONTH + wait->day + (double) wait->time / USECS_PER_DAY;
	if (days < 0 || days > DEADLINE_DAYS_MAX)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("deadline is not between 0 and %d days", DEADLINE_DAYS_MAX),
				 errhint("Give the time from now after which tasks are stopped, or NULL to wait for them without end.")));
	return now + (TimestampTz) (days * USECS_PER_DAY);
}

static TargetNode
lock_node(const char *name)
{
	static SPIPlanPtr plan;
	UnideskArgs args = {0};
	TargetNode	node = {0};

	unidesk_arg_text(&args, name);
	if (unidesk_execute(&plan,
						"SELECT id, scheduling, scheduling_by, scheduling_reason, drain_deadline FROM unidesk_data.node"
						" WHERE name = $1 FOR NO KEY UPDATE", &args) == 0)
		unidesk_no_such_node(name);
	node.id = unidesk_column_int32(0, 1);
	node.now.state = unidesk_column_int32(0, 2);
	node.now.by = unidesk_column_int32(0, 3);
	node.now.reason = unidesk_column_text(0, 4);
	node.now.drain_deadline = unidesk_column_time(0, 5);
	return node;
}

/* The state it is in then, as the functions return it. */
static Datum
schedule(const char *name, UnideskNodeScheduling state, const char *reason, TimestampTz deadline)
{
	UnideskActor actor = {UNIDESK_ACTOR_ACCOUNT, 0};
	UnideskScheduling wanted = {0};
	TargetNode	node;

	SPI_connect();
	actor.id = unidesk_caller_account();
	node = lock_node(name);
	wanted.state = state;
	wanted.by = actor.id;
	wanted.reason = reason;
	wanted.drain_deadline = deadline;
	/* What is drained is as it shall be. */
	if (state == UNIDESK_SCHEDULING_DRAINING && node.now.state == UNIDESK_SCHEDULING_DRAINED)
		wanted = node.now;
	unidesk_node_schedule(node.id, &node.now, &wanted, UNIDESK_BY_PERSON, actor);
	SPI_finish();
	return PointerGetDatum(cstring_to_text(unidesk_scheduling_name(wanted.state)));
}

PG_FUNCTION_INFO_V1(unidesk_cordon_node);

/* unidesk.cordon_node(node, reason) */
Datum
unidesk_cordon_node(PG_FUNCTION_ARGS)
{
	char	   *name;

	check_caller("unidesk.cordon_node()");
	name = node_argument(fcinfo);
	return schedule(name, UNIDESK_SCHEDULING_CORDONED, reason_argument(fcinfo, 1), 0);
}

PG_FUNCTION_INFO_V1(unidesk_drain_node);

/* unidesk.drain_node(node, deadline, reason) */
Datum
unidesk_drain_node(PG_FUNCTION_ARGS)
{
	char	   *name;
	TimestampTz deadline;

	check_caller("unidesk.drain_node()");
	name = node_argument(fcinfo);
	deadline = deadline_argument(fcinfo, 1);
	return schedule(name, UNIDESK_SCHEDULING_DRAINING, reason_argument(fcinfo, 2), deadline);
}

PG_FUNCTION_INFO_V1(unidesk_open_node);

/* unidesk.open_node(node) */
Datum
unidesk_open_node(PG_FUNCTION_ARGS)
{
	check_caller("unidesk.open_node()");
	return schedule(node_argument(fcinfo), UNIDESK_SCHEDULING_OPEN, NULL, 0);
}
