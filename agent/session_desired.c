/*
 * session_desired.c
 *	  What the server wants of one attempt.
 *
 * Nothing is concluded from what a message does not say, and nothing is
 * started twice: an attempt that was removed once stays removed, however late
 * an order for it arrives.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/attempt.h"
#include "common/log.h"
#include "common/reasons.h"
#include "agent/lease.h"
#include "agent/session.h"

static bool
desired_is_tomb(const Session *session, const Fence *fence)
{
	uint32_t	count = session->tomb_count < SESSION_TOMBS ? session->tomb_count : SESSION_TOMBS;

	for (uint32_t i = 0; i < count; i++)
		if (session->tombs[i].task == fence->task && session->tombs[i].attempt == fence->attempt &&
			session->tombs[i].incarnation == fence->incarnation)
			return true;
	return false;
}

/* An attempt of which nothing is here but a state to report. */
static void
desired_add_ended(Session *session, const UdEnvelope *envelope, const Fence *fence, int state, int reason, const char *message)
{
	Agent	   *agent = session->agent;
	Attempt    *attempt = attempt_add(agent, fence, agent->node);

	if (attempt == NULL)
	{
		session_queue_error(session, envelope, ud_reason_text(UD_REASON_NODE_REJECTED), "too many attempts on this node");
		return;
	}
	attempt->node_id = agent->node_id;
	attempt->rev = envelope->value;
	attempt->ended = true;
	attempt->outcome.state = state;
	attempt->outcome.reason = reason;
	snprintf(attempt->outcome.message, sizeof(attempt->outcome.message), "%s", message);
	attempt_set_state(attempt, state);
	attempt_start(attempt);
}

/* Named by its own fence: no longer only shown. */
static void
desired_name(Attempt *attempt)
{
	attempt->named_by = attempt->agent->incarnation;
	if (!attempt->held)
		return;
	attempt->held = false;
	attempt_changed(attempt);
}

/* The durations of a run order, for a new attempt and for one that runs. */
static void
desired_apply_terms(Attempt *attempt, const DesiredRun *run)
{
	int64_t		now = clock_boot_ns();

	if (!attempt->stop_wanted)
		attempt->grace_s = run->grace_s;
	attempt->lease_s = run->lease_s;
	attempt->run_left_s = run->run_left_s;
	attempt->idle_s = run->idle_s;
	attempt->warn_s = run->warn_s;
	memcpy(attempt->warn_signal, run->warn_signal, sizeof(attempt->warn_signal));
	attempt->prepare_deadline_ns = run->prepare_left_s.set ? clock_add_s(now, run->prepare_left_s.value) : INT64_MAX;
	if (attempt->ran && attempt->intent == STOP_NONE)
	{
		attempt->run_deadline_ns = run->run_left_s.set ? clock_add_s(now, run->run_left_s.value) : INT64_MAX;
		/* The worker's wait must end at the new time, and it keeps the terms. */
		attempt->terms_new = true;
		atomic_store(&attempt->interrupt, true);
	}
	/* unidesk-init ends it by these. */
	if (attempt->ran && !attempt->ended && !attempt->held)
		attempt_write_control(attempt);
}

static void
desired_run(Session *session, const UdEnvelope *envelope, const Fence *fence, const uint8_t *body)
{
	Agent	   *agent = session->agent;
	Attempt    *attempt = attempt_find(agent, fence);
	DesiredRun	run;
	UdError		err;

	/* After a restore the server may name an attempt of the life before. */
	if (attempt == NULL && fence->incarnation != agent->incarnation)
	{
		session_queue_error(session, envelope, ud_reason_text(UD_REASON_CTL_STALE), "the fence is of another incarnation than the session");
		return;
	}
	if (desired_parse_run(body, envelope->body_bytes, &run, &err) < 0)
	{
		session_queue_error(session, envelope, ud_reason_text(UD_REASON_NODE_REJECTED), err.message);
		if (attempt == NULL)
			desired_add_ended(session, envelope, fence, UD_ATTEMPT_REJECTED, UD_REASON_NODE_REJECTED, err.message);
		return;
	}
	if (attempt != NULL)
	{
		desired_name(attempt);
		desired_apply_terms(attempt, &run);
		task_spec_free(run.spec);
		return;
	}
	if (run.spec == NULL)
	{
		/* It ran here once; starting it again would mix two runs. */
		desired_add_ended(session, envelope, fence, UD_ATTEMPT_LOST, UD_REASON_NODE_CONTAINER_GONE, "this node has nothing of it any more");
		return;
	}
	attempt = attempt_add(agent, fence, agent->node);
	if (attempt == NULL)
	{
		task_spec_free(run.spec);
		session_queue_error(session, envelope, ud_reason_text(UD_REASON_NODE_REJECTED), "too many attempts on this node");
		return;
	}
	attempt->node_id = agent->node_id;
	attempt->rev = envelope->value;
	attempt->spec = run.spec;
	attempt->cpus_milli = run.spec->cpus_milli;
	attempt->memory = run.spec->memory;
	attempt->state = UD_ATTEMPT_ASSIGNED;
	desired_apply_terms(attempt, &run);
	ud_info("attempt %s: assigned, project %s", attempt->name, run.spec->project);
	attempt_start(attempt);
}

static void
desired_stop(Session *session, const UdEnvelope *envelope, const Fence *fence, const uint8_t *body)
{
	Attempt    *attempt = attempt_find(session->agent, fence);
	DesiredStop stop;
	UdError		err;

	if (desired_parse_stop(body, envelope->body_bytes, &stop, &err) < 0)
		session_queue_error(session, envelope, ud_reason_text(UD_REASON_NODE_AGENT_ERROR), err.message);
	else if (attempt == NULL)
		desired_add_ended(session, envelope, fence, stop.final_state, stop.reason, "");
	else
	{
		desired_name(attempt);
		if (UD_ATTEMPT_IS_TERMINAL(attempt->state))
			attempt_changed(attempt);
		else
			attempt_want_stop(attempt, &stop);
	}
}

/* What the task saved is of no use any more, unless it runs here after all. */
static void
desired_drop_checkpoint(Agent *agent, const Fence *fence)
{
	char		name[DATA_NAME_BYTES];
	UdError		err;

	data_write_checkpoint_name(fence->incarnation, fence->task, name);
	agent_lock(agent);
	if (attempt_of_task(agent, fence->incarnation, fence->task) == NULL)
	{
		ud_info("checkpoint %s: no longer needed, removed", name);
		/* In a moment by its name, then in peace by the keeper. */
		if (data_drop_checkpoint(&agent->data, name, &err) < 0)
			ud_warning("checkpoint %s: %s", name, err.message);
	}
	agent_unlock(agent);
}

void
session_on_desired(Session *session, const UdEnvelope *envelope, const uint8_t *body)
{
	Agent	   *agent = session->agent;
	Fence		fence = {
		.incarnation = envelope->incarnation,
		.task = envelope->task,
		.attempt = envelope->attempt,
	};
	Attempt    *attempt;

	if (fence.incarnation != 0 && fence.task > 0 && fence.attempt == 0 && envelope->state == UD_WANT_REMOVE)
	{
		desired_drop_checkpoint(agent, &fence);
		return;
	}
	if (fence.incarnation == 0 || fence.task <= 0 || fence.attempt <= 0)
	{
		session_queue_error(session, envelope, ud_reason_text(UD_REASON_CTL_STALE), "desired without a fence");
		return;
	}
	agent_lock(agent);
	/* What was removed a moment ago counts as removed, not as unknown. */
	session_sweep(session);
	attempt = attempt_find(agent, &fence);

	/*
	 * To remove what is not this node's has no revision: it is no order of
	 * the worker's.
	 */
	if (attempt != NULL && envelope->value < attempt->rev && envelope->state != UD_WANT_REMOVE)
		ud_debug("attempt %s: an older order was ignored", attempt->name);
	else
	{
		if (attempt != NULL)
			attempt->rev = envelope->value;
		switch (envelope->state)
		{
			case UD_WANT_RUN:
				if (attempt != NULL || !desired_is_tomb(session, &fence))
					desired_run(session, envelope, &fence, body);
				break;
			case UD_WANT_STOP:
				desired_stop(session, envelope, &fence, body);
				break;
			case UD_WANT_REMOVE:
				if (attempt != NULL)
					attempt_want_discard(attempt);
				break;
			default:
				session_queue_error(session, envelope, ud_reason_text(UD_REASON_NODE_AGENT_ERROR), "unknown want");
		}
	}
	agent_unlock(agent);
}
