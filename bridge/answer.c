/*
 * answer.c
 *	  What the database answers: rows of unidesk_bridge.message.
 */
#include <inttypes.h>
#include <string.h>

#include "bridge.h"
#include "common/log.h"

/* Kinds of rows, docs/bridge-api.md. */
enum
{
	KIND_SEND = 0,
	KIND_OPENED = 1,
	KIND_CLOSE = 2,
	KIND_BUSY = 3,
	KIND_CURSOR = 4
};

enum
{
	COLUMN_KIND,
	COLUMN_CONN,
	COLUMN_SESSION,
	COLUMN_TYPE,
	COLUMN_STATE,
	COLUMN_FLAGS,
	COLUMN_INCARNATION,
	COLUMN_TASK,
	COLUMN_ATTEMPT,
	COLUMN_SEQUENCE,
	COLUMN_VALUE,
	COLUMN_BODY,
	COLUMN_COUNT
};

static const uint32_t column_types[COLUMN_COUNT] = {
	PG_INT2, PG_INT4, PG_INT8, PG_INT2, PG_INT2, PG_INT2,
	PG_INT8, PG_INT8, PG_INT4, PG_INT8, PG_INT8, PG_BYTEA,
};

typedef struct Row
{
	int			kind;
	int32_t		conn;
	uint64_t	session;
	UdEnvelope	envelope;
	const uint8_t *body;		/* borrowed from the result */
} Row;

static bool
columns_are_right(const PGresult *result)
{
	if (PQnfields(result) != COLUMN_COUNT)
		return false;
	for (int i = 0; i < COLUMN_COUNT; i++)
		if (PQftype(result, i) != column_types[i] || PQfformat(result, i) != 1)
			return false;
	return true;
}

/* NULL counts as 0; the length of a value is that of its type. */
static int64_t
get_number(const PGresult *result, int row, int column)
{
	if (PQgetisnull(result, row, column))
		return 0;
	return pg_get_int(PQgetvalue(result, row, column), PQgetlength(result, row, column));
}

static void
read_row(const PGresult *result, int number, Row *row)
{
	UdEnvelope *envelope = &row->envelope;

	row->kind = (int) get_number(result, number, COLUMN_KIND);
	row->conn = (int32_t) get_number(result, number, COLUMN_CONN);
	row->session = (uint64_t) get_number(result, number, COLUMN_SESSION);
	envelope->type = (uint16_t) get_number(result, number, COLUMN_TYPE);
	envelope->state = (uint8_t) get_number(result, number, COLUMN_STATE);
	envelope->flags = (uint8_t) get_number(result, number, COLUMN_FLAGS);
	envelope->incarnation = get_number(result, number, COLUMN_INCARNATION);
	envelope->task = get_number(result, number, COLUMN_TASK);
	envelope->attempt = (int32_t) get_number(result, number, COLUMN_ATTEMPT);
	envelope->sequence = (uint32_t) get_number(result, number, COLUMN_SEQUENCE);
	envelope->value = get_number(result, number, COLUMN_VALUE);
	envelope->body_bytes = (uint32_t) PQgetlength(result, number, COLUMN_BODY);
	row->body = (const uint8_t *) PQgetvalue(result, number, COLUMN_BODY);
}

static Conn *
row_conn(const Bridge *bridge, const Row *row)
{
	if (row->conn != 0)
		return conn_by_number(&bridge->conns, row->conn);
	return conn_by_session(&bridge->conns, row->session);
}

static void
apply_send(const Bridge *bridge, const Row *row)
{
	Conn	   *conn = row_conn(bridge, row);

	if (conn == NULL)
		return;
	if (row->envelope.body_bytes > UD_BODY_BYTES_MAX)
	{
		ud_err("node %d: the database's message of type %d has %u bytes, too many to send",
			   conn->node, row->envelope.type, row->envelope.body_bytes);
		return;
	}
	conn_send(conn, &row->envelope, row->body);
}

static void
apply_opened(Bridge *bridge, const Row *row)
{
	Conn	   *conn = conn_by_number(&bridge->conns, row->conn);

	if (conn == NULL)
	{
		/* It ended while its hello was on the way. */
		control_close_session(&bridge->control, row->session);
		return;
	}
	conn_open(conn, row->session);
	if (conn->session == row->session)
		control_session_opened(&bridge->control, row->session, row->envelope.value);
}

static void
apply_close(const Bridge *bridge, const Row *row)
{
	Conn	   *conn = row_conn(bridge, row);
	char		text[CLOSE_TEXT_BYTES_MAX + 1];

	if (conn == NULL)
		return;
	snprintf(text, sizeof(text), "%.*s", (int) row->envelope.body_bytes, (const char *) row->body);
	conn_close(conn, (int) row->envelope.value, text);
}

static void
apply_busy(RelayChannel *batch, const Row *row)
{
	uint32_t	index = row->envelope.sequence;

	if (batch != NULL && index >= 1 && index <= (uint32_t) batch->batch_count)
		batch->batch[index - 1]->again = true;
	else
		ud_warning("the database calls message %u busy, which does not exist", index);
}

bool
relay_apply(Relay *relay, const PGresult *result, RelayChannel *batch, int64_t *cursor)
{
	int			count = PQntuples(result);
	Row			row;

	if (!columns_are_right(result))
		return false;
	for (int i = 0; i < count; i++)
	{
		read_row(result, i, &row);
		switch (row.kind)
		{
			case KIND_SEND:
				apply_send(relay->bridge, &row);
				break;
			case KIND_OPENED:
				apply_opened(relay->bridge, &row);
				break;
			case KIND_CLOSE:
				apply_close(relay->bridge, &row);
				break;
			case KIND_BUSY:
				apply_busy(batch, &row);
				break;
			case KIND_CURSOR:
				if (cursor != NULL)
					*cursor = row.envelope.value;
				break;
			default:
				ud_warning("the database sent a row of unknown kind %d", row.kind);
				break;
		}
	}
	return true;
}
