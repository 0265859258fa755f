/*
 * limit.h
 *	  Token bucket: how much may come in a time.
 */
#ifndef LIMIT_H
#define LIMIT_H

#include <stdbool.h>
#include <stdint.h>

typedef struct Limit
{
	double		rate;			/* per second */
	double		burst;
	double		level;			/* left now */
	int64_t		at_us;			/* when level was true */
} Limit;

static inline void
limit_init(Limit *limit, double rate, double burst, int64_t now_us)
{
	limit->rate = rate;
	limit->burst = burst;
	limit->level = burst;
	limit->at_us = now_us;
}

/* Take so many, at least 1; false, and nothing taken, when they are not there. */
static inline bool
limit_take(Limit *limit, double cost, int64_t now_us)
{
	limit->level += (double) (now_us - limit->at_us) * limit->rate / 1e6;
	limit->at_us = now_us;
	if (limit->level > limit->burst)
		limit->level = limit->burst;
	if (limit->level < cost)
		return false;
	limit->level -= cost;
	return true;
}

#endif							/* LIMIT_H */
