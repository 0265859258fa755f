/*
 * map.h
 *	  A hash map from 64-bit numbers to 64-bit values, open addressing.
 *
 * Key 0 is not allowed.  Used for connection numbers, session numbers and
 * addresses; a value is a number or a pointer cast to uintptr_t.
 */
#ifndef MAP_H
#define MAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct MapEntry
{
	uint64_t	key;			/* 0: free */
	uint64_t	value;
} MapEntry;

/* A map of zeroes is an empty map. */
typedef struct Map
{
	MapEntry   *entries;		/* owned; size of them, a power of two */
	size_t		size;
	size_t		count;
} Map;

extern void map_release(Map *map);

/* Insert, or replace the value. */
extern void map_put(Map *map, uint64_t key, uint64_t value);

/* 0 when the key is absent. */
extern uint64_t map_get(const Map *map, uint64_t key);
extern bool map_has(const Map *map, uint64_t key);
extern void map_remove(Map *map, uint64_t key);

#endif							/* MAP_H */
