/*
 * door_node.c
 *	  The door for nodes: status, and events.
 */
#include "unidesk.h"

#include "access/xact.h"

#include "door.h"
#include "shared.h"
#include "transition.h"

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
