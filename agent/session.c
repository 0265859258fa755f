/*
 * session.c
 *	  The agent's side of the protocol: receiving, and making frames.
 */
#include "agent/session.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "agent/attempt.h"
#include "common/cleanup.h"
#include "common/log.h"
#include "common/reasons.h"
#include "agent/lease.h"
#include "agent/report.h"

/* Reports that follow another this closely are merged into one frame. */
#define REPORT_MERGE_NS (5 * NS_PER_MS)
/* A text of progress alone is worth one report a second. */
#define PROGRESS_INTERVAL_NS NS_PER_S
/* --health is content for as many beats after an acknowledged one. */
#define ALIVE_BEATS 4
/* Checkpoints whose task ended elsewhere stay at most this long. */
#define CHECKPOINTS_INTERVAL_NS (600 * NS_PER_S)
/* A frame is closed when it reaches this; one more body always fits. */
#define FRAME_BYTES_SOFT ((size_t) (512 * 1024))

void
session_init(Session *session, Agent *agent)
{
	memset(session, 0, sizeof(*session));
	session->agent = agent;
}

void
session_release(Session *session)
{
	ud_buf_release(&session->control);
}

void
session_open(Session *session)
{
	session->open = true;
	session->hello_due = true;
	session->welcomed = false;
	session->number = 0;
	session->full_left = 0;
	session->beat_sequence = 0;
	session->retry_after_ms = 0;
	session->control_count = 0;
	ud_buf_reset(&session->control);
	memset(session->beat_sent_ns, 0, sizeof(session->beat_sent_ns));
}

void
session_close(Session *session)
{
	session->open = false;
	session->hello_due = false;
	session->welcomed = false;
	session->control_count = 0;
	ud_buf_reset(&session->control);
}

void
session_append_message(UdBuf *out, const UdEnvelope *envelope, const void *body, size_t len)
{
	UdEnvelope	copy = *envelope;

	copy.body_bytes = (uint32_t) len;
	ud_buf_reserve(out, UD_ENVELOPE_BYTES);
	ud_envelope_write(out->data + out->len, &copy);
	out->len += UD_ENVELOPE_BYTES;
	ud_buf_append(out, body, len);
}

void
session_queue(Session *session, int type, const Fence *fence, uint32_t sequence, int64_t value, const UdBuf *body)
{
	UdEnvelope	envelope = {
		.type = (uint16_t) type,
		.incarnation = fence != NULL ? fence->incarnation : 0,
		.task = fence != NULL ? fence->task : 0,
		.attempt = fence != NULL ? fence->attempt : 0,
		.sequence = sequence,
		.value = value,
	};

	session_append_message(&session->control, &envelope, body->data, body->len);
	session->control_count++;
}

void
session_queue_error(Session *session, const UdEnvelope *about, const char *reason, const char *message)
{
	ud_auto_buf UdBuf body = {0};
	Fence		fence = {
		.incarnation = about->incarnation,
		.task = about->task,
		.attempt = about->attempt,
	};

	ud_warning("message %u of the server: %s", about->type, message);
	/* A peer that sends nothing but nonsense must not fill our memory. */
	if (session->control_count > UD_FRAME_MESSAGES_MAX)
		return;
	report_write_error(reason, message, &body);
	session_queue(session, UD_MSG_AGENT_ERROR, &fence, about->sequence, 0, &body);
}

/* --- receiving --- */

/* Revisions are of one life of the server: after a restore it counts on from
 * an earlier one. */
static void
session_forget_revisions(Session *session)
{
	session->last_rev = 0;
	for (Attempt *attempt = session->agent->attempts; attempt != NULL; attempt = attempt->next)
		attempt->rev = 0;
}

/* A name may change, and another node may be given it. */
static bool
session_is_of_node(const Agent *agent, const Attempt *attempt)
{
	return attempt->node_id != 0 && agent->node_id != 0 ?
		attempt->node_id == agent->node_id : strcmp(attempt->node, agent->node) == 0;
}

/* Every attempt starts its account with the server anew. */
static void
session_reset_attempts(Agent *agent)
{
	for (Attempt *attempt = agent->attempts; attempt != NULL; attempt = attempt->next)
	{
		bool		held = attempt->fence.incarnation != agent->incarnation || !session_is_of_node(agent, attempt);

		/* Named once is named for that life of the server. */
		if (attempt->named_by == agent->incarnation)
			held = false;
		if (held && !attempt->held)
			ud_warning("attempt %s is of another incarnation or node: held, not touched", attempt->name);
		attempt->held = held;
		attempt->report_seq = 0;
		attempt->report_settled = false;
		attempt->report_dirty = attempt->state != UD_ATTEMPT_ASSIGNED;
		attempt->remove_acked = false;
		session_log_reset(attempt);
	}
}

static int
session_on_welcome(Session *session, const UdHeader *header, const UdEnvelope *envelope, const uint8_t *body, UdError *err)
{
	Agent	   *agent = session->agent;
	Welcome		welcome;

	if (session->welcomed || header->session == 0)
		return ud_error(err, UD_EPROTO, 0, "welcome came twice or without a session");
	if (desired_parse_welcome(body, envelope->body_bytes, &welcome, err) < 0)
		return err->code;
	/* Nothing is said in this session before the seal is safe. */
	if (welcome.seal[0] != '\0' && identity_store_seal(&agent->data, &agent->identity, welcome.seal, err) < 0)
		return err->code;
	session->welcomed = true;
	session->number = header->session;
	session->next_beat_ns = clock_boot_ns();
	session->next_checkpoints_ns = session->next_beat_ns + CHECKPOINTS_INTERVAL_NS;
	agent_lock(agent);
	if (agent->incarnation != welcome.incarnation)
		session_forget_revisions(session);
	agent->incarnation = welcome.incarnation;
	agent->node_id = welcome.node_id;
	memcpy(agent->node, welcome.node, sizeof(agent->node));
	agent->limits = welcome.limits;
	/* The server heard of us after that; only new attempts start from it. */
	if (session->hello_sent_ns > agent->lease_base_ns)
		agent->lease_base_ns = session->hello_sent_ns;
	session_reset_attempts(agent);
	agent_unlock(agent);
	ud_info("connected as node \"%s\", session %llu", welcome.node, (unsigned long long) session->number);
	return 0;
}

/* Only an acknowledged beat renews leases. */
static void
session_on_beat_ack(Session *session, const UdEnvelope *envelope)
{
	Agent	   *agent = session->agent;
	uint32_t	sequence = envelope->sequence;
	int64_t		sent_ns;
	double		beat_s;

	if (sequence == 0 || sequence > session->beat_sequence || session->beat_sequence - sequence >= SESSION_BEATS)
		return;
	sent_ns = session->beat_sent_ns[sequence % SESSION_BEATS];
	agent_lock(agent);
	beat_s = agent->limits.beat_s;
	if (sent_ns > agent->lease_base_ns)
	{
		agent->lease_base_ns = sent_ns;
		for (Attempt *attempt = agent->attempts; attempt != NULL; attempt = attempt->next)
			if (attempt->ran && !attempt->ended && !attempt->held)
				attempt_write_control(attempt);
	}
	agent_unlock(agent);
	data_touch_alive(&agent->data, (int64_t) ceil(ALIVE_BEATS * beat_s));
}

/* The attempt a server's message is about, or NULL. */
static Attempt *
session_find(Session *session, const UdEnvelope *envelope)
{
	Fence		fence = {
		.incarnation = envelope->incarnation,
		.task = envelope->task,
		.attempt = envelope->attempt,
	};

	return attempt_find(session->agent, &fence);
}

static void
session_on_report_ack(Session *session, const UdEnvelope *envelope)
{
	Agent	   *agent = session->agent;
	Attempt    *attempt;

	agent_lock(agent);
	attempt = session_find(session, envelope);
	if (attempt != NULL && (envelope->flags & UD_FLAG_STALE) != 0)
		attempt_want_discard(attempt);
	else if (attempt != NULL)
	{
		if (envelope->sequence == attempt->report_seq && !attempt->report_dirty &&
			(envelope->state >= attempt->state || UD_ATTEMPT_IS_TERMINAL(envelope->state)))
			attempt->report_settled = true;
		if ((envelope->flags & UD_FLAG_REMOVE) != 0 && UD_ATTEMPT_IS_TERMINAL(attempt->state))
			attempt->remove_acked = true;
		if ((envelope->flags & UD_FLAG_LAST) != 0 && UD_ATTEMPT_IS_TERMINAL(attempt->state))
			attempt->last = true;
	}
	agent_unlock(agent);
}

static void
session_on_log_ack(Session *session, const UdEnvelope *envelope)
{
	Agent	   *agent = session->agent;
	Attempt    *attempt;

	agent_lock(agent);
	attempt = session_find(session, envelope);
	if (attempt != NULL && (envelope->flags & UD_FLAG_STALE) != 0)
		attempt_want_discard(attempt);
	else if (attempt != NULL && envelope->value >= 0)
		session_log_acked(attempt, (uint64_t) envelope->value, envelope->sequence);
	agent_unlock(agent);
}

/*
 * A revision counts as seen when all that belongs to it was: after a full
 * list only with its last message.
 */
static void
session_saw_rev(Session *session, const UdEnvelope *envelope)
{
	if (session->full_left > 0)
	{
		session->full_left--;
		if (session->full_left == 0 && session->full_rev > session->last_rev)
			session->last_rev = session->full_rev;
	}
	else if (envelope->value > session->last_rev)
		session->last_rev = envelope->value;
}

static void
session_on_full(Session *session, const UdEnvelope *envelope)
{
	session->full_left = envelope->sequence;
	session->full_rev = envelope->value;
	if (session->full_left == 0 && session->full_rev > session->last_rev)
		session->last_rev = session->full_rev;
}

/* Agent.lock is held. */
static void
session_send_inventory(Session *session)
{
	ud_auto_buf UdBuf body = {0};

	session->info_told = session->agent->info_changes;
	session->engine_told = atomic_load(&session->agent->engine_ok);
	report_write_inventory(session->agent, &body);
	/* It counts as a beat, and is acknowledged as one. */
	session->beat_sequence++;
	session->beat_sent_ns[session->beat_sequence % SESSION_BEATS] = clock_boot_ns();
	session_queue(session, UD_MSG_INVENTORY, NULL, session->beat_sequence, session->last_rev, &body);
}

static int
session_on_message(Session *session, const UdHeader *header, const UdEnvelope *envelope, const uint8_t *body, UdError *err)
{
	if (!session->welcomed && envelope->type != UD_MSG_WELCOME &&
		envelope->type != UD_MSG_ERROR && envelope->type != UD_MSG_DRAIN)
		return ud_error(err, UD_EPROTO, 0, "message %u came before welcome", envelope->type);
	switch (envelope->type)
	{
		case UD_MSG_WELCOME:
			return session_on_welcome(session, header, envelope, body, err);
		case UD_MSG_DESIRED_FULL:
			session_on_full(session, envelope);
			break;
		case UD_MSG_DESIRED:
			session_on_desired(session, envelope, body);
			session_saw_rev(session, envelope);
			break;
		case UD_MSG_BEAT_ACK:
			session_on_beat_ack(session, envelope);
			break;
		case UD_MSG_REPORT_ACK:
			session_on_report_ack(session, envelope);
			break;
		case UD_MSG_LOG_ACK:
			session_on_log_ack(session, envelope);
			break;
		case UD_MSG_INVENTORY_REQUEST:
			session->inventory_due = true;
			break;
		case UD_MSG_DRAIN:
			session->retry_after_ms = desired_parse_drain(body, envelope->body_bytes);
			ud_info("the server is about to close the connection");
			break;
		case UD_MSG_ERROR:
			ud_warning("the server says: %.*s", (int) (envelope->body_bytes < 1000 ? envelope->body_bytes : 1000), (const char *) body);
			break;
		case UD_MSG_CREDENTIAL:
		case UD_MSG_GRANT:
			break;
		case UD_MSG_UPDATE:
			update_take_order(session->agent, envelope->incarnation, envelope->value, body, envelope->body_bytes);
			break;
		default:
			session_queue_error(session, envelope, "unknown_type", "unknown message type");
	}
	return 0;
}

int
session_receive(Session *session, const uint8_t *frame, size_t len, UdError *err)
{
	UdFrameReader reader;
	UdEnvelope	envelope;
	const uint8_t *body;
	int			got;

	if (ud_frame_begin(&reader, frame, len) < 0)
		return ud_error(err, UD_EPROTO, 0, "frame of %zu bytes is malformed", len);
	if (session->welcomed && reader.header.session != session->number)
	{
		ud_warning("a frame of another session was ignored");
		return 0;
	}
	while ((got = ud_frame_next(&reader, &envelope, &body)) > 0)
		if (session_on_message(session, &reader.header, &envelope, body, err) < 0)
			return err->code;
	return got < 0 ? ud_error(err, UD_EPROTO, 0, "message in a frame is malformed") : 0;
}

/* --- sending --- */

static void
session_bury(void *arg, const Attempt *attempt)
{
	Session    *session = arg;

	/*
	 * What was ordered away ended without a report of ours: that nothing of
	 * it is left is news to the server, which may still keep its resources.
	 */
	if (attempt->discard)
		session->inventory_due = true;
	session->tombs[session->tomb_count % SESSION_TOMBS] = attempt->fence;
	session->tomb_count++;
	/* Keep the ring's place right when the counter would wrap. */
	if (session->tomb_count == 2 * SESSION_TOMBS)
		session->tomb_count = SESSION_TOMBS;
}

void
session_sweep(Session *session)
{
	attempt_sweep(session->agent, session_bury, session);
}

/*
 * The engine went down or came back: said at once, and by an inventory, because
 * beats may be overtaken by the reports of what came of it.
 */
static bool
session_has_news_of_engine(const Session *session)
{
	return session->welcomed && session->engine_told != atomic_load(&session->agent->engine_ok);
}

void
session_tick(Session *session)
{
	Agent	   *agent = session->agent;
	int64_t		now = clock_boot_ns();

	agent_lock(agent);
	session_sweep(session);
	if (session->welcomed && now >= session->next_beat_ns)
	{
		ud_auto_buf UdBuf body = {0};

		session->beat_sequence++;
		session->beat_sent_ns[session->beat_sequence % SESSION_BEATS] = now;
		session->next_beat_ns = clock_add_s(now, agent->limits.beat_s);
		report_write_beat(agent, &body);
		session_queue(session, UD_MSG_BEAT, NULL, session->beat_sequence, session->last_rev, &body);
	}
	if (agent->info_changes != session->info_told || session_has_news_of_engine(session))
		session->inventory_due = true;
	if (session->welcomed && now >= session->next_checkpoints_ns)
	{
		/* Whose tasks have ended meanwhile?  The answer says. */
		session->next_checkpoints_ns = now + CHECKPOINTS_INTERVAL_NS;
		session->inventory_due = session->inventory_due || data_has_checkpoints(&agent->data);
	}
	if (session->welcomed && session->inventory_due)
	{
		session->inventory_due = false;
		session_send_inventory(session);
	}
	agent_unlock(agent);
}

/* Move queued messages into the frame, as many as fit. */
static uint32_t
session_take_control(Session *session, UdBuf *out)
{
	size_t		taken = 0;
	uint32_t	count = 0;

	while (count < session->control_count && count < UD_FRAME_MESSAGES_MAX && taken < FRAME_BYTES_SOFT)
	{
		UdEnvelope	envelope;

		ud_envelope_read(session->control.data + taken, &envelope);
		taken += UD_ENVELOPE_BYTES + envelope.body_bytes;
		count++;
	}
	ud_buf_append(out, session->control.data, taken);
	ud_buf_consume(&session->control, taken);
	session->control_count -= count;
	return count;
}

static bool
session_report_is_due(const Session *session, const Attempt *attempt, int64_t now)
{
	if (attempt->held || attempt->discard || attempt->gone || attempt->state <= UD_ATTEMPT_ASSIGNED)
		return false;
	if (attempt->report_dirty)
		return true;
	if (attempt->progress_new && attempt->state == UD_ATTEMPT_PREPARING)
		return now - attempt->report_sent_ns >= PROGRESS_INTERVAL_NS;
	return !attempt->report_settled &&
		now >= clock_add_s(attempt->report_sent_ns, session->agent->limits.report_repeat_s);
}

static void
session_append_report(Attempt *attempt, int64_t now, UdBuf *out)
{
	ud_auto_buf UdBuf body = {0};
	UdEnvelope	envelope = {
		.type = UD_MSG_REPORT,
		.state = (uint8_t) attempt->state,
		.incarnation = attempt->fence.incarnation,
		.task = attempt->fence.task,
		.attempt = attempt->fence.attempt,
		.sequence = ++attempt->report_seq,
	};

	report_write(attempt, &body);
	session_append_message(out, &envelope, body.data, body.len);
	attempt->report_dirty = false;
	attempt->report_settled = false;
	attempt->progress_new = false;
	attempt->report_sent_ns = now;
}

/* Reports that are due; *again_us when they are held back to be merged. */
static uint32_t
session_take_reports(Session *session, UdBuf *out, size_t start, uint32_t count, int64_t *again_us)
{
	int64_t		now = clock_boot_ns();
	int64_t		wait_ns = session->last_report_ns + REPORT_MERGE_NS - now;

	for (Attempt *attempt = session->agent->attempts; attempt != NULL; attempt = attempt->next)
	{
		if (!session_report_is_due(session, attempt, now))
			continue;
		if (wait_ns > 0)
		{
			*again_us = wait_ns / 1000 + 1;
			break;
		}
		if (count >= UD_FRAME_MESSAGES_MAX || out->len - start >= FRAME_BYTES_SOFT)
		{
			*again_us = 1;
			break;
		}
		session_append_report(attempt, now, out);
		count++;
		session->last_report_ns = now;
	}
	return count;
}

static void
session_append_hello(Session *session, UdBuf *out)
{
	ud_auto_buf UdBuf body = {0};
	UdEnvelope	envelope = {
		.type = UD_MSG_HELLO,
	};

	session->hello_sent_ns = clock_boot_ns();
	session->info_told = session->agent->info_changes;
	session->engine_told = atomic_load(&session->agent->engine_ok);
	report_write_hello(session->agent, session->last_rev, &body);
	session_append_message(out, &envelope, body.data, body.len);
}

bool
session_next_frame(Session *session, UdBuf *out, int64_t *again_us)
{
	Agent	   *agent = session->agent;
	size_t		start = out->len;
	uint32_t	count = 0;
	UdHeader	header = {
		.version = UD_PROTOCOL_VERSION,
		.session = session->number,
	};

	*again_us = 0;
	if (!session->open || (!session->hello_due && !session->welcomed))
		return false;
	ud_buf_reserve(out, UD_HEADER_BYTES);
	out->len += UD_HEADER_BYTES;
	agent_lock(agent);
	if (session->hello_due)
	{
		session->hello_due = false;
		session_append_hello(session, out);
		count = 1;
	}
	else
	{
		if (session_has_news_of_engine(session))
			session_send_inventory(session);
		count = session_take_control(session, out);
		count = session_take_reports(session, out, start, count, again_us);
		/* Logs travel alone: control never waits behind a large frame. */
		if (count == 0)
			count = session_log_append(session, out, start);
	}
	agent_unlock(agent);
	if (count == 0)
	{
		out->len = start;
		return false;
	}
	header.message_count = (uint16_t) count;
	header.frame_bytes = (uint32_t) (out->len - start);
	ud_header_write(out->data + start, &header);
	return true;
}
