/*
 * message.h
 *	  One message of an agent on its way into the database.
 */
#ifndef MESSAGE_H
#define MESSAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>

#include "common/protocol.h"

struct Conn;

/* Each channel is a database connection with a queue of its own; logs are last. */
typedef enum Channel
{
	CHANNEL_CONTROL,
	CHANNEL_BEATS,
	CHANNEL_LOGS
} Channel;

#define CHANNEL_COUNT 3

typedef struct Message
{
	TAILQ_ENTRY(Message) queue_entry;	/* of the channel's queue */
	TAILQ_ENTRY(Message) conn_entry;	/* of its connection */
	struct Conn *conn;			/* NULL: gone while this was in flight */
	Channel		channel;
	bool		in_flight;
	bool		again;			/* the answer was "busy" */
	bool		alone;			/* to be sent in a call of its own */
	int			failures;		/* of calls with this message alone */
	int			losses;			/* of connections while in flight */
	uint64_t	order;			/* of arrival, over all */
	int64_t		queued_at;
	int64_t		not_before;		/* 0: now */
	UdEnvelope	envelope;
	uint8_t		body[];
} Message;

TAILQ_HEAD(MessageQueue, Message);
typedef struct MessageQueue MessageQueue;

/* The same head type, threaded through conn_entry. */
typedef struct MessageQueue MessageList;

/* What a queued message counts for in limits. */
static inline size_t
message_bytes(const Message *message)
{
	return sizeof(Message) + message->envelope.body_bytes;
}

#endif							/* MESSAGE_H */
