/*
 * state.h
 *	  state/<name>: what the agent needs to go on after its own restart.
 *
 * Written before what it speaks of happens: before the container starts, and
 * before the first signal of a stop, so that a restart between signal and
 * report still reports why it ended.
 */
#ifndef AGENT_STATE_H
#define AGENT_STATE_H

#include "agent/agent.h"

/* Append the attempt's state as JSON; Agent.lock is held. */
extern void state_write(const Attempt *attempt, UdBuf *out);

typedef struct StateRead
{
	Fence		fence;
	int32_t		node_id;		/* 0: it does not say */
	char		node[128];
} StateRead;

/* Who the state is about; negative when the text is damaged. */
extern int	state_read_fence(const void *text, size_t len, StateRead *out, UdError *err) UD_MUSTCHECK;

/* Fill the attempt's fields from it. */
extern int	state_read(const void *text, size_t len, Attempt *attempt, UdError *err) UD_MUSTCHECK;

#endif							/* AGENT_STATE_H */
