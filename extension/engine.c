/*
 * engine.c
 *	  Whether the Docker Engines of nodes answer: what sessions say becomes
 *	  the node's row.
 *
 * Shared memory remembers what a session said and the row had, so that a beat
 * without news costs nothing.  It is not set by the transaction that changes
 * the row, which may yet fail, but when a later message finds the row as it
 * should be.
 */
#include "unidesk.h"

#include "door.h"
#include "engine.h"

/* Somebody may hold the row: the next beat tries again. */
static void
write_engine(int32 node_id, int64 session, bool down, const char *since)
{
	static SPIPlanPtr plan;
	UnideskActor actor = {UNIDESK_ACTOR_NODE, node_id};
	UnideskArgs args = {0};

	unidesk_arg_int32(&args, node_id);
	unidesk_arg_int64(&args, session);
	unidesk_arg_bool(&args, down);
	unidesk_arg_time(&args, unidesk_now());
	if (unidesk_execute(&plan,
						"UPDATE unidesk_data.node SET engine_down_since = CASE WHEN $3 THEN $4 END,"
						" engine_up_at = CASE WHEN $3 THEN engine_up_at ELSE $4 END WHERE id = (SELECT id FROM unidesk_data.node"
						" WHERE id = $1 AND session = $2 AND (engine_down_since IS NULL) = $3 FOR NO KEY UPDATE SKIP LOCKED)", &args) == 0)
		return;
	unidesk_node_event(node_id, down ? "engine_down" : "engine_up",
					   down ? "its Docker Engine does not answer: nothing new is placed there until it does" :
					   psprintf("its Docker Engine did not answer since %s", since), actor);
	unidesk_note_node(node_id);
}

void
unidesk_take_engine(int32 node_id, int64 session, int64 sequence, UnideskEngine said)
{
	static SPIPlanPtr plan;
	UnideskArgs args = {0};
	UnideskBeat beat;
	bool		is_down;

	if (said == UNIDESK_ENGINE_UNSAID ||
		(unidesk_beat_get(node_id, &beat) && beat.session == session && (beat.engine == said || sequence < beat.sequence)))
		return;
	unidesk_arg_int32(&args, node_id);
	unidesk_arg_int64(&args, session);
	if (unidesk_execute(&plan,
						"SELECT engine_down_since IS NOT NULL, to_char(engine_down_since AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS\"Z\"')"
						" FROM unidesk_data.node WHERE id = $1 AND session = $2", &args) == 0)
		return;
	is_down = DatumGetBool(unidesk_column(0, 1, NULL));
	if (is_down == (said == UNIDESK_ENGINE_DOWN))
		unidesk_beat_set_engine(node_id, session, said);
	else
	{
		/* It may change its mind before the row is seen to be so. */
		unidesk_beat_set_engine(node_id, session, UNIDESK_ENGINE_UNSAID);
		write_engine(node_id, session, !is_down, unidesk_column_text(0, 2));
	}
}

bool
unidesk_engine_was_down(int32 node_id, TimestampTz since)
{
	static SPIPlanPtr plan;
	UnideskArgs args = {0};

	unidesk_arg_int32(&args, node_id);
	unidesk_arg_time(&args, since);
	return unidesk_execute(&plan,
						   "SELECT FROM unidesk_data.node WHERE id = $1"
						   " AND (engine_down_since IS NOT NULL OR engine_up_at >= $2)", &args) == 1;
}
