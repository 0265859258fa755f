/*
 * stats.h
 *	  What is counted and timed, and the report of it.
 */
#ifndef BENCH_STATS_H
#define BENCH_STATS_H

#include <stddef.h>
#include <stdint.h>

#include "common/error.h"
#include "options.h"

#define STATS_CODES 32

/* Durations; a growing array. */
typedef struct Samples
{
	uint32_t   *us;				/* owned */
	size_t		count;
	size_t		size;
} Samples;

typedef struct TaskTimes
{
	int64_t		task;
	int32_t		attempt;
	int64_t		assigned_ns;	/* monotonic */
	int64_t		ended_ns;
	int64_t		acked_ns;
} TaskTimes;

/* From all offline, or the start, to all online. */
typedef struct Round
{
	int64_t		began_ns;		/* first attempt to connect */
	int64_t		ended_ns;
	int64_t		handshakes;
} Round;

typedef struct SimStats
{
	int64_t		began_ns;
	int64_t		real_offset_ns; /* realtime - monotonic clock at the start */
	int64_t		frames_in;
	int64_t		frames_out;
	int64_t		bytes_in;
	int64_t		bytes_out;
	int64_t		messages_in[256];	/* by type */
	int64_t		messages_out[256];
	int64_t		connects;
	int64_t		welcomes;
	int64_t		failures;		/* that became no WebSocket */
	int			codes[STATS_CODES]; /* of closes and refusals */
	int64_t		code_counts[STATS_CODES];
	int			code_count;
	int64_t		assigned;
	int64_t		ended;			/* acknowledged */
	int64_t		dropped;		/* stale, or to be removed */
	Samples		handshake;		/* connect begun -> welcome */
	Samples		run;			/* assigned -> end sent */
	Samples		ack;			/* end sent -> acknowledged */
	Round	   *rounds;			/* owned */
	size_t		round_count;
	Round		round;			/* under way while its began_ns is set */
	TaskTimes  *times;			/* owned */
	size_t		times_count;
	size_t		times_size;
} SimStats;

extern void stats_init(SimStats *stats);
extern void stats_release(SimStats *stats);
extern void stats_sample(Samples *samples, int64_t ns);
extern void stats_code(SimStats *stats, int code);
extern void stats_task(SimStats *stats, const TaskTimes *times);
extern void stats_round_ended(SimStats *stats, int64_t now);
extern int	stats_write_report(SimStats *stats, const SimOptions *options, UdError *err) UD_MUSTCHECK;
extern int	stats_write_times(const SimStats *stats, const char *path, UdError *err) UD_MUSTCHECK;

#endif							/* BENCH_STATS_H */
