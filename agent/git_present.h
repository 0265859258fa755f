/*
 * git_present.h
 *	  What need not be asked of unidesk-git once more; used by git.c alone.
 */
#ifndef AGENT_GIT_PRESENT_H
#define AGENT_GIT_PRESENT_H

#include <stdbool.h>

#include "agent/git.h"

/* unidesk-git has fetched into this mirror: its URL is allowed by that setup. */
extern void git_present_allow(const GitSetup *setup, const char *mirror);

/*
 * The mirror's URL was found allowed by that setup since this agent began, and the mirror
 * keeps the commit, by the ref that unidesk-git makes when all of it is there.
 */
extern bool git_present(const GitSetup *setup, const char *mirror, const char *commit);

#endif							/* AGENT_GIT_PRESENT_H */
