/*
 * context.h
 *	  A commit's tree as a build context: a tar stream, without a checkout.
 */
#ifndef GIT_CONTEXT_H
#define GIT_CONTEXT_H

#include <git2.h>

#include "agent/git/walk.h"
#include "common/error.h"

typedef struct ContextRequest
{
	const char *commit;
	const char *dockerfile;		/* path in the tree */
	WalkLimits	limits;
	int			fd;				/* where the tar goes */
} ContextRequest;

/*
 * Everything is judged before the first byte is written: the Dockerfile's
 * path (prep.dockerfile_not_found), what it builds upon (prep.from_refused),
 * the tree (prep.tree_invalid).  UD_EPROTO: the mirror is damaged.
 */
extern int	context_write(git_repository *repo, const ContextRequest *request, UdError *err) UD_MUSTCHECK;

#endif							/* GIT_CONTEXT_H */
