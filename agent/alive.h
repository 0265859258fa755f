/*
 * alive.h
 *	  Knowing the end of an attempt's unidesk-init before the engine does.
 *
 * The engine says that a container has ended after it has taken down its
 * network.  unidesk-init holds the write end of a FIFO until its own end, and
 * the agent the read end from before the start: what the task does to the file
 * changes nothing.
 */
#ifndef AGENT_ALIVE_H
#define AGENT_ALIVE_H

#include <sys/types.h>

#include "agent/data.h"

typedef enum Alive
{
	ALIVE_YES,					/* or never begun */
	ALIVE_ENDED,				/* and nothing else was left in the container */
	ALIVE_UNKNOWN				/* no more is to be learned from this FIFO */
} Alive;

/*
 * Make run/<name>/alive for unidesk-init as that user, before the container is
 * started.  The read end, or -1: then only the engine knows.
 */
extern int	alive_make(const DataDir *data, const char *name, uid_t uid, gid_t gid);

/* Never waits; fd may be -1, which is ALIVE_UNKNOWN. */
extern Alive alive_look(int fd);

#endif							/* AGENT_ALIVE_H */
