/*
 * options.h
 *	  What the simulated agents are to do, from the command line.
 */
#ifndef BENCH_OPTIONS_H
#define BENCH_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>

#include "common/error.h"

typedef struct SimOptions
{
	const char *host;			/* of --url; owned, like all texts here */
	const char *path;
	int			port;
	char	  **tokens;			/* agents of them */
	int			agents;
	int			cpus;			/* each says it has */
	int			connecting;		/* handshakes under way at once */
	int			steps;			/* reports of a task: 1 its end, 2 and that it
								 * runs, 3 and that it was accepted */
	int64_t		task_ms;		/* how long a task runs */
	bool		exec;			/* run the task's command instead */
	int64_t		log_bytes;		/* of each task */
	int64_t		log_rate;		/* bytes a second; 0: all at once */
	int64_t		backoff_ms;		/* longest wait before connecting again; -1:
								 * the agent's */
	int64_t		seconds;		/* ends then at the latest */
	int64_t		until_ended;	/* or when so many ends were acknowledged */
	int64_t		until_online;	/* or when all were online so many times */
	const char *report;			/* files, NULL: none */
	const char *times;
	const char *ready;
} SimOptions;

/* 0, 1 when help was asked for and given, negative and err. */
extern int	options_read(int argc, char **argv, SimOptions *options, UdError *err) UD_MUSTCHECK;

#endif							/* BENCH_OPTIONS_H */
