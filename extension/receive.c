/*
 * receive.c
 *	  unidesk_bridge.receive: one batch of messages from agents.
 *
 * The call never raises for data: each message is answered by itself, so a
 * hostile agent cannot fail a batch that carries others.  It never waits for
 * a row lock either: what somebody else holds is offered again by the bridge.
 */
#include "unidesk.h"

#include "catalog/pg_type.h"
#include "fmgr.h"
#include "funcapi.h"
#include "utils/hsearch.h"
#include "utils/tuplestore.h"

#include "message.h"

#define COMPLAINTS_EVERY_MS 1000

void
unidesk_out(ReturnSetInfo *result, const UnideskOut *out)
{
	Datum		values[12];
	bool		nulls[12] = {false};
	bytea	   *body = palloc(VARHDRSZ + out->body_bytes);

	SET_VARSIZE(body, VARHDRSZ + out->body_bytes);
	if (out->body_bytes > 0)
		memcpy(VARDATA(body), out->body, out->body_bytes);
	values[0] = Int16GetDatum(out->kind);
	values[1] = Int32GetDatum(out->conn);
	values[2] = Int64GetDatum(out->session);
	values[3] = Int16GetDatum(out->type);
	values[4] = Int16GetDatum(out->state);
	values[5] = Int16GetDatum(out->flags);
	values[6] = Int64GetDatum(out->incarnation);
	values[7] = Int64GetDatum(out->task);
	values[8] = Int32GetDatum(out->attempt);
	values[9] = Int64GetDatum(out->sequence);
	values[10] = Int64GetDatum(out->value);
	values[11] = PointerGetDatum(body);
	tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
	pfree(body);
}

UnideskOut
unidesk_answer(const UnideskMessage *message, int type)
{
	UnideskOut	out = {0};

	out.kind = UNIDESK_OUT_SEND;
	out.conn = message->conn;
	out.session = message->session;
	out.type = type;
	out.incarnation = message->incarnation;
	out.task = message->task;
	out.attempt = message->attempt;
	out.sequence = message->sequence;
	return out;
}

void
unidesk_out_busy(ReturnSetInfo *result, const UnideskMessage *message)
{
	UnideskOut	out = unidesk_answer(message, 0);

	out.kind = UNIDESK_OUT_BUSY;
	out.sequence = message->number;
	unidesk_out(result, &out);
}

void
unidesk_out_close(ReturnSetInfo *result, const UnideskMessage *message, int code, const char *why)
{
	UnideskOut	out = unidesk_answer(message, 0);

	out.kind = UNIDESK_OUT_CLOSE;
	out.value = code;
	out.body = why;
	out.body_bytes = strlen(why);
	unidesk_out(result, &out);
}

void
unidesk_out_error(ReturnSetInfo *result, const UnideskMessage *message, const char *reason, const char *text)
{
	UnideskOut	out = unidesk_answer(message, UD_MSG_ERROR);

	out.body = psprintf("{\"reason\":\"%s\",\"message\":\"%s\"}", reason, text);
	out.body_bytes = strlen(out.body);
	unidesk_out(result, &out);
}

/* Current sessions of the nodes in a batch. */
typedef struct NodeSession
{
	int32		node_id;		/* key */
	int64		session;		/* 0: none */
} NodeSession;

static HTAB *
load_sessions(Datum *nodes, int count)
{
	static SPIPlanPtr plan;
	UnideskArgs args = {0};
	HASHCTL		control = {0};
	HTAB	   *sessions;

	control.keysize = sizeof(int32);
	control.entrysize = sizeof(NodeSession);
	control.hcxt = CurrentMemoryContext;
	sessions = hash_create("sessions of a batch", 64, &control, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	unidesk_arg_array(&args, INT4OID, nodes, NULL, count);
	unidesk_execute_by_key(&plan,
						   "SELECT id, session FROM unidesk_data.node WHERE id = ANY ($1)", &args);
	for (uint64 row = 0; row < SPI_processed; row++)
	{
		int32		id = unidesk_column_int32(row, 1);
		NodeSession *entry = hash_search(sessions, &id, HASH_ENTER, NULL);

		entry->session = unidesk_column_int64(row, 2);
	}
	return sessions;
}

static bool
session_is_current(HTAB *sessions, const UnideskMessage *message)
{
	NodeSession *entry = hash_search(sessions, &message->node_id, HASH_FIND, NULL);

	return message->session != 0 && entry != NULL && entry->session == message->session;
}

/* Into the server's log, but not as often as an agent likes; its text never. */
static void
take_agent_error(const UnideskMessage *message)
{
	static TimestampTz last;
	static int	unsaid;
	TimestampTz now = GetCurrentTimestamp();

	unsaid++;
	if (!TimestampDifferenceExceeds(last, now, COMPLAINTS_EVERY_MS))
		return;
	ereport(LOG,
			(errmsg("node %d complains about task %lld attempt %d (%d complaints since the last such line)",
					message->node_id, (long long) message->task, message->attempt, unsaid),
			 errhidestmt(true)));
	last = now;
	unsaid = 0;
}

/*
 * A session that another one has replaced must not come back at once; one
 * that ended with its bridge or in a restore may.
 */
static void
close_old_session(ReturnSetInfo *result, HTAB *sessions, const UnideskMessage *message)
{
	NodeSession *entry = hash_search(sessions, &message->node_id, HASH_FIND, NULL);
	bool		replaced = entry == NULL || entry->session != 0;

	unidesk_out_close(result, message, replaced ? UD_CLOSE_SUPERSEDED : UD_CLOSE_GOING_AWAY, "this session is over");
}

/* The arrays of one call. */
typedef struct Batch
{
	int			count;
	Datum	   *columns[13];	/* conn .. body */
	bool	   *token_nulls;
} Batch;

static void
read_batch(FunctionCallInfo fcinfo, Batch *batch)
{
	for (int i = 0; i < 13; i++)
	{
		int			count = unidesk_bridge_array(fcinfo, i + 1, "receive", &batch->columns[i],
												 i == 2 ? &batch->token_nulls : NULL);

		if (i == 0)
			batch->count = count;
		unidesk_bridge_same_length(batch->count, count, "receive");
	}
}

static void
read_message(const Batch *batch, int i, UnideskMessage *m)
{
	bytea	   *body = DatumGetByteaPP(batch->columns[12][i]);

	m->number = i + 1;
	m->conn = DatumGetInt32(batch->columns[0][i]);
	m->node_id = DatumGetInt32(batch->columns[1][i]);
	m->token_hash = batch->token_nulls[i] ? NULL : DatumGetByteaP(batch->columns[2][i]);
	m->session = DatumGetInt64(batch->columns[3][i]);
	m->type = DatumGetInt16(batch->columns[4][i]);
	m->state = DatumGetInt16(batch->columns[5][i]);
	m->flags = DatumGetInt16(batch->columns[6][i]);
	m->incarnation = DatumGetInt64(batch->columns[7][i]);
	m->task = DatumGetInt64(batch->columns[8][i]);
	m->attempt = DatumGetInt32(batch->columns[9][i]);
	m->sequence = DatumGetInt64(batch->columns[10][i]);
	m->value = DatumGetInt64(batch->columns[11][i]);
	m->body = VARDATA_ANY(body);
	m->body_bytes = VARSIZE_ANY_EXHDR(body);
}

static bool
same_log(const UnideskMessage *a, const UnideskMessage *b)
{
	return b->type == UD_MSG_LOG && a->conn == b->conn && a->session == b->session &&
		a->incarnation == b->incarnation && a->task == b->task && a->attempt == b->attempt;
}

/* Handle messages[i] and those that belong to it; returns how many. */
static int
take_messages(ReturnSetInfo *result, HTAB *sessions, int32 bridge_id,
			  const UnideskMessage *messages, int i, int count)
{
	const UnideskMessage *m = &messages[i];
	int			run = 1;

	if (m->type == UD_MSG_HELLO)
	{
		unidesk_take_hello(result, m, bridge_id);
		return 1;
	}
	while (m->type == UD_MSG_LOG && i + run < count && same_log(m, &messages[i + run]))
		run++;
	/* Reports go together, whoever sent them. */
	while (m->type == UD_MSG_REPORT && i + run < count && messages[i + run].type == UD_MSG_REPORT &&
		   session_is_current(sessions, &messages[i + run]))
		run++;
	if (!session_is_current(sessions, m))
	{
		close_old_session(result, sessions, m);
		return m->type == UD_MSG_REPORT ? 1 : run;
	}
	switch (m->type)
	{
		case UD_MSG_INVENTORY:
			unidesk_take_inventory(result, m);
			break;
		case UD_MSG_BEAT:
			unidesk_take_beat(result, m);
			break;
		case UD_MSG_REPORT:
			unidesk_take_reports(result, m, run);
			break;
		case UD_MSG_LOG:
			unidesk_take_log(result, m, run);
			break;
		case UD_MSG_AGENT_ERROR:
			take_agent_error(m);
			break;
		default:
			unidesk_out_error(result, m, "protocol", "unknown message type");
	}
	return run;
}

PG_FUNCTION_INFO_V1(unidesk_bridge_receive);

/* unidesk_bridge.receive(bridge, conn[], ...): docs/bridge-api.md. */
Datum
unidesk_bridge_receive(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	Batch		batch;
	UnideskMessage *messages;
	HTAB	   *sessions;

	unidesk_bridge_begin(fcinfo, "receive");
	read_batch(fcinfo, &batch);
	InitMaterializedSRF(fcinfo, 0);
	if (batch.count == 0)
		return (Datum) 0;
	messages = palloc0(sizeof(UnideskMessage) * batch.count);
	for (int i = 0; i < batch.count; i++)
		read_message(&batch, i, &messages[i]);
	SPI_connect();
	sessions = load_sessions(batch.columns[1], batch.count);
	for (int i = 0; i < batch.count;)
		i += take_messages(result, sessions, PG_GETARG_INT32(0), messages, i, batch.count);
	SPI_finish();
	return (Datum) 0;
}
