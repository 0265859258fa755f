/*
 * map.c
 *	  A hash map from 64-bit numbers to 64-bit values, open addressing.
 *
 * Linear probing; removal moves later entries of the same run back instead of
 * leaving a tombstone, so a map that lives for months does not degrade.
 */
#include "map.h"

#include <stdlib.h>

#include "common/buf.h"

#define MAP_SIZE_MIN 16

/* The finalizer of splitmix64: keys that count up spread evenly. */
static size_t
map_slot(const Map *map, uint64_t key)
{
	key ^= key >> 30;
	key *= UINT64_C(0xbf58476d1ce4e5b9);
	key ^= key >> 27;
	key *= UINT64_C(0x94d049bb133111eb);
	key ^= key >> 31;
	return (size_t) key & (map->size - 1);
}

/* The entry with this key, or the free one where it belongs. */
static MapEntry *
map_find(const Map *map, uint64_t key)
{
	size_t		slot = map_slot(map, key);

	while (map->entries[slot].key != 0 && map->entries[slot].key != key)
		slot = (slot + 1) & (map->size - 1);
	return &map->entries[slot];
}

static void
map_resize(Map *map, size_t size)
{
	Map			larger = {0};

	larger.size = size;
	larger.entries = ud_calloc(size, sizeof(MapEntry));
	for (size_t i = 0; i < map->size; i++)
		if (map->entries[i].key != 0)
			*map_find(&larger, map->entries[i].key) = map->entries[i];
	free(map->entries);
	map->entries = larger.entries;
	map->size = size;
}

void
map_release(Map *map)
{
	free(map->entries);
	map->entries = NULL;
	map->size = 0;
	map->count = 0;
}

void
map_put(Map *map, uint64_t key, uint64_t value)
{
	MapEntry   *entry;

	if (map->size == 0)
		map_resize(map, MAP_SIZE_MIN);
	else if ((map->count + 1) * 4 > map->size * 3)
		map_resize(map, map->size * 2);
	entry = map_find(map, key);
	if (entry->key == 0)
		map->count++;
	entry->key = key;
	entry->value = value;
}

uint64_t
map_get(const Map *map, uint64_t key)
{
	return map->size == 0 ? 0 : map_find(map, key)->value;
}

bool
map_has(const Map *map, uint64_t key)
{
	return map->size != 0 && map_find(map, key)->key != 0;
}

void
map_remove(Map *map, uint64_t key)
{
	size_t		hole;
	size_t		slot;

	if (map->size == 0)
		return;
	hole = (size_t) (map_find(map, key) - map->entries);
	if (map->entries[hole].key == 0)
		return;
	map->count--;
	slot = hole;
	for (;;)
	{
		size_t		home;

		slot = (slot + 1) & (map->size - 1);
		if (map->entries[slot].key == 0)
			break;
		home = map_slot(map, map->entries[slot].key);
		/* May it move?  Only when its home is not between hole and slot. */
		if (((slot - home) & (map->size - 1)) < ((slot - hole) & (map->size - 1)))
			continue;
		map->entries[hole] = map->entries[slot];
		hole = slot;
	}
	map->entries[hole].key = 0;
	map->entries[hole].value = 0;
}
