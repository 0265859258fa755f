/*
 * task.c
 *	  The tasks of a node: from its assignment to its acknowledged end.
 */
#include "sim.h"

#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <fcntl.h>
#include <sys/wait.h>

#include "common/log.h"
#include "common/reasons.h"

SimTask *
task_find(SimNode *node, const UdEnvelope *envelope)
{
	for (SimTask *task = node->tasks; task != NULL; task = task->next)
		if (task->fence.task == envelope->task && task->fence.attempt == envelope->attempt &&
			task->fence.incarnation == envelope->incarnation)
			return task;
	return NULL;
}

static bool
task_is_tomb(const SimNode *node, const UdEnvelope *envelope)
{
	uint32_t	count = node->tomb_count < SIM_TOMBS ? node->tomb_count : SIM_TOMBS;

	for (uint32_t i = 0; i < count; i++)
		if (node->tombs[i].task == envelope->task && node->tombs[i].attempt == envelope->attempt &&
			node->tombs[i].incarnation == envelope->incarnation)
			return true;
	return false;
}

static SimTask *
task_add(SimNode *node, const UdEnvelope *envelope, int64_t now)
{
	SimTask    *task = ud_calloc(1, sizeof(*task));

	task->fence.incarnation = envelope->incarnation;
	task->fence.task = envelope->task;
	task->fence.attempt = envelope->attempt;
	task->rev = envelope->value;
	task->assigned_ns = now;
	task->next = node->tasks;
	log_reset(&task->log);
	node->tasks = task;
	return task;
}

static void
task_set_state(SimTask *task, int state)
{
	task->state = state;
	task->dirty = true;
	task->settled = false;
}

static void
task_end(SimNode *node, SimTask *task, int state, int reason, int64_t now)
{
	if (task->started_ns > 0)
		task->log.end = task->final_state == 0 ? node->sim->options->log_bytes : log_written(node->sim->options, task, now);
	task->reason = reason;
	task_set_state(task, state);
}

/* The command as it stands in the order, on this machine, its output nowhere. */
static void
task_spawn(SimNode *node, SimTask *task, int64_t now)
{
	posix_spawn_file_actions_t actions;
	posix_spawnattr_t attributes;
	sigset_t	none;
	int			result;

	sigemptyset(&none);
	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
	posix_spawn_file_actions_addopen(&actions, 1, "/dev/null", O_WRONLY, 0);
	posix_spawn_file_actions_addopen(&actions, 2, "/dev/null", O_WRONLY, 0);
	posix_spawnattr_init(&attributes);
	posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK);
	posix_spawnattr_setsigmask(&attributes, &none);
	result = task->command[0] == NULL ? ENOENT :
		posix_spawnp(&task->pid, task->command[0], &actions, &attributes, task->command, task->environment);
	posix_spawn_file_actions_destroy(&actions);
	posix_spawnattr_destroy(&attributes);
	if (result != 0)
	{
		ud_warning("task %lld: could not run its command: %s", (long long) task->fence.task, strerror(result));
		task->pid = 0;
		task->exit_code = 127;
		task_end(node, task, UD_ATTEMPT_FAILED, UD_REASON_RUN_START_FAILED, now);
	}
}

static void
task_start(SimNode *node, SimTask *task, int64_t now)
{
	task->started_ns = now;
	task_set_state(task, UD_ATTEMPT_RUNNING);
	if (node->sim->options->steps < 2)
		task->dirty = false;
	if (node->sim->options->exec)
		task_spawn(node, task, now);
}

static void
task_run(SimNode *node, const UdEnvelope *envelope, const uint8_t *body, SimTask *task)
{
	int64_t		now = clock_ns(CLOCK_MONOTONIC);
	DesiredRun	run;
	UdError		err;

	/* New terms of what runs: times are not simulated. */
	if (task != NULL)
		return;
	if (desired_parse_run(body, envelope->body_bytes, &run, &err) < 0)
	{
		ud_warning("task %lld: %s", (long long) envelope->task, err.message);
		task = task_add(node, envelope, now);
		task_end(node, task, UD_ATTEMPT_REJECTED, UD_REASON_NODE_REJECTED, now);
		return;
	}
	task = task_add(node, envelope, now);
	node->sim->stats.assigned++;
	if (run.spec == NULL)
	{
		task_end(node, task, UD_ATTEMPT_LOST, UD_REASON_NODE_CONTAINER_GONE, now);
		return;
	}
	if (node->sim->options->exec)
	{
		task->command = run.spec->command;
		task->environment = run.spec->environment;
		run.spec->command = NULL;
		run.spec->environment = NULL;
	}
	task_spec_free(run.spec);
	if (node->sim->options->steps > 2)
		task_set_state(task, UD_ATTEMPT_ACCEPTED);
	else
		task_start(node, task, now);
}

static void
task_stop(SimNode *node, const UdEnvelope *envelope, const uint8_t *body, SimTask *task)
{
	int64_t		now = clock_ns(CLOCK_MONOTONIC);
	DesiredStop stop;
	UdError		err;

	if (desired_parse_stop(body, envelope->body_bytes, &stop, &err) < 0)
	{
		ud_warning("task %lld: %s", (long long) envelope->task, err.message);
		return;
	}
	if (task == NULL)
		task = task_add(node, envelope, now);
	else if (UD_ATTEMPT_IS_TERMINAL(task->state))
	{
		task->dirty = true;
		return;
	}
	if (task->final_state != 0)
		return;
	task->final_state = stop.final_state;
	task->reason = stop.reason;
	if (task->pid == 0)
	{
		task_end(node, task, stop.final_state, stop.reason, now);
		return;
	}
	task_set_state(task, UD_ATTEMPT_STOPPING);
	task->kill_ns = now + (int64_t) (stop.grace_s * NS_PER_S);
	kill(-task->pid, SIGTERM);
}

void
task_on_desired(SimNode *node, const UdEnvelope *envelope, const uint8_t *body)
{
	SimTask    *task = task_find(node, envelope);

	/* Of checkpoints there are none. */
	if (envelope->attempt == 0)
		return;
	if (task != NULL && envelope->state != UD_WANT_REMOVE)
	{
		if (envelope->value < task->rev)
			return;
		task->rev = envelope->value;
	}
	switch (envelope->state)
	{
		case UD_WANT_RUN:
			if (task != NULL || !task_is_tomb(node, envelope))
				task_run(node, envelope, body, task);
			break;
		case UD_WANT_STOP:
			task_stop(node, envelope, body, task);
			break;
		case UD_WANT_REMOVE:
			if (task != NULL)
				task_drop(node, task);
			break;
		default:
			ud_warning("the server wants %d of task %lld, which is unknown", envelope->state, (long long) envelope->task);
	}
}

void
task_on_report_ack(SimNode *node, const UdEnvelope *envelope)
{
	SimTask    *task = task_find(node, envelope);
	TaskTimes	times;

	if (task == NULL)
		return;
	if ((envelope->flags & UD_FLAG_STALE) != 0)
	{
		task_drop(node, task);
		return;
	}
	if (envelope->sequence == task->report_sequence && !task->dirty &&
		(envelope->state >= task->state || UD_ATTEMPT_IS_TERMINAL(envelope->state)))
		task->settled = true;
	if ((envelope->flags & UD_FLAG_REMOVE) == 0 || !UD_ATTEMPT_IS_TERMINAL(task->state) || task->remove_acked)
		return;
	task->remove_acked = true;
	times.task = task->fence.task;
	times.attempt = task->fence.attempt;
	times.assigned_ns = task->assigned_ns;
	times.ended_ns = task->ended_ns;
	times.acked_ns = clock_ns(CLOCK_MONOTONIC);
	stats_task(&node->sim->stats, &times);
	node->sim->stats.ended++;
}

int64_t
task_advance(SimNode *node, SimTask *task, int64_t now)
{
	const SimOptions *options = node->sim->options;

	if (task->state == UD_ATTEMPT_STOPPING && task->kill_ns > 0)
	{
		if (now < task->kill_ns)
			return task->kill_ns;
		task->kill_ns = 0;
		kill(-task->pid, SIGKILL);
	}
	/* That it runs is said before it ends. */
	if (task->state == UD_ATTEMPT_RUNNING && !options->exec && !task->dirty)
	{
		int64_t		ends_ns = task->started_ns + options->task_ms * NS_PER_MS;

		if (now < ends_ns)
			return ends_ns;
		task_end(node, task, UD_ATTEMPT_SUCCEEDED, UD_REASON_NONE, now);
	}
	return INT64_MAX;
}

void
task_reported(SimNode *node, SimTask *task, int64_t now)
{
	task->dirty = false;
	task->settled = false;
	task->report_ns = now;
	if (UD_ATTEMPT_IS_TERMINAL(task->state) && task->ended_ns == 0)
		task->ended_ns = now;
	if (task->state == UD_ATTEMPT_ACCEPTED)
		task_start(node, task, now);
}

bool
task_is_over(const SimTask *task)
{
	return task->remove_acked && (task->started_ns == 0 || log_is_done(task));
}

void
task_forget(SimNode *node, SimTask *task)
{
	SimTask   **link = &node->tasks;

	while (*link != task)
		link = &(*link)->next;
	*link = task->next;
	if (node->tombs == NULL)
		node->tombs = ud_calloc(SIM_TOMBS, sizeof(*node->tombs));
	node->tombs[node->tomb_count % SIM_TOMBS] = task->fence;
	if (++node->tomb_count == 2 * SIM_TOMBS)
		node->tomb_count = SIM_TOMBS;
	if (task->pid != 0)
		kill(-task->pid, SIGKILL);
	free(task->command);
	free(task->environment);
	free(task);
}

/* It ends without a report: that it is gone is news. */
void
task_drop(SimNode *node, SimTask *task)
{
	node->sim->stats.dropped++;
	node->inventory_due = true;
	task_forget(node, task);
}

/* Every session has the account of reports and log anew. */
void
task_new_session(SimTask *task)
{
	task->report_sequence = 0;
	task->settled = false;
	task->dirty = true;
	task->remove_acked = false;
	log_reset(&task->log);
}

static bool
task_exited(SimNode *node, pid_t pid, int status)
{
	int64_t		now = clock_ns(CLOCK_MONOTONIC);

	for (SimTask *task = node->tasks; task != NULL; task = task->next)
		if (task->pid == pid)
		{
			task->pid = 0;
			task->exit_code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
			if (task->final_state != 0)
				task_end(node, task, task->final_state, task->reason, now);
			else if (task->exit_code == 0)
				task_end(node, task, UD_ATTEMPT_SUCCEEDED, UD_REASON_NONE, now);
			else
				task_end(node, task, UD_ATTEMPT_FAILED,
						 WIFEXITED(status) ? UD_REASON_RUN_EXIT_CODE : UD_REASON_RUN_SIGNAL, now);
			node_look(node);
			return true;
		}
	return false;
}

void
task_reap(Sim *sim)
{
	pid_t		pid;
	int			status;

	while ((pid = waitpid(-1, &status, WNOHANG)) > 0)
		for (int i = 0; i < sim->options->agents; i++)
			if (task_exited(&sim->nodes[i], pid, status))
				break;
}
