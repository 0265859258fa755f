/*
 * control.h
 *	  What the agent says in the control file, and what follows from it.
 */
#ifndef INIT_CONTROL_H
#define INIT_CONTROL_H

#include <stdbool.h>
#include <stdint.h>

#include "common/run_files.h"

/* A wall clock ahead of the boot clock by more means a paused machine. */
#define CONTROL_PAUSE_NS_MAX INT64_C(5000000000)

typedef struct ControlClocks
{
	int64_t		boot_ns;
	int64_t		realtime_ns;
	char		boot_id[UD_BOOT_ID_BYTES];	/* "" when it cannot be read */
} ControlClocks;

typedef enum ControlVerdict
{
	CONTROL_GO,
	CONTROL_FREEZE,				/* until the agent renews: who knows how long
								 * the machine slept */
	CONTROL_OVER				/* the lease is over */
} ControlVerdict;

/* Fills boot_id too when it is still empty: it cannot change. */
extern void control_clocks_read(ControlClocks *clocks);

/*
 * Read the control file.  Returns false, leaving control as it is, when there
 * is none or it is not valid.
 */
extern bool control_read(int dir_fd, UdControl *control);

/*
 * Judge a valid control.  left_ns is the time until the lease ends, negative
 * when it is over; INT64_MAX without a lease.
 */
extern ControlVerdict control_judge(const UdControl *control, const ControlClocks *clocks, int64_t *left_ns);

#endif							/* INIT_CONTROL_H */
