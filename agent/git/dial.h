/*
 * dial.h
 *	  libgit2's sockets, dialled by us: the address that was checked is the
 *	  address that is connected to.
 *
 * Checking a name and letting libgit2 resolve it again would be open to DNS
 * rebinding.  The stream also has the idle limit that libgit2 1.5 lacks.
 */
#ifndef GIT_DIAL_H
#define GIT_DIAL_H

#include <stdbool.h>

#include "agent/git/url.h"
#include "common/error.h"

/*
 * From here on libgit2 connects to target, under its policy (link-local and
 * metadata addresses are refused even when it is listed), at its own port, and
 * to nothing else; through the proxy that the environment names (the node
 * owner's choice, so not checked) where there is one.  target must outlive all
 * use.
 */
extern int	dial_register(const RepoUrl *target, UdError *err) UD_MUSTCHECK;

/*
 * Resolve and judge the target before anything is dialled: prep.repo_refused
 * or prep.repo_unreachable.  A name that only a proxy can resolve passes: where
 * a proxy dials, it decides what a name means and what it may lead to.
 */
extern int	dial_check_target(UdError *err) UD_MUSTCHECK;

/* What went wrong in our streams last, NULL when nothing did. */
extern const UdError *dial_failure(void);
extern void dial_clear_failure(void);

#endif							/* GIT_DIAL_H */
