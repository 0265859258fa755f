/*
 * check_conn.c
 *	  Frames in and out of a connection, its limits, and what the relay makes
 *	  of its messages; no socket and no database take part.
 */
#include <stdlib.h>
#include <string.h>

#include <check.h>

#include "bridge/bridge.h"
#include "common/log.h"

#define SECOND INT64_C(1000000)

static Bridge bridge;
static BridgeConfig config;
static Conn *conn;
static UdError err;

/* A frame being built. */
static uint8_t frame[UD_FRAME_BYTES_MAX + 100];
static size_t frame_len;
static int	frame_count;

static void
setup(void)
{
	static const uint8_t hash[TOKEN_HASH_BYTES] = {1, 2, 3};

	ud_log_setup("check_conn", UD_LOG_ERROR);
	memset(&bridge, 0, sizeof(bridge));
	bridge.config = &config;
	conn_table_init(&bridge.conns);
	control_init(&bridge.control, &bridge);
	relay_init(&bridge.relay, &bridge);
	listen_init(&bridge.listen, &bridge);
	conn = conn_new(&bridge, NULL, 3, hash);
	frame_len = UD_HEADER_BYTES;
	frame_count = 0;
}

static void
teardown(void)
{
	conn_table_release(&bridge.conns);
	relay_release(&bridge.relay);
	listen_release(&bridge.listen);
	control_release(&bridge.control);
}

static void
add(int type, int64_t task, uint32_t sequence, size_t body_bytes)
{
	UdEnvelope	envelope = {0};

	envelope.type = (uint16_t) type;
	envelope.task = task;
	envelope.attempt = 1;
	envelope.sequence = sequence;
	envelope.body_bytes = (uint32_t) body_bytes;
	ud_envelope_write(frame + frame_len, &envelope);
	memset(frame + frame_len + UD_ENVELOPE_BYTES, 'b', body_bytes);
	frame_len += UD_ENVELOPE_BYTES + body_bytes;
	frame_count++;
}

/* Finish the frame, give it to the connection, begin the next one. */
static int
deliver(uint64_t session)
{
	UdHeader	header = {0};
	int			code;

	header.version = UD_PROTOCOL_VERSION;
	header.message_count = (uint16_t) frame_count;
	header.frame_bytes = (uint32_t) frame_len;
	header.session = session;
	ud_header_write(frame, &header);
	code = conn_frame(conn, frame, frame_len, &err);
	frame_len = UD_HEADER_BYTES;
	frame_count = 0;
	return code;
}

static int
deliver_one(int type, uint64_t session)
{
	add(type, 0, 0, 2);
	return deliver(session);
}

static void
open_session(void)
{
	ck_assert_int_eq(deliver_one(UD_MSG_HELLO, 0), 0);
	conn_open(conn, 77);
	ck_assert_int_eq(conn->state, CONN_OPEN);
	/* As if the database had taken the hello. */
	relay_forget(&bridge.relay, conn);
}

static RelayChannel *
control_channel(void)
{
	return &bridge.relay.channels[CHANNEL_CONTROL];
}

START_TEST(hello_first_and_alone)
{
	ck_assert_int_eq(deliver_one(UD_MSG_BEAT, 0), UD_CLOSE_PROTOCOL);
	ck_assert_int_eq(deliver_one(UD_MSG_HELLO, 5), UD_CLOSE_PROTOCOL);
	add(UD_MSG_HELLO, 0, 0, 0);
	add(UD_MSG_BEAT, 0, 0, 0);
	ck_assert_int_eq(deliver(0), UD_CLOSE_PROTOCOL);
	ck_assert(relay_is_empty(&bridge.relay));
	ck_assert_int_eq(deliver_one(UD_MSG_HELLO, 0), 0);
	ck_assert_int_eq(conn->state, CONN_GREETED);
	ck_assert(!relay_is_empty(&bridge.relay));
	/* Nothing before welcome. */
	ck_assert_int_eq(deliver_one(UD_MSG_BEAT, 0), UD_CLOSE_PROTOCOL);
	ck_assert_int_eq(deliver_one(UD_MSG_HELLO, 0), UD_CLOSE_PROTOCOL);
}

END_TEST

START_TEST(session_and_types)
{
	open_session();
	ck_assert_ptr_eq(conn_by_session(&bridge.conns, 77), conn);
	ck_assert_int_eq(deliver_one(UD_MSG_BEAT, 77), 0);
	ck_assert_int_eq(deliver_one(UD_MSG_BEAT, 78), UD_CLOSE_PROTOCOL);
	ck_assert_int_eq(deliver_one(UD_MSG_BEAT, 0), UD_CLOSE_PROTOCOL);
	ck_assert_int_eq(deliver_one(UD_MSG_HELLO, 77), UD_CLOSE_PROTOCOL);
	for (int type = 128; type < 300; type += 4)
		ck_assert_int_eq(deliver_one(type, 77), UD_CLOSE_PROTOCOL);
	/* One bad message spoils its frame, nothing of it is taken. */
	relay_forget(&bridge.relay, conn);
	add(UD_MSG_REPORT, 1, 1, 2);
	add(UD_MSG_WELCOME, 1, 1, 2);
	ck_assert_int_eq(deliver(77), UD_CLOSE_PROTOCOL);
	ck_assert(relay_is_empty(&bridge.relay));
}

END_TEST

START_TEST(unknown_type_is_answered)
{
	UdEnvelope	envelope;

	open_session();
	add(99, 5, 6, 0);
	ck_assert_int_eq(deliver(77), 0);
	ck_assert(relay_is_empty(&bridge.relay));
	ud_envelope_read(conn->out.data, &envelope);
	ck_assert_int_eq(envelope.type, UD_MSG_ERROR);
	ck_assert_int_eq(envelope.task, 5);
	ck_assert_uint_eq(envelope.sequence, 6);
}

END_TEST

START_TEST(log_body_limit)
{
	open_session();
	add(UD_MSG_LOG, 1, 0, UD_LOG_BODY_BYTES_MAX);
	ck_assert_int_eq(deliver(77), 0);
	add(UD_MSG_LOG, 1, 0, UD_LOG_BODY_BYTES_MAX + 1);
	ck_assert_int_eq(deliver(77), UD_CLOSE_PROTOCOL);
}

END_TEST

/* Every prefix and every flipped byte of a frame: no crash, no half frame. */
START_TEST(mutilated_frames)
{
	uint8_t		copy[256];
	size_t		len;
	int			taken = 0;

	open_session();
	add(UD_MSG_REPORT, 1, 1, 5);
	add(UD_MSG_REPORT, 2, 1, 7);
	len = frame_len;
	ck_assert_int_eq(deliver(77), 0);
	memcpy(copy, frame, len);
	relay_forget(&bridge.relay, conn);
	for (size_t cut = 0; cut < len; cut++)
		ck_assert_int_eq(conn_frame(conn, copy, cut, &err), UD_CLOSE_PROTOCOL);
	ck_assert(relay_is_empty(&bridge.relay));
	for (size_t i = 0; i < len * 8; i++)
	{
		copy[i / 8] ^= (uint8_t) (1 << (i % 8));
		taken += conn_frame(conn, copy, len, &err) == 0;
		copy[i / 8] ^= (uint8_t) (1 << (i % 8));
		relay_forget(&bridge.relay, conn);
	}
	ck_assert_int_gt(taken, 0);
}

END_TEST

START_TEST(message_rate)
{
	int			code = 0;

	open_session();
	for (int i = 0; i < 6 && code == 0; i++)
	{
		for (int j = 0; j < UD_FRAME_MESSAGES_MAX; j++)
			add(UD_MSG_BEAT, 0, (uint32_t) j, 0);
		code = deliver(77);
	}
	ck_assert_int_eq(code, UD_CLOSE_OVERLOADED);
}

END_TEST

START_TEST(rate_of_kilobytes)
{
	int			code = 0;
	int			messages = 0;

	open_session();
	for (; messages < 100 && code == 0; messages++)
	{
		code = deliver_one(UD_MSG_INVENTORY, 77);
		add(UD_MSG_INVENTORY, 0, 0, UD_BODY_BYTES_MAX);
		if (code == 0)
			code = deliver(77);
	}
	ck_assert_int_eq(code, UD_CLOSE_OVERLOADED);
	ck_assert_int_lt(messages, 20);
	/* Of a level only the newest waits. */
	ck_assert_uint_lt(bridge.relay.queued_bytes[CHANNEL_CONTROL], 2 * UD_BODY_BYTES_MAX);
}

END_TEST

/* Logs beyond their limits are dropped, and nothing else suffers. */
START_TEST(log_queue_limit)
{
	const size_t *queued = bridge.relay.queued_bytes;

	open_session();
	for (int i = 0; i < 1000; i++)
	{
		add(UD_MSG_LOG, 1, 0, UD_LOG_BODY_BYTES_MAX);
		ck_assert_int_eq(deliver(77), 0);
	}
	ck_assert_uint_gt(queued[CHANNEL_LOGS], LOG_QUEUE_BYTES_MAX - 2 * UD_LOG_BODY_BYTES_MAX);
	ck_assert_uint_le(queued[CHANNEL_LOGS], LOG_QUEUE_BYTES_MAX + 2 * UD_LOG_BODY_BYTES_MAX);
	ck_assert_uint_gt(bridge.relay.dropped_logs, 1000 - LOG_QUEUE_BYTES_MAX / UD_LOG_BODY_BYTES_MAX - 2);
	relay_forget(&bridge.relay, conn);
	ck_assert_uint_eq(queued[CHANNEL_LOGS], 0);
	ck_assert(TAILQ_EMPTY(&bridge.relay.channels[CHANNEL_LOGS].queue));
}

END_TEST

/* Over all connections, too: control goes on, and nobody waits for the logs. */
START_TEST(logs_have_a_budget_of_their_own)
{
	open_session();
	bridge.relay.queued_bytes[CHANNEL_LOGS] = ALL_LOG_QUEUE_BYTES_MAX + 1;
	add(UD_MSG_LOG, 1, 0, 10);
	ck_assert_int_eq(deliver(77), 0);
	ck_assert_uint_eq(bridge.relay.dropped_logs, 1);
	bridge.relay.queued_bytes[CHANNEL_LOGS] = 0;
	add(UD_MSG_LOG, 1, 0, 10);
	ck_assert_int_eq(deliver(77), 0);
	TAILQ_FIRST(&bridge.relay.channels[CHANNEL_LOGS].queue)->queued_at -= 60 * SECOND;
	ck_assert(relay_is_empty(&bridge.relay));
	ck_assert_int_eq(relay_age_ms(&bridge.relay, loop_now()), 0);
	bridge.relay.queued_bytes[CHANNEL_LOGS] = ALL_LOG_QUEUE_BYTES_MAX + 1;
	add(UD_MSG_REPORT, 1, 1, 2);
	ck_assert_int_eq(deliver(77), 0);
	ck_assert(!relay_is_empty(&bridge.relay));
	bridge.relay.queued_bytes[CHANNEL_BEATS] = ALL_CONTROL_QUEUE_BYTES_MAX;
	add(UD_MSG_REPORT, 2, 1, 2);
	ck_assert_int_eq(deliver(77), UD_CLOSE_OVERLOADED);
}

END_TEST

START_TEST(newer_levels_replace_older_ones)
{
	RelayChannel *channel = control_channel();
	Message    *first;

	open_session();
	add(UD_MSG_REPORT, 1, 1, 2);
	add(UD_MSG_REPORT, 2, 1, 2);
	add(UD_MSG_AGENT_ERROR, 1, 0, 2);
	ck_assert_int_eq(deliver(77), 0);
	TAILQ_FIRST(&channel->queue)->queued_at = 1;
	add(UD_MSG_REPORT, 1, 2, 2);
	ck_assert_int_eq(deliver(77), 0);
	first = TAILQ_FIRST(&channel->queue);
	ck_assert_int_eq(first->envelope.task, 2);
	/* At its own place by arrival, with the age of the one it replaced. */
	ck_assert_uint_eq(TAILQ_LAST(&channel->queue, MessageQueue)->envelope.sequence, 2);
	ck_assert_int_eq(TAILQ_LAST(&channel->queue, MessageQueue)->queued_at, 1);
	ck_assert_int_eq(relay_collect(channel, loop_now()), 3);
	/* What is in flight stays. */
	add(UD_MSG_REPORT, 1, 3, 2);
	ck_assert_int_eq(deliver(77), 0);
	ck_assert_int_eq(channel->batch_count, 3);
	ck_assert_uint_eq(TAILQ_FIRST(&channel->queue)->envelope.sequence, 3);
}

END_TEST

START_TEST(batch_is_sorted_by_task_and_stable)
{
	RelayChannel *channel = control_channel();
	int			count;

	open_session();
	for (int i = 0; i < 30; i++)
		add(UD_MSG_AGENT_ERROR, 10 - i % 5, (uint32_t) i, 3);
	ck_assert_int_eq(deliver(77), 0);
	count = relay_collect(channel, loop_now());
	ck_assert_int_eq(count, 30);
	for (int i = 1; i < count; i++)
	{
		const UdEnvelope *a = &channel->batch[i - 1]->envelope;
		const UdEnvelope *b = &channel->batch[i]->envelope;

		ck_assert(a->task < b->task || (a->task == b->task && a->sequence < b->sequence));
	}
}

END_TEST

START_TEST(batch_limits)
{
	RelayChannel *channel = control_channel();

	open_session();
	for (int i = 0; i < BATCH_MESSAGES_MAX + 5; i++)
		add(UD_MSG_AGENT_ERROR, i, 0, 0);
	ck_assert_int_eq(deliver(77), 0);
	ck_assert_int_eq(relay_collect(channel, loop_now()), BATCH_MESSAGES_MAX);
	relay_release(&bridge.relay);
	relay_init(&bridge.relay, &bridge);
	limit_init(&conn->control_limit, 1e6, 1e6, loop_now());
	for (int i = 0; i < 30; i++)
	{
		add(UD_MSG_AGENT_ERROR, i, 0, UD_BODY_BYTES_MAX);
		ck_assert_int_eq(deliver(77), 0);
	}
	ck_assert_int_eq(relay_collect(channel, loop_now()), BATCH_BYTES_MAX / UD_BODY_BYTES_MAX - 1);
}

END_TEST

START_TEST(what_follows_a_waiting_message_waits)
{
	RelayChannel *channel = control_channel();
	int64_t		now = loop_now();
	Message    *message;

	open_session();
	add(UD_MSG_AGENT_ERROR, 1, 1, 0);
	add(UD_MSG_AGENT_ERROR, 2, 2, 0);
	add(UD_MSG_AGENT_ERROR, 1, 3, 0);
	ck_assert_int_eq(deliver(77), 0);
	message = TAILQ_FIRST(&channel->queue);
	message->again = true;
	message->not_before = now + 1000;
	ck_assert_int_eq(relay_collect(channel, now), 1);
	ck_assert_uint_eq(channel->batch[0]->envelope.sequence, 2);
}

END_TEST

/* It may be busy once more. */
START_TEST(a_message_offered_again_goes_without_its_followers)
{
	RelayChannel *channel = control_channel();

	open_session();
	add(UD_MSG_AGENT_ERROR, 1, 1, 0);
	add(UD_MSG_AGENT_ERROR, 2, 2, 0);
	add(UD_MSG_AGENT_ERROR, 1, 3, 0);
	ck_assert_int_eq(deliver(77), 0);
	TAILQ_FIRST(&channel->queue)->again = true;
	ck_assert_int_eq(relay_collect(channel, loop_now()), 2);
	ck_assert_uint_eq(channel->batch[0]->envelope.sequence, 1);
	ck_assert_uint_eq(channel->batch[1]->envelope.sequence, 2);
}

END_TEST

START_TEST(suspects_go_alone)
{
	RelayChannel *channel = control_channel();

	open_session();
	for (int i = 1; i <= 4; i++)
		add(UD_MSG_AGENT_ERROR, i, (uint32_t) i, 0);
	ck_assert_int_eq(deliver(77), 0);
	TAILQ_NEXT(TAILQ_FIRST(&channel->queue), queue_entry)->alone = true;
	/* First what comes before it, then it alone, then the rest. */
	ck_assert_int_eq(relay_collect(channel, loop_now()), 1);
	ck_assert_uint_eq(channel->batch[0]->envelope.sequence, 1);
	relay_forget(&bridge.relay, conn);
}

END_TEST

START_TEST(frames_out)
{
	static uint8_t out[UD_FRAME_BYTES_MAX];
	static uint8_t body[UD_BODY_BYTES_MAX];
	UdEnvelope	envelope = {0};
	UdFrameReader reader;
	const uint8_t *read_body;
	size_t		len;
	int			total = 0;
	int			frames = 0;

	open_session();
	ck_assert_uint_eq(conn_take_frame(conn, out), 0);
	envelope.type = UD_MSG_DESIRED;
	for (int i = 0; i < 2500; i++)
	{
		envelope.value = i;
		envelope.body_bytes = i % 500 == 0 ? UD_BODY_BYTES_MAX : (uint32_t) (i % 7);
		conn_send(conn, &envelope, body);
	}
	while ((len = conn_take_frame(conn, out)) > 0)
	{
		frames++;
		ck_assert_int_eq(ud_frame_begin(&reader, out, len), 0);
		ck_assert_uint_eq(reader.header.session, 77);
		while (ud_frame_next(&reader, &envelope, &read_body) == 1)
			ck_assert_int_eq(envelope.value, total++);
	}
	ck_assert_int_eq(total, 2500);
	ck_assert_int_ge(frames, 3);
	ck_assert_ptr_null(conn->out.data);
}

END_TEST

START_TEST(agent_that_does_not_read)
{
	static uint8_t body[UD_BODY_BYTES_MAX];
	UdEnvelope	envelope = {0};

	open_session();
	envelope.type = UD_MSG_DESIRED;
	envelope.body_bytes = UD_BODY_BYTES_MAX;
	for (int i = 0; i < 200; i++)
		conn_send(conn, &envelope, body);
	/* All of a node's orders at once are no reason; that nothing goes out is. */
	conn_tick(conn, conn->taken_at + 19 * SECOND);
	ck_assert_int_eq(conn->state, CONN_OPEN);
	ck_assert_uint_gt(conn_take_frame(conn, frame), 0);
	conn_tick(conn, conn->taken_at + 19 * SECOND);
	ck_assert_int_eq(conn->state, CONN_OPEN);
	conn_tick(conn, conn->taken_at + 21 * SECOND);
	ck_assert_int_eq(conn->state, CONN_CLOSING);
	ck_assert_int_eq(conn->close_code, UD_CLOSE_OVERLOADED);
	ck_assert_ptr_null(conn->out.data);
}

END_TEST

START_TEST(too_much_that_is_not_read)
{
	static uint8_t body[UD_BODY_BYTES_MAX];
	UdEnvelope	envelope = {0};

	open_session();
	envelope.type = UD_MSG_DESIRED;
	envelope.body_bytes = UD_BODY_BYTES_MAX;
	for (int i = 0; i < 1100; i++)
		conn_send(conn, &envelope, body);
	ck_assert_int_eq(conn->state, CONN_CLOSING);
	ck_assert_int_eq(conn->close_code, UD_CLOSE_OVERLOADED);
	ck_assert_ptr_null(conn->out.data);
}

END_TEST

START_TEST(too_many_pieces)
{
	int			pieces = 0;

	open_session();
	conn_receive(conn, "x", 1, true, false, true);
	while (conn->state == CONN_OPEN && pieces++ < 100000)
		conn_receive(conn, "", 0, false, false, true);
	ck_assert_int_eq(conn->close_code, CLOSE_TOO_BIG);
	ck_assert_int_gt(pieces, 10000);
}

END_TEST

START_TEST(a_frame_that_does_not_end)
{
	open_session();
	conn_receive(conn, "x", 1, true, false, true);
	conn->received_at += 74 * SECOND;
	conn_tick(conn, conn->frame_since + 74 * SECOND);
	ck_assert_int_eq(conn->state, CONN_OPEN);
	conn_tick(conn, conn->frame_since + 76 * SECOND);
	ck_assert_int_eq(conn->close_code, CLOSE_GOING_AWAY);
}

END_TEST

START_TEST(connections_of_one_node)
{
	static const uint8_t hash[TOKEN_HASH_BYTES] = {1, 2, 3};
	ConnTable  *table = &bridge.conns;
	int64_t		now = loop_now();
	int			arrived = 0;
	Conn	   *last = NULL;

	while (conn_may_arrive(table, 3, now) && arrived++ < 100)
		last = conn_new(&bridge, NULL, 3, hash);
	/* With the one that setup made. */
	ck_assert_int_eq(arrived, 7);
	ck_assert(conn_may_arrive(table, 4, now));
	conn_free(last);
	ck_assert(conn_may_arrive(table, 3, now));
	/* One at a time, but without a pause. */
	for (arrived = 0; conn_may_arrive(table, 5, now) && arrived < 1000; arrived++)
		conn_free(conn_new(&bridge, NULL, 5, hash));
	ck_assert_int_eq(arrived, 60);
	ck_assert(!conn_may_arrive(table, 5, now + SECOND / 2));
	ck_assert(conn_may_arrive(table, 5, now + 2 * SECOND));
}

END_TEST

/* The answers to one frame are the last straw, while that frame is read. */
START_TEST(closed_while_its_frame_is_read)
{
	static uint8_t body[UD_BODY_BYTES_MAX];
	UdHeader	header = {0};
	UdEnvelope	envelope = {0};

	open_session();
	envelope.type = UD_MSG_DESIRED;
	envelope.body_bytes = UD_BODY_BYTES_MAX;
	while (conn->out.len <= 256 * 1024 * 1024)
		conn_send(conn, &envelope, body);
	ck_assert_int_eq(conn->state, CONN_OPEN);
	for (int i = 0; i < 100; i++)
		add(100, 0, 0, 1000);
	add(UD_MSG_BEAT, 0, 0, 2);
	header.version = UD_PROTOCOL_VERSION;
	header.message_count = (uint16_t) frame_count;
	header.frame_bytes = (uint32_t) frame_len;
	header.session = 77;
	ud_header_write(frame, &header);
	conn_receive(conn, frame, 500, true, false, true);
	conn_receive(conn, frame + 500, frame_len - 500, false, true, true);
	ck_assert_int_eq(conn->state, CONN_CLOSING);
	ck_assert_int_eq(conn->close_code, UD_CLOSE_OVERLOADED);
	ck_assert(relay_is_empty(&bridge.relay));
	ck_assert_ptr_null(conn->in.data);
}

END_TEST

START_TEST(fragments_text_and_size)
{
	size_t		len;

	add(UD_MSG_HELLO, 0, 0, 50);
	len = frame_len;
	conn_receive(conn, "x", 1, true, true, false);
	ck_assert_int_eq(conn->close_code, CLOSE_UNSUPPORTED);

	conn->state = CONN_NEW;
	deliver(0);
	conn->state = CONN_NEW;
	for (size_t i = 0; i < len; i++)
		conn_receive(conn, frame + i, 1, i == 0, i == len - 1, true);
	ck_assert_int_eq(conn->state, CONN_GREETED);
	ck_assert_uint_eq(conn->in.len, 0);

	conn->state = CONN_OPEN;
	for (int i = 0; i <= 1024; i++)
		conn_receive(conn, frame, 1024, i == 0, false, true);
	ck_assert_int_eq(conn->state, CONN_CLOSING);
	ck_assert_int_eq(conn->close_code, CLOSE_TOO_BIG);
	ck_assert_ptr_null(conn->in.data);
	/* The rest of it is ignored. */
	conn_receive(conn, frame, 1024, false, true, true);
	ck_assert_uint_eq(conn->in.len, 0);
}

END_TEST

START_TEST(time_limits)
{
	int64_t		now = loop_now();
	int64_t		second = 1000000;

	conn_tick(conn, now + 9 * second);
	ck_assert_int_eq(conn->state, CONN_NEW);
	conn_tick(conn, now + 11 * second);
	ck_assert_int_eq(conn->close_code, UD_CLOSE_PROTOCOL);

	conn->state = CONN_NEW;
	open_session();
	now = conn->received_at;
	conn_tick(conn, now + 20 * second);
	ck_assert(!conn->ping_due);
	/* Both sides talk: no ping.  One is silent: a ping. */
	conn->received_at = conn->taken_at = now + 20 * second;
	conn_tick(conn, now + 31 * second);
	ck_assert(!conn->ping_due);
	conn->taken_at = now;
	conn_tick(conn, now + 31 * second);
	ck_assert(conn->ping_due);
	conn->ping_due = false;
	conn->pinged_at = conn->received_at = now;
	conn->taken_at = now + 20 * second;
	conn_tick(conn, now + 31 * second);
	ck_assert(conn->ping_due);
	conn_tick(conn, now + 74 * second);
	ck_assert_int_eq(conn->state, CONN_OPEN);
	conn_tick(conn, now + 76 * second);
	ck_assert_int_eq(conn->state, CONN_CLOSING);
	ck_assert_int_eq(conn->close_code, CLOSE_GOING_AWAY);
}

END_TEST

START_TEST(revoked_tokens)
{
	TokenMap	loaded = {0};

	open_session();
	tokens_add(&loaded, conn->token_hash, conn->node);
	tokens_replace(&bridge.tokens, &loaded);
	conn_close_revoked(&bridge.conns, &bridge.tokens);
	ck_assert_int_eq(conn->state, CONN_OPEN);
	tokens_add(&loaded, conn->token_hash, conn->node + 1);
	tokens_replace(&bridge.tokens, &loaded);
	conn_close_revoked(&bridge.conns, &bridge.tokens);
	ck_assert_int_eq(conn->close_code, UD_CLOSE_TOKEN_REVOKED);
	tokens_release(&bridge.tokens);
}

END_TEST

START_TEST(ended_connection_closes_its_session)
{
	int32_t		number = conn->number;

	open_session();
	conn_free(conn);
	ck_assert_ptr_null(conn_by_session(&bridge.conns, 77));
	ck_assert_ptr_null(conn_by_number(&bridge.conns, number));
	ck_assert_uint_eq(bridge.control.closed_count, 1);
	ck_assert_uint_eq(bridge.control.closed[0], 77);
}

END_TEST

START_TEST(session_for_a_closing_connection_is_given_back)
{
	ck_assert_int_eq(deliver_one(UD_MSG_HELLO, 0), 0);
	conn_close(conn, UD_CLOSE_PROTOCOL, "test");
	conn_open(conn, 78);
	ck_assert_uint_eq(conn->session, 0);
	ck_assert_uint_eq(bridge.control.closed_count, 1);
	ck_assert_uint_eq(bridge.control.closed[0], 78);
}

END_TEST

static void
add_tests(TCase *tcase)
{
	tcase_add_test(tcase, hello_first_and_alone);
	tcase_add_test(tcase, session_and_types);
	tcase_add_test(tcase, unknown_type_is_answered);
	tcase_add_test(tcase, log_body_limit);
	tcase_add_test(tcase, mutilated_frames);
	tcase_add_test(tcase, message_rate);
	tcase_add_test(tcase, rate_of_kilobytes);
	tcase_add_test(tcase, log_queue_limit);
	tcase_add_test(tcase, logs_have_a_budget_of_their_own);
	tcase_add_test(tcase, newer_levels_replace_older_ones);
	tcase_add_test(tcase, batch_is_sorted_by_task_and_stable);
	tcase_add_test(tcase, batch_limits);
	tcase_add_test(tcase, what_follows_a_waiting_message_waits);
	tcase_add_test(tcase, a_message_offered_again_goes_without_its_followers);
	tcase_add_test(tcase, suspects_go_alone);
	tcase_add_test(tcase, frames_out);
	tcase_add_test(tcase, agent_that_does_not_read);
	tcase_add_test(tcase, too_much_that_is_not_read);
	tcase_add_test(tcase, too_many_pieces);
	tcase_add_test(tcase, a_frame_that_does_not_end);
	tcase_add_test(tcase, connections_of_one_node);
	tcase_add_test(tcase, closed_while_its_frame_is_read);
	tcase_add_test(tcase, fragments_text_and_size);
	tcase_add_test(tcase, time_limits);
	tcase_add_test(tcase, revoked_tokens);
	tcase_add_test(tcase, ended_connection_closes_its_session);
	tcase_add_test(tcase, session_for_a_closing_connection_is_given_back);
}

int
main(void)
{
	Suite	   *suite = suite_create("bridge/conn");
	TCase	   *tcase = tcase_create("conn");
	SRunner    *runner;
	int			failed;

	tcase_add_checked_fixture(tcase, setup, teardown);
	tcase_set_timeout(tcase, 60);
	add_tests(tcase);
	suite_add_tcase(suite, tcase);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed != 0;
}
