/*
 * git.h
 *	  The parent's side of unidesk-git: fetch, build context, code tree.
 *
 * Everything that parses what a repository contains runs in the program
 * unidesk-git (agent/git/), as another uid, without the engine's socket,
 * watched by these functions: they start it, pass its output on, and kill it
 * at the timeout or when the cancel flag is set.  Callable from any thread.
 */
#ifndef AGENT_GIT_H
#define AGENT_GIT_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "common/error.h"

/* How to start unidesk-git; filled once at the agent's start. */
typedef struct GitSetup
{
	const char *program;		/* path of unidesk-git */
	uid_t		uid;			/* it runs as this user and group; 0: as we
								 * are */
	gid_t		gid;
	const char *mirrors;		/* /data/mirrors, owned by that uid */
	const char *allowed_hosts;	/* what may be dialled, common/hostlist.h */
	int64_t		fetch_bytes_max;	/* what one fetch may receive */
} GitSetup;

/* What a fetch did. */
typedef struct GitFetchResult
{
	bool		was_present;	/* nothing had to be fetched */
	bool		used_fallback;	/* heads and tags instead of the exact commit */
	uint64_t	received_bytes;
	uint32_t	received_objects;
} GitFetchResult;

#define GIT_MIRROR_NAME_BYTES 65

/* The directory of (trust, url) below mirrors. */
extern int	git_mirror_name(const char *trust, const char *url, char name[GIT_MIRROR_NAME_BYTES], UdError *err) UD_MUSTCHECK;

/*
 * Bring commit (40 or 64 lower-case hex) of url into the mirror of (trust,
 * url), keeping a ref on it.  trust is "public" or a project's name: mirrors
 * of two domains never meet.  One fetch per mirror at a time (flock).
 * mirror is filled with the path of the bare repository.  A fetch that fails
 * leaves nothing of its own behind.
 * Errors (err->reason): prep.repo_refused (scheme, host, userinfo, redirect),
 * prep.credential (a password is asked for, or access refused),
 * prep.repo_unreachable, prep.commit_not_found, prep.repo_throttled,
 * prep.timeout, prep.fetch_failed.
 */
extern int	git_fetch(const GitSetup *setup, const char *trust, const char *url, const char *commit,
					  int timeout_s, const atomic_bool *cancel,
					  void (*on_progress) (void *arg, const char *text), void *arg,
					  char mirror[4096], GitFetchResult *result, UdError *err) UD_MUSTCHECK;

/*
 * A running "context" child: its tar comes out of fd.  git_context_finish
 * must be called once; it reaps the child and returns its verdict, e.g.
 * prep.dockerfile_not_found, prep.from_refused, prep.tree_invalid.  What was
 * made of the tar is good only when that verdict is 0.  The child dies with
 * the thread that started it, so the same thread has to finish it.
 */
typedef struct GitContext
{
	pid_t		pid;
	int			fd;				/* read end of the tar stream, owned */
	int			status_fd;		/* owned */
} GitContext;

/* Starts the tar of the commit's tree, .dockerignore applied, FROM lines checked. */
extern int	git_context_start(const GitSetup *setup, const char *mirror, const char *commit,
							  const char *dockerfile, GitContext *context, UdError *err) UD_MUSTCHECK;

/* kill_it: the reader gave up; end the child first. */
extern int	git_context_finish(GitContext *context, bool kill_it, UdError *err) UD_MUSTCHECK;

/*
 * Write the commit's tree below the existing empty directory into, then hand
 * every file in it to owner:group.  Symlinks that leave the tree, .git
 * entries, submodules and LFS pointers are prep.tree_invalid.
 */
extern int	git_write_tree(const GitSetup *setup, const char *mirror, const char *commit, const char *into,
						   uid_t owner, gid_t group, int timeout_s, const atomic_bool *cancel, UdError *err) UD_MUSTCHECK;

#endif							/* AGENT_GIT_H */
