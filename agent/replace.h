/*
 * replace.h
 *	  An agent's container replaced by one of another image.
 */
#ifndef AGENT_REPLACE_H
#define AGENT_REPLACE_H

#include "agent/docker.h"

/*
 * Replace the agent's container by one from image that is otherwise the same.
 * Containers of tasks run on.  The new agent has wait_s seconds until a beat of
 * its own is acknowledged by the server; else it is removed again and the old
 * one goes on, and err says why.  Runs in a container that has the old one's
 * volumes (--volumes-from).  Interrupted anywhere it can be called again.
 */
extern int	replace_agent(Docker *docker, const char *container, const char *image, int wait_s, UdError *err) UD_MUSTCHECK;

#endif							/* AGENT_REPLACE_H */
