/*
 * lease.h
 *	  Clocks and lease arithmetic; nothing here does input or output but
 *	  reading the clocks.
 */
#ifndef AGENT_LEASE_H
#define AGENT_LEASE_H

#include <stdbool.h>
#include <stdint.h>

#include "common/clock.h"
#include "common/run_files.h"

extern int64_t clock_boot_ns(void);
extern int64_t clock_real_ns(void);

/* base + seconds, without overflow; seconds may be negative or fractional. */
extern int64_t clock_add_s(int64_t base_ns, double seconds);

/* This machine's boot id, read once; "" when the kernel does not say. */
extern const char *clock_boot_id(void);

/* What decides the control file of one attempt. */
typedef struct LeaseTerms
{
	bool		has_lease;
	double		lease_s;
	double		grace_s;
	double		margin_s;
	int64_t		base_boot_ns;	/* when the last acknowledged beat was sent */
	bool		stop_announced;
	int			warn_signal;	/* the agent sends it, or has; 0: none */
} LeaseTerms;

/* t_send(last acknowledged beat) + lease - grace - margin, boot clock. */
extern int64_t lease_deadline_ns(const LeaseTerms *terms);
extern void lease_fill_control(UdControl *control, const LeaseTerms *terms);

#endif							/* AGENT_LEASE_H */
