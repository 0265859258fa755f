/*
 * control_lost.c
 *	  A person says what silence cannot prove: that an attempt, or all of a
 *	  node's, will not come back.
 *
 * Nobody has confirmed that nothing of them runs: what they have stays
 * allocated, in held, until their node says so.  This also ends what has no
 * lease (on_lost = wait), and a stop that a dead node will never confirm.
 */
#include "unidesk.h"

#include "access/xact.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "utils/builtins.h"

#include "common/protocol.h"
#include "common/reasons.h"
#include "control.h"
#include "people.h"
#include "shared.h"
#include "transition.h"

/*
 * An active row: lost for this reason; what was being stopped ends as asked.
 * True when it may run on: in finishing its container is gone.
 */
static bool
lose(UnideskDoor *door, UnideskLive *live, int reason, UnideskActor actor)
{
	bool		may_run = live->attempt_state != UD_ATTEMPT_FINISHING;

	unidesk_attempt_end_without_node(door, live, UD_ATTEMPT_LOST, reason, false, UNIDESK_BY_PERSON, actor);
	return may_run;
}

PG_FUNCTION_INFO_V1(unidesk_force_lost);

/* unidesk.force_lost(task): the state it is in then. */
Datum
unidesk_force_lost(PG_FUNCTION_ARGS)
{
	UnideskActor actor = {UNIDESK_ACTOR_ACCOUNT, 0};
	UnideskDoor *door;
	UnideskLive live = {0};
	int64		task_id;
	int32		node_id;
	int			state;
	bool		may_run;

	if (PG_ARGISNULL(0))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("task is missing"),
				 errhint("Give the id of a task whose attempt will not come back.")));
	PreventCommandIfReadOnly("unidesk.force_lost()");
	unidesk_require_admin("declare an attempt lost");
	task_id = PG_GETARG_INT64(0);
	SPI_connect();
	unidesk_check_task_access(task_id, UNIDESK_MEMBER);
	actor.id = unidesk_caller_account();
	state = unidesk_live_lock(task_id, true, &live) == UNIDESK_LOCKED ? live.state : unidesk_ended_state(task_id);
	if (state != UNIDESK_TASK_ACTIVE)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("the task is in state %s and has no attempt that could be lost", unidesk_task_state_name(state)),
				 errhint("SELECT id, node FROM unidesk.tasks WHERE state = 'active' shows those that have.")));
	node_id = live.node_id;
	door = unidesk_door_open();
	may_run = lose(door, &live, UD_REASON_CTL_FORCE_LOST, actor);
	unidesk_door_close(door);
	/* A node that does answer is asked at its next beat what it has. */
	unidesk_beat_expire(node_id);
	if (may_run)
		ereport(WARNING,
				(errmsg("attempt %d may go on running beside whatever comes after it", live.attempt),
				 errhint("Until node \"%s\" answers, or is known to be off. What it had there stays allocated until then: SELECT * FROM unidesk.held.",
						 unidesk_shown(unidesk_node_name(node_id)))));
	SPI_finish();
	PG_RETURN_TEXT_P(cstring_to_text(unidesk_task_state_name(live.state)));
}

/* Lock the node, so that it does not come back meanwhile; raises unless it is
 * offline. */
static int32
lock_lost_node(const char *name)
{
	static SPIPlanPtr plan;
	UnideskArgs args = {0};
	int			status;

	unidesk_arg_text(&args, name);
	if (unidesk_execute(&plan,
						"SELECT id, status FROM unidesk_data.node WHERE name = $1 FOR NO KEY UPDATE", &args) == 0)
		unidesk_no_such_node(name);
	status = unidesk_column_int32(0, 2);
	if (status == UNIDESK_NODE_ONLINE || status == UNIDESK_NODE_INVALID)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("node \"%s\" is %s: it was heard a moment ago", unidesk_shown(name), unidesk_node_status_name(status)),
				 errhint("Wait until it is offline, at most unidesk.offline_after; or cancel or requeue its tasks: unidesk.requeue_tasks(node => '%s').",
						 unidesk_shown(name))));
	return unidesk_column_int32(0, 1);
}

/* Ids of what is active there, in order. */
static int64 *
tasks_on_node(int32 node_id, int *count)
{
	static SPIPlanPtr plan;
	UnideskArgs args = {0};
	int64	   *ids;

	unidesk_arg_int32(&args, node_id);
	unidesk_execute(&plan, "SELECT task_id FROM unidesk_data.live WHERE state = 4 AND node_id = $1 ORDER BY task_id", &args);
	*count = (int) SPI_processed;
	ids = palloc(sizeof(int64) * (*count + 1));
	for (int row = 0; row < *count; row++)
		ids[row] = unidesk_column_int64(row, 1);
	return ids;
}

PG_FUNCTION_INFO_V1(unidesk_declare_node_lost);

/* unidesk.declare_node_lost(node): how many attempts were lost with it. */
Datum
unidesk_declare_node_lost(PG_FUNCTION_ARGS)
{
	UnideskActor actor = {UNIDESK_ACTOR_ACCOUNT, 0};
	UnideskDoor *door;
	UnideskLive *lives;
	char	   *name;
	int32		node_id;
	int64	   *ids;
	int			count;
	int			lost = 0;
	int			may_run = 0;

	if (PG_ARGISNULL(0))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("node is missing"),
				 errhint("For example SELECT unidesk.declare_node_lost('lab1').")));
	PreventCommandIfReadOnly("unidesk.declare_node_lost()");
	unidesk_require_admin("declare a node lost");
	name = text_to_cstring(PG_GETARG_TEXT_PP(0));
	SPI_connect();
	actor.id = unidesk_caller_account();
	node_id = lock_lost_node(name);
	ids = tasks_on_node(node_id, &count);
	lives = palloc(sizeof(UnideskLive) * (count + 1));
	count = unidesk_live_lock_waiting(ids, count, lives);
	door = unidesk_door_open();
	for (int i = 0; i < count; i++)
	{
		/* Its row may have changed while we waited for it. */
		if (lives[i].state != UNIDESK_TASK_ACTIVE || lives[i].node_id != node_id)
			continue;
		may_run += lose(door, &lives[i], UD_REASON_NODE_DECLARED_LOST, actor);
		lost++;
	}
	unidesk_door_close(door);
	if (lost > 0)
	{
		unidesk_node_event(node_id, "declared_lost", psprintf("%d attempts", lost), actor);
		ForceSyncCommit();
	}
	if (may_run > 0)
		ereport(WARNING,
				(errmsg("%d attempts may go on running beside whatever comes after them", may_run),
				 errhint("Until node \"%s\" answers, or is known to be off. What they had there stays allocated until then: SELECT * FROM unidesk.held.",
						 unidesk_shown(name))));
	SPI_finish();
	PG_RETURN_INT32(lost);
}
