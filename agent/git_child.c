/*
 * git_child.c
 *	  Starting and watching one unidesk-git.
 *
 * The agent has many threads, so between fork and exec only what is
 * async-signal-safe happens, with everything prepared before.  The child is
 * believed as little as the repository it reads: what it says is cut to
 * length, cleaned, and only reasons that are its business are taken over.
 */
#include "agent/git_child.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "agent/git/status.h"
#include "common/buf.h"
#include "common/cleanup.h"
#include "common/clock.h"
#include "common/reasons.h"

#define ARGUMENTS_MAX 16
#define POLL_MS 100
#define PROGRESS_EVERY_MS 200
#define RETRY_AFTER_MAX_S 86400
/* Descriptors are made above those that the child's are moved to. */
#define FD_LOWEST 16

#define FAILED(...) ud_error(err, UD_EIO, UD_REASON_PREP_FETCH_FAILED, __VA_ARGS__)

/* All that the child needs between fork and exec. */
typedef struct ChildPlan
{
	const char *program;
	char	   *arguments[ARGUMENTS_MAX + 2];
	char	   *environment[16];
	uid_t		uid;
	gid_t		gid;
	pid_t		parent;
	int			null_fd;
	int			output_fd;		/* -1: nowhere */
	int			status_fd;
	int			fd_limit;
} ChildPlan;

static void
plan_environment(ChildPlan *plan)
{
	static const char *const kept[] = {
		"http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY",
		"SSL_CERT_FILE", "SSL_CERT_DIR",
	};
	size_t		count = 0;

	for (size_t i = 0; i < sizeof(kept) / sizeof(kept[0]); i++)
	{
		const char *value = getenv(kept[i]);

		if (value != NULL)
			plan->environment[count++] = ud_asprintf("%s=%s", kept[i], value);
	}
	plan->environment[count] = NULL;
}

static void
release_plan(ChildPlan *plan)
{
	for (char **variable = plan->environment; *variable != NULL; variable++)
		free(*variable);
}

/* A pipe whose ends lie above FD_LOWEST. */
static int
open_pipe(int ends[2], UdError *err)
{
	int			low[2];

	ends[0] = ends[1] = -1;
	if (pipe2(low, O_CLOEXEC) != 0)
		return FAILED("could not make a pipe: %s", strerror(errno));
	ends[0] = fcntl(low[0], F_DUPFD_CLOEXEC, FD_LOWEST);
	ends[1] = fcntl(low[1], F_DUPFD_CLOEXEC, FD_LOWEST);
	close(low[0]);
	close(low[1]);
	if (ends[0] < 0 || ends[1] < 0)
		return FAILED("could not make a pipe: %s", strerror(errno));
	return 0;
}

/* In the child: the status line of a start that failed. */
static _Noreturn void
child_failed(const char *line)
{
	ssize_t		ignored = write(STATUS_FD, line, strlen(line));

	(void) ignored;
	_exit(1);
}

/* In the child: the raw calls, glibc's would talk to the threads it lost. */
static void
child_drop_user(const ChildPlan *plan)
{
	if (plan->uid == 0)
		return;
	if (geteuid() == plan->uid && getegid() == plan->gid)
		return;
	if (syscall(SYS_setgroups, (size_t) 0, NULL) != 0
		|| syscall(SYS_setresgid, plan->gid, plan->gid, plan->gid) != 0
		|| syscall(SYS_setresuid, plan->uid, plan->uid, plan->uid) != 0)
		child_failed("error prep.fetch_failed could not change to the user of unidesk-git\n");
}

static _Noreturn void
child_run(const ChildPlan *plan)
{
	struct sigaction by_default = {
		.sa_handler = SIG_DFL,
	};
	sigset_t	none;

	setpgid(0, 0);
	for (int number = 1; number < _NSIG; number++)
		sigaction(number, &by_default, NULL);
	if (dup2(plan->null_fd, STDIN_FILENO) < 0
		|| dup2(plan->output_fd >= 0 ? plan->output_fd : plan->null_fd, STDOUT_FILENO) < 0
		|| dup2(plan->status_fd, STATUS_FD) < 0)
		_exit(1);
	if (syscall(SYS_close_range, STATUS_FD + 1, ~0U, 0) != 0)
		for (int fd = STATUS_FD + 1; fd < plan->fd_limit; fd++)
			close(fd);
	if (chdir("/") != 0)
		child_failed("error prep.fetch_failed could not change to the root directory\n");
	child_drop_user(plan);
	/* After the change of user, which clears it. */
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != plan->parent)
		_exit(1);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	execve(plan->program, plan->arguments, plan->environment);
	child_failed("error prep.fetch_failed could not execute unidesk-git\n");
}

static pid_t
fork_child(const ChildPlan *plan)
{
	sigset_t	all;
	sigset_t	before;
	pid_t		pid;

	/* No handler of the agent may run in the child. */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	pid = fork();
	if (pid == 0)
		child_run(plan);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (pid > 0)
		setpgid(pid, pid);
	return pid;
}

int
git_child_start(const GitSetup *setup, const char *const *arguments, bool want_output, GitChild *child, UdError *err)
{
	ChildPlan	plan = {
		.program = setup->program,
		.uid = setup->uid,
		.gid = setup->gid,
		.parent = getpid(),
		.output_fd = -1,
	};
	struct rlimit files;
	int			status[2] = {-1, -1};
	int			output[2] = {-1, -1};
	ud_auto_fd int null_fd = -1;
	int			rc;

	plan.arguments[0] = (char *) setup->program;
	for (int i = 0; i < ARGUMENTS_MAX && arguments[i] != NULL; i++)
		plan.arguments[i + 1] = (char *) arguments[i];
	plan.fd_limit = getrlimit(RLIMIT_NOFILE, &files) == 0 && files.rlim_cur < INT_MAX ? (int) files.rlim_cur : INT_MAX;
	plan_environment(&plan);
	rc = open_pipe(status, err);
	if (rc == 0 && want_output)
		rc = open_pipe(output, err);
	if (rc == 0)
	{
		ud_auto_fd int low = open("/dev/null", O_RDWR | O_CLOEXEC);

		null_fd = fcntl(low, F_DUPFD_CLOEXEC, FD_LOWEST);
		if (null_fd < 0)
			rc = FAILED("could not open /dev/null: %s", strerror(errno));
	}
	plan.null_fd = null_fd;
	plan.status_fd = status[1];
	plan.output_fd = output[1];
	child->pid = -1;
	if (rc == 0)
	{
		child->pid = fork_child(&plan);
		if (child->pid < 0)
			rc = FAILED("could not start unidesk-git: %s", strerror(errno));
	}
	release_plan(&plan);
	if (status[1] >= 0)
		close(status[1]);
	if (output[1] >= 0)
		close(output[1]);
	if (rc != 0 && status[0] >= 0)
		close(status[0]);
	if (rc != 0 && output[0] >= 0)
		close(output[0]);
	child->status_fd = rc == 0 ? status[0] : -1;
	child->output_fd = rc == 0 ? output[0] : -1;
	return rc;
}

void
git_child_kill(const GitChild *child)
{
	if (child->pid <= 0)
		return;
	kill(-child->pid, SIGKILL);
	kill(child->pid, SIGKILL);
}

/*
 * Its status lines have ended, which only its own end does, or it is not
 * wanted any more: neither it nor anything it might have started stays.
 */
static void
reap(GitChild *child)
{
	git_child_kill(child);
	while (waitpid(child->pid, NULL, 0) < 0 && errno == EINTR)
		;
	child->pid = -1;
}

/* One printable line: control characters and what is no UTF-8 become '?'. */
static void
clean_text(char *text)
{
	uint8_t    *c = (uint8_t *) text;

	while (*c != '\0')
	{
		int			more = *c >= 0xf0 && *c <= 0xf4 ? 3 : *c >= 0xe0 && *c < 0xf0 ? 2 : *c >= 0xc2 && *c < 0xe0 ? 1 : 0;
		int			have = 0;

		while (have < more && (c[have + 1] & 0xc0) == 0x80)
			have++;
		/* Overlong forms, surrogates, C1 controls, beyond U+10FFFF. */
		if (more != have || (*c >= 0x80 && more == 0) || *c < 0x20 || *c == 0x7f
			|| (*c == 0xe0 && c[1] < 0xa0) || (*c == 0xed && c[1] > 0x9f)
			|| (*c == 0xf0 && c[1] < 0x90) || (*c == 0xf4 && c[1] > 0x8f) || (*c == 0xc2 && c[1] < 0xa0))
			*c++ = '?';
		else
			c += more + 1;
	}
}

typedef struct WaitState
{
	const GitWatch *watch;
	UdBuf		lines;
	int64_t		progress_at_ms;
	bool		has_verdict;
	int			retry_after_s;
	int			rc;
	char	   *verdict;
	UdError    *err;
} WaitState;

/* "<reason> <message>" */
static int
take_error(char *text, UdError *err)
{
	char	   *message = strchr(text, ' ');
	int			reason;
	int			code = UD_EIO;

	if (message != NULL)
		*message++ = '\0';
	reason = ud_reason_number(text);
	if (strncmp(text, "prep.", 5) != 0 && reason != UD_REASON_NODE_DISK_FULL)
		reason = -1;
	if (reason < 0)
		return FAILED("unidesk-git failed without a reason");
	if (reason == UD_REASON_PREP_COMMIT_NOT_FOUND || reason == UD_REASON_PREP_DOCKERFILE_NOT_FOUND)
		code = UD_ENOENT;
	else if (!ud_reason_is_retryable(reason))
		code = UD_EINVAL;
	return ud_error(err, code, reason, "%.400s", message != NULL ? message : "");
}

/* Seconds within what anybody waits; 0 for what is no number. */
static int
take_retry_after(const char *text)
{
	long long	wait_s = strtoll(text, NULL, 10);

	if (wait_s <= 0)
		return 0;
	return wait_s < RETRY_AFTER_MAX_S ? (int) wait_s : RETRY_AFTER_MAX_S;
}

static void
take_line(WaitState *state, char *line)
{
	int64_t		now = clock_ms();

	clean_text(line);
	if (state->has_verdict)
		return;
	if (strncmp(line, "progress ", 9) == 0)
	{
		if (state->watch->on_progress != NULL && now - state->progress_at_ms >= PROGRESS_EVERY_MS)
		{
			state->progress_at_ms = now;
			state->watch->on_progress(state->watch->arg, line + 9);
		}
		return;
	}
	if (strncmp(line, "retry_after ", 12) == 0)
		state->retry_after_s = take_retry_after(line + 12);
	state->has_verdict = strncmp(line, "ok ", 3) == 0 || strncmp(line, "error ", 6) == 0;
	if (strncmp(line, "ok ", 3) == 0)
	{
		state->rc = 0;
		snprintf(state->verdict, GIT_VERDICT_MAX, "%s", line + 3);
	}
	else if (strncmp(line, "error ", 6) == 0)
	{
		state->rc = take_error(line + 6, state->err);
		state->err->retry_after_s = state->retry_after_s;
	}
}

static void
take_lines(WaitState *state)
{
	char	   *end;

	while ((end = memchr(state->lines.data, '\n', state->lines.len)) != NULL)
	{
		size_t		len = (size_t) (end - (char *) state->lines.data);

		*end = '\0';
		take_line(state, (char *) state->lines.data);
		ud_buf_consume(&state->lines, len + 1);
	}
	/* It never writes a longer one. */
	if (state->lines.len > STATUS_LINE_MAX)
		ud_buf_reset(&state->lines);
}

/* Until its status lines end; negative when it must be killed. */
static int
follow(WaitState *state, int status_fd, UdError *err)
{
	int64_t		deadline = clock_ms() + (int64_t) state->watch->timeout_s * 1000;
	struct pollfd wait = {
		.fd = status_fd,
		.events = POLLIN,
	};

	for (;;)
	{
		char		chunk[4096];
		ssize_t		got;

		if (state->watch->cancel != NULL && atomic_load(state->watch->cancel))
			return ud_error(err, UD_ECANCELLED, UD_REASON_NONE, "cancelled");
		if (clock_ms() >= deadline)
			return ud_error(err, UD_ETIMEDOUT, UD_REASON_PREP_TIMEOUT,
							"git did not finish in %d s", state->watch->timeout_s);
		if (poll(&wait, 1, POLL_MS) <= 0)
			continue;
		got = read(status_fd, chunk, sizeof(chunk));
		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0)
			return 0;
		for (ssize_t i = 0; i < got; i++)
			if (chunk[i] == '\0')
				chunk[i] = '?';
		ud_buf_append(&state->lines, chunk, (size_t) got);
		take_lines(state);
	}
}

int
git_child_wait(GitChild *child, const GitWatch *watch, char verdict[GIT_VERDICT_MAX], UdError *err)
{
	WaitState	state = {
		.watch = watch,
		.verdict = verdict,
		.err = err,
	};
	int			rc;

	verdict[0] = '\0';
	rc = follow(&state, child->status_fd, err);
	ud_buf_release(&state.lines);
	close(child->status_fd);
	child->status_fd = -1;
	reap(child);
	if (child->output_fd >= 0)
		close(child->output_fd);
	child->output_fd = -1;
	if (rc != 0)
		return rc;
	if (!state.has_verdict)
		return FAILED("unidesk-git ended without a verdict");
	return state.rc;
}
