/*
 * report.h
 *	  JSON bodies of what the agent sends.  Agent.lock is held in all of them.
 */
#ifndef AGENT_REPORT_H
#define AGENT_REPORT_H

#include "agent/agent.h"

/* fetch, build, stage_in, run. */
extern const char *const report_stage_names[AGENT_STAGES];

/* Append the body of a report of the attempt's present state. */
extern void report_write(const Attempt *attempt, UdBuf *out);
extern void report_write_hello(const Agent *agent, int64_t last_rev, UdBuf *out);
extern void report_write_inventory(const Agent *agent, UdBuf *out);
extern void report_write_beat(const Agent *agent, UdBuf *out);
extern void report_write_error(const char *reason, const char *message, UdBuf *out);

#endif							/* AGENT_REPORT_H */
