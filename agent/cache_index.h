/*
 * cache_index.h
 *	  What the agent keeps for later, in the order of its last use.
 *
 * The file "index" in the data directory is a journal: a line for each use, of
 * which the last about a thing counts; no clock is needed to know the order.
 * Losing it loses the order, nothing else: what is there is found again.
 *
 *	image NAME:TAG			an environment that was built here
 *	mirror HEX				a repository
 *	layer ID SINCE			an image the engine made on the way to one of ours
 *	debris ID SINCE			the same, by a build that has not succeeded
 *	container ID SINCE		a container of a build
 *
 * SINCE is when the build began, in seconds since the epoch: a thing that is
 * older is not of that build, whatever the build's output said.
 */
#ifndef AGENT_CACHE_INDEX_H
#define AGENT_CACHE_INDEX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/data.h"

typedef enum CacheKind
{
	CACHE_IMAGE,
	CACHE_MIRROR,
	CACHE_LAYER,
	CACHE_DEBRIS,
	CACHE_CONTAINER
} CacheKind;

typedef struct CacheItem
{
	CacheKind	kind;
	char	   *name;			/* owned */
	int64_t		since;			/* 0 for images and mirrors */
	int			build;			/* number of the build that made it since this
								 * program started, or 0 */
	bool		settled;		/* not used since cache_measure began to look */
} CacheItem;

/* Least recently used first. */
typedef struct CacheIndex
{
	const DataDir *data;		/* borrowed */
	CacheItem  *items;			/* owned */
	size_t		count;
	size_t		size;
	size_t		lines;			/* of the file */
} CacheIndex;

/* Fill the index from the file; what is no valid line is left out. */
extern void cache_index_read(CacheIndex *index, const DataDir *data);
extern void cache_index_release(CacheIndex *index);

/* The place of a thing, or -1. */
extern ptrdiff_t cache_index_find(const CacheIndex *index, CacheKind kind, const char *name);

/* It is used now: last in the order, and noted in the file. */
extern CacheItem *cache_index_use(CacheIndex *index, CacheKind kind, const char *name, int64_t since);

/* It was found: first in the order, as nobody knows when it was used. */
extern void cache_index_adopt(CacheIndex *index, CacheKind kind, const char *name);

/* It is gone, or another kind of thing now; cache_index_write tells the file. */
extern void cache_index_drop(CacheIndex *index, size_t place);

/* Write the file anew from the items. */
extern void cache_index_write(CacheIndex *index);

#endif							/* AGENT_CACHE_INDEX_H */
