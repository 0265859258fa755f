/*
 * engine.h
 *	  Whether the Docker Engine answers, and what it is after an upgrade.
 */
#ifndef AGENT_ENGINE_H
#define AGENT_ENGINE_H

#include "agent/agent.h"

/* Does it answer now?  When it does not, the server is told at once. */
extern int	engine_check(Agent *agent, UdError *err) UD_MUSTCHECK;

/* A call failed: have it looked at without waiting for the next time. */
extern void engine_suspect(Agent *agent);

/* Thread: keeps Agent.engine_ok and Agent.info; arg is the Agent. */
extern void *engine_main(void *arg);

#endif							/* AGENT_ENGINE_H */
