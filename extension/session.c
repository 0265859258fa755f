/*
 * session.c
 *	  A node comes: hello, its inventory, and what it is told.
 *
 * One transaction opens the session, compares the inventory with the rows,
 * and answers with the whole desired state; from then on the node is
 * reconciled and may get work.  A hello is rare and its body is JSON, so it
 * is parsed by SQL inside a subtransaction: bad data closes this connection
 * and fails nobody else.  Whatever can raise for bad data is done there, and
 * nothing that a rollback does not undo: answers to the bridge and shared
 * memory come after it.
 */
#include "unidesk.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "mb/pg_wchar.h"
#include "utils/memutils.h"
#include "utils/resowner.h"

#include "common/reasons.h"
#include "door.h"
#include "engine.h"
#include "identity.h"
#include "message.h"
#include "orders.h"
#include "shared.h"
#include "take_report.h"
#include "transition.h"
#include "update.h"

#define BODY_BYTES_MAX (256 * 1024)
#define DEPTH_MAX 32

/* False: busy or gone, and answered. */
static bool
lock_node(ReturnSetInfo *result, const UnideskMessage *hello, UnideskNodeRow *node)
{
	static SPIPlanPtr lock_plan;
	static SPIPlanPtr exists_plan;
	UnideskArgs args = {0};
	UnideskArgs id = {0};

	unidesk_arg_int32(&args, hello->node_id);
	if (hello->token_hash != NULL)
		unidesk_arg(&args, BYTEAOID, PointerGetDatum(hello->token_hash));
	else
		unidesk_arg_null(&args, BYTEAOID);
	unidesk_arg_time(&args, unidesk_now());
	unidesk_arg_int32(&id, hello->node_id);
	if (unidesk_execute(&lock_plan,
						"SELECT status, session, bridge_id, boot_id, engine_id, name,"
						" coalesce(token_hash = $2, false), replace(data_id::text, '-', ''), coalesce(seal, 0), coalesce(seal_before, -1),"
						" coalesce(seal_incarnation = (SELECT value FROM unidesk_data.incarnation), false),"
						" coalesce(accepts_until > $3, false) FROM unidesk_data.node"
						" WHERE id = $1 FOR UPDATE SKIP LOCKED", &args) == 0)
	{
		if (unidesk_execute(&exists_plan, "SELECT FROM unidesk_data.node WHERE id = $1", &id) == 1)
			unidesk_out_busy(result, hello);
		else
			unidesk_out_close(result, hello, UD_CLOSE_TOKEN_REVOKED, "this node is not known");
		return false;
	}
	node->status = unidesk_column_int32(0, 1);
	node->session = unidesk_column_int64(0, 2);
	node->bridge_id = unidesk_column_int32(0, 3);
	node->machine.boot_id = unidesk_column_text(0, 4);
	node->machine.engine_id = unidesk_column_text(0, 5);
	node->name = unidesk_column_text(0, 6);
	node->token_matches = DatumGetBool(unidesk_column(0, 7, NULL));
	node->machine.data_id = unidesk_column_text(0, 8);
	node->machine.seal = unidesk_column_int64(0, 9);
	node->seal_before = unidesk_column_int64(0, 10);
	node->seal_counts = DatumGetBool(unidesk_column(0, 11, NULL));
	node->accepts_any = DatumGetBool(unidesk_column(0, 12, NULL));
	if (!node->token_matches || node->status == UNIDESK_NODE_RETIRED)
	{
		unidesk_out_close(result, hello, UD_CLOSE_TOKEN_REVOKED, "this token is not valid");
		return false;
	}
	return true;
}

/* The facts of a hello, as SQL sees them. */
typedef struct Hello
{
	UnideskMachine machine;
	int64		given_seal;		/* by this welcome; 0: the agent knows none */
	int32		proto_min;
	int32		proto_max;
	bool		other_version;	/* it says so, and what else it says may mean
								 * anything */
	char	   *agent_version;
	UnideskEngine engine;
	Datum		body;			/* jsonb */
} Hello;

/* The inventory as a table; $2 is the body. */
#define INVENTORY \
	"inventory AS (SELECT ('x' || i.incarnation)::bit(64)::bigint AS incarnation, i.task, i.attempt" \
	" FROM jsonb_to_recordset($2 -> 'attempts') AS i (incarnation text, task bigint, attempt integer, cpus_milli bigint, memory bigint)" \
	" WHERE i.incarnation ~ '^[0-9a-f]{16}$' AND i.task IS NOT NULL AND i.attempt IS NOT NULL)"

/* What an inventory says of the engine, which changes while a session lives. */
#define ENGINE_FACTS(body) \
	"(SELECT coalesce(jsonb_object_agg(f.key, f.value), '{}') FROM jsonb_each(" body ") f" \
	" WHERE f.key IN ('engine_id', 'engine_version', 'api_version', 'os', 'kernel', 'arch', 'live_restore')" \
	" AND jsonb_typeof(f.value) IN ('string', 'boolean') AND length(f.value::text) <= 200)"

/* Raises for a body of this version that cannot be used, its inventory included. */
static void
parse_hello(const UnideskMessage *message, Hello *hello)
{
	static SPIPlanPtr plan;
	static SPIPlanPtr inventory_plan;
	UnideskArgs args = {0};
	UnideskArgs inventory = {0};

	unidesk_arg_text(&args, pnstrdup(message->body, message->body_bytes));
	unidesk_execute(&plan,
					"SELECT left(b ->> 'boot_id', 200), left(b ->> 'engine_id', 200),"
					" coalesce((b ->> 'proto_min')::integer, 0), coalesce((b ->> 'proto_max')::integer, 0), b,"
					" coalesce(jsonb_typeof(b -> 'attempts') = 'array', false), b ->> 'data_id',"
					" coalesce(b ->> 'data_id' ~ '^[0-9a-f]{32}$', true),"
					" CASE WHEN b ->> 'seal' ~ '^[0-7][0-9a-f]{15}$' THEN ('x' || (b ->> 'seal'))::bit(64)::bigint ELSE 0 END,"
					" coalesce(floor((b ->> 'up_s')::numeric)::bigint, -1),"
					" coalesce(b ? 'proto_min' AND b ? 'proto_max', false), left(b ->> 'agent_version', 100),"
					" " UNIDESK_UPDATE_ANSWER_IS_FINE("b") ","
					" CASE b ->> 'engine' WHEN 'ok' THEN 1 WHEN 'down' THEN 2 ELSE 0 END"
					" FROM (SELECT $1::jsonb) AS x (b)", &args);
	hello->machine.boot_id = unidesk_column_text(0, 1);
	hello->machine.engine_id = unidesk_column_text(0, 2);
	hello->proto_min = unidesk_column_int32(0, 3);
	hello->proto_max = unidesk_column_int32(0, 4);
	hello->body = unidesk_column(0, 5, NULL);
	hello->other_version = DatumGetBool(unidesk_column(0, 11, NULL)) &&
		(hello->proto_min > UD_PROTOCOL_VERSION || hello->proto_max < UD_PROTOCOL_VERSION);
	hello->agent_version = unidesk_column_text(0, 12);
	if (hello->other_version)
		return;
	/* Absent is not empty: everything on the node would be called lost. */
	if (!DatumGetBool(unidesk_column(0, 6, NULL)))
		ereport(ERROR,
				(errcode(ERRCODE_DATA_EXCEPTION),
				 errmsg("attempts is not an array")));
	if (!DatumGetBool(unidesk_column(0, 8, NULL)))
		ereport(ERROR,
				(errcode(ERRCODE_DATA_EXCEPTION),
				 errmsg("data_id is not 32 hexadecimal digits")));
	if (!DatumGetBool(unidesk_column(0, 13, NULL)))
		ereport(ERROR,
				(errcode(ERRCODE_DATA_EXCEPTION),
				 errmsg("update is no answer to an order")));
	hello->machine.data_id = unidesk_column_text(0, 7);
	hello->machine.seal = unidesk_column_int64(0, 9);
	hello->machine.up_s = unidesk_column_int64(0, 10);
	hello->engine = (UnideskEngine) unidesk_column_int32(0, 14);
	unidesk_arg_int32(&inventory, message->node_id);
	unidesk_arg(&inventory, JSONBOID, hello->body);
	unidesk_execute(&inventory_plan, "WITH " INVENTORY " SELECT count(*) FROM inventory WHERE $1 <> 0", &inventory);
}

static int64
next_session(void)
{
	static SPIPlanPtr plan;
	UnideskArgs args = {0};

	unidesk_execute(&plan, "SELECT nextval('unidesk_data.session')", &args);
	return unidesk_column_int64(0, 1);
}

/* Store who connected, and grant what it brings; true when it brings enough. */
static bool
write_node(const UnideskMessage *message, const Hello *hello, int64 session, int32 bridge_id)
{
	static SPIPlanPtr node_plan;
	static SPIPlanPtr grant_plan;
	UnideskArgs args = {0};
	UnideskArgs grant = {0};

	unidesk_arg_int32(&args, message->node_id);
	unidesk_arg_int64(&args, session);
	unidesk_arg_int32(&args, bridge_id);
	unidesk_arg_text(&args, hello->machine.boot_id);
	unidesk_arg_text(&args, hello->machine.engine_id);
	unidesk_arg(&args, JSONBOID, hello->body);
	unidesk_arg_text(&args, hello->machine.data_id);
	unidesk_arg_int64(&args, hello->given_seal);
	unidesk_arg_int64(&args, hello->machine.seal);
	unidesk_execute(&node_plan,
					"UPDATE unidesk_data.node SET session = $2, bridge_id = $3, boot_id = $4, engine_id = $5,"
					" facts = $6 - '{attempts,checkpoints,update}'::text[], reconciled = true, data_id = $7::uuid, seal = nullif($8, 0), seal_before = CASE WHEN $8 <> 0 THEN $9 END,"
					" seal_incarnation = (SELECT value FROM unidesk_data.incarnation), accepts_until = NULL, refused = NULL WHERE id = $1", &args);
	unidesk_arg_int32(&grant, message->node_id);
	unidesk_arg(&grant, JSONBOID, hello->body);
	unidesk_execute(&grant_plan, "SELECT unidesk_data._grant_capacity($1, $2)", &grant);
	return DatumGetBool(unidesk_column(0, 1, NULL));
}

static int64
own_incarnation(void)
{
	static SPIPlanPtr plan;
	UnideskArgs args = {0};

	unidesk_execute(&plan, "SELECT value FROM unidesk_data.incarnation", &args);
	return unidesk_column_int64(0, 1);
}

/*
 * Live attempts that the node does not have although it was told of them:
 * what was running is lost, a stop is complete, what had not started is sent
 * again: but not after a restore, because it may have run since the dump, and a
 * fence of another incarnation starts nothing.
 */
static void
reconcile_absent(int32 node_id, Datum body, int64 rev)
{
	static SPIPlanPtr plan;
	static SPIPlanPtr again_plan;
	UnideskArgs args = {0};
	UnideskActor actor = {UNIDESK_ACTOR_NODE, node_id};
	UnideskLive *lives;
	UnideskDoor *door = unidesk_door_open();
	int64		own = own_incarnation();
	UnideskLock *locks;
	int64	   *tasks;
	uint64		count;

	unidesk_arg_int32(&args, node_id);
	unidesk_arg(&args, JSONBOID, body);
	unidesk_arg_int64(&args, rev);
	/* What has no number yet may be on its way, but not to a new session. */
	unidesk_arg_bool(&args, rev == PG_INT64_MAX);
	count = unidesk_execute(&plan, "WITH " INVENTORY
							" SELECT l.task_id FROM unidesk_data.live l WHERE l.state = 4 AND l.node_id = $1 AND l.left_on IS NULL"
							" AND (l.order_no <= $3 OR (l.order_no IS NULL AND $4)) AND NOT EXISTS (SELECT FROM inventory i"
							" WHERE i.incarnation = l.incarnation AND i.task = l.task_id AND i.attempt = l.attempt)"
							" ORDER BY l.task_id", &args);
	tasks = palloc(sizeof(int64) * (count + 1));
	lives = palloc(sizeof(UnideskLive) * (count + 1));
	locks = palloc(sizeof(UnideskLock) * (count + 1));
	for (uint64 i = 0; i < count; i++)
		tasks[i] = unidesk_column_int64(i, 1);
	unidesk_live_lock_many(tasks, (int) count, lives, locks);
	for (uint64 i = 0; i < count; i++)
	{
		UnideskLive *live = &lives[i];
		UnideskArgs again = {0};

		/* Somebody holds the row: the next beat asks for the inventory again. */
		if (locks[i] == UNIDESK_BUSY)
			unidesk_beat_expire(node_id);
		if (locks[i] != UNIDESK_LOCKED || live->state != UNIDESK_TASK_ACTIVE || live->node_id != node_id || live->left)
			continue;
		if (live->attempt_state == UD_ATTEMPT_STOPPING)
			unidesk_attempt_move(door, live, live->want_final, NULL, true, UNIDESK_BY_WORKER, actor);
		else if (live->attempt_state >= UD_ATTEMPT_RUNNING || live->incarnation != own)
			unidesk_attempt_move(door, live, UD_ATTEMPT_LOST, NULL, true, UNIDESK_BY_WORKER, actor);
		else
		{
			unidesk_arg_int64(&again, tasks[i]);
			unidesk_execute(&again_plan, "UPDATE unidesk_data.live SET order_no = NULL WHERE task_id = $1", &again);
			unidesk_note_task(tasks[i]);
		}
	}
	unidesk_door_close(door);
}

/* What ended attempts held is free once the node has nothing of them. */
static void
release_held(int32 node_id, Datum body)
{
	static SPIPlanPtr plan;
	UnideskArgs args = {0};

	unidesk_arg_int32(&args, node_id);
	unidesk_arg(&args, JSONBOID, body);
	if (unidesk_execute(&plan, "WITH " INVENTORY
						" DELETE FROM unidesk_data.held h WHERE h.node_id = $1 AND h.left_on IS NULL AND NOT EXISTS (SELECT FROM inventory i"
						" WHERE i.incarnation = h.incarnation AND i.task = h.task_id AND i.attempt = h.attempt)", &args) > 0)
		unidesk_note_node(node_id);
}

/* An attempt that the node has and should not. */
typedef struct Unwanted
{
	int64		incarnation;
	int64		task;
	int32		attempt;
	int			want;
	bool		is_foreign;
	int			told;			/* the state in which it was given up, to tell
								 * people before it is removed; 0: none */
} Unwanted;

/*
 * One that was given up runs there: people are told before it is removed.
 * False when somebody holds the row.
 */
static bool
tell_of_unwanted(const UnideskMessage *message, const Unwanted *unwanted)
{
	UnideskMessage said = *message;
	UnideskReport *report = palloc(sizeof(UnideskReport));
	UnideskLive *live = palloc(sizeof(UnideskLive));
	UnideskDoor *door = unidesk_door_open();
	UnideskLock lock = unidesk_live_lock(unwanted->task, false, live);
	bool		told;

	said.incarnation = unwanted->incarnation;
	said.task = unwanted->task;
	said.attempt = unwanted->attempt;
	said.state = unwanted->told;
	unidesk_report_init(report);
	told = lock != UNIDESK_BUSY && unidesk_tell_late(door, &said, report, lock == UNIDESK_LOCKED ? live : NULL);
	unidesk_door_close(door);
	return told;
}

/*
 * Attempts the node has and should not: those of this incarnation that are
 * unknown here or were given up are to be removed; those of another one are
 * held and shown until a person or time decides.  What has ended sends its
 * result and is removed after that.
 */
static void
reconcile_unknown(ReturnSetInfo *result, const UnideskMessage *message, int64 session, Datum body)
{
	static SPIPlanPtr plan;
	UnideskArgs args = {0};
	Unwanted   *unwanted;
	uint64		count;
	bool		ask_again = false;

	unidesk_arg_int32(&args, message->node_id);
	unidesk_arg(&args, JSONBOID, body);
	unidesk_arg_time(&args, unidesk_now());
	unidesk_arg_int16(&args, UD_REASON_CTL_STALE);
	unidesk_arg_int64(&args, own_incarnation());
	count = unidesk_execute(&plan,
							"SELECT u.incarnation, u.task, u.attempt, u.want, u.incarnation <> $5, u.told"
							" FROM unidesk_data._unwanted($1, $2, $3, $4) u ORDER BY u.task, u.attempt", &args);
	unwanted = palloc(sizeof(Unwanted) * (count + 1));
	for (uint64 row = 0; row < count; row++)
	{
		unwanted[row].incarnation = unidesk_column_int64(row, 1);
		unwanted[row].task = unidesk_column_int64(row, 2);
		unwanted[row].attempt = unidesk_column_int32(row, 3);
		unwanted[row].want = unidesk_column_int32(row, 4);
		unwanted[row].is_foreign = DatumGetBool(unidesk_column(row, 5, NULL));
		unwanted[row].told = unidesk_column_int32(row, 6);
	}
	for (uint64 i = 0; i < count; i++)
	{
		const Unwanted *u = &unwanted[i];
		bool		told = u->told == 0 || tell_of_unwanted(message, u);

		if (told)
			unidesk_send_unwanted(result, message, session, u->incarnation, u->task, u->attempt, u->want);
		/* Also until nothing of what was decided about is left. */
		ask_again = ask_again || !told || u->is_foreign;
	}
	if (ask_again)
		unidesk_beat_expire(message->node_id);
}

/* A node on its way in. */
typedef struct Arrival
{
	int32		bridge_id;
	UnideskNodeRow node;
	Hello		hello;
	int64		session;		/* 0: refused, and answered */
	bool		enough;			/* it brings what was declared */
} Arrival;

static void
send_welcome(ReturnSetInfo *result, const UnideskMessage *message, const Arrival *arrival, int64 rev)
{
	static SPIPlanPtr plan;
	UnideskArgs args = {0};
	UnideskOut	welcome = unidesk_answer(message, UD_MSG_WELCOME);

	unidesk_arg_time(&args, unidesk_now());
	unidesk_arg_text(&args, arrival->node.name);
	unidesk_arg_int32(&args, message->node_id);
	unidesk_arg_int32(&args, unidesk_beat_interval_used());
	unidesk_arg_int32(&args, unidesk_report_repeat);
	unidesk_arg_int32(&args, unidesk_agent_lease_margin_used());
	unidesk_arg_int64(&args, (int64) unidesk_log_budget * 1024);
	unidesk_arg_int64(&args, (int64) unidesk_disk_floor * 1024 * 1024);
	unidesk_arg_int32(&args, unidesk_fetch_timeout);
	unidesk_arg_int32(&args, unidesk_build_timeout);
	unidesk_arg_int64(&args, arrival->hello.given_seal);
	unidesk_execute(&plan,
					"SELECT jsonb_build_object('server_time', $1, 'node', $2, 'node_id', $3,"
					" 'seal', CASE WHEN $11 <> 0 THEN lpad(to_hex($11), 16, '0') END,"
					" 'incarnation', (SELECT lpad(to_hex(value), 16, '0') FROM unidesk_data.incarnation),"
					" 'limits', jsonb_build_object('beat_s', $4, 'report_repeat_s', $5, 'lease_margin_s', $6,"
					" 'log_budget', $7, 'disk_floor', $8, 'fetch_timeout_s', $9, 'build_timeout_s', $10))::text", &args);
	welcome.session = arrival->session;
	welcome.value = rev;
	welcome.body = unidesk_column_text(0, 1);
	welcome.body_bytes = strlen(welcome.body);
	unidesk_out(result, &welcome);
}

static void
supersede(ReturnSetInfo *result, const UnideskNodeRow *node)
{
	UnideskOut	close = {0};

	close.kind = UNIDESK_OUT_CLOSE;
	close.session = node->session;
	close.value = UD_CLOSE_SUPERSEDED;
	close.body = "another connection of this node took over";
	close.body_bytes = strlen(close.body);
	unidesk_out(result, &close);
}

static void
open_session(ReturnSetInfo *result, const UnideskMessage *message, const Arrival *arrival)
{
	UnideskActor actor = {UNIDESK_ACTOR_NODE, message->node_id};
	UnideskOut	opened = unidesk_answer(message, 0);
	const UnideskNodeRow *node = &arrival->node;
	const Hello *hello = &arrival->hello;
	bool		expired;
	int			count;
	int64		rev;

	if (node->session != 0)
		supersede(result, node);
	unidesk_node_move(message->node_id, node->status, arrival->enough ? UNIDESK_NODE_ONLINE : UNIDESK_NODE_INVALID,
					  UNIDESK_BY_AGENT, arrival->enough ? NULL : "it brings less than was declared", actor);
	unidesk_beat_revive(message->node_id);
	unidesk_beat_set(message->node_id, arrival->session, 0, 0, unidesk_now(), &expired);
	/* An earlier agent comes only with an engine, and does not say so. */
	unidesk_take_engine(message->node_id, arrival->session, 0,
						hello->engine == UNIDESK_ENGINE_UNSAID ? UNIDESK_ENGINE_OK : hello->engine);
	reconcile_absent(message->node_id, hello->body, PG_INT64_MAX);
	release_held(message->node_id, hello->body);

	rev = unidesk_desired_revision(message->node_id, &count);
	opened.kind = UNIDESK_OUT_SESSION;
	opened.session = arrival->session;
	opened.value = rev;
	unidesk_out(result, &opened);
	send_welcome(result, message, arrival, rev);
	unidesk_send_desired_full(result, message, arrival->session, rev, count);
	reconcile_unknown(result, message, arrival->session, hello->body);
	unidesk_take_checkpoints(result, message, arrival->session, hello->body);
	unidesk_take_update(result, message, arrival->session, hello->body);
	unidesk_note_node(message->node_id);
}

/* Orders for a session of a bridge that is over would reach nobody. */
static bool
bridge_lives(int32 bridge_id)
{
	static SPIPlanPtr plan;
	UnideskArgs args = {0};

	unidesk_arg_int32(&args, bridge_id);
	return unidesk_execute(&plan, "SELECT FROM unidesk_data.bridge WHERE id = $1 AND ended_at IS NULL", &args) == 1;
}

/*
 * It has to come back with another program: for people the row says so until
 * then, and an event when that changes, at most one a minute.
 */
static void
refuse_version(ReturnSetInfo *result, const UnideskMessage *message, const Hello *hello)
{
	static SPIPlanPtr row_plan;
	static SPIPlanPtr told_plan;
	UnideskActor actor = {UNIDESK_ACTOR_NODE, message->node_id};
	UnideskArgs row = {0};
	UnideskArgs told = {0};
	char	   *why = psprintf("its agent (%s) speaks versions %d to %d of the protocol, this server %d: update the older one",
							   hello->agent_version != NULL ? unidesk_shown(hello->agent_version) : "of unknown version",
							   hello->proto_min, hello->proto_max, UD_PROTOCOL_VERSION);

	unidesk_arg_int32(&row, message->node_id);
	unidesk_arg_text(&row, why);
	unidesk_arg_int32(&told, message->node_id);
	unidesk_arg_time(&told, unidesk_now() - USECS_PER_MINUTE);
	if (unidesk_execute(&row_plan,
						"UPDATE unidesk_data.node SET refused = $2 WHERE id = $1 AND refused IS DISTINCT FROM $2", &row) > 0 &&
		unidesk_execute(&told_plan,
						"SELECT FROM unidesk_data.node_event WHERE node_id = $1 AND at > $2 AND what = 'refused'", &told) == 0)
		unidesk_node_event(message->node_id, "refused", why, actor);
	unidesk_out_close(result, message, UD_CLOSE_VERSION,
					  psprintf("this server speaks version %d of the protocol", UD_PROTOCOL_VERSION));
}

/* Guarded: check who comes and what it brings, and write that down. */
static void
admit(ReturnSetInfo *result, const UnideskMessage *message, void *arg)
{
	Arrival    *arrival = arg;
	Hello	   *hello = &arrival->hello;
	const char *refusal;

	if (!lock_node(result, message, &arrival->node))
		return;
	parse_hello(message, hello);
	if (!bridge_lives(arrival->bridge_id))
		unidesk_out_close(result, message, UD_CLOSE_OVERLOADED, "this bridge is over, come again");
	else if (hello->other_version)
		refuse_version(result, message, hello);
	else if (hello->machine.boot_id == NULL || hello->machine.engine_id == NULL)
		unidesk_out_close(result, message, UD_CLOSE_PROTOCOL, "hello lacks boot_id or engine_id");
	else if ((refusal = unidesk_refuse_machine(message->node_id, &arrival->node, &hello->machine)) != NULL)
		unidesk_out_close(result, message, UD_CLOSE_DUPLICATE, refusal);
	else if (!unidesk_change_machine(message->node_id, &arrival->node, &hello->machine, hello->body))
		unidesk_out_busy(result, message);
	else
	{
		int64		session = next_session();

		hello->given_seal = hello->machine.data_id != NULL ? unidesk_new_seal() : 0;
		arrival->enough = write_node(message, hello, session, arrival->bridge_id);
		arrival->session = session;
	}
}

/*
 * Do objects and arrays nest deeper than anybody needs?  Facts of a node are
 * stored, and whatever reads them later may recurse.
 */
static bool
is_too_deep(const char *body, int length)
{
	bool		in_string = false;
	int			depth = 0;

	for (int i = 0; i < length; i++)
	{
		if (in_string && body[i] == '\\')
			i++;
		else if (body[i] == '"')
			in_string = !in_string;
		else if (!in_string && (body[i] == '{' || body[i] == '['))
			depth++;
		else if (!in_string && (body[i] == '}' || body[i] == ']'))
			depth--;
		if (depth > DEPTH_MAX)
			return true;
	}
	return false;
}

/*
 * Run something that may raise for bad data; true when it did not.  Only
 * errors of class 22 (data exception) and 54 (too much of it) are the
 * sender's fault.  What it sent stays out of the log: PostgreSQL's messages
 * quote it.
 */
static bool
guarded(ReturnSetInfo *result, const UnideskMessage *message,
		void (*body) (ReturnSetInfo *, const UnideskMessage *, void *), void *arg)
{
	MemoryContext context = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	volatile bool fine = true;

	if (message->body_bytes > BODY_BYTES_MAX ||
		!pg_verify_mbstr(PG_UTF8, message->body, message->body_bytes, true) ||
		is_too_deep(message->body, message->body_bytes))
		return false;
	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(context);
	PG_TRY();
	{
		body(result, message, arg);
		ReleaseCurrentSubTransaction();
	}
	PG_CATCH();
	{
		ErrorData  *error;
		int			category = ERRCODE_TO_CATEGORY(geterrcode());

		MemoryContextSwitchTo(context);
		error = CopyErrorData();
		FlushErrorState();
		RollbackAndReleaseCurrentSubTransaction();
		MemoryContextSwitchTo(context);
		CurrentResourceOwner = owner;
		if (category != ERRCODE_DATA_EXCEPTION && category != ERRCODE_PROGRAM_LIMIT_EXCEEDED)
			ReThrowError(error);
		ereport(LOG,
				(errmsg("node %d sent what cannot be understood: %.*s", message->node_id,
						(int) strcspn(error->message, "\""), error->message),
				 errhidestmt(true)));
		fine = false;
	}
	PG_END_TRY();
	MemoryContextSwitchTo(context);
	CurrentResourceOwner = owner;
	return fine;
}

void
unidesk_take_hello(ReturnSetInfo *result, const UnideskMessage *message, int32 bridge_id)
{
	Arrival		arrival = {0};

	arrival.bridge_id = bridge_id;
	if (!guarded(result, message, admit, &arrival))
		unidesk_out_close(result, message, UD_CLOSE_PROTOCOL, "hello cannot be understood");
	else if (arrival.session != 0)
		open_session(result, message, &arrival);
}

/* Guarded. */
static void
parse_inventory(ReturnSetInfo *result, const UnideskMessage *message, void *arg)
{
	parse_hello(message, arg);
}

void
unidesk_take_inventory(ReturnSetInfo *result, const UnideskMessage *message)
{
	static SPIPlanPtr node_plan;
	UnideskActor actor = {UNIDESK_ACTOR_NODE, message->node_id};
	UnideskArgs args = {0};
	UnideskOut	ack;
	Hello		hello = {0};
	bool		expired;

	if (!guarded(result, message, parse_inventory, &hello))
	{
		unidesk_out_close(result, message, UD_CLOSE_PROTOCOL, "inventory cannot be understood");
		return;
	}
	unidesk_arg_int32(&args, message->node_id);
	unidesk_arg_int64(&args, message->session);
	unidesk_arg(&args, JSONBOID, hello.body);
	/* The session may have ended since the batch began. */
	if (unidesk_execute(&node_plan,
						"UPDATE unidesk_data.node SET reconciled = true, facts = coalesce(facts, '{}') || " ENGINE_FACTS("$3") ","
						" engine_id = coalesce(left($3 ->> 'engine_id', 200), engine_id) WHERE id = (SELECT id FROM unidesk_data.node"
						" WHERE id = $1 AND session = $2 FOR UPDATE SKIP LOCKED) RETURNING status", &args) == 0)
	{
		unidesk_out_busy(result, message);
		return;
	}
	if (unidesk_column_int32(0, 1) == UNIDESK_NODE_OFFLINE)
		unidesk_node_move(message->node_id, UNIDESK_NODE_OFFLINE, UNIDESK_NODE_ONLINE, UNIDESK_BY_AGENT,
						  "it was heard again", actor);
	unidesk_beat_revive(message->node_id);
	unidesk_beat_set(message->node_id, message->session, message->sequence, message->value, unidesk_now(), &expired);
	unidesk_take_engine(message->node_id, message->session, message->sequence, hello.engine);
	/* It counts as a beat: leases of what is assigned next start from it. */
	ack = unidesk_answer(message, UD_MSG_BEAT_ACK);
	unidesk_out(result, &ack);
	reconcile_absent(message->node_id, hello.body, message->value);
	release_held(message->node_id, hello.body);
	reconcile_unknown(result, message, message->session, hello.body);
	unidesk_take_checkpoints(result, message, message->session, hello.body);
	unidesk_take_update(result, message, message->session, hello.body);
	unidesk_note_node(message->node_id);
}
