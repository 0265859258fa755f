/*
 * outcome.h
 *	  How an attempt ended, from what is known about it: pure, a table of cases.
 */
#ifndef AGENT_OUTCOME_H
#define AGENT_OUTCOME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/run_files.h"

/* Why the agent stops, or stopped, a container; written down before the signal. */
typedef enum StopIntent
{
	STOP_NONE = 0,
	STOP_WANTED = 1,			/* the server wants it */
	STOP_RUN_TIMEOUT = 2,		/* the run time is over */
	STOP_DISCARD = 3,			/* stale or to be removed: nothing is reported */
	STOP_DISK = 4,				/* the disk is almost full, and it did that */
	STOP_IDLE = 5				/* its log did not grow for as long as it may */
} StopIntent;

/* Everything the judgement rests on. */
typedef struct ExitFacts
{
	StopIntent	intent;
	int			final_state;	/* STOP_WANTED: state and reason to report */
	int			final_reason;
	bool		rebooted;		/* the machine was restarted since it began */
	bool		has_record;		/* a valid exit record was there */
	UdExitRecord record;
	bool		has_container;	/* the engine still has the container ... */
	int			container_code; /* ... and says this about it */
	bool		container_oom;
} ExitFacts;

typedef struct Outcome
{
	int			state;			/* UdAttemptState, terminal; 0: none yet */
	int			reason;			/* UdReason */
	bool		has_exit_code;
	int			exit_code;		/* 128 + n when killed by signal n */
	int			signal;			/* 0: none */
	bool		oom;
	int			retry_after_s;	/* wait that a server asked for, 0: none */
	char		message[4001];	/* for people */
} Outcome;

extern void outcome_judge(const ExitFacts *facts, Outcome *outcome);

/* Does this byte string hold a valid exit record?  Judged as hostile input. */
extern bool outcome_read_record(const void *bytes, size_t len, UdExitRecord *record);

#endif							/* AGENT_OUTCOME_H */
