/*
 * supervise.h
 *	  From the start of the task's program to its exit record.
 */
#ifndef INIT_SUPERVISE_H
#define INIT_SUPERVISE_H

#include <stdint.h>

#include "common/error.h"

/* Exit code of unidesk-init when it did not even try to start the program. */
#define INIT_EXIT_REFUSED 125

typedef struct InitOptions
{
	const char *run_dir;
	uint64_t	log_budget;
	uint32_t	grace_s;		/* TERM to KILL where the control file names
								 * no other, 0 = never */
	char	  **argv;			/* NULL-terminated, at least the program */
} InitOptions;

/*
 * Run the program to its end.  All signals must be blocked.  Returns the exit
 * code for this process: the program's, 128 + n when signal n killed it,
 * 126 or 127 when it could not be started, INIT_EXIT_REFUSED with err filled
 * when the run directory cannot be used.
 */
extern int	init_run(const InitOptions *options, UdError *err);

#endif							/* INIT_SUPERVISE_H */
