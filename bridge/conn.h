/*
 * conn.h
 *	  One agent's connection: frames in and out, its limits, its end.
 *
 *	  new --hello--> greeted --session from the database--> open
 *	   |________________|______________________________________|--> closing
 *
 * A connection never goes inside a call about it: conn_close() marks it, the
 * socket's own callback sends what is queued and the close frame, and only
 * libwebsockets' "closed" ends in conn_free().
 */
#ifndef CONN_H
#define CONN_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

#include <libwebsockets.h>

#include "common/buf.h"
#include "common/error.h"
#include "common/protocol.h"
#include "limit.h"
#include "map.h"
#include "message.h"
#include "tokens.h"

struct Bridge;

/* Close codes of RFC 6455 used here. */
#define CLOSE_GOING_AWAY 1001
#define CLOSE_UNSUPPORTED 1003
#define CLOSE_TOO_BIG 1009

/* A control frame's payload holds a code and this much text. */
#define CLOSE_TEXT_BYTES_MAX 123

typedef enum ConnState
{
	CONN_NEW,
	CONN_GREETED,
	CONN_OPEN,
	CONN_CLOSING
} ConnState;

typedef struct Conn
{
	struct Bridge *bridge;		/* borrowed */
	struct lws *wsi;			/* borrowed; NULL in unit tests */
				TAILQ_ENTRY(Conn) entry;
	ConnState	state;
	int32_t		number;			/* the bridge's own, never 0 */
	int32_t		node;
	uint8_t		token_hash[TOKEN_HASH_BYTES];
	uint64_t	session;		/* 0 until open */
	int64_t		opened_at;
	int64_t		received_at;	/* any message or pong */
	int64_t		pinged_at;
	bool		ping_due;
	UdBuf		in;				/* fragments of one frame */
	int			pieces;			/* of that frame so far */
	bool		frame_partial;	/* it goes on */
	int64_t		frame_since;
	UdBuf		out;			/* envelopes and bodies, not yet framed */
	Limit		control_limit;
	Limit		log_limit;
	MessageList messages[CHANNEL_COUNT];	/* queued or in flight, by
											 * conn_entry */
	size_t		queued_bytes[CHANNEL_COUNT];
	uint16_t	close_code;		/* when closing */
	char		close_text[CLOSE_TEXT_BYTES_MAX + 1];
	int64_t		close_by;		/* then it is cut off */
	int64_t		taken_at;		/* when the socket last took from out */
} Conn;

/* What all connections of one node may do together. */
typedef struct NodeGate
{
	int			connections;
	Limit		arrivals;
} NodeGate;

TAILQ_HEAD(ConnList, Conn);

typedef struct ConnTable
{
	struct ConnList all;
	size_t		count;
	int32_t		last_number;
	Map			by_number;
	Map			by_session;
	Map			by_node;		/* NodeGate, owned; kept while the bridge runs */
} ConnTable;

extern void conn_table_init(ConnTable *table);
extern void conn_table_release(ConnTable *table);

/*
 * May one more connection of this node come now?  An agent needs one, and
 * each hello is work for the database.
 */
extern bool conn_may_arrive(ConnTable *table, int32_t node, int64_t now);

extern Conn *conn_new(struct Bridge *bridge, struct lws *wsi, int32_t node, const uint8_t *token_hash);

/* Also drops its queued messages and tells the database about the session. */
extern void conn_free(Conn *conn);

extern Conn *conn_by_number(const ConnTable *table, int32_t number);
extern Conn *conn_by_session(const ConnTable *table, uint64_t session);

/* Bytes of a WebSocket message came. */
extern void conn_receive(Conn *conn, const void *bytes, size_t len, bool first, bool last, bool binary);

/*
 * A whole frame came.  Returns 0, or the code to close with and err's message;
 * then nothing of the frame was accepted.
 */
extern int	conn_frame(Conn *conn, const uint8_t *frame, size_t len, UdError *err);

/* The database opened a session for this connection. */
extern void conn_open(Conn *conn, uint64_t session);

/* Queue a message to the agent. */
extern void conn_send(Conn *conn, const UdEnvelope *envelope, const void *body);

/* Queue an error message about what the given message was about. */
extern void conn_send_error(Conn *conn, const UdEnvelope *about, const char *text);

/* Close after what is queued; the first code wins. */
extern void conn_close(Conn *conn, int code, const char *text);
extern void conn_close_all(ConnTable *table, int code, const char *text);

/* Close those whose token is no longer in the map. */
extern void conn_close_revoked(ConnTable *table, const TokenMap *tokens);

/*
 * Make the next frame out of what is queued, at most UD_FRAME_BYTES_MAX bytes
 * at out.  Returns its length, 0 when nothing is queued.
 */
extern size_t conn_take_frame(Conn *conn, uint8_t *out);

/* Once a second: time limits and pings. */
extern void conn_tick(Conn *conn, int64_t now);

#endif							/* CONN_H */
