/*
 * door_node.c
 *	  The door for nodes: status, whether they take work, and events.
 */
#include "unidesk.h"

#include "access/xact.h"
#include "catalog/pg_type.h"

#include "door.h"
#include "shared.h"
#include "transition.h"

char *
unidesk_node_name(int32 node_id)
{
	static SPIPlanPtr plan;
	UnideskArgs args = {0};

	unidesk_arg_int32(&args, node_id);
	if (unidesk_execute(&plan, "SELECT name FROM unidesk_data.node WHERE id = $1", &args) == 0)
		return psprintf("#%d", node_id);
	return unidesk_column_text(0, 1);
}

void
unidesk_no_such_node(const char *name)
{
	ereport(ERROR,
			(errcode(ERRCODE_UNDEFINED_OBJECT),
			 errmsg("node \"%s\" does not exist", unidesk_shown(name)),
			 errhint("SELECT name FROM unidesk.nodes shows them.")));
}

void
unidesk_node_event(int32 node_id, const char *what, const char *data, UnideskActor actor)
{
	static SPIPlanPtr plan;
	UnideskArgs args = {0};

	unidesk_arg_time(&args, unidesk_now());
	unidesk_arg_int32(&args, node_id);
	unidesk_arg_text(&args, what);
	unidesk_arg_int16(&args, actor.kind);
	unidesk_arg_int32(&args, actor.id);
	unidesk_arg_text(&args, data);
	unidesk_execute(&plan,
					"INSERT INTO unidesk_data.node_event (at, node_id, what, actor_kind, actor_id, data)"
					" VALUES ($1, $2, $3, $4, $5, $6)", &args);
}

void
unidesk_node_move(int32 node_id, int from, int to, int by, const char *why, UnideskActor actor)
{
	static SPIPlanPtr plan;
	UnideskArgs args = {0};

	if (from == to)
		return;
	if (!unidesk_node_move_allowed(from, to, by))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("node cannot go from %s to %s",
						unidesk_node_status_name(from), unidesk_node_status_name(to)),
				 errhint("SELECT * FROM unidesk.transition shows what is possible.")));
	unidesk_arg_int32(&args, node_id);
	unidesk_arg_int16(&args, to);
	unidesk_arg_time(&args, unidesk_now());
	unidesk_execute(&plan,
					"UPDATE unidesk_data.node SET status = $2, status_since = $3 WHERE id = $1", &args);
	unidesk_node_event(node_id, unidesk_node_status_name(to), why, actor);
	ForceSyncCommit();
	unidesk_note_node(node_id);
}

static bool
is_scheduled(const UnideskScheduling *a, const UnideskScheduling *b)
{
	return a->state == b->state && a->drain_deadline == b->drain_deadline &&
		strcmp(a->reason != NULL ? a->reason : "", b->reason != NULL ? b->reason : "") == 0;
}

/* What the event says beside the state. */
static const char *
scheduling_text(const UnideskScheduling *to)
{
	if (to->drain_deadline == 0)
		return to->reason;
	return psprintf("%s (deadline %s)", to->reason, timestamptz_to_str(to->drain_deadline));
}

void
unidesk_node_schedule(int32 node_id, const UnideskScheduling *from, const UnideskScheduling *to,
					  int by, UnideskActor actor)
{
	static SPIPlanPtr plan;
	UnideskArgs args = {0};

	if (is_scheduled(from, to))
		return;
	if (from->state != to->state && !unidesk_scheduling_move_allowed(from->state, to->state, by))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("node cannot go from %s to %s",
						unidesk_scheduling_name(from->state), unidesk_scheduling_name(to->state)),
				 errhint("SELECT * FROM unidesk.transition shows what is possible.")));
	unidesk_arg_int32(&args, node_id);
	unidesk_arg_int16(&args, to->state);
	unidesk_arg_time(&args, unidesk_now());
	if (to->by != 0)
		unidesk_arg_int32(&args, to->by);
	else
		unidesk_arg_null(&args, INT4OID);
	unidesk_arg_text(&args, to->reason);
	unidesk_arg_time(&args, to->drain_deadline);
	unidesk_execute(&plan,
					"UPDATE unidesk_data.node SET scheduling = $2, scheduling_by = $4, scheduling_reason = $5, drain_deadline = $6,"
					" scheduling_since = CASE WHEN scheduling = $2 THEN scheduling_since ELSE $3 END WHERE id = $1", &args);
	unidesk_node_event(node_id, unidesk_scheduling_name(to->state), scheduling_text(to), actor);
	ForceSyncCommit();
	unidesk_note_node(node_id);
}
