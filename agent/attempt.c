/*
 * attempt.c
 *	  The table of attempts, and the life of a worker.
 */
#include "agent/attempt.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/log.h"
#include "common/protocol.h"
#include "common/reasons.h"
#include "agent/lease.h"
#include "agent/state.h"

#define REMOVE_RETRY_MS 5000
#define WORKER_STACK_BYTES ((size_t) (512 * 1024))

void
agent_wait_changed(Agent *agent, int ms)
{
	struct timespec until;

	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec += ms / 1000;
	until.tv_nsec += ms % 1000 * NS_PER_MS;
	if (until.tv_nsec >= NS_PER_S)
	{
		until.tv_nsec -= NS_PER_S;
		until.tv_sec++;
	}
	pthread_cond_timedwait(&agent->changed, &agent->lock, &until);
}

void
agent_pause(Agent *agent, int ms)
{
	int64_t		until = clock_boot_ns() + ms * NS_PER_MS;
	int64_t		left;

	agent_lock(agent);
	while (!atomic_load(&agent->exiting) && (left = until - clock_boot_ns()) > 0)
		agent_wait_changed(agent, (int) (left / NS_PER_MS) + 1);
	agent_unlock(agent);
}

void
attempt_write_name(const Fence *fence, char out[DATA_NAME_BYTES])
{
	snprintf(out, DATA_NAME_BYTES, "%08" PRIx32 "-%" PRId64 "-%" PRId32,
			 (uint32_t) ((uint64_t) fence->incarnation >> 32), fence->task, fence->attempt);
}

Attempt *
attempt_find(Agent *agent, const Fence *fence)
{
	for (Attempt *attempt = agent->attempts; attempt != NULL; attempt = attempt->next)
		if (!attempt->gone && attempt->fence.task == fence->task && attempt->fence.attempt == fence->attempt &&
			attempt->fence.incarnation == fence->incarnation)
			return attempt;
	return NULL;
}

Attempt *
attempt_of_task(Agent *agent, int64_t incarnation, int64_t task)
{
	for (Attempt *attempt = agent->attempts; attempt != NULL; attempt = attempt->next)
		if (!attempt->gone && attempt->fence.task == task && attempt->fence.incarnation == incarnation)
			return attempt;
	return NULL;
}

Attempt *
attempt_add(Agent *agent, const Fence *fence, const char *node)
{
	Attempt    *attempt;

	if (agent->attempt_count >= AGENT_ATTEMPTS_MAX)
		return NULL;
	attempt = ud_calloc(1, sizeof(*attempt));
	attempt->agent = agent;
	attempt->fence = *fence;
	attempt_write_name(fence, attempt->name);
	snprintf(attempt->container, sizeof(attempt->container), "ud-%s", attempt->name);
	data_write_checkpoint_name(fence->incarnation, fence->task, attempt->checkpoint);
	snprintf(attempt->node, sizeof(attempt->node), "%s", node);
	attempt->grace_s = 30;
	attempt->prepare_deadline_ns = INT64_MAX;
	attempt->run_deadline_ns = INT64_MAX;
	attempt->alive_fd = -1;
	attempt->phase = -1;
	for (int i = 0; i < AGENT_STAGES; i++)
		attempt->stage_ms[i] = -1;
	logfile_init(&attempt->log.file);
	attempt->log.credit = AGENT_LOG_CREDIT;
	attempt->next = agent->attempts;
	agent->attempts = attempt;
	agent->attempt_count++;
	return attempt;
}

static void
attempt_free(Attempt *attempt)
{
	logfile_release(&attempt->log.file);
	task_spec_free(attempt->spec);
	free(attempt->gpus);
	if (attempt->alive_fd >= 0)
		close(attempt->alive_fd);
	free(attempt);
}

char **
attempt_gpus(const Attempt *attempt)
{
	static char *none[1];

	return attempt->spec != NULL ? attempt->spec->gpus : attempt->gpus != NULL ? attempt->gpus : none;
}

void
attempt_sweep(Agent *agent, void (*each) (void *arg, const Attempt *attempt), void *arg)
{
	Attempt   **link = &agent->attempts;

	while (*link != NULL)
	{
		Attempt    *attempt = *link;

		if (!attempt->gone)
		{
			link = &attempt->next;
			continue;
		}
		*link = attempt->next;
		agent->attempt_count--;
		if (each != NULL)
			each(arg, attempt);
		attempt_free(attempt);
	}
}

void
attempt_changed(Attempt *attempt)
{
	Agent	   *agent = attempt->agent;

	attempt->report_dirty = true;
	attempt->report_settled = false;
	pthread_cond_broadcast(&agent->changed);
	if (agent->wake != NULL)
		agent->wake();
}

void
attempt_set_state(Attempt *attempt, int state)
{
	if (attempt->state != state)
		ud_info("attempt %s: %s", attempt->name, ud_attempt_state_name(state));
	attempt->state = state;
	if (state != UD_ATTEMPT_PREPARING)
	{
		attempt->phase = -1;
		attempt->progress[0] = '\0';
	}
	attempt_changed(attempt);
}

void
attempt_want_stop(Attempt *attempt, const DesiredStop *stop)
{
	/* The first stop wins: what is written down is what will be reported. */
	if (attempt->stop_wanted)
		return;
	attempt->stop_wanted = true;
	attempt->grace_s = stop->grace_s;
	attempt->final_state = stop->final_state;
	attempt->final_reason = stop->reason;
	atomic_store(&attempt->interrupt, true);
	pthread_cond_broadcast(&attempt->agent->changed);
}

void
attempt_want_discard(Attempt *attempt)
{
	if (attempt->discard)
		return;
	ud_info("attempt %s: to be stopped and removed", attempt->name);
	attempt->discard = true;
	atomic_store(&attempt->interrupt, true);
	pthread_cond_broadcast(&attempt->agent->changed);
}

/*
 * Between its start and the welcome the agent knows of no contact: what an
 * earlier agent wrote holds, or unidesk-init would find the lease over.
 */
static void
attempt_keep_deadline(const Attempt *attempt, UdControl *control)
{
	ud_auto_buf UdBuf bytes = {0};
	UdControl	old;
	UdError		err;

	if (data_read_run(&attempt->agent->data, attempt->name, UD_RUN_CONTROL, sizeof(old), &bytes, &err) < 0 ||
		bytes.len != sizeof(old))
		return;
	memcpy(&old, bytes.data, sizeof(old));
	if (old.magic != UD_CONTROL_MAGIC || memcmp(old.boot_id, control->boot_id, sizeof(old.boot_id)) != 0)
		return;
	/* With its times, which show whether the machine was paused since. */
	control->has_lease = old.has_lease;
	control->deadline_boot_ns = old.deadline_boot_ns;
	control->written_boot_ns = old.written_boot_ns;
	control->written_realtime_ns = old.written_realtime_ns;
}

void
attempt_write_control(Attempt *attempt)
{
	LeaseTerms	terms = {
		.has_lease = attempt->lease_s.set,
		.lease_s = attempt->lease_s.value,
		.grace_s = attempt->grace_s,
		.margin_s = attempt->agent->limits.lease_margin_s,
		.base_boot_ns = attempt->agent->lease_base_ns,
		.stop_announced = attempt->intent != STOP_NONE,
	};
	UdControl	control;
	UdError		err;

	lease_fill_control(&control, &terms);
	if (terms.has_lease && terms.base_boot_ns == 0)
		attempt_keep_deadline(attempt, &control);
	if (data_update_run(&attempt->agent->data, attempt->name, UD_RUN_CONTROL, &control, sizeof(control), &err) < 0)
		ud_warning("attempt %s: %s", attempt->name, err.message);
}

void
attempt_save_state(Attempt *attempt)
{
	ud_auto_buf UdBuf text = {0};
	UdError		err;

	agent_lock(attempt->agent);
	state_write(attempt, &text);
	agent_unlock(attempt->agent);
	if (data_write_state(&attempt->agent->data, attempt->name, text.data, text.len, &err) < 0)
		ud_warning("attempt %s: %s", attempt->name, err.message);
}

/*
 * It never came to run.  What was wanted or went wrong becomes the outcome;
 * there is nothing to tell when the agent exits or it is discarded.
 */
static void
attempt_end_unstarted(Attempt *attempt, const UdError *err)
{
	Agent	   *agent = attempt->agent;
	bool		tell = true;

	agent_lock(agent);
	if (attempt->discard || atomic_load(&agent->exiting))
		tell = false;
	else if (attempt->stop_wanted)
	{
		memset(&attempt->outcome, 0, sizeof(attempt->outcome));
		attempt->outcome.state = attempt->final_state;
		attempt->outcome.reason = attempt->final_reason;
	}
	else if (attempt->disk_full)
	{
		memset(&attempt->outcome, 0, sizeof(attempt->outcome));
		attempt->outcome.state = UD_ATTEMPT_FAILED;
		attempt->outcome.reason = UD_REASON_NODE_DISK_FULL;
		snprintf(attempt->outcome.message, sizeof(attempt->outcome.message), "the node's disk became almost full while this was prepared");
	}
	else if (attempt->outcome.state == 0)
	{
		attempt->outcome.state = UD_ATTEMPT_FAILED;
		attempt->outcome.reason = err->reason ? err->reason : UD_REASON_NODE_AGENT_ERROR;
		attempt->outcome.retry_after_s = err->retry_after_s;
		if (attempt->outcome.message[0] == '\0')
			snprintf(attempt->outcome.message, sizeof(attempt->outcome.message), "%s", err->message);
	}
	if (tell)
	{
		ud_info("attempt %s: ended before it ran: %s %s", attempt->name,
				ud_reason_text(attempt->outcome.reason), err->message);
		attempt->ended = true;
		attempt_set_state(attempt, attempt->outcome.state);
	}
	agent_unlock(agent);
}

/* Until the server has all of it; false: the agent exits first. */
static bool
attempt_wait_for_removal(Attempt *attempt)
{
	Agent	   *agent = attempt->agent;
	bool		remove;

	agent_lock(agent);
	while (!attempt->remove_now && !attempt->discard && !atomic_load(&agent->exiting))
		agent_wait_changed(agent, 60000);
	remove = attempt->remove_now || attempt->discard;
	agent_unlock(agent);
	return remove;
}

/*
 * An empty checkpoint goes, unless the task's next attempt is here already and
 * may have it mounted: that one comes into the table before it makes any.
 */
static void
attempt_leave_checkpoint(const Attempt *attempt)
{
	Agent	   *agent = attempt->agent;
	bool		shared = false;

	agent_lock(agent);
	for (const Attempt *other = agent->attempts; other != NULL; other = other->next)
		shared = shared || (other != attempt && !other->gone &&
							other->fence.task == attempt->fence.task && other->fence.incarnation == attempt->fence.incarnation);
	if (!shared)
		data_leave_checkpoint(&agent->data, attempt->checkpoint);
	agent_unlock(agent);
}

/* Container first, then the directories, the state last; until it works. */
static void
attempt_remove_all(Attempt *attempt)
{
	Agent	   *agent = attempt->agent;
	UdError		err;

	if (!attempt_remove_until_gone(attempt))
		return;
	while (data_remove_attempt(&agent->data, attempt->name, &err) < 0)
	{
		ud_warning("attempt %s: could not remove its directories, trying again: %s", attempt->name, err.message);
		agent_pause(agent, REMOVE_RETRY_MS);
		if (atomic_load(&agent->exiting))
			return;
	}
	if (!attempt->last)
		attempt_leave_checkpoint(attempt);
	else if (data_drop_checkpoint(&agent->data, attempt->checkpoint, &err) < 0)
		ud_warning("attempt %s: %s", attempt->name, err.message);
	ud_info("attempt %s: removed", attempt->name);
	agent_lock(agent);
	attempt->gone = true;
	agent_unlock(agent);
}

static void *
attempt_main(void *arg)
{
	Attempt    *attempt = arg;
	Agent	   *agent = attempt->agent;
	UdError		err = {0};

	if (attempt->spec != NULL && attempt_prepare(attempt, &err) < 0)
		attempt_end_unstarted(attempt, &err);
	else if (attempt->ran)
		attempt_watch(attempt);
	if (attempt_wait_for_removal(attempt))
		attempt_remove_all(attempt);
	agent_lock(agent);
	agent->worker_count--;
	pthread_cond_broadcast(&agent->changed);
	if (agent->wake != NULL)
		agent->wake();
	agent_unlock(agent);
	return NULL;
}

bool
attempt_start(Attempt *attempt)
{
	Agent	   *agent = attempt->agent;
	pthread_attr_t attributes;
	pthread_t	thread;
	int			result;

	pthread_attr_init(&attributes);
	pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
	pthread_attr_setstacksize(&attributes, WORKER_STACK_BYTES);
	result = pthread_create(&thread, &attributes, attempt_main, attempt);
	pthread_attr_destroy(&attributes);
	if (result == 0)
	{
		agent->worker_count++;
		return true;
	}
	ud_err("could not start a thread: %s", strerror(result));
	attempt->gone = true;
	return false;
}
