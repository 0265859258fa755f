/*
 * log.c
 *	  The tasks' logs: made-up lines, sent at offsets, within credit.
 */
#include "sim.h"

#define FIRST_BYTES 4096
#define FRAME_BYTES ((size_t) (128 * 1024))
#define STALL_NS (30 * NS_PER_S)
#define IDLE_PROBES_MAX 3
#define LINE "a line of the log of a task that does nothing but write lines.\n"
#define LINE_BYTES (sizeof(LINE) - 1)

void
log_reset(SimLog *log)
{
	log->sent = 0;
	log->acked = 0;
	log->credit = AGENT_LOG_CREDIT;
	log->probing = false;
	log->started = false;
}

bool
log_is_done(const SimTask *task)
{
	return task->log.acked >= task->log.end || task->log.idle_probes >= IDLE_PROBES_MAX;
}

int64_t
log_written(const SimOptions *options, const SimTask *task, int64_t now)
{
	int64_t		ms = (now - task->started_ns) / NS_PER_MS;

	if (UD_ATTEMPT_IS_TERMINAL(task->state))
		return task->log.end;
	if (task->started_ns == 0)
		return 0;
	if (options->log_rate == 0 || ms > options->log_bytes * 1000 / options->log_rate)
		return options->log_bytes;
	return options->log_rate * ms / 1000;
}

void
log_on_ack(SimTask *task, const UdEnvelope *envelope)
{
	SimLog	   *log = &task->log;

	log->heard_ns = clock_ns(CLOCK_MONOTONIC);
	log->credit = envelope->sequence;
	if (!log->started)
	{
		/* The server may not want the rest of a log that is over. */
		if (envelope->sequence > 0 && task->remove_acked && envelope->value <= log->acked)
			log->idle_probes++;
		log->started = true;
		log->probing = false;
		log->acked = envelope->value;
		log->sent = envelope->value;
		return;
	}
	if (envelope->value > log->acked)
		log->acked = envelope->value;
	if (log->sent < log->acked)
		log->sent = log->acked;
}

/* One message of at most max bytes; false: none now. */
static bool
log_append_one(const SimNode *node, SimTask *task, UdBuf *out, size_t max, int64_t now)
{
	static char lines[UD_LOG_BODY_BYTES_MAX + LINE_BYTES + 1];
	SimLog	   *log = &task->log;
	int64_t		left;
	int64_t		room = log->credit - (log->sent - log->acked);
	UdEnvelope	envelope = {
		.type = UD_MSG_LOG,
		.state = UD_LOG_STDOUT,
		.incarnation = task->fence.incarnation,
		.task = task->fence.task,
		.attempt = task->fence.attempt,
	};

	if ((log->probing || log->sent > log->acked || log->credit == 0) && now - log->heard_ns > STALL_NS)
	{
		log_reset(log);
		room = log->credit;
	}
	left = log_written(node->sim->options, task, now) - log->sent;
	if (log->probing || left <= 0 || room <= 0 || log_is_done(task))
		return false;
	if (!log->started && max > FIRST_BYTES)
		max = FIRST_BYTES;
	if (max > UD_LOG_BODY_BYTES_MAX)
		max = UD_LOG_BODY_BYTES_MAX;
	if ((int64_t) max > left)
		max = (size_t) left;
	if ((int64_t) max > room)
		max = (size_t) room;
	if (lines[0] == '\0')
		for (size_t i = 0; i < sizeof(lines); i++)
			lines[i] = LINE[i % LINE_BYTES];
	envelope.value = log->sent;
	node_append(out, &envelope, lines + log->sent % (int64_t) LINE_BYTES, max);
	if (log->sent == log->acked)
		log->heard_ns = now;
	if (log->started)
		log->sent += (int64_t) max;
	else
		log->probing = true;
	return true;
}

uint32_t
log_append(SimNode *node, UdBuf *out, int64_t now)
{
	size_t		start = out->len;
	uint32_t	count = 0;

	for (SimTask *task = node->tasks; task != NULL; task = task->next)
		while (out->len - start + UD_ENVELOPE_BYTES < FRAME_BYTES && count < UD_FRAME_MESSAGES_MAX &&
			   log_append_one(node, task, out, FRAME_BYTES - (out->len - start) - UD_ENVELOPE_BYTES, now))
			count++;
	return count;
}
