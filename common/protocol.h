/*
 * protocol.h
 *	  The wire format between agent, bridge and database: unidesk.agent.v1.
 *
 * docs/protocol.md is the norm; this file is its only C definition.  It
 * depends on nothing but <stdint.h>, so that the extension, the bridge, the
 * agent and the tests can all include it.
 *
 * All integers are little-endian.  A frame is one binary WebSocket message:
 * a header, then 1..n messages, each an envelope followed by its body.
 */
#ifndef UD_PROTOCOL_H
#define UD_PROTOCOL_H

#include <stdint.h>

#define UD_PROTOCOL_NAME "unidesk.agent.v1"
#define UD_PROTOCOL_VERSION 1

#define UD_HEADER_BYTES 16
#define UD_ENVELOPE_BYTES 40

/* A frame and the messages in it never exceed these. */
#define UD_FRAME_BYTES_MAX (1024 * 1024)
#define UD_FRAME_MESSAGES_MAX 1024
#define UD_BODY_BYTES_MAX (256 * 1024)
/* Body of one UD_MSG_LOG message. */
#define UD_LOG_BODY_BYTES_MAX (64 * 1024)

/* First bytes of every frame. */
typedef struct UdHeader
{
	uint8_t		version;		/* UD_PROTOCOL_VERSION */
	uint8_t		flags;			/* none defined, sent as 0, ignored */
	uint16_t	message_count;	/* 1..UD_FRAME_MESSAGES_MAX */
	uint32_t	frame_bytes;	/* header included */
	uint64_t	session;		/* 0 until welcome */
} UdHeader;

/* First bytes of every message; what the fields mean depends on the type. */
typedef struct UdEnvelope
{
	uint16_t	type;			/* UdMessageType */
	uint8_t		state;			/* UdAttemptState, UdWant or UdLogStream */
	uint8_t		flags;			/* UD_FLAG_* */
	uint32_t	body_bytes;
	int64_t		incarnation;	/* fence, part 1; 0 when no attempt is meant */
	int64_t		task;			/* fence, part 2 */
	int32_t		attempt;		/* fence, part 3 */
	uint32_t	sequence;
	int64_t		value;			/* offset or revision */
} UdEnvelope;

/* Agent to server below 128, server to agent from 128 on. */
#define UD_MESSAGE_TYPES(X) \
	X(HELLO, 1, "hello") \
	X(INVENTORY, 2, "inventory") \
	X(BEAT, 3, "beat") \
	X(REPORT, 4, "report") \
	X(LOG, 5, "log") \
	X(CREDENTIAL_REQUEST, 6, "credential_request") \
	X(GRANT_REQUEST, 7, "grant_request") \
	X(AGENT_ERROR, 8, "agent_error") \
	X(WELCOME, 129, "welcome") \
	X(DESIRED_FULL, 130, "desired_full") \
	X(DESIRED, 131, "desired") \
	X(BEAT_ACK, 132, "beat_ack") \
	X(REPORT_ACK, 133, "report_ack") \
	X(LOG_ACK, 134, "log_ack") \
	X(INVENTORY_REQUEST, 135, "inventory_request") \
	X(CREDENTIAL, 136, "credential") \
	X(GRANT, 137, "grant") \
	X(DRAIN, 138, "drain") \
	X(UPDATE, 139, "update") \
	X(ERROR, 140, "error")

typedef enum UdMessageType
{
#define X(name, number, text) UD_MSG_##name = number,
	UD_MESSAGE_TYPES(X)
#undef X
} UdMessageType;

/* States of an attempt, as reported; numbers are part of the protocol. */
#define UD_ATTEMPT_STATES(X) \
	X(ASSIGNED, 1, "assigned") \
	X(ACCEPTED, 2, "accepted") \
	X(PREPARING, 3, "preparing") \
	X(RUNNING, 4, "running") \
	X(FINISHING, 5, "finishing") \
	X(STOPPING, 6, "stopping") \
	X(SUCCEEDED, 7, "succeeded") \
	X(FAILED, 8, "failed") \
	X(CANCELLED, 9, "cancelled") \
	X(TIMED_OUT, 10, "timed_out") \
	X(PREEMPTED, 11, "preempted") \
	X(LOST, 12, "lost") \
	X(REJECTED, 13, "rejected")

typedef enum UdAttemptState
{
#define X(name, number, text) UD_ATTEMPT_##name = number,
	UD_ATTEMPT_STATES(X)
#undef X
} UdAttemptState;

/* True for the states after which an attempt never changes again. */
#define UD_ATTEMPT_IS_TERMINAL(s) ((s) >= UD_ATTEMPT_SUCCEEDED)

/* Phases of "preparing", in JSON bodies by name, in the database by number. */
#define UD_PREPARE_PHASES(X) \
	X(FETCH, 1, "fetch") \
	X(BUILD, 2, "build") \
	X(STAGE_IN, 3, "stage_in")

/* Envelope.state of UD_MSG_DESIRED. */
typedef enum UdWant
{
	UD_WANT_RUN = 1,			/* start it, or let it go on */
	UD_WANT_STOP = 2,			/* TERM, grace, KILL, report the end */
	UD_WANT_REMOVE = 3			/* unknown or over: stop it, remove all of it,
								 * report nothing */
} UdWant;

/* Envelope.state of UD_MSG_LOG. */
typedef enum UdLogStream
{
	UD_LOG_STDOUT = 1,
	UD_LOG_STDERR = 2,
	UD_LOG_MARKER = 3			/* text by unidesk itself: bytes were cut here */
} UdLogStream;

/* Envelope.flags */
#define UD_FLAG_REMOVE 0x01		/* report_ack: result stored, remove container
								 * and run directory once the log is acked */
#define UD_FLAG_STALE 0x02		/* report_ack, log_ack: this fence is not
								 * current; stop it and remove it */
#define UD_FLAG_LAST 0x04		/* report_ack, with remove: the task has
								 * ended, its checkpoint goes too */

/* WebSocket close codes of the bridge, beside the standard ones. */
#define UD_CLOSE_GOING_AWAY 1001	/* reconnect */
#define UD_CLOSE_SUPERSEDED 4001	/* another connection took the session */
#define UD_CLOSE_TOKEN_REVOKED 4003
#define UD_CLOSE_VERSION 4004	/* no common protocol version */
#define UD_CLOSE_PROTOCOL 4009	/* malformed frame or message */
#define UD_CLOSE_OVERLOADED 4013
#define UD_CLOSE_DUPLICATE 4409 /* the node's session lives on elsewhere */

extern void ud_header_write(uint8_t *out, const UdHeader *header);
extern void ud_header_read(const uint8_t *in, UdHeader *header);
extern void ud_envelope_write(uint8_t *out, const UdEnvelope *envelope);
extern void ud_envelope_read(const uint8_t *in, UdEnvelope *envelope);

/*
 * Walk over a received frame.  ud_frame_begin checks header, version and
 * length and returns 0 or a negative number; ud_frame_next returns 1 and one
 * message (body points into the frame), 0 at the end, negative when the frame
 * is malformed.  Neither reads past len.
 */
typedef struct UdFrameReader
{
	const uint8_t *next;
	const uint8_t *end;
	uint32_t	messages_left;
	UdHeader	header;
} UdFrameReader;

extern int	ud_frame_begin(UdFrameReader *reader, const uint8_t *frame, uint64_t len);

/*
 * Is this a whole frame of another version of the protocol?  Every version
 * begins with its number, and says how long the frame is.
 */
extern int	ud_frame_is_other_version(const uint8_t *frame, uint64_t len);
extern int	ud_frame_next(UdFrameReader *reader, UdEnvelope *envelope, const uint8_t **body);

/* Names for logs and SQL; NULL for an unknown number. */
extern const char *ud_message_type_name(int type);
extern const char *ud_attempt_state_name(int state);

/* The number behind a state's name, or 0. */
extern int	ud_attempt_state_number(const char *name);

#endif							/* UD_PROTOCOL_H */
