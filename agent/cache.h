/*
 * cache.h
 *	  What outlives an attempt on a node: images and mirrors, within budgets.
 *
 * Ours is an image with a tag below unidesk-cache/ and the label of our data
 * directory, a layer whose id a build of ours reported and that is younger
 * than that build, and a mirror in our own directory.  Nothing else is ever
 * removed, nothing is removed by force, and nothing while an attempt is being
 * prepared from it; a container's image the engine itself keeps.
 */
#ifndef AGENT_CACHE_H
#define AGENT_CACHE_H

#include "agent/agent.h"
#include "agent/cache_index.h"

#define CACHE_REPOSITORY "unidesk-cache/"

/* What the caches take and may take, in bytes. */
typedef struct CacheUse
{
	int64_t		images;
	int64_t		images_budget;
	int64_t		mirrors;
	int64_t		mirrors_budget;
} CacheUse;

/* Read the index, look what is there, remove what unfinished builds left. */
extern void cache_open(Agent *agent);

/*
 * While it is held it is not removed; UD_ECANCELLED and UD_ETIMEDOUT as in
 * keylock.h.
 */
extern int	cache_hold(CacheKind kind, const char *name, int64_t deadline_boot_ns, const atomic_bool *cancel, UdError *err) UD_MUSTCHECK;
extern void cache_release(CacheKind kind, const char *name);

/* It is there and was used just now. */
extern void cache_used(Agent *agent, CacheKind kind, const char *name);

/* Something was added: the next cache_trim has something to look at. */
extern void cache_grown(Agent *agent);

/*
 * A build: what it reports on its way is noted before anything can go wrong,
 * so that what a build that fails leaves is found and removed, also by the
 * next run of this agent.
 */
typedef struct CacheBuild
{
	int			number;
	int64_t		since;			/* seconds since the epoch */
} CacheBuild;

extern void cache_build_begin(Agent *agent, CacheBuild *build);
extern void cache_build_made(Agent *agent, const CacheBuild *build, bool container, const char *id);
extern void cache_build_end(Agent *agent, const CacheBuild *build, bool good);

/*
 * Bring both caches within their budgets, if something was added.  false:
 * they are not, because what is left is in use; the next call tries again.
 */
extern bool cache_trim(Agent *agent);

/* Remove from both until so much of the disk is free; false: there is no more. */
extern bool cache_make_room(Agent *agent, int64_t free_bytes);

extern void cache_get_use(const Agent *agent, CacheUse *use);

/* ---- between cache.c and cache_evict.c ---- */

struct Cache
{
	Agent	   *agent;			/* borrowed */
	char	   *label;			/* owned: KEY=value of our images */
	pthread_mutex_t lock;		/* of what follows; never held while waiting */
	CacheIndex	index;
	int			builds;			/* that run now */
	int			last_build;
	CacheUse	use;
	bool		grown;
	pthread_mutex_t work;		/* held by whoever removes */
};

/* The text that names its lock; caller frees. */
extern char *cache_key(CacheKind kind, const char *name);

/* Remove what builds that did not succeed left, when none runs. */
extern void cache_remove_debris(struct Cache *cache);

/* Look at what is there: sizes, and what the index does not know of. */
extern void cache_measure(struct Cache *cache);

#endif							/* AGENT_CACHE_H */
