/*
 * git_child.h
 *	  Starting and watching one unidesk-git; used by git.c alone.
 */
#ifndef AGENT_GIT_CHILD_H
#define AGENT_GIT_CHILD_H

#include <stdatomic.h>
#include <stdbool.h>
#include <sys/types.h>

#include "agent/git.h"
#include "common/error.h"

typedef struct GitChild
{
	pid_t		pid;
	int			status_fd;		/* owned; lines of agent/git/status.h */
	int			output_fd;		/* owned; its stdout, -1 when not wanted */
} GitChild;

/* The text after "ok " of the verdict. */
#define GIT_VERDICT_MAX 1024

/* arguments: NULL-terminated, without the program's name; paths are absolute. */
extern int	git_child_start(const GitSetup *setup, const char *const *arguments, bool want_output,
							GitChild *child, UdError *err) UD_MUSTCHECK;

typedef struct GitWatch
{
	int			timeout_s;
	const atomic_bool *cancel;	/* may be NULL */
	void		(*on_progress) (void *arg, const char *text);	/* may be NULL */
	void	   *arg;
} GitWatch;

/*
 * Follow the child to its end, killing it at the timeout (prep.timeout) or
 * when cancelled (UD_ECANCELLED, no reason), and reap it; its descriptors are
 * closed.  0 when its verdict was ok.
 */
extern int	git_child_wait(GitChild *child, const GitWatch *watch, char verdict[GIT_VERDICT_MAX], UdError *err) UD_MUSTCHECK;

/* SIGKILL to it and all it may have started. */
extern void git_child_kill(const GitChild *child);

#endif							/* AGENT_GIT_CHILD_H */
