/*
 * cache.c
 *	  What outlives an attempt: holding it, noting its use, builds.
 */
#include "agent/cache.h"

#include <string.h>
#include <time.h>

#include "common/cleanup.h"
#include "common/log.h"
#include "agent/keylock.h"

/* What a build is said to have made and is noted, at most. */
#define BUILD_ITEMS_MAX 4096
/* Without a budget in the settings: shares of the disk. */
#define IMAGES_PERCENT 30
#define MIRRORS_PERCENT 10

static void
set_budgets(Agent *agent, CacheUse *use)
{
	int64_t		disk_free;
	int64_t		disk_total = 0;
	UdError		err;

	if (data_space(&agent->data, &disk_free, &disk_total, &err) < 0)
		ud_warning("%s", err.message);
	use->images_budget = agent->config->image_budget;
	use->mirrors_budget = agent->config->mirror_budget;
	if (use->images_budget < 0)
		use->images_budget = disk_total / 100 * IMAGES_PERCENT;
	if (use->mirrors_budget < 0)
		use->mirrors_budget = disk_total / 100 * MIRRORS_PERCENT;
}

void
cache_open(Agent *agent)
{
	struct Cache *cache = ud_calloc(1, sizeof(*cache));

	cache->agent = agent;
	cache->label = ud_asprintf("unidesk.data=%s", agent->data.host);
	pthread_mutex_init(&cache->lock, NULL);
	pthread_mutex_init(&cache->work, NULL);
	cache_index_read(&cache->index, &agent->data);
	set_budgets(agent, &cache->use);
	cache->grown = true;
	agent->cache = cache;
	cache_remove_debris(cache);
	cache_measure(cache);
	ud_info("images take %lld of %lld bytes, mirrors %lld of %lld",
			(long long) cache->use.images, (long long) cache->use.images_budget,
			(long long) cache->use.mirrors, (long long) cache->use.mirrors_budget);
}

char *
cache_key(CacheKind kind, const char *name)
{
	return ud_asprintf("%s %s", kind == CACHE_IMAGE ? "image" : "mirror", name);
}

int
cache_hold(CacheKind kind, const char *name, int64_t deadline_boot_ns, const atomic_bool *cancel, UdError *err)
{
	ud_auto_free char *key = cache_key(kind, name);

	return keylock_share(key, deadline_boot_ns, cancel, err);
}

void
cache_release(CacheKind kind, const char *name)
{
	ud_auto_free char *key = cache_key(kind, name);

	keylock_give(key);
}

void
cache_used(Agent *agent, CacheKind kind, const char *name)
{
	struct Cache *cache = agent->cache;

	pthread_mutex_lock(&cache->lock);
	cache_index_use(&cache->index, kind, name, 0);
	pthread_mutex_unlock(&cache->lock);
}

void
cache_grown(Agent *agent)
{
	struct Cache *cache = agent->cache;

	pthread_mutex_lock(&cache->lock);
	cache->grown = true;
	pthread_mutex_unlock(&cache->lock);
}

void
cache_get_use(const Agent *agent, CacheUse *use)
{
	struct Cache *cache = agent->cache;

	memset(use, 0, sizeof(*use));
	if (cache == NULL)
		return;
	pthread_mutex_lock(&cache->lock);
	*use = cache->use;
	pthread_mutex_unlock(&cache->lock);
}

void
cache_build_begin(Agent *agent, CacheBuild *build)
{
	struct Cache *cache = agent->cache;

	pthread_mutex_lock(&cache->lock);
	cache->builds++;
	build->number = ++cache->last_build;
	pthread_mutex_unlock(&cache->lock);
	/* The engine's clock is ours, to the second. */
	build->since = time(NULL) - 1;
}

void
cache_build_made(Agent *agent, const CacheBuild *build, bool container, const char *id)
{
	struct Cache *cache = agent->cache;
	CacheKind	kind = container ? CACHE_CONTAINER : CACHE_DEBRIS;
	size_t		count = 0;

	pthread_mutex_lock(&cache->lock);
	for (size_t i = 0; i < cache->index.count; i++)
		count += cache->index.items[i].build == build->number;
	/* What another build of ours made is that one's. */
	if (count < BUILD_ITEMS_MAX && cache_index_find(&cache->index, kind, id) < 0 &&
		cache_index_find(&cache->index, CACHE_LAYER, id) < 0)
		cache_index_use(&cache->index, kind, id, build->since)->build = build->number;
	pthread_mutex_unlock(&cache->lock);
}

void
cache_build_end(Agent *agent, const CacheBuild *build, bool good)
{
	struct Cache *cache = agent->cache;

	pthread_mutex_lock(&cache->lock);
	cache->builds--;
	cache->grown = true;
	for (size_t i = 0; good && i < cache->index.count; i++)
		if (cache->index.items[i].build == build->number && cache->index.items[i].kind == CACHE_DEBRIS)
			cache->index.items[i].kind = CACHE_LAYER;
	cache_index_write(&cache->index);
	pthread_mutex_unlock(&cache->lock);
	cache_remove_debris(cache);
}
