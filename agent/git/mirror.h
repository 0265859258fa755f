/*
 * mirror.h
 *	  A bare mirror on disk, and libgit2 set up so that nothing outside it
 *	  (configuration files, templates, owners) has a say.
 */
#ifndef GIT_MIRROR_H
#define GIT_MIRROR_H

#include <git2.h>
#include <stdbool.h>

#include "common/error.h"

/*
 * Functions that read objects return UD_EPROTO (prep.fetch_failed) when the
 * mirror is damaged: an object is missing or broken.  mirror_forget then lets
 * the next fetch of the commit look again.
 */

/* Once per process, before all else; dials: certificates are needed. */
extern int	mirror_setup(bool dials, UdError *err) UD_MUSTCHECK;

/* Fill err from libgit2's last error, with the reason given; returns code. */
extern int	mirror_git_error(UdError *err, int code, int reason, const char *what);

/* Take the mirror's lock (one fetch at a time), waiting for it; -1 or a descriptor. */
extern int	mirror_lock(const char *path, UdError *err) UD_MUSTCHECK;

/* Under the lock: open, or make, and sweep what a killed fetch left behind. */
extern int	mirror_open_for_fetch(const char *path, git_repository **out, UdError *err) UD_MUSTCHECK;

/* UD_ENOENT when there is none. */
extern int	mirror_open(const char *path, git_repository **out, UdError *err) UD_MUSTCHECK;

/* Under the lock: remove all of it; it is no loss but of time. */
extern void mirror_remove(const char *path);

/*
 * After a fetch that failed or was killed: remove what it left half-done, and
 * all of a mirror that keeps no commit.  Nothing while another one fetches.
 */
extern void mirror_sweep(const char *path);

extern int	mirror_parse_commit(const char *hex, git_oid *out, UdError *err) UD_MUSTCHECK;

/* The commit and a ref on it are there: all of it was received. */
extern bool mirror_has(git_repository *repo, const git_oid *commit);

/* Set the ref that keeps the commit. */
extern int	mirror_keep(git_repository *repo, const git_oid *commit, UdError *err) UD_MUSTCHECK;
extern void mirror_forget(const char *path, const git_oid *commit);

/* prep.commit_not_found when it is absent or no commit. */
extern int	mirror_commit(git_repository *repo, const git_oid *oid, git_commit **out, UdError *err) UD_MUSTCHECK;

/* Every tree and blob of the commit is present. */
extern int	mirror_verify(git_repository *repo, const git_oid *commit, UdError *err) UD_MUSTCHECK;

#endif							/* GIT_MIRROR_H */
