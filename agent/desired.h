/*
 * desired.h
 *	  Bodies of what the server sends, parsed and checked field by field.
 */
#ifndef AGENT_DESIRED_H
#define AGENT_DESIRED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/error.h"

#define DESIRED_COMMIT_BYTES 65
/* How many GPUs an attempt can be given, and how long their names are. */
#define DESIRED_GPUS_MAX 64
#define DESIRED_GPU_BYTES_MAX 95
#define DESIRED_HEX_BYTES 17
#define DESIRED_SIGNAL_BYTES 8

/* The immutable part of an assignment.  All pointers are owned. */
typedef struct TaskSpec
{
	char	   *project;
	char	   *trust;
	char	   *code_url;
	char		code_commit[DESIRED_COMMIT_BYTES];
	char	   *env_url;
	char		env_commit[DESIRED_COMMIT_BYTES];
	char	   *dockerfile;
	char	  **command;		/* NULL-terminated, possibly empty; one piece */
	char	  **environment;	/* KEY=value, NULL-terminated; one piece */
	char	  **gpus;			/* NULL-terminated, possibly empty; one piece */
	int64_t		cpus_milli;
	int64_t		memory;			/* bytes */
} TaskSpec;

/* A duration that may be absent. */
typedef struct MaybeSeconds
{
	bool		set;
	double		value;
} MaybeSeconds;

/* want = run, and the durations of any want. */
typedef struct DesiredRun
{
	double		grace_s;
	MaybeSeconds lease_s;
	MaybeSeconds run_left_s;
	MaybeSeconds prepare_left_s;
	MaybeSeconds idle_s;
	MaybeSeconds warn_s;
	char		warn_signal[DESIRED_SIGNAL_BYTES];	/* "USR1" */
	TaskSpec   *spec;			/* owned; NULL when the body has none */
} DesiredRun;

typedef struct DesiredStop
{
	double		grace_s;
	int			final_state;	/* UdAttemptState */
	int			reason;			/* UdReason */
} DesiredStop;

/* Limits of a session. */
typedef struct SessionLimits
{
	double		beat_s;
	double		report_repeat_s;
	double		lease_margin_s;
	int64_t		log_budget;
	int64_t		disk_floor;
	double		fetch_timeout_s;
	double		build_timeout_s;
} SessionLimits;

typedef struct Welcome
{
	int64_t		incarnation;
	int32_t		node_id;		/* 0: an earlier server does not say */
	char		node[128];
	char		seal[DESIRED_HEX_BYTES];	/* "": none is given */
	SessionLimits limits;
} Welcome;

extern int	desired_parse_run(const void *body, size_t len, DesiredRun *out, UdError *err) UD_MUSTCHECK;
extern int	desired_parse_stop(const void *body, size_t len, DesiredStop *out, UdError *err) UD_MUSTCHECK;
extern int	desired_parse_welcome(const void *body, size_t len, Welcome *out, UdError *err) UD_MUSTCHECK;

/* Milliseconds of a drain's retry_after_ms, 0 when it says nothing usable. */
extern int64_t desired_parse_drain(const void *body, size_t len);
extern void task_spec_free(TaskSpec *spec);

/* 16 lower-case hex digits, as incarnations are written in JSON and labels. */
extern void incarnation_write(int64_t incarnation, char out[DESIRED_HEX_BYTES]);
extern bool incarnation_read(const char *text, int64_t *incarnation);

#endif							/* AGENT_DESIRED_H */
