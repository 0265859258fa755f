/*
 * attempt.h
 *	  The table of attempts, and the worker of each.
 *
 * Life of a worker: prepare (attempt_prepare.c), watch (attempt_watch.c),
 * wait until the server has the result, remove all traces, end.
 */
#ifndef AGENT_ATTEMPT_H
#define AGENT_ATTEMPT_H

#include "agent/agent.h"

/* The caller holds Agent.lock in all functions of this block. */
extern Attempt *attempt_find(Agent *agent, const Fence *fence);

/* Any of a task's attempts that is not gone. */
extern Attempt *attempt_of_task(Agent *agent, int64_t incarnation, int64_t task);

/* A new entry with defaults; NULL when the table is full. */
extern Attempt *attempt_add(Agent *agent, const Fence *fence, const char *node);

/* Give it a worker; on failure the entry is removed and false returned. */
extern bool attempt_start(Attempt *attempt);

/* Want it stopped / gone, and tell its worker. */
extern void attempt_want_stop(Attempt *attempt, const DesiredStop *stop);
extern void attempt_want_discard(Attempt *attempt);

/* State or something reported has changed: report it, wake loop and waiters. */
extern void attempt_changed(Attempt *attempt);
extern void attempt_set_state(Attempt *attempt, int state);

/* Write run/<name>/control from the lease and stop fields. */
extern void attempt_write_control(Attempt *attempt);

/* Take entries that are gone out of the table; each is told before it is freed. */
extern void attempt_sweep(Agent *agent, void (*each) (void *arg, const Attempt *attempt), void *arg);

/* "<incarnation8>-<task>-<attempt>". */
extern void attempt_write_name(const Fence *fence, char out[DATA_NAME_BYTES]);

/* UUIDs of the GPUs it was given, NULL-terminated. */
extern char **attempt_gpus(const Attempt *attempt);

/* The lock is taken by these. */
extern void attempt_save_state(Attempt *attempt);

/* attempt_container.c: what its container is labelled with, "key=value". */
#define ATTEMPT_LABELS 6
/* The first of them, which say whose it is. */
#define ATTEMPT_OWNER_LABELS 5

typedef struct AttemptLabels
{
	char	   *items[ATTEMPT_LABELS + 1];	/* owned, NULL-terminated */
} AttemptLabels;

extern void attempt_make_labels(const Attempt *attempt, AttemptLabels *labels);
extern void attempt_release_labels(AttemptLabels *labels);

/*
 * Remove the container of its name when there is one.  A stranger's is left
 * alone: UD_EEXIST, node.name_conflict.
 */
extern int	attempt_remove_container(Attempt *attempt, UdError *err) UD_MUSTCHECK;

/* Until nothing of ours has that name; false: the agent exits first. */
extern bool attempt_remove_until_gone(Attempt *attempt);

/*
 * Everything up to the started container.  0 when it runs; negative when it
 * does not and nothing of it is left: UD_ECANCELLED when a stop was wanted or
 * the agent exits, else the outcome is set.
 */
extern int	attempt_prepare(Attempt *attempt, UdError *err);

/* Until the container has ended and the outcome is set, or the agent exits. */
extern void attempt_watch(Attempt *attempt);

/* Find what an earlier run of this agent left, and go on with it. */
extern int	attempt_recover(Agent *agent, UdError *err) UD_MUSTCHECK;

#endif							/* AGENT_ATTEMPT_H */
