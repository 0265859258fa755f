/*
 * session.h
 *	  The agent's side of the protocol, without the transport: what is
 *	  received changes the attempts, what is due becomes frames.
 *
 * Used by the link loop alone.  Level, not edge: nothing here is a queue of
 * events; what is sent is written from the attempts at the moment it is sent.
 */
#ifndef AGENT_SESSION_H
#define AGENT_SESSION_H

#include "agent/agent.h"
#include "common/protocol.h"

#define SESSION_TOMBS 1024
#define SESSION_BEATS 16

typedef struct Session
{
	Agent	   *agent;			/* borrowed */
	bool		open;			/* the connection stands */
	bool		hello_due;
	bool		welcomed;
	uint64_t	number;
	int64_t		hello_sent_ns;	/* boot clock */
	int64_t		last_rev;		/* highest seen since this program started */
	int64_t		full_rev;		/* of a full list that is still arriving */
	uint32_t	full_left;		/* messages of it still to come */
	uint32_t	beat_sequence;
	int64_t		beat_sent_ns[SESSION_BEATS];	/* by sequence modulo */
	int64_t		next_beat_ns;
	int64_t		next_checkpoints_ns;
	int64_t		last_report_ns; /* when a frame with reports was made */
	int64_t		retry_after_ms; /* what a drain asked for, or 0 */
	UdBuf		control;		/* encoded messages to send */
	uint32_t	control_count;
	size_t		log_turn;		/* whose log is first in the next frame */
	Fence		tombs[SESSION_TOMBS];	/* attempts removed since the start */
	uint32_t	tomb_count;
	bool		inventory_due;
	uint64_t	info_told;		/* Agent.info_changes, as the server knows it */
	bool		engine_told;	/* Agent.engine_ok, the same */
} Session;

extern void session_init(Session *session, Agent *agent);
extern void session_release(Session *session);

/* The connection was opened / is gone. */
extern void session_open(Session *session);
extern void session_close(Session *session);

/* One whole frame; negative: close the connection.  UD_EPROTO: the peer broke
 * the protocol; anything else: the session cannot be used by us. */
extern int	session_receive(Session *session, const uint8_t *frame, size_t len, UdError *err) UD_MUSTCHECK;

/* Look at the clock and the table; call it every 100 ms and after a wake. */
extern void session_tick(Session *session);

/*
 * Append the next frame to send to out; false when nothing is due.  When
 * reports are held back to be merged, *again_us says when to ask again.
 */
extern bool session_next_frame(Session *session, UdBuf *out, int64_t *again_us);

/* Forget attempts of which nothing is left, but not that they were; Agent.lock is held. */
extern void session_sweep(Session *session);

extern void session_append_message(UdBuf *out, const UdEnvelope *envelope, const void *body, size_t len);

/* Queue a message about the agent as a whole or about fence (may be NULL). */
extern void session_queue(Session *session, int type, const Fence *fence, uint32_t sequence, int64_t value, const UdBuf *body);
extern void session_queue_error(Session *session, const UdEnvelope *about, const char *reason, const char *message);

/* session_log.c; Agent.lock is held. */
extern void session_log_reset(Attempt *attempt);
extern void session_log_acked(Attempt *attempt, uint64_t offset, uint32_t credit);

/* Append log messages to a frame that began at start; returns their number. */
extern uint32_t session_log_append(Session *session, UdBuf *out, size_t start);

/* session_desired.c; takes the lock. */
extern void session_on_desired(Session *session, const UdEnvelope *envelope, const uint8_t *body);

#endif							/* AGENT_SESSION_H */
