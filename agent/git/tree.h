/*
 * tree.h
 *	  Write a commit's tree below a directory.
 */
#ifndef GIT_TREE_H
#define GIT_TREE_H

#include <git2.h>

#include "agent/git/walk.h"
#include "common/error.h"

/*
 * into is an existing empty directory.  Nothing outside it is touched,
 * whatever the tree holds; symlinks that lead out of it, submodules and LFS
 * pointers are prep.tree_invalid.  On failure what was written stays.
 * UD_EPROTO: the mirror is damaged.
 */
extern int	tree_write(git_repository *repo, const char *commit, const char *into, const WalkLimits *limits, UdError *err) UD_MUSTCHECK;

/* Does a symlink at depth (0 in the root) with this target stay in the tree, going by its text? */
extern bool tree_link_stays(unsigned depth, const char *target);

#endif							/* GIT_TREE_H */
