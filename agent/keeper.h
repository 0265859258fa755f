/*
 * keeper.h
 *	  One thread that keeps the node's disk usable.
 *
 * It brings the caches within their budgets, and looks at the free space every
 * second: below the floor it removes from the caches; below half of the floor,
 * when there is nothing left to remove, it ends what fills the disk: first
 * what is being prepared, which costs nothing but time, then the running
 * attempt that wrote the most, if that is enough to matter.
 */
#ifndef AGENT_KEEPER_H
#define AGENT_KEEPER_H

#include "agent/agent.h"

/* Until the agent exits; for pthread_create. */
extern void *keeper_main(void *agent);

/* The floor is kept, if need be at the cost of the caches. */
extern int	keeper_admit(Agent *agent, UdError *err) UD_MUSTCHECK;

#endif							/* AGENT_KEEPER_H */
