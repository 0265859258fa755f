/*
 * keylock.c
 *	  Locks named by a text.
 *
 * A list under one mutex: there are never more holders than attempts on this
 * node.  Waiters look at their cancel flag ten times a second.
 */
#include "agent/keylock.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "common/buf.h"
#include "common/reasons.h"
#include "agent/lease.h"

typedef struct KeyHeld
{
	struct KeyHeld *next;
	char	   *key;			/* owned */
} KeyHeld;

static pthread_mutex_t keylock_mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t keylock_freed = PTHREAD_COND_INITIALIZER;
static KeyHeld *keylock_held;

static bool
keylock_is_held(const char *key)
{
	for (KeyHeld *held = keylock_held; held != NULL; held = held->next)
		if (strcmp(held->key, key) == 0)
			return true;
	return false;
}

int
keylock_take(const char *key, int64_t deadline_boot_ns, const atomic_bool *cancel, UdError *err)
{
	KeyHeld    *mine;
	int			result = 0;

	pthread_mutex_lock(&keylock_mutex);
	while (keylock_is_held(key) && result == 0)
	{
		struct timespec until;

		clock_gettime(CLOCK_REALTIME, &until);
		until.tv_nsec += 100 * NS_PER_MS;
		if (until.tv_nsec >= NS_PER_S)
		{
			until.tv_nsec -= NS_PER_S;
			until.tv_sec++;
		}
		pthread_cond_timedwait(&keylock_freed, &keylock_mutex, &until);
		if (atomic_load(cancel))
			result = ud_error(err, UD_ECANCELLED, 0, "cancelled");
		else if (clock_boot_ns() > deadline_boot_ns)
			result = ud_error(err, UD_ETIMEDOUT, UD_REASON_PREP_TIMEOUT, "the time ran out while another task prepared the same");
	}
	if (result == 0)
	{
		mine = ud_malloc(sizeof(*mine));
		mine->key = ud_strdup(key);
		mine->next = keylock_held;
		keylock_held = mine;
	}
	pthread_mutex_unlock(&keylock_mutex);
	return result;
}

void
keylock_give(const char *key)
{
	pthread_mutex_lock(&keylock_mutex);
	for (KeyHeld **link = &keylock_held; *link != NULL; link = &(*link)->next)
		if (strcmp((*link)->key, key) == 0)
		{
			KeyHeld    *mine = *link;

			*link = mine->next;
			free(mine->key);
			free(mine);
			break;
		}
	pthread_cond_broadcast(&keylock_freed);
	pthread_mutex_unlock(&keylock_mutex);
}
