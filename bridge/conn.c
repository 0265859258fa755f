/*
 * conn.c
 *	  One agent's connection: frames in and out, its limits, its end.
 */
#include "conn.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "bridge.h"
#include "common/cleanup.h"
#include "common/log.h"
#include "common/reasons.h"

/* From this type on, messages go from the server to the agent. */
#define SERVER_TYPES_FROM 128

#define SECOND INT64_C(1000000)
#define HELLO_TIMEOUT_US (10 * SECOND)
#define WELCOME_TIMEOUT_US (60 * SECOND)
#define PING_AFTER_US (30 * SECOND)
#define HANGUP_AFTER_US (75 * SECOND)
#define CLOSE_TIMEOUT_US (3 * SECOND)

/*
 * Messages per second; one counts for the kilobytes that the database has to
 * parse too.  Logs are bounded by credit, this is a backstop.
 */
#define CONTROL_RATE 500
#define CONTROL_BURST 4000
#define LOG_RATE 5000
#define LOG_BURST 20000

/*
 * A frame may come in so many pieces, which is more than any network makes of
 * the largest: each costs a callback, however little is in it.
 */
#define PIECES_MAX 16384
/* Before hello has said who it is: hello alone. */
#define HELLO_FRAME_BYTES_MAX (UD_HEADER_BYTES + UD_ENVELOPE_BYTES + UD_BODY_BYTES_MAX)

/*
 * An agent that does not read what it is sent: all of a node's orders may come
 * at once, so time decides, and the size only at last.
 */
#define READ_TIMEOUT_US (20 * SECOND)
#define OUT_BYTES_MAX (256 * 1024 * 1024)
/* Connections of one node: the old one lives on until it is found dead. */
#define NODE_CONNECTIONS_MAX 8
#define NODE_ARRIVALS_RATE 1
#define NODE_ARRIVALS_BURST 60

void
conn_table_init(ConnTable *table)
{
	memset(table, 0, sizeof(*table));
	TAILQ_INIT(&table->all);
}

void
conn_table_release(ConnTable *table)
{
	Conn	   *conn;

	while ((conn = TAILQ_FIRST(&table->all)) != NULL)
		conn_free(conn);
	map_release(&table->by_number);
	map_release(&table->by_session);
	for (size_t i = 0; i < table->by_node.size; i++)
		free((NodeGate *) (uintptr_t) table->by_node.entries[i].value);
	map_release(&table->by_node);
}

/* Made at first sight; there are no more than tokens in the map. */
static NodeGate *
conn_gate(ConnTable *table, int32_t node, int64_t now)
{
	/* Keys are not 0; the database counts nodes from 1. */
	uint64_t	key = (uint64_t) (uint32_t) node + 1;
	NodeGate   *gate = (NodeGate *) (uintptr_t) map_get(&table->by_node, key);

	if (gate == NULL)
	{
		gate = ud_calloc(1, sizeof(NodeGate));
		limit_init(&gate->arrivals, NODE_ARRIVALS_RATE, NODE_ARRIVALS_BURST, now);
		map_put(&table->by_node, key, (uint64_t) (uintptr_t) gate);
	}
	return gate;
}

bool
conn_may_arrive(ConnTable *table, int32_t node, int64_t now)
{
	NodeGate   *gate = conn_gate(table, node, now);

	return gate->connections < NODE_CONNECTIONS_MAX && limit_take(&gate->arrivals, 1, now);
}

Conn *
conn_by_number(const ConnTable *table, int32_t number)
{
	return number <= 0 ? NULL : (Conn *) (uintptr_t) map_get(&table->by_number, (uint64_t) number);
}

Conn *
conn_by_session(const ConnTable *table, uint64_t session)
{
	return session == 0 ? NULL : (Conn *) (uintptr_t) map_get(&table->by_session, session);
}

static int32_t
conn_next_number(ConnTable *table)
{
	do
		table->last_number = table->last_number == INT32_MAX ? 1 : table->last_number + 1;
	while (map_has(&table->by_number, (uint64_t) table->last_number));
	return table->last_number;
}

Conn *
conn_new(Bridge *bridge, struct lws *wsi, int32_t node, const uint8_t *token_hash)
{
	ConnTable  *table = &bridge->conns;
	Conn	   *conn = ud_calloc(1, sizeof(Conn));
	int64_t		now = loop_now();

	conn->bridge = bridge;
	conn->wsi = wsi;
	conn->node = node;
	memcpy(conn->token_hash, token_hash, TOKEN_HASH_BYTES);
	conn->number = conn_next_number(table);
	conn->opened_at = now;
	conn->received_at = now;
	conn->pinged_at = now;
	conn->taken_at = now;
	conn_gate(table, node, now)->connections++;
	limit_init(&conn->control_limit, CONTROL_RATE, CONTROL_BURST, now);
	limit_init(&conn->log_limit, LOG_RATE, LOG_BURST, now);
	for (int i = 0; i < CHANNEL_COUNT; i++)
		TAILQ_INIT(&conn->messages[i]);
	TAILQ_INSERT_TAIL(&table->all, conn, entry);
	table->count++;
	map_put(&table->by_number, (uint64_t) conn->number, (uint64_t) (uintptr_t) conn);
	return conn;
}

void
conn_free(Conn *conn)
{
	ConnTable  *table = &conn->bridge->conns;

	ud_info("connection %d of node %d ended%s%s", conn->number, conn->node,
			conn->close_text[0] ? ": " : "", conn->close_text);
	relay_forget(&conn->bridge->relay, conn);
	if (conn_by_session(table, conn->session) == conn)
	{
		map_remove(&table->by_session, conn->session);
		control_close_session(&conn->bridge->control, conn->session);
	}
	conn_gate(table, conn->node, 0)->connections--;
	map_remove(&table->by_number, (uint64_t) conn->number);
	TAILQ_REMOVE(&table->all, conn, entry);
	table->count--;
	ud_buf_release(&conn->in);
	ud_buf_release(&conn->out);
	free(conn);
}

static void
conn_wish_to_write(Conn *conn)
{
	if (conn->wsi != NULL)
		lws_callback_on_writable(conn->wsi);
}

void
conn_close(Conn *conn, int code, const char *text)
{
	if (conn->state == CONN_CLOSING)
		return;
	ud_info("connection %d of node %d: closing with %d: %s", conn->number, conn->node, code, text);
	conn->state = CONN_CLOSING;
	/* Others may not be sent; an agent would not understand 1000 either. */
	conn->close_code = (uint16_t) (code >= 1000 && code <= 4999 ? code : CLOSE_GOING_AWAY);
	snprintf(conn->close_text, sizeof(conn->close_text), "%s", text);
	/* The input stays until conn_free: a caller may be reading a frame in it. */
	conn->close_by = loop_now() + CLOSE_TIMEOUT_US;
	conn_wish_to_write(conn);
}

void
conn_close_all(ConnTable *table, int code, const char *text)
{
	Conn	   *conn;

	TAILQ_FOREACH(conn, &table->all, entry)
		conn_close(conn, code, text);
}

void
conn_close_revoked(ConnTable *table, const TokenMap *tokens)
{
	Conn	   *conn;
	int32_t		node;

	TAILQ_FOREACH(conn, &table->all, entry)
		if (!tokens_find(tokens, conn->token_hash, &node) || node != conn->node)
		conn_close(conn, UD_CLOSE_TOKEN_REVOKED, "token revoked");
}

void
conn_open(Conn *conn, uint64_t session)
{
	if (conn->state != CONN_GREETED || session == 0)
	{
		/* Gone meanwhile, or nobody asked: the session has no connection. */
		control_close_session(&conn->bridge->control, session);
		return;
	}
	conn->state = CONN_OPEN;
	conn->session = session;
	map_put(&conn->bridge->conns.by_session, session, (uint64_t) (uintptr_t) conn);
	ud_info("connection %d of node %d: session %" PRIu64 " open", conn->number, conn->node, session);
}

/* What it does not read is not kept. */
static void
conn_close_unread(Conn *conn)
{
	ud_buf_release(&conn->out);
	conn_close(conn, UD_CLOSE_OVERLOADED, "the agent does not read");
}

void
conn_send(Conn *conn, const UdEnvelope *envelope, const void *body)
{
	uint8_t		head[UD_ENVELOPE_BYTES];

	if (conn->state == CONN_CLOSING)
		return;
	if (conn->out.len > OUT_BYTES_MAX)
	{
		conn_close_unread(conn);
		return;
	}
	if (conn->out.len == 0)
		conn->taken_at = loop_now();
	ud_envelope_write(head, envelope);
	ud_buf_append(&conn->out, head, sizeof(head));
	ud_buf_append(&conn->out, body, envelope->body_bytes);
	conn_wish_to_write(conn);
}

void
conn_send_error(Conn *conn, const UdEnvelope *about, const char *text)
{
	UdEnvelope	envelope = *about;
	ud_auto_buf UdBuf body = {0};

	/* text is one of our own: nothing in it needs escaping. */
	ud_buf_printf(&body, "{\"reason\":\"%s\",\"message\":\"%s\"}",
				  ud_reason_text(UD_REASON_NODE_AGENT_ERROR), text);
	envelope.type = UD_MSG_ERROR;
	envelope.flags = 0;
	envelope.body_bytes = (uint32_t) body.len;
	conn_send(conn, &envelope, body.data);
}

size_t
conn_take_frame(Conn *conn, uint8_t *out)
{
	UdHeader	header = {0};
	size_t		taken = 0;

	while (taken < conn->out.len && header.message_count < UD_FRAME_MESSAGES_MAX)
	{
		UdEnvelope	envelope;
		size_t		bytes;

		ud_envelope_read(conn->out.data + taken, &envelope);
		bytes = UD_ENVELOPE_BYTES + envelope.body_bytes;
		if (UD_HEADER_BYTES + taken + bytes > UD_FRAME_BYTES_MAX)
			break;
		taken += bytes;
		header.message_count++;
	}
	if (taken == 0)
		return 0;
	header.version = UD_PROTOCOL_VERSION;
	header.frame_bytes = (uint32_t) (UD_HEADER_BYTES + taken);
	header.session = conn->session;
	ud_header_write(out, &header);
	memcpy(out + UD_HEADER_BYTES, conn->out.data, taken);
	conn->taken_at = loop_now();
	ud_buf_consume(&conn->out, taken);
	if (conn->out.len == 0)
		ud_buf_release(&conn->out);
	return header.frame_bytes;
}

/* May this message come now?  0, or a close code and why. */
static int
conn_check_message(Conn *conn, const UdHeader *header, const UdEnvelope *envelope, UdError *err)
{
	bool		log = envelope->type == UD_MSG_LOG;
	const char *wrong = NULL;

	if (envelope->type >= SERVER_TYPES_FROM)
		wrong = "a message that only the server sends";
	else if (conn->state == CONN_NEW &&
			 (envelope->type != UD_MSG_HELLO || header->message_count != 1 || header->session != 0))
		wrong = "the first frame has to be hello alone, with session 0";
	else if (conn->state == CONN_GREETED)
		wrong = "a message before welcome";
	else if (conn->state == CONN_OPEN && header->session != conn->session)
		wrong = "another session's number";
	else if (conn->state == CONN_OPEN && envelope->type == UD_MSG_HELLO)
		wrong = "a second hello";
	else if (envelope->type == UD_MSG_LOG && envelope->body_bytes > UD_LOG_BODY_BYTES_MAX)
		wrong = "a log message that is too long";
	if (wrong != NULL)
	{
		ud_error(err, UD_EPROTO, 0, "%s", wrong);
		return UD_CLOSE_PROTOCOL;
	}
	if (!limit_take(log ? &conn->log_limit : &conn->control_limit,
					log ? 1 : 1 + envelope->body_bytes / 1024, loop_now()))
	{
		ud_error(err, UD_EPROTO, 0, "too many messages per second");
		return UD_CLOSE_OVERLOADED;
	}
	return 0;
}

/*
 * A frame that cannot be read further.  In the place of a hello the database
 * is told what is known of it, so that people see who came; it answers as it
 * does to any hello of another version.
 */
static int
conn_other_version(Conn *conn, const uint8_t *frame, UdError *err)
{
	UdHeader	header;
	UdEnvelope	hello = {.type = UD_MSG_HELLO};
	ud_auto_buf UdBuf body = {0};
	int			code;

	if (conn->state != CONN_NEW)
	{
		ud_error(err, UD_EPROTO, 0, "this server speaks version %d of the protocol", UD_PROTOCOL_VERSION);
		return UD_CLOSE_VERSION;
	}
	ud_header_read(frame, &header);
	ud_buf_printf(&body, "{\"proto_min\":%d,\"proto_max\":%d}", header.version, header.version);
	hello.body_bytes = (uint32_t) body.len;
	code = relay_submit(&conn->bridge->relay, conn, &hello, body.data, err);
	if (code == 0)
		conn->state = CONN_GREETED;
	relay_kick(&conn->bridge->relay);
	return code;
}

int
conn_frame(Conn *conn, const uint8_t *frame, size_t len, UdError *err)
{
	UdFrameReader reader;
	UdEnvelope	envelope;
	const uint8_t *body;
	int			step;
	int			code;

	if (ud_frame_is_other_version(frame, len))
		return conn_other_version(conn, frame, err);
	/* First all of it is checked, then all of it is taken. */
	step = ud_frame_begin(&reader, frame, len);
	while (step >= 0 && (step = ud_frame_next(&reader, &envelope, &body)) > 0)
	{
		code = conn_check_message(conn, &reader.header, &envelope, err);
		if (code != 0)
			return code;
	}
	if (step < 0)
	{
		ud_error(err, UD_EPROTO, 0, "malformed frame");
		return UD_CLOSE_PROTOCOL;
	}
	if (ud_frame_begin(&reader, frame, len) != 0)
		return UD_CLOSE_PROTOCOL;
	while (conn->state != CONN_CLOSING && ud_frame_next(&reader, &envelope, &body) > 0)
	{
		if (ud_message_type_name(envelope.type) == NULL)
		{
			conn_send_error(conn, &envelope, "unknown message type");
			continue;
		}
		code = relay_submit(&conn->bridge->relay, conn, &envelope, body, err);
		if (code != 0)
			return code;
		if (envelope.type == UD_MSG_HELLO)
			conn->state = CONN_GREETED;
	}
	relay_kick(&conn->bridge->relay);
	return 0;
}

void
conn_receive(Conn *conn, const void *bytes, size_t len, bool first, bool last, bool binary)
{
	UdError		err = {0};
	int			code = 0;

	conn->received_at = loop_now();
	if (conn->state == CONN_CLOSING)
		return;
	if (!binary)
	{
		conn_close(conn, CLOSE_UNSUPPORTED, "binary frames only");
		return;
	}
	if (first)
	{
		conn->pieces = 0;
		conn->frame_since = conn->received_at;
	}
	conn->pieces++;
	if (conn->in.len + len > (conn->state == CONN_NEW ? HELLO_FRAME_BYTES_MAX : UD_FRAME_BYTES_MAX) ||
		conn->pieces > PIECES_MAX)
	{
		conn_close(conn, CLOSE_TOO_BIG, conn->pieces > PIECES_MAX ? "a frame in too many pieces" : "frame too big");
		ud_buf_release(&conn->in);
		return;
	}
	conn->frame_partial = !last;
	if (first && last)
		code = conn_frame(conn, bytes, len, &err);
	else
	{
		ud_buf_append(&conn->in, bytes, len);
		if (last)
			code = conn_frame(conn, conn->in.data, conn->in.len, &err);
	}
	if (code != 0)
		conn_close(conn, code, err.message);
	else if (last)
		ud_buf_release(&conn->in);
}

void
conn_tick(Conn *conn, int64_t now)
{
	if (conn->state == CONN_CLOSING)
	{
		if (now > conn->close_by && conn->wsi != NULL)
			lws_set_timeout(conn->wsi, PENDING_TIMEOUT_USER_OK, LWS_TO_KILL_ASYNC);
		return;
	}
	if (conn->state == CONN_NEW && now - conn->opened_at > HELLO_TIMEOUT_US)
		conn_close(conn, UD_CLOSE_PROTOCOL, "no hello in time");
	else if (conn->state == CONN_GREETED && now - conn->opened_at > WELCOME_TIMEOUT_US)
		conn_close(conn, CLOSE_GOING_AWAY, "no session in time");
	else if (now - conn->received_at > HANGUP_AFTER_US)
		conn_close(conn, CLOSE_GOING_AWAY, "nothing received");
	else if (conn->out.len > 0 && now - conn->taken_at > READ_TIMEOUT_US)
		conn_close_unread(conn);
	else if (conn->frame_partial && now - conn->frame_since > HANGUP_AFTER_US)
		conn_close(conn, CLOSE_GOING_AWAY, "a frame did not end in time");
	else if (now - conn->pinged_at > PING_AFTER_US &&
			 (now - conn->taken_at > PING_AFTER_US || now - conn->received_at > PING_AFTER_US))
	{
		/* Either side was silent: the agent, too, relies on hearing from us. */
		conn->pinged_at = now;
		conn->ping_due = true;
		conn_wish_to_write(conn);
	}
}
