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
	int			shares;			/* 0: held by one alone */
} KeyHeld;

static pthread_mutex_t keylock_mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t keylock_freed = PTHREAD_COND_INITIALIZER;
static KeyHeld *keylock_held;

static KeyHeld *
keylock_find(const char *key)
{
	KeyHeld    *held = keylock_held;

	while (held != NULL && strcmp(held->key, key) != 0)
		held = held->next;
	return held;
}

/* Hold it alone or as one more share, if that can be now. */
static bool
keylock_hold(const char *key, bool shared)
{
	KeyHeld    *held = keylock_find(key);

	if (held != NULL && (!shared || held->shares == 0))
		return false;
	if (held == NULL)
	{
		held = ud_calloc(1, sizeof(*held));
		held->key = ud_strdup(key);
		held->next = keylock_held;
		keylock_held = held;
	}
	held->shares += shared ? 1 : 0;
	return true;
}

static int
keylock_wait(const char *key, bool shared, int64_t deadline_boot_ns, const atomic_bool *cancel, UdError *err)
{
	int			result = 0;

	pthread_mutex_lock(&keylock_mutex);
	while (result == 0 && !keylock_hold(key, shared))
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
	pthread_mutex_unlock(&keylock_mutex);
	return result;
}

int
keylock_take(const char *key, int64_t deadline_boot_ns, const atomic_bool *cancel, UdError *err)
{
	return keylock_wait(key, false, deadline_boot_ns, cancel, err);
}

int
keylock_share(const char *key, int64_t deadline_boot_ns, const atomic_bool *cancel, UdError *err)
{
	return keylock_wait(key, true, deadline_boot_ns, cancel, err);
}

bool
keylock_try(const char *key)
{
	bool		held;

	pthread_mutex_lock(&keylock_mutex);
	held = keylock_hold(key, false);
	pthread_mutex_unlock(&keylock_mutex);
	return held;
}

void
keylock_give(const char *key)
{
	pthread_mutex_lock(&keylock_mutex);
	for (KeyHeld **link = &keylock_held; *link != NULL; link = &(*link)->next)
		if (strcmp((*link)->key, key) == 0)
		{
			KeyHeld    *mine = *link;

			if (--mine->shares > 0)
				break;
			*link = mine->next;
			free(mine->key);
			free(mine);
			break;
		}
	pthread_cond_broadcast(&keylock_freed);
	pthread_mutex_unlock(&keylock_mutex);
}
