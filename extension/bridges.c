/*
 * bridges.c
 *	  Instances of the bridge: registration, beats, the end of sessions.
 */
#include "unidesk.h"

#include "catalog/pg_type.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "utils/builtins.h"

#include "message.h"
#include "shared.h"

#define NAME_BYTES_MAX 255

PG_FUNCTION_INFO_V1(unidesk_bridge_api_version);
Datum
unidesk_bridge_api_version(PG_FUNCTION_ARGS)
{
	PG_RETURN_INT32(UNIDESK_BRIDGE_API_VERSION);
}

/* Sessions of the bridges that $1 selects end. */
#define CLOSE_SESSIONS \
	"UPDATE unidesk_data.node SET session = NULL, bridge_id = NULL, reconciled = false WHERE bridge_id"

/* Tell the worker of the nodes whose sessions the last statement closed. */
static void
note_closed(void)
{
	for (uint64 row = 0; row < SPI_processed; row++)
		unidesk_note_node(unidesk_column_int32(row, 1));
}

PG_FUNCTION_INFO_V1(unidesk_bridge_register);

/*
 * unidesk_bridge.register(name, pid): the instance's id; the same for the
 * same name and pid while it lives, so that its sessions outlive a lost
 * connection to the database.
 */
Datum
unidesk_bridge_register(PG_FUNCTION_ARGS)
{
	static SPIPlanPtr known_plan;
	static SPIPlanPtr end_plan;
	static SPIPlanPtr add_plan;
	UnideskArgs args = {0};
	UnideskArgs name = {0};
	int32		id;

	char	   *given;

	unidesk_bridge_begin(fcinfo, "register");
	given = text_to_cstring(PG_GETARG_TEXT_PP(0));
	if (given[0] == '\0' || strlen(given) > NAME_BYTES_MAX || !unidesk_is_plain(given) || PG_GETARG_INT32(1) <= 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("name or pid of a bridge cannot be used: \"%s\", %d", unidesk_shown(given), PG_GETARG_INT32(1)),
				 errhint("Give a name of 1 to %d bytes without control characters, and a process id.", NAME_BYTES_MAX)));
	unidesk_arg_text(&args, given);
	unidesk_arg_int32(&args, PG_GETARG_INT32(1));
	unidesk_arg_time(&args, unidesk_now());
	unidesk_arg_text(&name, given);
	unidesk_arg_time(&name, unidesk_now());
	SPI_connect();
	if (unidesk_execute(&known_plan,
						"UPDATE unidesk_data.bridge SET last_beat = $3 WHERE name = $1 AND pid = $2"
						" AND ended_at IS NULL AND started_at >= (SELECT since FROM unidesk_data.incarnation)"
						" RETURNING id", &args) == 1)
		id = unidesk_column_int32(0, 1);
	else
	{
		unidesk_execute(&end_plan,
						"WITH old AS (UPDATE unidesk_data.bridge SET ended_at = $2"
						" WHERE name = $1 AND ended_at IS NULL RETURNING id)"
						CLOSE_SESSIONS " IN (SELECT id FROM old) RETURNING node.id", &name);
		note_closed();
		unidesk_execute(&add_plan,
						"INSERT INTO unidesk_data.bridge (name, pid, started_at, last_beat)"
						" VALUES ($1, $2, $3, $3) RETURNING id", &args);
		id = unidesk_column_int32(0, 1);
	}
	unidesk_bridge_pulled(id);
	SPI_finish();
	PG_RETURN_INT32(id);
}

PG_FUNCTION_INFO_V1(unidesk_bridge_beat);

/* unidesk_bridge.beat(bridge, queue_age_ms) */
Datum
unidesk_bridge_beat(PG_FUNCTION_ARGS)
{
	static SPIPlanPtr plan;
	UnideskArgs args = {0};

	unidesk_bridge_begin(fcinfo, "beat");
	if (PG_GETARG_INT32(1) < 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("queue_age_ms is negative: %d", PG_GETARG_INT32(1)),
				 errhint("Give the age of the oldest queued message in milliseconds, 0 when there is none.")));
	unidesk_arg_int32(&args, PG_GETARG_INT32(0));
	unidesk_arg_int32(&args, PG_GETARG_INT32(1));
	unidesk_arg_time(&args, unidesk_now());
	SPI_connect();
	if (unidesk_execute(&plan,
						"UPDATE unidesk_data.bridge SET last_beat = $3, queue_age_ms = $2"
						" WHERE id = $1 AND ended_at IS NULL", &args) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("bridge %d is over", PG_GETARG_INT32(0)),
				 errhint("Register again.")));
	SPI_finish();
	PG_RETURN_VOID();
}

PG_FUNCTION_INFO_V1(unidesk_bridge_close_session);

/* unidesk_bridge.close_session(bridge, session[]) */
Datum
unidesk_bridge_close_session(PG_FUNCTION_ARGS)
{
	static SPIPlanPtr plan;
	UnideskArgs args = {0};
	Datum	   *sessions;

	unidesk_bridge_begin(fcinfo, "close_session");
	unidesk_bridge_array(fcinfo, 1, "close_session", &sessions, NULL);
	unidesk_arg_int32(&args, PG_GETARG_INT32(0));
	unidesk_arg(&args, INT8ARRAYOID, PG_GETARG_DATUM(1));
	SPI_connect();
	unidesk_execute(&plan, CLOSE_SESSIONS " = $1 AND session = ANY ($2) RETURNING node.id", &args);
	note_closed();
	SPI_finish();
	PG_RETURN_VOID();
}

PG_FUNCTION_INFO_V1(unidesk_bridge_deregister);

/* unidesk_bridge.deregister(bridge) */
Datum
unidesk_bridge_deregister(PG_FUNCTION_ARGS)
{
	static SPIPlanPtr plan;
	UnideskArgs args = {0};

	unidesk_bridge_begin(fcinfo, "deregister");
	unidesk_arg_int32(&args, PG_GETARG_INT32(0));
	unidesk_arg_time(&args, unidesk_now());
	SPI_connect();
	unidesk_execute(&plan,
					"WITH old AS (UPDATE unidesk_data.bridge SET ended_at = $2"
					" WHERE id = $1 AND ended_at IS NULL RETURNING id)"
					CLOSE_SESSIONS " IN (SELECT id FROM old) RETURNING node.id", &args);
	note_closed();
	SPI_finish();
	PG_RETURN_VOID();
}
