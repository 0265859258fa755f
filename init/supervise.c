/*
 * supervise.c
 *	  The loop of unidesk-init: output, signals, the lease, the end.
 *
 * One thread and one poll over a signalfd and two pipes.  The order of things
 * at the end: the program exits; the pipes are read until everybody closed
 * them, or for DRAIN_NS; whoever is left is killed, and what they had written
 * is read; the log is closed; the exit record is written.  A process in the
 * background that keeps a pipe open therefore delays the end, but a little.
 */
#include "init/supervise.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/log.h"
#include "init/child.h"
#include "common/clock.h"
#include "init/control.h"
#include "init/exit_file.h"
#include "init/log_file.h"

#define TICK_NS NS_PER_S
/* After the program's end: for writers that are about to finish by themselves. */
#define DRAIN_NS NS_PER_S
/* After killing the rest: for the kernel to take them down. */
#define DRAIN_KILLED_NS (300 * NS_PER_MS)

typedef enum Phase
{
	PHASE_RUNNING,
	PHASE_DRAINING,				/* the program has ended */
	PHASE_KILLED,				/* so has everything else */
	PHASE_DONE
} Phase;

typedef struct Supervisor
{
	const InitOptions *options;
	int			dir_fd;
	int			exit_fd;		/* the prepared exit record */
	int			alive_fd;		/* open until our end; -1: nobody reads */
	int			signal_fd;
	Child		child;
	LogFile		log;
	Phase		phase;
	int64_t		phase_end_ns;	/* boot clock; of DRAINING and KILLED */
	int			wait_status;

	UdControl	control;		/* the last valid one */
	bool		has_control;
	ControlClocks clocks;
	int64_t		next_tick_ns;
	int64_t		lease_end_ns;	/* boot clock, INT64_MAX: none */
	bool		lease_ended;	/* and TERM was sent: no renewal undoes that */
	int64_t		kill_ns;		/* boot clock, INT64_MAX: no KILL is planned */
	bool		frozen;
	UdControl	frozen_by;		/* the control that did it */
	UdStoppedBy stopped_by;
} Supervisor;

static void
plan_kill(Supervisor *s, int64_t at_ns)
{
	if (at_ns < s->kill_ns)
		s->kill_ns = at_ns;
}

static void
set_frozen(Supervisor *s, bool frozen, const char *why)
{
	if (s->frozen == frozen)
		return;
	s->frozen = frozen;
	s->frozen_by = s->control;
	ud_info("%s the task: %s", frozen ? "pausing" : "continuing", why);
	child_signal_all(&s->child, frozen ? SIGSTOP : SIGCONT);
}

/*
 * The lease ended late_ns ago.  Later than its grace somebody else may have
 * been given the work: then there is no time for TERM.
 */
static void
end_lease(Supervisor *s, int64_t late_ns)
{
	int64_t		grace_ns = (int64_t) s->control.grace_s * NS_PER_S;

	s->lease_ended = true;
	s->lease_end_ns = INT64_MAX;
	/* A stop that is already running keeps its cause. */
	if (s->stopped_by == UD_STOPPED_SELF)
		s->stopped_by = UD_STOPPED_LEASE;
	if (late_ns > grace_ns)
	{
		ud_info("the lease is long over");
		plan_kill(s, s->clocks.boot_ns);
		return;
	}
	ud_info("the lease is over: TERM");
	plan_kill(s, s->clocks.boot_ns + grace_ns);
	child_signal(&s->child, SIGTERM);
	set_frozen(s, false, "it has to end");
}

/* True when the agent wrote a control since the one that froze the task. */
static bool
is_renewed(const Supervisor *s)
{
	return s->control.written_boot_ns > s->frozen_by.written_boot_ns
		|| strcmp(s->control.boot_id, s->frozen_by.boot_id) != 0;
}

/* Read the control file again and do what it asks for. */
static void
look_at_control(Supervisor *s)
{
	int64_t		left_ns;

	control_clocks_read(&s->clocks);
	if (control_read(s->dir_fd, &s->control))
		s->has_control = true;
	if (!s->has_control || s->lease_ended || s->phase != PHASE_RUNNING)
		return;
	switch (control_judge(&s->control, &s->clocks, &left_ns))
	{
		case CONTROL_OVER:
			end_lease(s, -left_ns);
			return;
		case CONTROL_FREEZE:
			/* A task that was told to stop needs to move. */
			if (s->stopped_by == UD_STOPPED_SELF)
				set_frozen(s, true, "the machine may have slept, waiting for the agent");
			break;
		case CONTROL_GO:
			if (s->frozen && is_renewed(s))
				set_frozen(s, false, "the agent is back");
			break;
	}
	s->lease_end_ns = left_ns == INT64_MAX ? INT64_MAX : s->clocks.boot_ns + left_ns;
}

/* Take every child that ended; all but the program itself are orphans. */
static void
reap(Supervisor *s)
{
	int			status;
	pid_t		pid;

	while ((pid = waitpid(-1, &status, WNOHANG)) > 0)
		if (pid == s->child.pid)
		{
			s->wait_status = status;
			s->phase = PHASE_DRAINING;
			s->phase_end_ns = clock_ns(CLOCK_BOOTTIME) + DRAIN_NS;
		}
}

/*
 * Judge a TERM, before it is passed on.  One from outside the container asks
 * the task to stop: announced, it is the agent's; else it is how the engine
 * or the machine goes down.  One from inside is the task's own affair.
 */
static void
judge_term(Supervisor *s, const struct signalfd_siginfo *info)
{
	bool		from_inside = getpid() == 1 && info->ssi_pid != 0;
	uint32_t	grace_s = s->options->grace_s;

	reap(s);
	if (from_inside || s->phase != PHASE_RUNNING)
		return;
	look_at_control(s);
	if (s->has_control && s->control.stop_announced)
	{
		if (s->control.grace_s > 0)
			grace_s = s->control.grace_s;
		if (s->stopped_by != UD_STOPPED_LEASE)
			s->stopped_by = UD_STOPPED_AGENT;
		set_frozen(s, false, "it has to end");
	}
	else if (s->stopped_by == UD_STOPPED_SELF)
		s->stopped_by = UD_STOPPED_OUTSIDE;
	if (grace_s > 0)
		plan_kill(s, clock_ns(CLOCK_BOOTTIME) + (int64_t) grace_s * NS_PER_S);
}

static bool
is_forwarded(int signal)
{
	switch (signal)
	{
		case SIGCHLD:
			/* About ourselves. */
		case SIGSEGV:
		case SIGBUS:
		case SIGFPE:
		case SIGILL:
		case SIGTRAP:
		case SIGSYS:
		case SIGPIPE:
		case SIGXFSZ:
			/* There is no terminal to stop for. */
		case SIGTSTP:
		case SIGTTIN:
		case SIGTTOU:
			return false;
		default:
			return true;
	}
}

static void
handle_signals(Supervisor *s)
{
	struct signalfd_siginfo info;

	while (read(s->signal_fd, &info, sizeof(info)) == (ssize_t) sizeof(info))
	{
		int			signal = (int) info.ssi_signo;

		if (signal == SIGCHLD)
			reap(s);
		if (signal == SIGTERM)
			judge_term(s, &info);
		if (signal == SIGCONT && s->frozen)
			continue;
		if (is_forwarded(signal))
			child_signal(&s->child, signal);
	}
}

/* One piece of output; closes the pipe at its end. */
static void
read_output(Supervisor *s, int *fd, UdLogStream stream)
{
	static uint8_t bytes[UD_LOG_RECORD_BYTES_MAX];
	ssize_t		len;

	len = read(*fd, bytes, sizeof(bytes));
	if (len > 0)
		log_file_append(&s->log, stream, bytes, (size_t) len);
	else if (len == 0 || (errno != EAGAIN && errno != EINTR))
	{
		close(*fd);
		*fd = -1;
	}
}

static void
look_at_time(Supervisor *s)
{
	int64_t		now_ns = clock_ns(CLOCK_BOOTTIME);

	if (now_ns >= s->next_tick_ns || now_ns >= s->lease_end_ns)
	{
		s->next_tick_ns = now_ns + TICK_NS;
		look_at_control(s);
	}
	if (s->phase == PHASE_RUNNING && now_ns >= s->kill_ns)
	{
		ud_info("the grace is over: KILL");
		child_signal_all(&s->child, SIGKILL);
		s->kill_ns = INT64_MAX;
	}
	if (s->phase == PHASE_RUNNING)
		return;
	if (s->child.stdout_fd < 0 && s->child.stderr_fd < 0)
		s->phase = PHASE_DONE;
	else if (now_ns >= s->phase_end_ns && s->phase == PHASE_DRAINING)
	{
		child_signal_all(&s->child, SIGKILL);
		s->phase = PHASE_KILLED;
		s->phase_end_ns = now_ns + DRAIN_KILLED_NS;
	}
	else if (now_ns >= s->phase_end_ns)
		s->phase = PHASE_DONE;
}

static int
poll_timeout_ms(const Supervisor *s)
{
	int64_t		until_ns = s->next_tick_ns;
	int64_t		left_ns;

	if (s->phase == PHASE_RUNNING)
	{
		if (s->kill_ns < until_ns)
			until_ns = s->kill_ns;
		if (s->lease_end_ns < until_ns)
			until_ns = s->lease_end_ns;
	}
	else if (s->phase_end_ns < until_ns)
		until_ns = s->phase_end_ns;
	left_ns = until_ns - clock_ns(CLOCK_BOOTTIME);
	return left_ns <= 0 ? 0 : (int) (left_ns / NS_PER_MS) + 1;
}

static void
loop(Supervisor *s)
{
	struct pollfd fds[3];

	look_at_time(s);
	while (s->phase != PHASE_DONE)
	{
		fds[0].fd = s->signal_fd;
		fds[1].fd = s->child.stdout_fd;
		fds[2].fd = s->child.stderr_fd;
		for (int i = 0; i < 3; i++)
		{
			fds[i].events = POLLIN;
			fds[i].revents = 0;
		}
		if (poll(fds, 3, poll_timeout_ms(s)) > 0)
		{
			if (fds[1].revents != 0)
				read_output(s, &s->child.stdout_fd, UD_LOG_STDOUT);
			if (fds[2].revents != 0)
				read_output(s, &s->child.stderr_fd, UD_LOG_STDERR);
			if (fds[0].revents != 0)
				handle_signals(s);
		}
		look_at_time(s);
	}
}

/* Say in the log why nothing ran; returns the exit code. */
static int
log_start_failure(Supervisor *s)
{
	char		text[512];
	int			error = s->child.start_errno;
	int			len;

	len = snprintf(text, sizeof(text), "unidesk: could not start \"%.300s\": %s\n",
				   s->options->argv[0], strerror(error));
	for (int i = 0; i < len - 1; i++)
		if ((unsigned char) text[i] < 0x20 || text[i] == 0x7f)
			text[i] = '?';
	log_file_append(&s->log, UD_LOG_MARKER, text, (size_t) len);
	return error == ENOENT || error == ENOTDIR ? 127 : 126;
}

static int
prepare(Supervisor *s, const InitOptions *options, UdError *err)
{
	sigset_t	all;

	memset(s, 0, sizeof(*s));
	s->options = options;
	s->stopped_by = UD_STOPPED_SELF;
	s->kill_ns = INT64_MAX;
	s->lease_end_ns = INT64_MAX;
	sigfillset(&all);
	s->signal_fd = signalfd(-1, &all, SFD_CLOEXEC | SFD_NONBLOCK);
	if (s->signal_fd < 0)
		return ud_error(err, UD_EIO, 0, "could not make a signalfd: %s", strerror(errno));
	s->dir_fd = open(options->run_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (s->dir_fd < 0)
		return ud_error(err, UD_EIO, 0, "could not open \"%s\": %s", options->run_dir, strerror(errno));
	/* Not waiting for a reader; an agent that died left none. */
	s->alive_fd = openat(s->dir_fd, UD_RUN_ALIVE, O_WRONLY | O_NONBLOCK | O_NOFOLLOW | O_CLOEXEC);
	s->exit_fd = exit_file_prepare(s->dir_fd, err);
	if (s->exit_fd < 0)
		return s->exit_fd;
	return log_file_open(&s->log, s->dir_fd, options->log_budget, err);
}

static void
fill_exit(const Supervisor *s, UdExitRecord *record)
{
	record->magic = UD_EXIT_MAGIC;
	record->stopped_by = (uint8_t) s->stopped_by;
	record->log_end = s->log.offset;
	record->log_cut = s->log.cut;
	record->ended_realtime_ns = clock_ns(CLOCK_REALTIME);
	if (record->start_failed)
		return;
	if (WIFSIGNALED(s->wait_status))
	{
		record->code = -1;
		record->signal = WTERMSIG(s->wait_status);
	}
	else
		record->code = WEXITSTATUS(s->wait_status);
}

int
init_run(const InitOptions *options, UdError *err)
{
	Supervisor	s;
	UdExitRecord record;
	int64_t		oom_kills;
	int64_t		started_ns;

	if (prepare(&s, options, err) != 0)
		return INIT_EXIT_REFUSED;
	memset(&record, 0, sizeof(record));
	oom_kills = oom_kills_read();
	started_ns = clock_ns(CLOCK_BOOTTIME);
	record.started_realtime_ns = clock_ns(CLOCK_REALTIME);
	child_start(&s.child, options->argv);
	if (s.child.start_errno != 0)
	{
		record.start_failed = 1;
		record.code = log_start_failure(&s);
	}
	else
		loop(&s);
	record.run_ns = clock_ns(CLOCK_BOOTTIME) - started_ns;

	/*
	 * Of what is left behind nobody knows when it ends: not to be called the
	 * end.
	 */
	if (!child_end_all(&s.child) && s.alive_fd >= 0 && write(s.alive_fd, "", 1) < 0)
		ud_info("nobody is told that processes are left");
	record.oom = oom_kills >= 0 && oom_kills_read() > oom_kills;
	log_file_finish(&s.log);
	fill_exit(&s, &record);
	if (exit_file_write(s.dir_fd, s.exit_fd, &record, err) != 0)
		ud_err("%s", err->message);
	return record.signal != 0 ? 128 + record.signal : record.code;
}
