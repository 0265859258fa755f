/*
 * keylock.h
 *	  Locks named by a text, each held by one alone or shared by many: one
 *	  fetch per repository, one build per image; and what an attempt is being
 *	  prepared from is not removed meanwhile.
 */
#ifndef AGENT_KEYLOCK_H
#define AGENT_KEYLOCK_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "common/error.h"

/*
 * Wait until nobody holds key, then hold it alone.  UD_ECANCELLED when cancel
 * gets set before, UD_ETIMEDOUT at deadline (boot clock).
 */
extern int	keylock_take(const char *key, int64_t deadline_boot_ns, const atomic_bool *cancel, UdError *err) UD_MUSTCHECK;

/* The same for a share: wait until nobody holds it alone. */
extern int	keylock_share(const char *key, int64_t deadline_boot_ns, const atomic_bool *cancel, UdError *err) UD_MUSTCHECK;

/* Hold it alone if nobody has it at all; never waits. */
extern bool keylock_try(const char *key);

/* Give back one hold of any kind. */
extern void keylock_give(const char *key);

#endif							/* AGENT_KEYLOCK_H */
