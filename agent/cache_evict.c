/*
 * cache_evict.c
 *	  What outlives an attempt: measuring it, and removing what is too much.
 *
 * Images are asked of the engine each time, in one list with parents and
 * sizes: what people and other programs do to them needs no notice then.
 */
#include "agent/cache.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/log.h"
#include "agent/keylock.h"
#include "agent/tree_size.h"

typedef struct Images
{
	DockerImageEntry *items;
	int			count;
} Images;

static void
images_release(Images *images)
{
	docker_image_list_free(images->items, images->count);
}

#define ud_auto_images __attribute__((cleanup(images_release)))

/* false: the engine does not say. */
static bool
images_list(struct Cache *cache, Images *images)
{
	UdError		err;

	if (docker_image_list(cache->agent->docker, &images->items, &images->count, &err) == 0)
		return true;
	ud_warning("could not look at the caches: %s", err.message);
	return false;
}

/* By a whole id, or by the first digits after "sha256:". */
static int
images_find(const Images *images, const char *id)
{
	bool		whole = strncmp(id, "sha256:", 7) == 0;

	for (int i = 0; i < images->count && id[0] != '\0'; i++)
		if (strncmp(whole ? images->items[i].id : images->items[i].id + 7, id, strlen(id)) == 0)
			return i;
	return -1;
}

static bool
images_has_child(const Images *images, const char *id)
{
	for (int i = 0; i < images->count; i++)
		if (strcmp(images->items[i].parent, id) == 0)
			return true;
	return false;
}

/* Its tag when it is one of ours, else NULL. */
static const char *
our_tag(const struct Cache *cache, const DockerImageEntry *image, int *next)
{
	bool		labelled = false;

	for (char **label = image->labels; *label != NULL; label++)
		labelled = labelled || strcmp(*label, cache->label) == 0;
	for (char **tag = image->tags + *next; labelled && *tag != NULL; tag++)
		if (strncmp(*tag, CACHE_REPOSITORY, strlen(CACHE_REPOSITORY)) == 0)
		{
			*next = (int) (tag - image->tags) + 1;
			return *tag;
		}
	return NULL;
}

/* A build of ours made it on its way, and nobody has given it a name since. */
static bool
is_our_layer(struct Cache *cache, const DockerImageEntry *image)
{
	bool		ours = false;

	pthread_mutex_lock(&cache->lock);
	for (size_t i = 0; !ours && i < cache->index.count; i++)
	{
		const CacheItem *item = &cache->index.items[i];

		ours = (item->kind == CACHE_LAYER || item->kind == CACHE_DEBRIS) && image->created >= item->since &&
			strncmp(image->id + 7, item->name, strlen(item->name)) == 0;
	}
	pthread_mutex_unlock(&cache->lock);
	return ours && image->tags[0] == NULL;
}

/*
 * Bytes of an image and of what is below it, as far as it is no image of its
 * own: what FROM names was there before, or is the owner's to keep.
 */
static int64_t
count_chain(struct Cache *cache, const Images *images, int at, bool *counted)
{
	int64_t		bytes = 0;
	bool		first = true;

	while (at >= 0 && !counted[at])
	{
		const DockerImageEntry *image = &images->items[at];
		int			parent = images_find(images, image->parent);

		if (!first && (image->tags[0] != NULL || (parent < 0 && !is_our_layer(cache, image))))
			break;
		counted[at] = true;
		bytes += image->size - (parent >= 0 ? images->items[parent].size : 0);
		at = parent;
		first = false;
	}
	return bytes;
}

static void
measure_images(struct Cache *cache, const Images *images)
{
	ud_auto_free bool *counted = ud_calloc((size_t) images->count + 1, sizeof(bool));
	int64_t		bytes = 0;

	for (int i = 0; i < images->count; i++)
	{
		const char *tag;
		int			next = 0;

		if ((tag = our_tag(cache, &images->items[i], &next)) != NULL || is_our_layer(cache, &images->items[i]))
			bytes += count_chain(cache, images, i, counted);
		for (; tag != NULL; tag = our_tag(cache, &images->items[i], &next))
		{
			pthread_mutex_lock(&cache->lock);
			cache_index_adopt(&cache->index, CACHE_IMAGE, tag);
			pthread_mutex_unlock(&cache->lock);
		}
	}
	pthread_mutex_lock(&cache->lock);
	cache->use.images = bytes;
	pthread_mutex_unlock(&cache->lock);
}

static void
measure_mirror(void *arg, const char *name)
{
	struct Cache *cache = arg;
	int64_t		bytes = tree_size(cache->agent->data.mirrors_fd, name);

	pthread_mutex_lock(&cache->lock);
	cache->use.mirrors += bytes;
	cache_index_adopt(&cache->index, CACHE_MIRROR, name);
	pthread_mutex_unlock(&cache->lock);
}

static bool
item_exists(const struct Cache *cache, const Images *images, const CacheItem *item)
{
	switch (item->kind)
	{
		case CACHE_IMAGE:
			for (int i = 0; i < images->count; i++)
				for (char **tag = images->items[i].tags; *tag != NULL; tag++)
					if (strcmp(*tag, item->name) == 0)
						return true;
			return false;
		case CACHE_MIRROR:
			return faccessat(cache->agent->data.mirrors_fd, item->name, F_OK, AT_SYMLINK_NOFOLLOW) == 0;
		case CACHE_LAYER:
		case CACHE_DEBRIS:
			return images_find(images, item->name) >= 0;
		case CACHE_CONTAINER:
			break;
	}
	return true;
}

/* Images that were listed before an item came say nothing about it. */
static void
forget_absent(struct Cache *cache, const Images *images)
{
	bool		changed = false;

	pthread_mutex_lock(&cache->lock);
	for (size_t i = cache->index.count; i > 0; i--)
		if (cache->index.items[i - 1].settled && !item_exists(cache, images, &cache->index.items[i - 1]))
		{
			cache_index_drop(&cache->index, i - 1);
			changed = true;
		}
	if (changed)
		cache_index_write(&cache->index);
	pthread_mutex_unlock(&cache->lock);
}

static void
measure(struct Cache *cache)
{
	ud_auto_images Images images = {0};

	pthread_mutex_lock(&cache->lock);
	cache->use.mirrors = 0;
	for (size_t i = 0; i < cache->index.count; i++)
		cache->index.items[i].settled = true;
	pthread_mutex_unlock(&cache->lock);
	data_each_mirror(&cache->agent->data, measure_mirror, cache);
	if (!images_list(cache, &images))
		return;
	measure_images(cache, &images);
	forget_absent(cache, &images);
}

void
cache_measure(struct Cache *cache)
{
	pthread_mutex_lock(&cache->work);
	measure(cache);
	pthread_mutex_unlock(&cache->work);
}

/* --- removing --- */

/*
 * Remove the layer at a place and, with it, those below that only it needed.
 * Not while something is built: that may be about to use one.
 */
static bool
remove_layers(struct Cache *cache, const char *id)
{
	char		next[80];
	bool		removed = false;

	snprintf(next, sizeof(next), "%s", id);
	for (;;)
	{
		ud_auto_images Images images = {0};
		const DockerImageEntry *image;
		int			at;
		bool		building;
		UdError		err;

		pthread_mutex_lock(&cache->lock);
		building = cache->builds > 0;
		pthread_mutex_unlock(&cache->lock);
		if (building || !images_list(cache, &images))
			return removed;
		at = images_find(&images, next);
		if (at < 0)
			return removed;
		image = &images.items[at];
		if (!is_our_layer(cache, image) || images_has_child(&images, image->id) ||
			docker_image_remove(cache->agent->docker, image->id, &err) < 0)
			return removed;
		removed = true;
		snprintf(next, sizeof(next), "%s", image->parent);
	}
}

static bool
remove_image(struct Cache *cache, const char *name)
{
	ud_auto_free char *key = cache_key(CACHE_IMAGE, name);
	ud_auto_images Images images = {0};
	char		parent[80] = "";
	bool		ours = false;
	int			result;
	UdError		err;

	if (!images_list(cache, &images))
		return false;
	for (int i = 0; i < images.count && !ours; i++)
	{
		const char *tag;
		int			next = 0;

		while ((tag = our_tag(cache, &images.items[i], &next)) != NULL && !ours)
			if (strcmp(tag, name) == 0)
			{
				ours = true;
				snprintf(parent, sizeof(parent), "%s", images.items[i].parent);
			}
	}
	if (!ours || !keylock_try(key))
		return false;
	result = docker_image_remove(cache->agent->docker, name, &err);
	keylock_give(key);
	if (result < 0 && result != UD_ENOENT)
	{
		ud_debug("image %s stays: %s", name, err.message);
		return false;
	}
	ud_info("image %s removed to make room", name);
	remove_layers(cache, parent);
	return true;
}

static bool
remove_mirror(struct Cache *cache, const char *name)
{
	ud_auto_free char *key = cache_key(CACHE_MIRROR, name);
	int			result;
	UdError		err;

	if (!keylock_try(key))
		return false;
	result = data_remove_mirror(&cache->agent->data, name, &err);
	keylock_give(key);
	if (result < 0)
	{
		ud_warning("%s", err.message);
		return false;
	}
	ud_info("mirror %s removed to make room", name);
	return true;
}

static bool
remove_item(struct Cache *cache, CacheKind kind, const char *name)
{
	switch (kind)
	{
		case CACHE_IMAGE:
			return remove_image(cache, name);
		case CACHE_MIRROR:
			return remove_mirror(cache, name);
		case CACHE_LAYER:
			return remove_layers(cache, name);
		default:
			return false;
	}
}

/* The items as they are now, in their order, for the caller to free. */
static CacheItem *
copy_items(struct Cache *cache, size_t *count)
{
	CacheItem  *items;

	pthread_mutex_lock(&cache->lock);
	*count = cache->index.count;
	items = ud_calloc(*count + 1, sizeof(*items));
	for (size_t i = 0; i < *count; i++)
	{
		items[i] = cache->index.items[i];
		items[i].name = ud_strdup(items[i].name);
	}
	pthread_mutex_unlock(&cache->lock);
	return items;
}

/* How much there is to remove, and whether a kind helps. */
typedef struct Excess
{
	int64_t		images;
	int64_t		mirrors;
	int64_t		free_bytes;		/* wanted on the disk, 0: no matter */
} Excess;

static bool
is_excess(struct Cache *cache, const Excess *excess, CacheKind kind)
{
	int64_t		disk_free = 0;
	int64_t		disk_total;
	UdError		err;

	if (excess->free_bytes > 0)
		return data_space(&cache->agent->data, &disk_free, &disk_total, &err) == 0 && disk_free < excess->free_bytes;
	return kind == CACHE_MIRROR ? cache->use.mirrors > excess->mirrors : cache->use.images > excess->images;
}

/* Least recently used first, until nothing is too much. */
static void
evict(struct Cache *cache, const Excess *excess)
{
	CacheItem  *items;
	size_t		count;

	measure(cache);
	items = copy_items(cache, &count);
	for (size_t i = 0; i < count; i++)
	{
		if (is_excess(cache, excess, items[i].kind) && remove_item(cache, items[i].kind, items[i].name))
			measure(cache);
		free(items[i].name);
	}
	free(items);
}

bool
cache_trim(Agent *agent)
{
	struct Cache *cache = agent->cache;
	Excess		excess = {0};
	bool		grown;
	bool		within;

	pthread_mutex_lock(&cache->lock);
	grown = cache->grown;
	cache->grown = false;
	excess.images = cache->use.images_budget;
	excess.mirrors = cache->use.mirrors_budget;
	pthread_mutex_unlock(&cache->lock);
	if (!grown)
		return true;
	cache_remove_debris(cache);
	pthread_mutex_lock(&cache->work);
	evict(cache, &excess);
	within = !is_excess(cache, &excess, CACHE_IMAGE) && !is_excess(cache, &excess, CACHE_MIRROR);
	pthread_mutex_unlock(&cache->work);
	if (!within)
		cache_grown(agent);
	return within;
}

bool
cache_make_room(Agent *agent, int64_t free_bytes)
{
	struct Cache *cache = agent->cache;
	Excess		excess = {
		.free_bytes = free_bytes,
	};
	bool		enough;

	cache_remove_debris(cache);
	pthread_mutex_lock(&cache->work);
	if (is_excess(cache, &excess, CACHE_IMAGE))
		evict(cache, &excess);
	enough = !is_excess(cache, &excess, CACHE_IMAGE);
	pthread_mutex_unlock(&cache->work);
	return enough;
}

/* --- what builds leave --- */

/* A build's container that ended and that the engine did not remove itself. */
static void
remove_container(struct Cache *cache, const DockerContainer *containers, int count, const CacheItem *item)
{
	ptrdiff_t	place;
	UdError		err;

	for (int i = 0; i < count; i++)
		if (strncmp(containers[i].id, item->name, strlen(item->name)) == 0 && containers[i].created >= item->since &&
			docker_remove_ended(cache->agent->docker, containers[i].id, &err) < 0 && err.code != UD_ENOENT)
			return;
	pthread_mutex_lock(&cache->lock);
	place = cache_index_find(&cache->index, CACHE_CONTAINER, item->name);
	if (place >= 0)
		cache_index_drop(&cache->index, (size_t) place);
	pthread_mutex_unlock(&cache->lock);
}

/* An image that a build made after it was no longer listened to. */
static void
remove_unheard(struct Cache *cache, const CacheItem *item)
{
	ud_auto_images Images images = {0};
	int			parent;
	UdError		err;

	if (!images_list(cache, &images) || (parent = images_find(&images, item->name)) < 0)
		return;
	for (int i = 0; i < images.count; i++)
	{
		const DockerImageEntry *image = &images.items[i];

		if (strcmp(image->parent, images.items[parent].id) == 0 && image->tags[0] == NULL &&
			image->created >= item->since && !is_our_layer(cache, image) && !images_has_child(&images, image->id) &&
			docker_image_remove(cache->agent->docker, image->id, &err) < 0)
			ud_debug("%s", err.message);
	}
}

void
cache_remove_debris(struct Cache *cache)
{
	DockerContainer *containers = NULL;
	CacheItem  *items;
	size_t		count;
	int			container_count = 0;
	bool		wanted = false;
	UdError		err;

	pthread_mutex_lock(&cache->lock);
	for (size_t i = 0; cache->builds == 0 && i < cache->index.count; i++)
		wanted = wanted || cache->index.items[i].kind >= CACHE_DEBRIS;
	pthread_mutex_unlock(&cache->lock);
	if (!wanted)
		return;
	pthread_mutex_lock(&cache->work);
	items = copy_items(cache, &count);
	if (docker_list(cache->agent->docker, NULL, &containers, &container_count, &err) < 0)
		ud_warning("could not look for what builds left: %s", err.message);
	else
		for (size_t i = count; i > 0; i--)
			if (items[i - 1].kind == CACHE_CONTAINER)
				remove_container(cache, containers, container_count, &items[i - 1]);
	docker_container_list_free(containers, container_count);
	/* The last first: nothing is built on it. */
	for (size_t i = count; i > 0; i--)
		if (items[i - 1].kind == CACHE_DEBRIS)
		{
			remove_unheard(cache, &items[i - 1]);
			remove_layers(cache, items[i - 1].name);
		}
	for (size_t i = 0; i < count; i++)
		free(items[i].name);
	free(items);
	measure(cache);
	pthread_mutex_unlock(&cache->work);
}
