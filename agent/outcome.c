/*
 * outcome.c
 *	  How an attempt ended.
 *
 * The exit record of unidesk-init is the best witness, because the engine's
 * own state cannot tell a task that ended from one the engine stopped.  What
 * the agent intended comes before it: an attempt that was to be cancelled is
 * cancelled, whatever its code.  One thing comes before that: unidesk-init saw
 * it end well before any signal of a stop, so it is done, and to call it by
 * the stop would run it again or throw its result away.
 */
#include "agent/outcome.h"

#include <stdio.h>
#include <string.h>

#include "common/protocol.h"
#include "common/reasons.h"

#define CODE_KILLED 137
/* What the engine says of one that was gone when it came up again. */
#define CODE_UNKNOWN 255

bool
outcome_read_record(const void *bytes, size_t len, UdExitRecord *record)
{
	if (len != sizeof(*record))
		return false;
	memcpy(record, bytes, sizeof(*record));
	if (record->magic != UD_EXIT_MAGIC ||
		record->stopped_by < UD_STOPPED_SELF || record->stopped_by > UD_STOPPED_OUTSIDE ||
		record->signal < 0 || record->signal > 64 ||
		record->code < -1 || record->code > 255 ||
		(record->code == -1 && record->signal == 0) ||
		record->oom > 1 || record->start_failed > 1 ||
		record->log_end > INT64_MAX || record->log_cut > INT64_MAX || record->run_ns < 0)
		return false;
	return true;
}

static void
outcome_set(Outcome *outcome, int state, int reason, const char *message)
{
	outcome->state = state;
	outcome->reason = reason;
	snprintf(outcome->message, sizeof(outcome->message), "%s", message);
}

static void
outcome_set_rebooted(Outcome *outcome)
{
	outcome_set(outcome, UD_ATTEMPT_LOST, UD_REASON_NODE_REBOOTED, "the machine was restarted while it ran");
}

/* It ended without the agent having wanted it, and left its record. */
static void
outcome_judge_record(const UdExitRecord *record, bool rebooted, bool oom, Outcome *outcome)
{
	if (record->start_failed)
		outcome_set(outcome, UD_ATTEMPT_FAILED, UD_REASON_RUN_START_FAILED,
					record->code == 127 ? "the command was not found in the image" : "the command could not be executed");
	else if (record->stopped_by == UD_STOPPED_LEASE)
		outcome_set(outcome, UD_ATTEMPT_LOST, UD_REASON_NODE_LEASE_OVER,
					"the lease was over before the server could be reached again");
	else if (record->stopped_by == UD_STOPPED_OUTSIDE && rebooted)
		outcome_set_rebooted(outcome);
	else if (record->stopped_by == UD_STOPPED_OUTSIDE)
		outcome_set(outcome, UD_ATTEMPT_FAILED, UD_REASON_NODE_ENGINE_STOPPED,
					"it was told to stop by neither itself nor the agent: by a person, or because the engine or the machine was stopped");
	else if (record->stopped_by == UD_STOPPED_AGENT)
		outcome_set(outcome, UD_ATTEMPT_FAILED, UD_REASON_NODE_ENGINE_STOPPED,
					"it was told to stop, but no reason was recorded");
	else if (record->code == 0 && record->signal == 0)
		outcome_set(outcome, UD_ATTEMPT_SUCCEEDED, UD_REASON_NONE, "");
	else if (oom)
	{
		outcome->oom = true;
		outcome_set(outcome, UD_ATTEMPT_FAILED, UD_REASON_RUN_OOM, "the kernel ended it: its memory limit was reached");
	}
	else if (record->signal != 0)
	{
		outcome_set(outcome, UD_ATTEMPT_FAILED, UD_REASON_RUN_SIGNAL, "");
		snprintf(outcome->message, sizeof(outcome->message), "ended by signal %d (%s)", record->signal, strsignal(record->signal));
	}
	else
		outcome_set(outcome, UD_ATTEMPT_FAILED, UD_REASON_RUN_EXIT_CODE, "");
}

/* It ended without a record: unidesk-init itself was killed, or is gone. */
static void
outcome_judge_container(const ExitFacts *facts, Outcome *outcome)
{
	if (!facts->has_container && !facts->rebooted)
	{
		outcome_set(outcome, UD_ATTEMPT_LOST, UD_REASON_NODE_CONTAINER_GONE,
					"its container was removed by somebody else before it left a result");
		return;
	}
	outcome->has_exit_code = facts->has_container;
	outcome->exit_code = facts->container_code;
	if (facts->container_oom)
	{
		outcome->oom = true;
		outcome_set(outcome, UD_ATTEMPT_FAILED, UD_REASON_RUN_OOM, "the kernel ended it: its memory limit was reached");
	}
	else if (facts->rebooted)
		outcome_set_rebooted(outcome);
	else if (facts->container_code == CODE_KILLED || facts->container_code == CODE_UNKNOWN)
		outcome_set(outcome, UD_ATTEMPT_FAILED, UD_REASON_NODE_ENGINE_STOPPED,
					"the whole container was killed from outside, or the machine went down, before it could leave a result");
	else
		outcome_set(outcome, UD_ATTEMPT_FAILED, UD_REASON_NODE_AGENT_ERROR,
					"the container ended without leaving an exit record");
}

void
outcome_judge(const ExitFacts *facts, Outcome *outcome)
{
	const UdExitRecord *record = &facts->record;

	memset(outcome, 0, sizeof(*outcome));
	if (facts->has_record)
	{
		outcome->has_exit_code = true;
		outcome->signal = record->code < 0 ? record->signal : 0;
		outcome->exit_code = record->code < 0 ? 128 + record->signal : record->code;
		outcome_judge_record(record, facts->rebooted, record->oom || facts->container_oom, outcome);
	}
	else
		outcome_judge_container(facts, outcome);
	if (outcome->state == UD_ATTEMPT_SUCCEEDED)
		return;
	if (facts->intent == STOP_WANTED)
		outcome_set(outcome, facts->final_state, facts->final_reason, "");
	else if (facts->intent == STOP_RUN_TIMEOUT)
		outcome_set(outcome, UD_ATTEMPT_TIMED_OUT, UD_REASON_RUN_TIMEOUT, "its run time was over");
	else if (facts->intent == STOP_IDLE)
		outcome_set(outcome, UD_ATTEMPT_TIMED_OUT, UD_REASON_RUN_NO_PROGRESS, "it wrote nothing to its log for longer than its idle_timeout");
	else if (facts->intent == STOP_DISK)
		outcome_set(outcome, UD_ATTEMPT_FAILED, UD_REASON_RUN_DISK,
					"the node's disk was almost full, and this attempt had written more to it than any other: write less, or remove what is not needed");
}
