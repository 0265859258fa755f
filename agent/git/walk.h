/*
 * walk.h
 *	  Walk over a commit's tree, judging every name on the way.
 *
 * Refused as prep.tree_invalid (UD_EINVAL): names that are no plain file
 * name, any spelling of .git, a name twice in one directory, too many
 * entries, too deep, too long paths.
 */
#ifndef GIT_WALK_H
#define GIT_WALK_H

#include <git2.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/error.h"

typedef struct WalkLimits
{
	uint64_t	entries_max;
	uint64_t	bytes_max;		/* over all files */
	uint64_t	file_bytes_max;
	unsigned	depth_max;
	size_t		path_max;
} WalkLimits;

extern const WalkLimits walk_default_limits;

typedef struct WalkEntry
{
	const char *path;			/* from the root of the tree */
	const char *name;			/* last part of path */
	unsigned	depth;			/* 0 in the root */
	git_filemode_t mode;
	const git_oid *oid;
} WalkEntry;

/* Set up by the caller: repo, limits and callbacks; the rest zero. */
typedef struct Walk
{
	git_repository *repo;
	WalkLimits	limits;
	/* For everything that is no directory. */
	int			(*visit) (void *arg, const WalkEntry *entry, UdError *err);

	/*
	 * Optional, before and after a directory's entries; *skip leaves them
	 * out.
	 */
	int			(*enter) (void *arg, const WalkEntry *entry, bool *skip, UdError *err);
	int			(*leave) (void *arg, const WalkEntry *entry, UdError *err);
	void	   *arg;

	/* private */
	uint64_t	entries;
	uint64_t	bytes;
	char	   *path;
} Walk;

extern int	walk_commit(Walk *walk, const git_oid *commit, UdError *err) UD_MUSTCHECK;

/*
 * The content rules for a file or symlink that will be used: counts its
 * bytes, refuses submodules, LFS pointers and what is too large.
 */
extern int	walk_check_content(Walk *walk, const WalkEntry *entry, UdError *err) UD_MUSTCHECK;

/* The bytes of a blob; released with git_odb_object_free.  UD_EPROTO: damaged. */
extern int	walk_read_blob(git_repository *repo, const WalkEntry *entry, git_odb_object **out, UdError *err) UD_MUSTCHECK;

/* Is it a name that a file may have? */
extern bool walk_name_is_valid(const char *name);

#endif							/* GIT_WALK_H */
