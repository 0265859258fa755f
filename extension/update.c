/*
 * update.c
 *	  Orders to nodes to replace their agents (unidesk.update_agent), and what
 *	  became of them.
 *
 * An order is a row of agent_update until its agent answers.  It travels with
 * the answer to a hello or an inventory, once in each session; a node that is
 * connected is asked for its inventory by its next beat.  The answer comes in
 * every hello and inventory after it, so that one that is not taken now, because
 * somebody holds the row, is taken later; it counts by incarnation and number,
 * and for the node that gives it alone.
 */
#include "unidesk.h"

#include "catalog/pg_type.h"

#include "door.h"
#include "shared.h"
#include "update.h"
#include "worker.h"

/* The answer in $2 for node $1, where it is to the order that the row is. */
#define ANSWERED \
	"unidesk_data.agent_update a WHERE a.node_id = $1 AND a.number = ($2 #>> '{update,order}')::integer" \
	" AND $2 #>> '{update,incarnation}' = (SELECT lpad(to_hex(i.value), 16, '0') FROM unidesk_data.incarnation i)" \
	" AND $2 #>> '{update,state}' <> 'begun'"

static const char *
event_of(const char *outcome)
{
	if (strcmp(outcome, "applied") == 0)
		return "updated";
	return strcmp(outcome, "failed") == 0 ? "update_failed" : "update_refused";
}

static void
tell(int32 node_id, const char *outcome, const char *image, const char *why, UnideskActor actor)
{
	unidesk_node_event(node_id, event_of(outcome), why != NULL && why[0] != '\0' ? psprintf("%s: %s", image, why) : image, actor);
}

/*
 * What was withdrawn may have been begun before: then it has an outcome all
 * the same.
 */
static void
take_answer(const UnideskMessage *message, Datum body)
{
	static SPIPlanPtr plan;
	static SPIPlanPtr missed_plan;
	UnideskActor actor = {UNIDESK_ACTOR_NODE, message->node_id};
	UnideskArgs args = {0};

	unidesk_arg_int32(&args, message->node_id);
	unidesk_arg(&args, JSONBOID, body);
	unidesk_arg_time(&args, unidesk_now());
	if (unidesk_execute(&plan,
						"UPDATE unidesk_data.agent_update SET outcome = $2 #>> '{update,state}',"
						" message = nullif($2 #>> '{update,message}', ''), ended_at = $3 WHERE node_id = (SELECT a.node_id FROM " ANSWERED
						" AND (a.outcome IS NULL OR a.outcome = 'withdrawn') FOR UPDATE OF a SKIP LOCKED) RETURNING outcome, image,"
						" concat_ws(', ', message, (SELECT 'version ' || left(n.facts ->> 'agent_version', 100) FROM unidesk_data.node n"
						" WHERE n.id = $1 AND outcome = 'applied'))", &args) > 0)
		tell(message->node_id, unidesk_column_text(0, 1), unidesk_column_text(0, 2), unidesk_column_text(0, 3), actor);
	else if (unidesk_execute(&missed_plan, "SELECT $3 FROM " ANSWERED " AND a.outcome IS NULL", &args) > 0)
		unidesk_beat_expire(message->node_id);
}

/* An agent was told that it can; one of before does not know the message. */
static void
cannot_update(const UnideskMessage *message, const char *image, const char *version)
{
	static SPIPlanPtr plan;
	UnideskActor actor = {UNIDESK_ACTOR_SYSTEM, 0};
	UnideskArgs args = {0};
	const char *why = psprintf("its agent (%s) cannot update itself: replace it on its machine",
							   version != NULL ? unidesk_shown(version) : "of unknown version");

	unidesk_arg_int32(&args, message->node_id);
	unidesk_arg_text(&args, why);
	unidesk_arg_time(&args, unidesk_now());
	unidesk_execute(&plan, "UPDATE unidesk_data.agent_update SET outcome = 'refused', message = $2, ended_at = $3 WHERE node_id = $1", &args);
	tell(message->node_id, "refused", image, why, actor);
}

static void
send_order(ReturnSetInfo *result, const UnideskMessage *message, int64 session)
{
	static SPIPlanPtr plan;
	UnideskArgs args = {0};
	UnideskOut	order = unidesk_answer(message, UD_MSG_UPDATE);

	unidesk_arg_int32(&args, message->node_id);
	unidesk_arg_int64(&args, session);
	if (unidesk_execute(&plan,
						"UPDATE unidesk_data.agent_update a SET sent_in = $2 FROM unidesk_data.node n, unidesk_data.incarnation i"
						" WHERE n.id = $1 AND a.node_id = (SELECT x.node_id FROM unidesk_data.agent_update x WHERE x.node_id = $1"
						" AND x.outcome IS NULL AND x.sent_in IS DISTINCT FROM $2 FOR UPDATE SKIP LOCKED)"
						" RETURNING a.number, i.value, jsonb_build_object('image', a.image)::text, a.image,"
						" coalesce(n.facts -> 'abilities' ? 'update', false), left(n.facts ->> 'agent_version', 100)", &args) == 0)
		return;
	if (!DatumGetBool(unidesk_column(0, 5, NULL)))
	{
		cannot_update(message, unidesk_column_text(0, 4), unidesk_column_text(0, 6));
		return;
	}
	order.session = session;
	order.value = unidesk_column_int32(0, 1);
	order.incarnation = unidesk_column_int64(0, 2);
	order.task = 0;
	order.attempt = 0;
	order.sequence = 0;
	order.body = unidesk_column_text(0, 3);
	order.body_bytes = strlen(order.body);
	unidesk_out(result, &order);
}

void
unidesk_take_update(ReturnSetInfo *result, const UnideskMessage *message, int64 session, Datum body)
{
	static SPIPlanPtr plan;
	UnideskArgs args = {0};

	unidesk_arg_int32(&args, message->node_id);
	unidesk_arg(&args, JSONBOID, body);

	/* Most nodes have no order. */
	if (unidesk_execute(&plan, "SELECT $2 ? 'update' FROM unidesk_data.agent_update WHERE node_id = $1", &args) == 0)
		return;
	if (DatumGetBool(unidesk_column(0, 1, NULL)))
		take_answer(message, body);
	send_order(result, message, session);
}

bool
unidesk_watch_updates(void)
{
	static SPIPlanPtr plan;
	UnideskArgs none = {0};

	unidesk_execute(&plan,
					"SELECT a.node_id FROM unidesk_data.agent_update a JOIN unidesk_data.node n ON n.id = a.node_id"
					" WHERE a.outcome IS NULL AND n.session IS NOT NULL AND a.sent_in IS DISTINCT FROM n.session", &none);
	for (uint64 row = 0; row < SPI_processed; row++)
		unidesk_beat_expire(unidesk_column_int32(row, 1));
	return false;
}
