/*
 * relay.h
 *	  Messages from agents into the database in batches, and its answers back.
 *
 * Each channel has one call in flight at most; what comes meanwhile leaves
 * together in the next one.  A message stays here until the database has
 * answered the call that carried it, or until its connection is gone: the
 * database's functions are idempotent, so sending it twice does no harm.
 */
#ifndef RELAY_H
#define RELAY_H

#include <stdbool.h>
#include <stdint.h>

#include "common/error.h"
#include "db.h"
#include "loop.h"
#include "message.h"
#include "pgarray.h"

struct Bridge;
struct Conn;

/* One call carries at most so much. */
#define BATCH_MESSAGES_MAX 1000
#define BATCH_BYTES_MAX (4 * 1024 * 1024)

/* Parameters of receive() behind the bridge's id. */
#define RECEIVE_ARRAYS 13

/* Limits of what may wait, per connection and over all; logs have their own. */
#define CONTROL_QUEUE_BYTES_MAX (8 * 1024 * 1024)
#define ALL_CONTROL_QUEUE_BYTES_MAX (256 * 1024 * 1024)
#define LOG_QUEUE_BYTES_MAX (16 * 1024 * 1024)
#define ALL_LOG_QUEUE_BYTES_MAX (256 * 1024 * 1024)

typedef struct RelayChannel
{
	struct Relay *relay;		/* borrowed */
	Channel		number;
	Db		   *db;				/* borrowed; the control channel's is shared */
	MessageQueue queue;			/* by order of arrival */
	Message    *batch[BATCH_MESSAGES_MAX];	/* in flight, owned, sorted by
											 * task */
	int			batch_count;
	PgArray		arrays[RECEIVE_ARRAYS];
	int64_t		not_before;		/* of the next call */
	LoopTimer	timer;			/* then, or the first message's not_before */
} RelayChannel;

typedef struct Relay
{
	struct Bridge *bridge;		/* borrowed */
	RelayChannel channels[CHANNEL_COUNT];
	Db			beats_db;
	Db			logs_db;
	uint64_t	last_order;
	size_t		queued_bytes[CHANNEL_COUNT];
	uint64_t	dropped_logs;	/* messages since the start */
	int64_t		drop_told_at;	/* when the log last said so */
} Relay;

/* Statements a connection has to prepare for its channel. */
extern const char relay_setup_sql[];

extern void relay_init(Relay *relay, struct Bridge *bridge);
extern void relay_start(Relay *relay);
extern void relay_release(Relay *relay);

/*
 * Queue a message; 0, or a close code and err's text when a limit is broken.  A
 * log message beyond its limits is dropped: its agent sends it again.
 */
extern int	relay_submit(Relay *relay, struct Conn *conn, const UdEnvelope *envelope,
						 const uint8_t *body, UdError *err);

/* Send what can be sent, on every channel. */
extern void relay_kick(Relay *relay);

/* Only when the channel's connection is idle; false when nothing is due. */
extern bool relay_send(Relay *relay, Channel channel);

/* The connection is going: drop what it has queued. */
extern void relay_forget(Relay *relay, struct Conn *conn);

/*
 * Take the batch to be sent now out of the queue, sorted by task; for
 * relay_send and its tests.  Returns the number of messages.
 */
extern int	relay_collect(RelayChannel *channel, int64_t now);

/*
 * Do what rows of "message" say.  batch is the channel they answer, or NULL
 * for pull, whose cursor is stored into *cursor.  False when they do not look
 * as they should.
 */
extern bool relay_apply(Relay *relay, const PGresult *result, RelayChannel *batch, int64_t *cursor);

/* Does nothing wait but logs, which agents send again in any case? */
extern bool relay_is_empty(const Relay *relay);

/*
 * Age of the oldest message that the database has not answered, logs left
 * aside: that they are late says nothing about who is heard.
 */
extern int	relay_age_ms(const Relay *relay, int64_t now);

#endif							/* RELAY_H */
