/*
 * agent.h
 *	  What all parts of the agent share: one Agent, its attempts, one lock.
 *
 * Threads: the link loop (link.c, session.c) talks to the server; each attempt
 * has one worker (attempt_*.c) that talks to the engine; one more pings the
 * engine, and one keeps the disk usable (keeper.c).  What the worker and the loop both touch is guarded by Agent.lock;
 * nobody holds it while waiting for engine, network or child.
 */
#ifndef AGENT_AGENT_H
#define AGENT_AGENT_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "agent/config.h"
#include "agent/data.h"
#include "agent/desired.h"
#include "agent/docker.h"
#include "agent/git.h"
#include "agent/identity.h"
#include "agent/logfile.h"
#include "agent/outcome.h"

#define AGENT_ATTEMPTS_MAX 1024
#define AGENT_PREPARE_STAGES 3	/* fetch, build, stage_in */
#define AGENT_STAGES 4			/* ... and run */
/* Log bytes that may be on their way before the server gave a credit. */
#define AGENT_LOG_CREDIT (256 * 1024)

typedef struct Fence
{
	int64_t		incarnation;
	int64_t		task;
	int32_t		attempt;
} Fence;

/* The loop's account of one attempt's log; see session_log.c. */
typedef struct LogSend
{
	LogFile		file;
	bool		probing;		/* first message of the session sent, no
								 * answer yet */
	bool		started;		/* the server said where to go on */
	uint64_t	sent;			/* next offset to send */
	uint64_t	acked;			/* next offset the server wants */
	uint64_t	credit;
	uint64_t	probed;			/* what the last probe's answer said */
	int			idle_probes;	/* answers in a row, after the end, that said
								 * no more than the one before */
	int64_t		last_ack_ns;	/* boot clock; of the last ack or first byte
								 * after it */
} LogSend;

typedef struct Agent Agent;

typedef struct Attempt
{
	struct Attempt *next;
	Agent	   *agent;			/* borrowed */

	/* Fixed after attempt_add. */
	Fence		fence;
	char		name[DATA_NAME_BYTES];	/* of its directories */
	char		container[DATA_NAME_BYTES + 4];
	char		checkpoint[DATA_NAME_BYTES];	/* of the directory that all
												 * attempts of its task share */
	TaskSpec   *spec;			/* owned; NULL when not to be prepared here */
	int64_t		cpus_milli;		/* with memory and gpus: what it takes while
								 * it runs; 0: an earlier agent did not say */
	int64_t		memory;
	char	  **gpus;			/* owned, from the state an earlier agent
								 * wrote; NULL when there is a spec */

	int			alive_fd;		/* the worker's; see alive.h */

	/* Set by the loop, looked at by calls that wait. */
	atomic_bool interrupt;

	/* Everything below is guarded by Agent.lock. */
	int32_t		node_id;		/* the node it was assigned to; 0: an earlier
								 * agent did not say, its name counts */
	char		node[128];		/* and how that was called then */
	bool		other_boot;		/* found after a restart of the machine: what
								 * ran then ended with it */
	int64_t		rev;			/* of the last desired message about it */
	bool		held;			/* of another incarnation or node: only shown */
	int64_t		named_by;		/* the server's incarnation that asked for it
								 * by its fence all the same, or 0 */
	bool		discard;		/* stale or to be removed: report nothing */
	bool		disk_full;		/* the keeper ends it to save the disk */
	bool		stop_wanted;
	int			final_state;	/* what a wanted stop ends in */
	int			final_reason;
	StopIntent	intent;			/* the stop that is being carried out */
	double		grace_s;
	MaybeSeconds lease_s;
	bool		terms_new;		/* not yet in the state that a restart reads */
	MaybeSeconds run_left_s;	/* while it has not started */
	int64_t		prepare_deadline_ns;	/* boot clock; INT64_MAX: none */
	int64_t		run_deadline_ns;	/* boot clock; INT64_MAX: none */
	MaybeSeconds idle_s;		/* how long its log may stay as it is */
	MaybeSeconds warn_s;		/* before the run deadline it gets ... */
	char		warn_signal[DESIRED_SIGNAL_BYTES];	/* ... this signal */
	bool		warned;			/* it was sent */

	int			state;			/* UdAttemptState */
	int			phase;			/* index of the stage while preparing, or -1 */
	char		progress[201];
	bool		progress_new;	/* not reported yet: at most once a second */
	int64_t		stage_ms[AGENT_STAGES]; /* -1: not passed */
	char		image_id[80];
	bool		ran;			/* its container was started: there is a log */
	bool		ended;			/* its container runs no more: the log is
								 * whole */
	uint64_t	log_end;
	bool		saved;			/* at its end /checkpoint was not empty */
	Outcome		outcome;

	bool		report_dirty;	/* something is new since the last report */
	bool		report_settled; /* the server is as far as we are */
	uint32_t	report_seq;		/* of the last report in this session */
	int64_t		report_sent_ns;
	bool		remove_acked;	/* result committed */
	bool		last;			/* its task has ended: so does the checkpoint */
	bool		remove_now;		/* log acknowledged too: the worker may remove */
	bool		gone;			/* nothing of it is left; the loop frees it */

	LogSend		log;			/* the loop's alone */
} Attempt;

struct Agent
{
	const AgentConfig *config;
	Docker	   *docker;
	GitSetup	git;
	DataDir		data;
	Identity	identity;		/* its seal is the loop's */
	struct Cache *cache;		/* owned; see cache.h */
	atomic_bool exiting;
	atomic_bool engine_ok;
	int64_t		started_boot_ns;

	pthread_mutex_t lock;
	pthread_cond_t changed;		/* broadcast when an attempt's fields change */
	DockerInfo	info;
	uint64_t	info_changes;	/* how often it has changed */
	Attempt    *attempts;
	int			attempt_count;
	int			worker_count;	/* running threads */
	int32_t		node_id;		/* as the last welcome said, or 0 */
	char		node[128];		/* the same, or "" */
	int64_t		incarnation;	/* of the last welcome, or 0 */
	SessionLimits limits;
	int64_t		lease_base_ns;	/* boot clock: last acknowledged beat was sent */

	/* Make the loop look at the attempts; any thread may call it. */
	void		(*wake) (void);
};

static inline void
agent_lock(Agent *agent)
{
	pthread_mutex_lock(&agent->lock);
}

static inline void
agent_unlock(Agent *agent)
{
	pthread_mutex_unlock(&agent->lock);
}

/* Wait for a change of any attempt, at most ms; the lock is held. */
extern void agent_wait_changed(Agent *agent, int ms);

/* Wait that long whatever changes, unless the agent exits; no lock is held. */
extern void agent_pause(Agent *agent, int ms);

#endif							/* AGENT_AGENT_H */
