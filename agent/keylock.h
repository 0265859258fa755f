/*
 * keylock.h
 *	  Locks named by a text: one fetch per repository, one build per image.
 */
#ifndef AGENT_KEYLOCK_H
#define AGENT_KEYLOCK_H

#include <stdatomic.h>
#include <stdint.h>

#include "common/error.h"

/*
 * Wait until nobody holds key, then hold it.  UD_ECANCELLED when cancel gets
 * set before, UD_ETIMEDOUT at deadline (boot clock).
 */
extern int	keylock_take(const char *key, int64_t deadline_boot_ns, const atomic_bool *cancel, UdError *err) UD_MUSTCHECK;
extern void keylock_give(const char *key);

#endif							/* AGENT_KEYLOCK_H */
