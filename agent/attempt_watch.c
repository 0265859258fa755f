/*
 * attempt_watch.c
 *	  From a started container to its outcome; also after an agent restart.
 *
 * The worker waits in the engine, in slices that end at the next thing to do:
 * a warning, the end of the run time or of the time it may be silent, the KILL
 * after the grace.  An engine that does not
 * answer changes nothing: the container may well be running.
 */
#include "agent/attempt.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/clock.h"
#include "common/log.h"
#include "common/protocol.h"
#include "common/reasons.h"
#include "agent/alive.h"
#include "agent/lease.h"

#define SLICE_S 30
#define ENGINE_RETRY_MS 1000
#define KILL_RETRY_S 5
/* Of what must not go on for long. */
#define SHORT_GRACE_S 10.0
/* unidesk-init ends the program at the end of the grace and still writes log
 * and exit record; a KILL of the container before that would lose both. */
#define INIT_KILL_SLACK_S 3.0
/* What an earlier agent had in flight appears in the engine within this. */
#define SETTLE_NS (10 * NS_PER_S)

typedef struct Watch
{
	Attempt    *attempt;
	int64_t		began_ns;
	bool		term_sent;
	int64_t		kill_at_ns;		/* after the TERM; INT64_MAX before */

	/*
	 * Progress is what its log says: monotonic clock, which stands still
	 * while the machine does.
	 */
	int64_t		progress_ns;	/* the last there was */
	int64_t		looked_ns;
	struct stat log;			/* as it was then */
} Watch;

typedef enum WatchEnd
{
	END_EXITING,				/* the agent does, whatever the container does */
	END_GONE,					/* the engine has it no more */
	END_STOPPED,				/* it has, and its state tells */
	END_UNNOTICED				/* it has ended well, the engine is to see it */
} WatchEnd;

static int64_t
watch_clock(void)
{
	return clock_ns(CLOCK_MONOTONIC);
}

/*
 * Look whether its log has grown.  unidesk-init also touches the file while
 * the log is beyond its budget.  What cannot be seen counts as progress.
 */
static void
watch_look_at_log(Watch *watch)
{
	int64_t		now = watch_clock();
	int64_t		since_ns = now - watch->looked_ns;
	int64_t		age_ns;
	struct stat info = {0};
	UdError		err;
	int			fd;
	int			result = data_open_run(&watch->attempt->agent->data, watch->attempt->name, UD_RUN_LOG, &fd, &err);

	if (result == 0)
	{
		result = fstat(fd, &info);
		close(fd);
	}
	watch->looked_ns = now;
	if (result == UD_ENOENT || (result == 0 && info.st_size == watch->log.st_size &&
								info.st_mtim.tv_sec == watch->log.st_mtim.tv_sec && info.st_mtim.tv_nsec == watch->log.st_mtim.tv_nsec))
		return;
	watch->log = info;
	/* When in the time since the last look, as far as the wall clock tells. */
	age_ns = clock_ns(CLOCK_REALTIME) - ((int64_t) info.st_mtim.tv_sec * NS_PER_S + info.st_mtim.tv_nsec);
	watch->progress_ns = now - (age_ns < 0 ? 0 : age_ns > since_ns ? since_ns : age_ns);
}

/* When the log has been silent for too long, from now on; INT64_MAX: never. */
static int64_t
watch_idle_left_ns(const Watch *watch)
{
	const Attempt *attempt = watch->attempt;

	if (!attempt->idle_s.set || attempt->held)
		return INT64_MAX;
	return clock_add_s(watch->progress_ns, attempt->idle_s.value) - watch_clock();
}

/* Boot clock at which it is to be warned of its end; INT64_MAX: never. */
static int64_t
watch_warn_at_ns(const Attempt *attempt)
{
	if (!attempt->warn_s.set || attempt->warned || attempt->held || attempt->run_deadline_ns == INT64_MAX)
		return INT64_MAX;
	return clock_add_s(attempt->run_deadline_ns, -attempt->warn_s.value);
}

/* What is to be done now; Agent.lock is held. */
static StopIntent
watch_intent(const Watch *watch)
{
	const Attempt *attempt = watch->attempt;

	if (attempt->discard)
		return STOP_DISCARD;
	if (attempt->intent != STOP_NONE)
		return attempt->intent;
	if (attempt->stop_wanted)
		return STOP_WANTED;
	if (attempt->disk_full)
		return STOP_DISK;
	if (!attempt->held && clock_boot_ns() >= attempt->run_deadline_ns)
		return STOP_RUN_TIMEOUT;
	if (watch_idle_left_ns(watch) <= 0)
		return STOP_IDLE;
	return STOP_NONE;
}

/* Once, also when the agent ends in between: rather none than a second one. */
static void
watch_warn(Watch *watch)
{
	Attempt    *attempt = watch->attempt;
	Agent	   *agent = attempt->agent;
	char		signal[DESIRED_SIGNAL_BYTES];
	UdError		err;
	int			result;

	agent_lock(agent);
	attempt->warned = true;
	memcpy(signal, attempt->warn_signal, sizeof(signal));
	agent_unlock(agent);
	attempt_save_state(attempt);
	result = docker_kill(agent->docker, attempt->container, signal, &err);
	if (result == 0)
		ud_info("attempt %s: warned by %s that its run time ends", attempt->name, signal);
	else if (result != UD_EEXIST && result != UD_ENOENT)
	{
		ud_warning("attempt %s: could not send %s: %s", attempt->name, signal, err.message);
		agent_lock(agent);
		attempt->warned = false;
		agent_unlock(agent);
	}
}

/*
 * Begin, or after an engine failure begin again, to stop it.  The intent is
 * written down and announced before the signal goes out.
 */
static void
watch_begin_stop(Watch *watch, StopIntent intent)
{
	Attempt    *attempt = watch->attempt;
	Agent	   *agent = attempt->agent;
	double		grace_s;
	UdError		err;
	int			result;

	agent_lock(agent);
	attempt->intent = intent;
	if ((intent == STOP_DISCARD || intent == STOP_DISK) && attempt->grace_s > SHORT_GRACE_S)
		attempt->grace_s = SHORT_GRACE_S;
	grace_s = attempt->grace_s;
	attempt_write_control(attempt);
	/* Stopping is told of what was asked for; this fails while it runs. */
	if (intent != STOP_DISK)
		attempt_set_state(attempt, UD_ATTEMPT_STOPPING);
	agent_unlock(agent);
	attempt_save_state(attempt);
	result = docker_kill(agent->docker, attempt->container, "TERM", &err);
	if (result < 0 && result != UD_EEXIST && result != UD_ENOENT)
	{
		ud_warning("attempt %s: could not send TERM: %s", attempt->name, err.message);
		return;
	}
	watch->term_sent = true;
	watch->kill_at_ns = clock_add_s(clock_boot_ns(), grace_s + INIT_KILL_SLACK_S);
}

static void
watch_kill(Watch *watch)
{
	Attempt    *attempt = watch->attempt;
	UdError		err;
	int			result = docker_kill(attempt->agent->docker, attempt->container, "KILL", &err);

	if (result < 0 && result != UD_EEXIST && result != UD_ENOENT)
		ud_warning("attempt %s: could not send KILL: %s", attempt->name, err.message);
	watch->kill_at_ns = clock_add_s(clock_boot_ns(), KILL_RETRY_S);
}

/* Seconds to wait in the engine: until the next thing to do, rounded up. */
static int
watch_slice_s(const Watch *watch)
{
	const Attempt *attempt = watch->attempt;
	int64_t		next = watch->kill_at_ns;
	int64_t		left;

	agent_lock(attempt->agent);
	if (!watch->term_sent && !attempt->held)
	{
		int64_t		warn_at = watch_warn_at_ns(attempt);
		int64_t		idle_left = watch_idle_left_ns(watch);

		if (attempt->run_deadline_ns < next)
			next = attempt->run_deadline_ns;
		if (warn_at < next)
			next = warn_at;
		if (idle_left < INT64_MAX && clock_boot_ns() + idle_left < next)
			next = clock_boot_ns() + idle_left;
	}
	agent_unlock(attempt->agent);
	if (next == INT64_MAX)
		return SLICE_S;
	left = (next - clock_boot_ns() + NS_PER_S - 1) / NS_PER_S;
	return left < 1 ? 1 : left > SLICE_S ? SLICE_S : (int) left;
}

/*
 * It is over and all went well, as unidesk-init says, who ended as the last of
 * its container.  Anything else waits for what the engine says about it.
 */
static bool
watch_has_succeeded(const Watch *watch)
{
	Attempt    *attempt = watch->attempt;
	Alive		alive = alive_look(attempt->alive_fd);
	ud_auto_buf UdBuf bytes = {0};
	UdExitRecord record;
	UdError		err;

	if (alive == ALIVE_YES || attempt->alive_fd < 0)
		return false;
	close(attempt->alive_fd);
	attempt->alive_fd = -1;
	return alive == ALIVE_ENDED && !watch->term_sent &&
		data_read_run(&attempt->agent->data, attempt->name, UD_RUN_EXIT, sizeof(record), &bytes, &err) == 0 &&
		outcome_read_record(bytes.data, bytes.len, &record) &&
		record.code == 0 && record.stopped_by == UD_STOPPED_SELF && !record.start_failed;
}

/* The engine has yet to see that it is over; an error is for the removal. */
static void
watch_engine_notice(const Attempt *attempt)
{
	Agent	   *agent = attempt->agent;
	UdError		err;
	int			exit_code;

	while (docker_wait(agent->docker, attempt->container, SLICE_S, &agent->exiting, -1, &exit_code, &err) == UD_ETIMEDOUT)
		ud_warning("attempt %s: it has ended, and the engine has not noticed", attempt->name);
}

/* Until the container runs no more. */
static WatchEnd
watch_until_end(Watch *watch)
{
	Attempt    *attempt = watch->attempt;
	Agent	   *agent = attempt->agent;
	UdError		err;

	while (!atomic_load(&agent->exiting))
	{
		StopIntent	intent;
		bool		terms_new;
		bool		warn;
		int			exit_code;
		int			result;

		/* What is wanted from here on interrupts the wait below. */
		atomic_store(&attempt->interrupt, false);
		if (!watch->term_sent)
			watch_look_at_log(watch);
		agent_lock(agent);
		intent = watch_intent(watch);
		warn = clock_boot_ns() >= watch_warn_at_ns(attempt);
		terms_new = attempt->terms_new;
		attempt->terms_new = false;
		agent_unlock(agent);
		if (terms_new)
			attempt_save_state(attempt);
		if (intent != STOP_NONE && !watch->term_sent)
			watch_begin_stop(watch, intent);
		else if (watch->term_sent && clock_boot_ns() >= watch->kill_at_ns)
			watch_kill(watch);
		else if (warn && !watch->term_sent)
			watch_warn(watch);
		result = docker_wait(agent->docker, attempt->container, watch_slice_s(watch), &attempt->interrupt, attempt->alive_fd, &exit_code, &err);
		if (result == 0)
			return END_STOPPED;
		if (watch_has_succeeded(watch))
			return END_UNNOTICED;
		if (result == UD_ENOENT)
		{
			if (clock_boot_ns() - agent->started_boot_ns > SETTLE_NS)
				return END_GONE;
			agent_pause(agent, ENGINE_RETRY_MS);
		}
		else if (result != UD_ETIMEDOUT && result != UD_ECANCELLED)
		{
			ud_warning("attempt %s: the engine does not say how it is: %s", attempt->name, err.message);
			agent_pause(agent, ENGINE_RETRY_MS);
		}
	}
	return END_EXITING;
}

/* The end of what can be read of the log, where the exit record is missing. */
static uint64_t
watch_log_end(const Attempt *attempt)
{
	Agent	   *agent = attempt->agent;
	uint64_t	end = 0;

	while (!atomic_load(&agent->exiting))
	{
		LogFile		log;
		UdError		err;
		int			fd;
		int			result = data_open_run(&agent->data, attempt->name, UD_RUN_LOG, &fd, &err);

		if (result == UD_ENOENT || result == UD_EINVAL)
			break;
		if (result == 0)
		{
			bool		unfinished;

			logfile_init(&log);
			logfile_open(&log, fd);
			end = logfile_end(&log);
			unfinished = log.unfinished;
			logfile_release(&log);
			if (!unfinished)
				break;
		}
		ud_warning("attempt %s: its log cannot be read, trying again", attempt->name);
		agent_pause(agent, ENGINE_RETRY_MS);
	}
	return end;
}

static void
watch_read_facts(const Watch *watch, bool has_container, ExitFacts *facts)
{
	const Attempt *attempt = watch->attempt;
	Agent	   *agent = attempt->agent;
	ud_auto_buf UdBuf bytes = {0};
	DockerContainer container;
	UdError		err;

	memset(facts, 0, sizeof(*facts));
	while (!atomic_load(&agent->exiting))
	{
		int			result = data_read_run(&agent->data, attempt->name, UD_RUN_EXIT, sizeof(facts->record), &bytes, &err);

		if (result == 0)
			facts->has_record = outcome_read_record(bytes.data, bytes.len, &facts->record);
		/* Only these say that there is none; a full table of files does not. */
		if (result == 0 || result == UD_ENOENT || result == UD_EINVAL)
			break;
		ud_warning("attempt %s: %s", attempt->name, err.message);
		ud_buf_reset(&bytes);
		agent_pause(agent, ENGINE_RETRY_MS);
	}
	while (has_container && !atomic_load(&agent->exiting))
	{
		int			result = docker_inspect(agent->docker, attempt->container, &container, &err);

		if (result == 0 && strcmp(container.state, "created") == 0)
		{
			/* It never ran, and must not begin to when we have said so. */
			docker_container_release(&container);
			attempt_remove_until_gone(watch->attempt);
			break;
		}
		if (result == 0)
		{
			/* One that somebody is removing is as good as gone. */
			facts->has_container = strcmp(container.state, "removing") != 0;
			facts->container_code = container.exit_code;
			facts->container_oom = container.oom_killed;
			docker_container_release(&container);
		}
		if (result == 0 || result == UD_ENOENT)
			break;
		agent_pause(agent, ENGINE_RETRY_MS);
	}
}

void
attempt_watch(Attempt *attempt)
{
	Agent	   *agent = attempt->agent;
	Watch		watch = {
		.attempt = attempt,
		.began_ns = clock_boot_ns(),
		.kill_at_ns = INT64_MAX,
		.progress_ns = watch_clock(),
		.looked_ns = watch_clock(),
	};
	ExitFacts	facts;
	uint64_t	log_end;
	bool		saved;
	WatchEnd	end = watch_until_end(&watch);

	if (end == END_EXITING)
		return;
	watch_read_facts(&watch, end == END_STOPPED, &facts);
	log_end = facts.has_record ? facts.record.log_end : watch_log_end(attempt);
	saved = data_checkpoint_is_used(&agent->data, attempt->checkpoint);
	if (atomic_load(&agent->exiting))
		return;
	agent_lock(agent);
	/* A stop that came too late for a signal still decides how it is called. */
	facts.intent = attempt->intent == STOP_NONE && attempt->stop_wanted ? STOP_WANTED : attempt->intent;
	facts.rebooted = attempt->other_boot;
	facts.final_state = attempt->final_state;
	facts.final_reason = attempt->final_reason;
	outcome_judge(&facts, &attempt->outcome);
	attempt->stage_ms[AGENT_PREPARE_STAGES] = (facts.has_record ? facts.record.run_ns : clock_boot_ns() - watch.began_ns) / NS_PER_MS;
	attempt->log_end = log_end;
	attempt->saved = saved;
	attempt->ended = true;
	if (!attempt->discard)
		attempt_set_state(attempt, attempt->outcome.state);
	if (!attempt->discard && attempt->outcome.reason != UD_REASON_NONE)
		ud_info("attempt %s: %s %s", attempt->name, ud_reason_text(attempt->outcome.reason), attempt->outcome.message);
	agent_unlock(agent);
	if (end == END_UNNOTICED)
		watch_engine_notice(attempt);
}
