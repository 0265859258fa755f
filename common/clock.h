/*
 * clock.h
 *	  The kernel's clocks as nanoseconds.
 */
#ifndef UD_CLOCK_H
#define UD_CLOCK_H

#include <stdint.h>
#include <time.h>

#define NS_PER_S INT64_C(1000000000)
#define NS_PER_MS INT64_C(1000000)

static inline int64_t
clock_ns(clockid_t clock)
{
	struct timespec now;

	clock_gettime(clock, &now);
	return (int64_t) now.tv_sec * NS_PER_S + now.tv_nsec;
}

/* For deadlines within one program: steps of the wall clock do not move it. */
static inline int64_t
clock_ms(void)
{
	return clock_ns(CLOCK_MONOTONIC) / NS_PER_MS;
}

#endif							/* UD_CLOCK_H */
