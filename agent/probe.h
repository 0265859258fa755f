/*
 * probe.h
 *	  Does the engine see our data directory where we tell it to look?
 *
 * What we write must be what a task's mounts show.  A wrong UNIDESK_VOLUME
 * would give tasks the directories of another agent, or empty ones.
 */
#ifndef AGENT_PROBE_H
#define AGENT_PROBE_H

#include "agent/agent.h"

/*
 * Write a random text, mount its directory into a container that is never
 * started, and read it back through that.  node.no_data_mount: it is not
 * there, and nothing may run.  Any other error: that cannot be told now.
 * What an earlier probe left is removed first.
 */
extern int	probe_data(Agent *agent, UdError *err) UD_MUSTCHECK;

#endif							/* AGENT_PROBE_H */
