/*
 * child.h
 *	  Starting the task's program and sending signals to it.
 */
#ifndef INIT_CHILD_H
#define INIT_CHILD_H

#include <signal.h>
#include <stdbool.h>
#include <sys/types.h>

typedef struct Child
{
	pid_t		pid;			/* also its session and process group; -1 when
								 * there was no fork */
	int			stdout_fd;		/* read ends, non-blocking, owned */
	int			stderr_fd;
	int			start_errno;	/* 0, or why the program did not start */
} Child;

/*
 * Start argv[0], looked up in PATH, in a session of its own, with no signal
 * blocked and both outputs on pipes.  When the program cannot be started
 * start_errno says why; the pipes may be -1 then.
 */
extern void child_start(Child *child, char **argv);

/* To the child's process group. */
extern void child_signal(const Child *child, int signal);

/* To everything the task started: as PID 1 all processes, else the group. */
extern void child_signal_all(const Child *child, int signal);

/*
 * KILL everything the task started and wait for its end; false when some of it
 * is left after a while, or is none of ours.
 */
extern bool child_end_all(const Child *child);

#endif							/* INIT_CHILD_H */
