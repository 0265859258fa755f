/*
 * drain.h
 *	  The orderly end after SIGTERM: tell the agents, flush what waits, close,
 *	  deregister.
 */
#ifndef DRAIN_H
#define DRAIN_H

#include <stdint.h>

#include "loop.h"

struct Bridge;

typedef enum DrainPhase
{
	DRAIN_NONE,
	DRAIN_FLUSHING,				/* agents know; their messages go out */
	DRAIN_CLOSING,				/* connections end */
	DRAIN_LEAVING,				/* last call to the database */
	DRAIN_DONE					/* the program may exit */
} DrainPhase;

typedef struct Drain
{
	struct Bridge *bridge;		/* borrowed */
	DrainPhase	phase;
	int64_t		not_before;		/* of the next phase */
	int64_t		not_after;
	LoopTimer	timer;
} Drain;

extern void drain_init(Drain *drain, struct Bridge *bridge);

/* Begin; a second call goes to the end at once. */
extern void drain_begin(Drain *drain);

/* Something has changed: is the phase over? */
extern void drain_step(Drain *drain);

#endif							/* DRAIN_H */
