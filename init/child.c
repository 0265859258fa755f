/*
 * child.c
 *	  Starting the task's program.
 */
#include "init/child.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* More than the default 64 KiB: a burst of output does not wait for us. */
#define PIPE_BYTES (1024 * 1024)
/* What was killed is gone after a few of these, unless it waits for a device. */
#define END_PAUSE_NS 1000000
#define END_PAUSES 300

static void
close_pair(const int pair[2])
{
	for (int i = 0; i < 2; i++)
		if (pair[i] >= 0)
			close(pair[i]);
}

/* Where the C library looks when there is no PATH. */
#define PATH_DEFAULT "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

/*
 * Like execvp, but what is no program is not given to a shell instead: a
 * binary of another machine would be "executed" as a script then.  Returns
 * with errno when it did not work: of the first file found that could not be
 * executed, else that there is none.
 */
static void
execute(char **argv)
{
	const char *path = getenv("PATH");
	char		file[4096];
	int			error = ENOENT;

	if (strchr(argv[0], '/') != NULL)
	{
		execv(argv[0], argv);
		return;
	}
	for (path = path != NULL ? path : PATH_DEFAULT; argv[0][0] != '\0'; path++)
	{
		int			len = (int) strcspn(path, ":");

		if (snprintf(file, sizeof(file), "%.*s%s%s", len, path, len > 0 ? "/" : "", argv[0]) < (int) sizeof(file))
			execv(file, argv);
		if (error == ENOENT && errno != ENOENT && errno != ENOTDIR)
			error = errno;
		path += len;
		if (*path == '\0')
			break;
	}
	errno = error;
}

/* What we or who started us ignore, SIGHUP for example, is not the task's wish. */
static void
reset_signals(void)
{
	sigset_t	none;

	for (int number = 1; number < NSIG; number++)
		if (number != SIGKILL && number != SIGSTOP)
			(void) signal(number, SIG_DFL);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
}

/* In the child: never returns. */
static void
run_program(char **argv, int stdout_fd, int stderr_fd, int status_fd)
{
	int			error;

	setsid();
	if (dup2(stdout_fd, STDOUT_FILENO) >= 0 && dup2(stderr_fd, STDERR_FILENO) >= 0)
	{
		reset_signals();
		execute(argv);
	}
	error = errno;
	if (write(status_fd, &error, sizeof(error)) < 0)
		_exit(125);
	_exit(error == ENOENT || error == ENOTDIR ? 127 : 126);
}

void
child_start(Child *child, char **argv)
{
	int			out[2] = {-1, -1};
	int			err[2] = {-1, -1};
	int			status[2] = {-1, -1};

	child->pid = -1;
	child->stdout_fd = -1;
	child->stderr_fd = -1;
	child->start_errno = 0;
	if (pipe2(out, O_CLOEXEC) != 0 || pipe2(err, O_CLOEXEC) != 0 || pipe2(status, O_CLOEXEC) != 0
		|| (child->pid = fork()) < 0)
	{
		child->start_errno = errno;
		close_pair(out);
		close_pair(err);
		close_pair(status);
		return;
	}
	if (child->pid == 0)
		run_program(argv, out[1], err[1], status[1]);
	close(out[1]);
	close(err[1]);
	close(status[1]);

	/* Closed by a successful exec: nothing to read is the good news. */
	if (read(status[0], &child->start_errno, sizeof(child->start_errno)) != (ssize_t) sizeof(child->start_errno))
		child->start_errno = 0;
	close(status[0]);
	child->stdout_fd = out[0];
	child->stderr_fd = err[0];

	/* Only reading is non-blocking: the program's ends stay as they are. */
	fcntl(out[0], F_SETFL, O_NONBLOCK);
	fcntl(err[0], F_SETFL, O_NONBLOCK);
	/* Refused when the user has too many pipes: then the default must do. */
	fcntl(out[0], F_SETPIPE_SZ, PIPE_BYTES);
	fcntl(err[0], F_SETPIPE_SZ, PIPE_BYTES);
}

void
child_signal(const Child *child, int signal)
{
	if (child->pid > 0)
		kill(-child->pid, signal);
}

void
child_signal_all(const Child *child, int signal)
{
	if (getpid() == 1)
		kill(-1, signal);
	else
		child_signal(child, signal);
}

bool
child_end_all(const Child *child)
{
	const struct timespec pause = {
		.tv_nsec = END_PAUSE_NS,
	};

	child_signal_all(child, SIGKILL);
	for (int i = 0; i < END_PAUSES; i++)
	{
		pid_t		ended;

		while ((ended = waitpid(-1, NULL, WNOHANG)) > 0)
			;
		if (ended < 0 && errno == ECHILD)
			return true;
		nanosleep(&pause, NULL);
	}
	return false;
}
