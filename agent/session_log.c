/*
 * session_log.c
 *	  Sending the attempts' logs: at offsets, within credit, resumable.
 *
 * In each session one message from offset 0 asks where to go on; the answer's
 * offset is believed.  When answers stop coming for a while, or there was no
 * credit for as long, the question is asked again: that heals every lost
 * message, and a server that was full, at the cost of one.  When all but
 * the log is done and such questions bring no progress, the server does not
 * want the rest.
 */
#include "agent/session.h"

#include "common/log.h"
#include "agent/lease.h"

#define FIRST_BYTES 4096
#define IDLE_PROBES_MAX 3
#define STALL_NS (30 * NS_PER_S)
/* Log bytes of one frame: small, so that control messages never wait long. */
#define LOG_FRAME_BYTES ((size_t) (128 * 1024))

/* Ask again where to go on. */
static void
log_restart(Attempt *attempt)
{
	LogSend    *log = &attempt->log;

	log->probing = false;
	log->started = false;
	log->sent = 0;
	log->acked = 0;
	log->credit = AGENT_LOG_CREDIT;
}

void
session_log_reset(Attempt *attempt)
{
	log_restart(attempt);
	attempt->log.idle_probes = 0;
}

/*
 * An answer to the question where to go on.  Only answers count: a server
 * that says nothing, or "not now" by a credit of 0, may want everything.
 */
static void
log_count_idle(Attempt *attempt, uint64_t offset, uint32_t credit)
{
	LogSend    *log = &attempt->log;

	if (credit == 0)
		return;
	if (!attempt->ended || !attempt->remove_acked || offset > log->probed)
		log->idle_probes = 0;
	else
		log->idle_probes++;
	log->probed = offset;
}

void
session_log_acked(Attempt *attempt, uint64_t offset, uint32_t credit)
{
	LogSend    *log = &attempt->log;

	log->last_ack_ns = clock_boot_ns();
	log->credit = credit;
	if (!log->started)
	{
		log_count_idle(attempt, offset, credit);
		log->started = true;
		log->probing = false;
		log->acked = offset;
		log->sent = offset;
		return;
	}
	if (offset > log->acked)
		log->acked = offset;
	if (log->sent < log->acked)
		log->sent = log->acked;
}

/*
 * Have the log open: 1 when it is, 0 when there is none, negative when that
 * cannot be told at present.
 */
static int
log_open(Attempt *attempt)
{
	UdError		err;
	int			result;
	int			fd;

	if (attempt->log.file.fd >= 0)
		return 1;
	result = data_open_run(&attempt->agent->data, attempt->name, UD_RUN_LOG, &fd, &err);
	if (result == UD_ENOENT || result == UD_EINVAL)
		return 0;
	if (result < 0)
		return result;
	logfile_open(&attempt->log.file, fd);
	return 1;
}

/*
 * Nothing more can be read at present.  When the task is over and all that
 * could be read is acknowledged, the log is done.
 */
static void
log_check_done(Attempt *attempt)
{
	const LogSend *log = &attempt->log;
	bool		done = log->started ? log->acked >= log->sent : !log->probing;

	if (log->idle_probes >= IDLE_PROBES_MAX && !done)
	{
		ud_warning("attempt %s: the server takes no more of the log than %llu bytes: the rest is dropped",
				   attempt->name, (unsigned long long) log->acked);
		done = true;
	}

	if (attempt->ended && attempt->remove_acked && done && !attempt->remove_now)
	{
		attempt->remove_now = true;
		pthread_cond_broadcast(&attempt->agent->changed);
	}
}

/* One message of this attempt's log, at most max bytes; false: none now. */
static bool
log_append_one(Attempt *attempt, UdBuf *out, size_t max)
{
	LogSend    *log = &attempt->log;
	uint64_t	outstanding = log->sent - log->acked;
	int64_t		now = clock_boot_ns();
	UdEnvelope	envelope = {
		.type = UD_MSG_LOG,
		.incarnation = attempt->fence.incarnation,
		.task = attempt->fence.task,
		.attempt = attempt->fence.attempt,
		.value = (int64_t) log->sent,
	};
	size_t		at = out->len;
	size_t		got = 0;
	int			opened;

	if (log->idle_probes >= IDLE_PROBES_MAX)
	{
		log_check_done(attempt);
		return false;
	}
	/* No credit: the server takes nothing at present and will not say when. */
	if ((log->probing || outstanding > 0 || log->credit == 0) && now - log->last_ack_ns > STALL_NS)
	{
		log_restart(attempt);
		envelope.value = 0;
		outstanding = 0;
	}
	if (log->probing)
		return false;
	if (!log->started && max > FIRST_BYTES)
		max = FIRST_BYTES;
	if (max > UD_LOG_BODY_BYTES_MAX)
		max = UD_LOG_BODY_BYTES_MAX;
	if (log->credit - outstanding < max || log->credit < outstanding)
		max = log->credit > outstanding ? (size_t) (log->credit - outstanding) : 0;
	if (max == 0 && outstanding > 0)
		return false;
	opened = max > 0 ? log_open(attempt) : 0;
	if (opened < 0)
		return false;
	if (opened > 0)
	{
		/* Room for the envelope, filled in when the length is known. */
		ud_buf_reserve(out, UD_ENVELOPE_BYTES);
		out->len += UD_ENVELOPE_BYTES;
		got = logfile_read(&log->file, log->sent, max, out, &envelope.state);
		if (got == 0)
			out->len = at;
	}
	if (got == 0)
	{
		if (max > 0 && !log->file.unfinished)
			log_check_done(attempt);
		return false;
	}
	envelope.body_bytes = (uint32_t) got;
	ud_envelope_write(out->data + at, &envelope);
	if (outstanding == 0)
		log->last_ack_ns = now;
	if (log->started)
		log->sent += got;
	else
		log->probing = true;
	return true;
}

uint32_t
session_log_append(Session *session, UdBuf *out, size_t start)
{
	Agent	   *agent = session->agent;
	uint32_t	count = 0;
	size_t		index = 0;
	size_t		first = session->log_turn;
	bool		full = false;

	/* Two rounds over the list, from the attempt whose turn it is on. */
	for (int round = 0; round < 2 && !full; round++)
	{
		index = 0;
		for (Attempt *attempt = agent->attempts; attempt != NULL && !full; attempt = attempt->next, index++)
		{
			if ((round == 0) != (index >= first))
				continue;
			if (attempt->held || attempt->discard || attempt->remove_now || attempt->gone)
				continue;
			if (!attempt->ran)
			{
				/* Nothing ran: no log to wait for. */
				log_check_done(attempt);
				continue;
			}
			while (!full)
			{
				size_t		used = out->len - start;

				if (used + UD_ENVELOPE_BYTES + 1 > LOG_FRAME_BYTES || count >= UD_FRAME_MESSAGES_MAX)
				{
					full = true;
					session->log_turn = index;
				}
				else if (log_append_one(attempt, out, LOG_FRAME_BYTES - used - UD_ENVELOPE_BYTES))
					count++;
				else
					break;
			}
		}
	}
	if (!full)
		session->log_turn = 0;
	return count;
}
