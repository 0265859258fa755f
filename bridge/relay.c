/*
 * relay.c
 *	  Messages from agents into the database in batches.
 *
 * Order: messages of one connection about one task reach the database in the
 * order they came, also when some of them are "busy" and offered again: what
 * follows a waiting message waits with it.  Within a call they are sorted by
 * task, so that calls of several bridges lock rows in the same order.
 *
 * A call that fails is not allowed to stop everybody: its messages are sent
 * one by one, and one that fails alone, or that is in flight again and again
 * when the connection dies, ends its agent's connection.
 *
 * Logs hold up nobody.  They have a connection and a budget of their own; what
 * is beyond the budget, or fails, is dropped, and its agent, which hears no
 * acknowledgement, sends it again after a while.
 */
#include "relay.h"

#include <stdlib.h>
#include <string.h>

#include "bridge.h"
#include "common/log.h"

#define BUSY_DELAY_US (20 * INT64_C(1000))
#define MOMENT_DELAY_US (100 * INT64_C(1000))
#define FAILURES_MAX 3
#define DROP_TOLD_EVERY_US (10 * INT64_C(1000000))
/*
 * Beats are gathered for so long after a call: nobody waits for one, and a call
 * costs the database as much as the beats of a hundred nodes.
 */
#define BEATS_EVERY_US (250 * INT64_C(1000))
#define LOSSES_BEFORE_ALONE 2
#define LOSSES_MAX 5
/* How far back a newer beat or report looks for the one it replaces. */
#define REPLACE_SEARCH_MAX 256

#define MESSAGE_COLUMNS \
	"kind, conn, session, type, state, flags, incarnation, task, attempt, sequence, value, body"

const char	relay_setup_sql[] =
"PREPARE receive (int4, int4[], int4[], bytea[], int8[], int2[], int2[], int2[], int8[], int8[], int4[],"
" int8[], int8[], bytea[]) AS SELECT " MESSAGE_COLUMNS
" FROM unidesk_bridge.receive($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14);"
"PREPARE pull (int4, int8, int8[], int8[]) AS SELECT " MESSAGE_COLUMNS
" FROM unidesk_bridge.pull($1, $2, $3, $4)";

/* Element types of receive()'s arrays, in the order of its parameters. */
typedef enum ReceiveArray
{
	RECEIVE_CONN,
	RECEIVE_NODE,
	RECEIVE_TOKEN,
	RECEIVE_SESSION,
	RECEIVE_TYPE,
	RECEIVE_STATE,
	RECEIVE_FLAGS,
	RECEIVE_INCARNATION,
	RECEIVE_TASK,
	RECEIVE_ATTEMPT,
	RECEIVE_SEQUENCE,
	RECEIVE_VALUE,
	RECEIVE_BODY
} ReceiveArray;

static const uint32_t receive_types[RECEIVE_ARRAYS] = {
	PG_INT4, PG_INT4, PG_BYTEA, PG_INT8, PG_INT2, PG_INT2, PG_INT2,
	PG_INT8, PG_INT8, PG_INT4, PG_INT8, PG_INT8, PG_BYTEA,
};

static Channel
channel_of(int type)
{
	if (type == UD_MSG_BEAT)
		return CHANNEL_BEATS;
	return type == UD_MSG_LOG ? CHANNEL_LOGS : CHANNEL_CONTROL;
}

/* Take a message out of its connection's list and its limits. */
static void
message_unlink(Relay *relay, Message *message)
{
	Conn	   *conn = message->conn;

	if (conn == NULL)
		return;
	TAILQ_REMOVE(&conn->messages[message->channel], message, conn_entry);
	conn->queued_bytes[message->channel] -= message_bytes(message);
	relay->queued_bytes[message->channel] -= message_bytes(message);
	message->conn = NULL;
}

/* Free one that is in no queue. */
static void
message_free(Relay *relay, Message *message)
{
	message_unlink(relay, message);
	free(message);
}

static void
message_drop_queued(Relay *relay, Message *message)
{
	TAILQ_REMOVE(&relay->channels[message->channel].queue, message, queue_entry);
	message_free(relay, message);
}

/*
 * Beats, inventories and reports are levels: the newest says it all.  So an older one that
 * still waits is dropped, which bounds the queue while the database is away.
 * The newest inherits the age, because that is how long nothing was heard.
 */
static void
replace_older(Relay *relay, Message *newer)
{
	Message    *older = newer;
	int			steps = 0;

	if (newer->envelope.type != UD_MSG_BEAT && newer->envelope.type != UD_MSG_REPORT &&
		newer->envelope.type != UD_MSG_INVENTORY)
		return;
	while ((older = TAILQ_PREV(older, MessageQueue, conn_entry)) != NULL && steps++ < REPLACE_SEARCH_MAX)
	{
		if (older->in_flight || older->envelope.type != newer->envelope.type ||
			older->envelope.task != newer->envelope.task ||
			older->envelope.attempt != newer->envelope.attempt ||
			older->envelope.incarnation != newer->envelope.incarnation)
			continue;
		newer->queued_at = older->queued_at;
		newer->not_before = older->not_before;
		newer->alone = older->alone;
		newer->failures = older->failures;
		newer->losses = older->losses;
		message_drop_queued(relay, older);
		return;
	}
}

static bool
log_has_room(const Relay *relay, const Conn *conn)
{
	return conn->queued_bytes[CHANNEL_LOGS] <= LOG_QUEUE_BYTES_MAX &&
		relay->queued_bytes[CHANNEL_LOGS] <= ALL_LOG_QUEUE_BYTES_MAX;
}

static void
count_dropped_log(Relay *relay)
{
	int64_t		now = loop_now();

	relay->dropped_logs++;
	if (relay->drop_told_at != 0 && now - relay->drop_told_at < DROP_TOLD_EVERY_US)
		return;
	relay->drop_told_at = now;
	ud_warning("logs come faster than the database takes them: %llu messages dropped so far, to be sent again",
			   (unsigned long long) relay->dropped_logs);
}

static int
check_queue_limits(const Relay *relay, const Conn *conn, Channel channel, UdError *err)
{
	if (conn->queued_bytes[channel] > CONTROL_QUEUE_BYTES_MAX)
	{
		ud_error(err, UD_EPROTO, 0, "too many messages wait for the database");
		return UD_CLOSE_OVERLOADED;
	}
	if (relay->queued_bytes[CHANNEL_CONTROL] + relay->queued_bytes[CHANNEL_BEATS] > ALL_CONTROL_QUEUE_BYTES_MAX)
	{
		ud_error(err, UD_EPROTO, 0, "the bridge is overloaded");
		return UD_CLOSE_OVERLOADED;
	}
	return 0;
}

int
relay_submit(Relay *relay, Conn *conn, const UdEnvelope *envelope, const uint8_t *body, UdError *err)
{
	Channel		channel = channel_of(envelope->type);
	Message    *message;
	int			code = 0;

	if (channel != CHANNEL_LOGS)
		code = check_queue_limits(relay, conn, channel, err);
	else if (!log_has_room(relay, conn))
	{
		count_dropped_log(relay);
		return 0;
	}
	if (code != 0)
		return code;
	message = ud_calloc(1, sizeof(Message) + envelope->body_bytes);
	message->conn = conn;
	message->channel = channel;
	message->order = ++relay->last_order;
	message->queued_at = loop_now();
	message->envelope = *envelope;
	if (envelope->body_bytes > 0)
		memcpy(message->body, body, envelope->body_bytes);
	TAILQ_INSERT_TAIL(&relay->channels[channel].queue, message, queue_entry);
	TAILQ_INSERT_TAIL(&conn->messages[channel], message, conn_entry);
	conn->queued_bytes[channel] += message_bytes(message);
	relay->queued_bytes[channel] += message_bytes(message);
	replace_older(relay, message);
	return 0;
}

void
relay_forget(Relay *relay, Conn *conn)
{
	for (int i = 0; i < CHANNEL_COUNT; i++)
	{
		Message    *message;

		while ((message = TAILQ_FIRST(&conn->messages[i])) != NULL)
		{
			if (message->in_flight)
				message_unlink(relay, message);
			else
				message_drop_queued(relay, message);
		}
	}
}

/* What must stay in order: one connection's messages about one task. */
static uint64_t
order_key(const Message *message)
{
	uint64_t	key = (uint64_t) message->envelope.task * UINT64_C(0x9e3779b97f4a7c15) +
	(uint64_t) message->conn->number;

	return key != 0 ? key : 1;
}

static int
compare_messages(const void *left, const void *right)
{
	const Message *a = *(Message *const *) left;
	const Message *b = *(Message *const *) right;

	if (a->envelope.task != b->envelope.task)
		return a->envelope.task < b->envelope.task ? -1 : 1;
	return a->order < b->order ? -1 : a->order > b->order;
}

int
relay_collect(RelayChannel *channel, int64_t now)
{
	Map			waiting = {0};	/* keys of what has to wait */
	Message    *message;
	Message    *next;
	int64_t		wake_at = 0;
	size_t		bytes = 0;
	int			count = 0;

	for (message = TAILQ_FIRST(&channel->queue); message != NULL; message = next)
	{
		next = TAILQ_NEXT(message, queue_entry);
		if (message->not_before > now)
		{
			if (wake_at == 0 || message->not_before < wake_at)
				wake_at = message->not_before;
			map_put(&waiting, order_key(message), 1);
			continue;
		}
		if (waiting.count > 0 && map_has(&waiting, order_key(message)))
			continue;
		if (count > 0 && (message->alone || bytes + message_bytes(message) > BATCH_BYTES_MAX))
			break;
		TAILQ_REMOVE(&channel->queue, message, queue_entry);
		/* It may be busy once more: what follows it is not sent with it. */
		if (message->again)
			map_put(&waiting, order_key(message), 1);
		message->in_flight = true;
		message->again = false;
		channel->batch[count++] = message;
		bytes += message_bytes(message);
		if (message->alone || count == BATCH_MESSAGES_MAX)
			break;
	}
	map_release(&waiting);
	channel->batch_count = count;
	qsort(channel->batch, (size_t) count, sizeof(Message *), compare_messages);
	if (count == 0 && wake_at != 0)
		loop_timer_set(&channel->relay->bridge->loop, &channel->timer, wake_at - now);
	return count;
}

/* Back into the queue, at its place by arrival. */
static void
requeue(RelayChannel *channel, Message *message, int64_t not_before)
{
	Message    *later;

	if (message->conn == NULL)
	{
		message_free(channel->relay, message);
		return;
	}
	message->in_flight = false;
	message->not_before = not_before;
	TAILQ_FOREACH(later, &channel->queue, queue_entry)
		if (later->order > message->order)
		break;
	if (later != NULL)
		TAILQ_INSERT_BEFORE(later, message, queue_entry);
	else
		TAILQ_INSERT_TAIL(&channel->queue, message, queue_entry);
}

static void
add_to_arrays(PgArray *arrays, const Message *message)
{
	const UdEnvelope *envelope = &message->envelope;
	const Conn *conn = message->conn;

	pgarray_add_int4(&arrays[RECEIVE_CONN], conn->number);
	pgarray_add_int4(&arrays[RECEIVE_NODE], conn->node);
	if (envelope->type == UD_MSG_HELLO)
		pgarray_add_bytes(&arrays[RECEIVE_TOKEN], conn->token_hash, TOKEN_HASH_BYTES);
	else
		pgarray_add_null(&arrays[RECEIVE_TOKEN]);
	pgarray_add_int8(&arrays[RECEIVE_SESSION], (int64_t) conn->session);
	pgarray_add_int2(&arrays[RECEIVE_TYPE], (int16_t) envelope->type);
	pgarray_add_int2(&arrays[RECEIVE_STATE], envelope->state);
	pgarray_add_int2(&arrays[RECEIVE_FLAGS], envelope->flags);
	pgarray_add_int8(&arrays[RECEIVE_INCARNATION], envelope->incarnation);
	pgarray_add_int8(&arrays[RECEIVE_TASK], envelope->task);
	pgarray_add_int4(&arrays[RECEIVE_ATTEMPT], envelope->attempt);
	pgarray_add_int8(&arrays[RECEIVE_SEQUENCE], envelope->sequence);
	pgarray_add_int8(&arrays[RECEIVE_VALUE], envelope->value);
	pgarray_add_bytes(&arrays[RECEIVE_BODY], message->body, envelope->body_bytes);
}

static void receive_done(void *arg, const PGresult *result);

bool
relay_send(Relay *relay, Channel number)
{
	RelayChannel *channel = &relay->channels[number];
	const char *values[RECEIVE_ARRAYS + 1];
	int			lengths[RECEIVE_ARRAYS + 1];
	uint8_t		bridge_id[4];
	DbCall		call = {0};
	int64_t		now = loop_now();

	if (channel->batch_count > 0 || TAILQ_EMPTY(&channel->queue))
		return false;
	if (now < channel->not_before)
	{
		loop_timer_set(&relay->bridge->loop, &channel->timer, channel->not_before - now);
		return false;
	}
	if (relay_collect(channel, now) == 0)
		return false;
	if (number == CHANNEL_BEATS)
		channel->not_before = now + BEATS_EVERY_US;
	for (int i = 0; i < RECEIVE_ARRAYS; i++)
		pgarray_reset(&channel->arrays[i], receive_types[i]);
	for (int i = 0; i < channel->batch_count; i++)
		add_to_arrays(channel->arrays, channel->batch[i]);
	pg_put_int(bridge_id, (uint32_t) relay->bridge->control.id, 4);
	values[0] = (const char *) bridge_id;
	lengths[0] = 4;
	for (int i = 0; i < RECEIVE_ARRAYS; i++)
	{
		pgarray_finish(&channel->arrays[i]);
		values[i + 1] = (const char *) channel->arrays[i].buf.data;
		lengths[i + 1] = (int) channel->arrays[i].buf.len;
	}
	call.statement = "receive";
	call.parameter_count = RECEIVE_ARRAYS + 1;
	call.values = values;
	call.lengths = lengths;
	call.done = receive_done;
	call.arg = channel;
	db_call(channel->db, &call);
	return true;
}

static void
kick_channel(RelayChannel *channel)
{
	Bridge	   *bridge = channel->relay->bridge;

	if (channel->number == CHANNEL_CONTROL)
		control_kick(&bridge->control);
	else if (db_is_idle(channel->db) && bridge->control.id != 0)
		relay_send(channel->relay, channel->number);
}

void
relay_kick(Relay *relay)
{
	for (int i = 0; i < CHANNEL_COUNT; i++)
		if (!TAILQ_EMPTY(&relay->channels[i].queue))
			kick_channel(&relay->channels[i]);
}

/* This message is the reason why calls fail: its agent has to go, but for a log. */
static void
give_up(RelayChannel *channel, Message *message)
{
	Conn	   *conn = message->conn;

	if (conn != NULL && channel->number == CHANNEL_LOGS)
		count_dropped_log(channel->relay);
	else if (conn != NULL)
	{
		ud_err("node %d: message of type %d about task %lld cannot be processed",
			   conn->node, message->envelope.type, (long long) message->envelope.task);
		conn_send_error(conn, &message->envelope, "the message cannot be processed");
		conn_close(conn, UD_CLOSE_PROTOCOL, "the message cannot be processed");
	}
	message_free(channel->relay, message);
}

/* The connection went with the batch in flight: perhaps because of it. */
static void
batch_lost(RelayChannel *channel)
{
	for (int i = 0; i < channel->batch_count; i++)
	{
		Message    *message = channel->batch[i];

		message->losses++;
		if (message->losses >= LOSSES_BEFORE_ALONE)
			message->alone = true;
		if (message->losses >= LOSSES_MAX)
			give_up(channel, message);
		else
			requeue(channel, message, 0);
	}
}

/* An error that is nobody else's fault: each message for itself from now on. */
static void
batch_failed(RelayChannel *channel)
{
	int64_t		later = loop_now() + BUSY_DELAY_US;
	bool		was_alone = channel->batch_count == 1;
	int			failures_max = channel->number == CHANNEL_LOGS ? 1 : FAILURES_MAX;

	for (int i = 0; i < channel->batch_count; i++)
	{
		Message    *message = channel->batch[i];

		message->alone = true;
		if (was_alone)
			message->failures++;
		if (message->failures >= failures_max)
			give_up(channel, message);
		else
			requeue(channel, message, was_alone ? later : 0);
	}
}

/* Everything answered is done, "busy" is offered again. */
static void
batch_answered(RelayChannel *channel)
{
	int64_t		later = loop_now() + BUSY_DELAY_US;

	for (int i = 0; i < channel->batch_count; i++)
	{
		Message    *message = channel->batch[i];

		if (message->again)
			requeue(channel, message, later);
		else
			message_free(channel->relay, message);
	}
}

/* An error of the moment: the same batch again, soon. */
static void
batch_wait(RelayChannel *channel)
{
	int64_t		later = loop_now() + MOMENT_DELAY_US;

	for (int i = 0; i < channel->batch_count; i++)
		requeue(channel, channel->batch[i], later);
}

static void
receive_done(void *arg, const PGresult *result)
{
	RelayChannel *channel = arg;
	const char *restart = NULL;

	if (result == NULL)
		batch_lost(channel);
	else if (!db_failed(result))
	{
		if (!relay_apply(channel->relay, result, channel, NULL))
			restart = "receive() answered with unexpected columns";
		batch_answered(channel);
	}
	else
	{
		DbBlame		blame = db_blame(result);

		ud_warning("receive() of %d messages on connection %s failed: %s",
				   channel->batch_count, channel->db->name, db_message(result));
		if (blame == DB_BLAME_MOMENT)
			batch_wait(channel);
		else if (blame == DB_BLAME_CALL)
			batch_failed(channel);
		else
		{
			batch_lost(channel);
			restart = "the database's interface has changed";
		}
	}
	channel->batch_count = 0;
	if (restart != NULL)
		db_restart(channel->db, restart);
	kick_channel(channel);
}

static void
channel_ready(void *arg)
{
	kick_channel(arg);
}

static void
channel_lost(void *arg)
{
	/* Nothing to do: the batch was told by receive_done. */
	(void) arg;
}

static void
channel_timer(void *arg)
{
	kick_channel(arg);
}

void
relay_init(Relay *relay, Bridge *bridge)
{
	static const DbHandlers handlers = {
		.ready = channel_ready,
		.lost = channel_lost,
	};

	memset(relay, 0, sizeof(*relay));
	relay->bridge = bridge;
	for (int i = 0; i < CHANNEL_COUNT; i++)
	{
		RelayChannel *channel = &relay->channels[i];

		channel->relay = relay;
		channel->number = (Channel) i;
		TAILQ_INIT(&channel->queue);
		channel->timer.fire = channel_timer;
		channel->timer.arg = channel;
	}
	relay->channels[CHANNEL_CONTROL].db = &bridge->control.db;
	relay->channels[CHANNEL_BEATS].db = &relay->beats_db;
	relay->channels[CHANNEL_LOGS].db = &relay->logs_db;
	db_init(&relay->beats_db, "beats", bridge->config, &bridge->loop, relay_setup_sql,
			&handlers, &relay->channels[CHANNEL_BEATS]);
	db_init(&relay->logs_db, "logs", bridge->config, &bridge->loop, relay_setup_sql,
			&handlers, &relay->channels[CHANNEL_LOGS]);
}

void
relay_start(Relay *relay)
{
	db_start(&relay->beats_db);
	db_start(&relay->logs_db);
}

void
relay_release(Relay *relay)
{
	db_stop(&relay->beats_db);
	db_stop(&relay->logs_db);
	for (int i = 0; i < CHANNEL_COUNT; i++)
	{
		RelayChannel *channel = &relay->channels[i];
		Message    *message;

		for (int j = 0; j < channel->batch_count; j++)
			message_free(relay, channel->batch[j]);
		channel->batch_count = 0;
		while ((message = TAILQ_FIRST(&channel->queue)) != NULL)
			message_drop_queued(relay, message);
		for (int j = 0; j < RECEIVE_ARRAYS; j++)
			pgarray_release(&channel->arrays[j]);
		loop_timer_cancel(&relay->bridge->loop, &channel->timer);
	}
}

bool
relay_is_empty(const Relay *relay)
{
	for (int i = 0; i < CHANNEL_LOGS; i++)
		if (relay->channels[i].batch_count > 0 || !TAILQ_EMPTY(&relay->channels[i].queue))
			return false;
	return true;
}

int
relay_age_ms(const Relay *relay, int64_t now)
{
	int64_t		oldest = now;

	for (int i = 0; i < CHANNEL_LOGS; i++)
	{
		const RelayChannel *channel = &relay->channels[i];
		const Message *message;

		for (int j = 0; j < channel->batch_count; j++)
			if (channel->batch[j]->queued_at < oldest)
				oldest = channel->batch[j]->queued_at;
		TAILQ_FOREACH(message, &channel->queue, queue_entry)
			if (message->queued_at < oldest)
			oldest = message->queued_at;
	}
	return (int) ((now - oldest) / 1000);
}
