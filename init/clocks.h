/*
 * clocks.h
 *	  The clocks of unidesk-init as nanoseconds.
 */
#ifndef INIT_CLOCKS_H
#define INIT_CLOCKS_H

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

#endif							/* INIT_CLOCKS_H */
