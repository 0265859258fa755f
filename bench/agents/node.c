/*
 * node.c
 *	  The protocol of one node, without the transport.
 */
#include "sim.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/cleanup.h"
#include "common/log.h"

/* As the agent has them. */
#define REPORT_MERGE_NS (5 * NS_PER_MS)
#define FRAME_BYTES_SOFT ((size_t) (512 * 1024))
#define HANGUP_NS (45 * NS_PER_S)
#define LOG_LOOK_NS (100 * NS_PER_MS)

void
node_init(SimNode *node, Sim *sim, int index)
{
	memset(node, 0, sizeof(*node));
	node->sim = sim;
	node->index = index;
	node->heap_index = -1;
	snprintf(node->data_id, sizeof(node->data_id), "%.16s%016x", sim->machine, (unsigned) index + 1);
	strcpy(node->seal, "0000000000000000");
}

void
node_release(SimNode *node)
{
	while (node->tasks != NULL)
		task_forget(node, node->tasks);
	free(node->tombs);
	ud_buf_release(&node->control);
	ud_buf_release(&node->incoming);
}

void
node_open(SimNode *node)
{
	node->hello_due = true;
	node->welcomed = false;
	node->session = 0;
	node->full_left = 0;
	node->beat_sequence = 0;
	node->retry_after_ms = 0;
	node->close_code = 0;
	node->heard_ns = clock_ns(CLOCK_MONOTONIC);
	node->control_count = 0;
	ud_buf_reset(&node->control);
}

void
node_close(SimNode *node)
{
	node->hello_due = false;
	node->welcomed = false;
	node->inventory_due = false;
	node->control_count = 0;
	/* Ten thousand of them would keep what only a few need at a time. */
	ud_buf_release(&node->control);
	ud_buf_release(&node->incoming);
}

void
node_append(UdBuf *out, const UdEnvelope *envelope, const void *body, size_t len)
{
	UdEnvelope	copy = *envelope;

	copy.body_bytes = (uint32_t) len;
	ud_buf_reserve(out, UD_ENVELOPE_BYTES + len);
	ud_envelope_write(out->data + out->len, &copy);
	out->len += UD_ENVELOPE_BYTES;
	ud_buf_append(out, body, len);
}

void
node_queue(SimNode *node, int type, uint32_t sequence, const UdBuf *body)
{
	UdEnvelope	envelope = {
		.type = (uint16_t) type,
		.sequence = sequence,
		.value = node->last_rev,
	};

	node->sim->stats.messages_out[type]++;
	node_append(&node->control, &envelope, body->data, body->len);
	node->control_count++;
}

/* --- receiving --- */

static int
node_on_welcome(SimNode *node, const UdHeader *header, const UdEnvelope *envelope, const uint8_t *body, UdError *err)
{
	Sim		   *sim = node->sim;
	int64_t		now = clock_ns(CLOCK_MONOTONIC);
	Welcome		welcome;

	if (node->welcomed || header->session == 0)
		return ud_error(err, UD_EPROTO, 0, "welcome came twice or without a session");
	if (desired_parse_welcome(body, envelope->body_bytes, &welcome, err) < 0)
		return err->code;
	if (welcome.seal[0] != '\0')
		memcpy(node->seal, welcome.seal, sizeof(node->seal));
	if (welcome.incarnation != node->incarnation)
	{
		node->last_rev = 0;
		while (node->tasks != NULL)
			task_forget(node, node->tasks);
	}
	node->incarnation = welcome.incarnation;
	node->limits = welcome.limits;
	node->session = header->session;
	node->welcomed = true;
	node->next_beat_ns = now;
	for (SimTask *task = node->tasks; task != NULL; task = task->next)
		task_new_session(task);
	sim->stats.welcomes++;
	sim->stats.round.handshakes++;
	stats_sample(&sim->stats.handshake, now - node->connect_ns);
	return 0;
}

static void
node_saw_rev(SimNode *node, const UdEnvelope *envelope)
{
	if (node->full_left > 0)
	{
		node->full_left--;
		if (node->full_left == 0 && node->full_rev > node->last_rev)
			node->last_rev = node->full_rev;
	}
	else if (envelope->value > node->last_rev)
		node->last_rev = envelope->value;
}

static void
node_on_log_ack(SimNode *node, const UdEnvelope *envelope)
{
	SimTask    *task = task_find(node, envelope);

	if (task != NULL && (envelope->flags & UD_FLAG_STALE) != 0)
		task_drop(node, task);
	else if (task != NULL && envelope->value >= 0)
		log_on_ack(task, envelope);
}

static int
node_on_message(SimNode *node, const UdHeader *header, const UdEnvelope *envelope, const uint8_t *body, UdError *err)
{
	if (envelope->type < 256)
		node->sim->stats.messages_in[envelope->type]++;
	if (!node->welcomed && envelope->type != UD_MSG_WELCOME &&
		envelope->type != UD_MSG_ERROR && envelope->type != UD_MSG_DRAIN)
		return ud_error(err, UD_EPROTO, 0, "message %u came before welcome", envelope->type);
	switch (envelope->type)
	{
		case UD_MSG_WELCOME:
			return node_on_welcome(node, header, envelope, body, err);
		case UD_MSG_DESIRED_FULL:
			node->full_left = envelope->sequence;
			node->full_rev = envelope->value;
			if (node->full_left == 0 && node->full_rev > node->last_rev)
				node->last_rev = node->full_rev;
			break;
		case UD_MSG_DESIRED:
			task_on_desired(node, envelope, body);
			node_saw_rev(node, envelope);
			break;
		case UD_MSG_REPORT_ACK:
			task_on_report_ack(node, envelope);
			break;
		case UD_MSG_LOG_ACK:
			node_on_log_ack(node, envelope);
			break;
		case UD_MSG_INVENTORY_REQUEST:
			node->inventory_due = true;
			break;
		case UD_MSG_DRAIN:
			node->retry_after_ms = desired_parse_drain(body, envelope->body_bytes);
			break;
		case UD_MSG_ERROR:
			ud_warning("the server says: %.*s", (int) (envelope->body_bytes < 1000 ? envelope->body_bytes : 1000), (const char *) body);
			break;
		default:
			break;
	}
	return 0;
}

int
node_receive(SimNode *node, const uint8_t *frame, size_t len, UdError *err)
{
	SimStats   *stats = &node->sim->stats;
	UdFrameReader reader;
	UdEnvelope	envelope;
	const uint8_t *body;
	int			got;

	stats->frames_in++;
	stats->bytes_in += (int64_t) len;
	node->heard_ns = clock_ns(CLOCK_MONOTONIC);
	if (ud_frame_begin(&reader, frame, len) < 0)
		return ud_error(err, UD_EPROTO, 0, "frame of %zu bytes is malformed", len);
	if (node->welcomed && reader.header.session != node->session)
		return 0;
	while ((got = ud_frame_next(&reader, &envelope, &body)) > 0)
		if (node_on_message(node, &reader.header, &envelope, body, err) < 0)
			return err->code;
	return got < 0 ? ud_error(err, UD_EPROTO, 0, "message in a frame is malformed") : 0;
}

/* --- sending --- */

static int64_t
node_report_due_ns(const SimNode *node, const SimTask *task)
{
	int64_t		merge_ns = node->last_report_ns + REPORT_MERGE_NS;
	int64_t		repeat_ns = task->report_ns + (int64_t) (node->limits.report_repeat_s * NS_PER_S);

	if (task->dirty)
		return merge_ns;
	if (task->settled || task->report_ns == 0)
		return INT64_MAX;
	return repeat_ns > merge_ns ? repeat_ns : merge_ns;
}

static uint32_t
node_take_reports(SimNode *node, UdBuf *out, size_t start, uint32_t count, int64_t now)
{
	bool		any = false;

	for (SimTask *task = node->tasks; task != NULL; task = task->next)
	{
		ud_auto_buf UdBuf body = {0};
		UdEnvelope	envelope = {
			.type = UD_MSG_REPORT,
			.state = (uint8_t) task->state,
			.incarnation = task->fence.incarnation,
			.task = task->fence.task,
			.attempt = task->fence.attempt,
		};

		if (count >= UD_FRAME_MESSAGES_MAX || out->len - start >= FRAME_BYTES_SOFT)
			break;
		if (node_report_due_ns(node, task) > now)
			continue;
		envelope.sequence = ++task->report_sequence;
		body_report(task, &body);
		node_append(out, &envelope, body.data, body.len);
		task_reported(node, task, now);
		any = true;
		count++;
		node->sim->stats.messages_out[UD_MSG_REPORT]++;
	}
	if (any)
		node->last_report_ns = now;
	return count;
}

/* Beats and inventories are few: all that wait fit into one frame. */
static uint32_t
node_take_control(SimNode *node, UdBuf *out)
{
	uint32_t	count = node->control_count;

	ud_buf_append(out, node->control.data, node->control.len);
	ud_buf_reset(&node->control);
	node->control_count = 0;
	return count;
}

static void
node_append_hello(SimNode *node, UdBuf *out)
{
	ud_auto_buf UdBuf body = {0};
	UdEnvelope	envelope = {
		.type = UD_MSG_HELLO,
	};

	node->hello_due = false;
	body_hello(node, &body);
	node_append(out, &envelope, body.data, body.len);
	node->sim->stats.messages_out[UD_MSG_HELLO]++;
}

bool
node_next_frame(SimNode *node, UdBuf *out)
{
	int64_t		now = clock_ns(CLOCK_MONOTONIC);
	size_t		start = out->len;
	uint32_t	count = 0;
	UdHeader	header = {
		.version = UD_PROTOCOL_VERSION,
		.session = node->session,
	};

	if (!node->hello_due && !node->welcomed)
		return false;
	ud_buf_reserve(out, UD_HEADER_BYTES);
	out->len += UD_HEADER_BYTES;
	if (node->hello_due)
	{
		node_append_hello(node, out);
		count = 1;
	}
	else
	{
		count = node_take_control(node, out);
		count = node_take_reports(node, out, start, count, now);
		if (count == 0)
		{
			count = log_append(node, out, now);
			node->sim->stats.messages_out[UD_MSG_LOG] += count;
			if (count == 0)
				node->next_log_ns = now + LOG_LOOK_NS;
		}
	}
	if (count == 0)
	{
		out->len = start;
		return false;
	}
	header.message_count = (uint16_t) count;
	header.frame_bytes = (uint32_t) (out->len - start);
	ud_header_write(out->data + start, &header);
	node->sim->stats.frames_out++;
	node->sim->stats.bytes_out += header.frame_bytes;
	return true;
}

static void
node_beat(SimNode *node, int64_t now)
{
	ud_auto_buf UdBuf body = {0};

	if (now >= node->next_beat_ns)
	{
		node->next_beat_ns = now + (int64_t) (node->limits.beat_s * NS_PER_S);
		body_beat(node, &body);
		node_queue(node, UD_MSG_BEAT, ++node->beat_sequence, &body);
	}
	if (node->inventory_due)
	{
		node->inventory_due = false;
		ud_buf_reset(&body);
		body_inventory(node, &body);
		node_queue(node, UD_MSG_INVENTORY, ++node->beat_sequence, &body);
	}
}

/* Let the tasks go on; when one of them is the next to need something. */
static int64_t
node_advance_tasks(SimNode *node, int64_t now)
{
	int64_t		due_ns = INT64_MAX;
	SimTask    *next;

	for (SimTask *task = node->tasks; task != NULL; task = next)
	{
		int64_t		at_ns = task_advance(node, task, now);
		int64_t		report_ns = node->welcomed ? node_report_due_ns(node, task) : INT64_MAX;

		next = task->next;
		if (task_is_over(task))
		{
			task_forget(node, task);
			continue;
		}
		if (report_ns < at_ns)
			at_ns = report_ns;
		if (node->welcomed && !log_is_done(task) && node->next_log_ns < at_ns)
			at_ns = node->next_log_ns;
		if (node->welcomed && task->state == UD_ATTEMPT_RUNNING && node->next_log_ns < at_ns &&
			node->sim->options->log_bytes > task->log.acked)
			at_ns = node->next_log_ns;
		if (at_ns < due_ns)
			due_ns = at_ns;
	}
	return due_ns;
}

void
node_look(SimNode *node)
{
	int64_t		now = clock_ns(CLOCK_MONOTONIC);
	int64_t		due_ns = node_advance_tasks(node, now);
	Sim		   *sim = node->sim;

	if (sim->options->until_ended > 0 && sim->stats.ended >= sim->options->until_ended)
		sim->done = true;
	if (!node->established)
	{
		/* While there is no connection the timer is that of the next one. */
		return;
	}
	if (now - node->heard_ns > HANGUP_NS)
		connection_close(node, LWS_CLOSE_STATUS_GOINGAWAY);
	if (node->welcomed)
	{
		node_beat(node, now);
		if (node->next_beat_ns < due_ns)
			due_ns = node->next_beat_ns;
	}
	else if (node->heard_ns + HANGUP_NS + 1 < due_ns)
		due_ns = node->heard_ns + HANGUP_NS + 1;
	if (node->hello_due || node->control_count > 0 || due_ns <= now)
	{
		lws_callback_on_writable(node->wsi);
		/* Written, and looked at again, as soon as the socket takes it. */
		if (due_ns <= now)
			due_ns = now + HANGUP_NS;
	}
	timer_set(node, due_ns);
}
