/*
 * tokens.c
 *	  The map from node tokens to nodes.
 *
 * Open addressing with linear probing over the first bytes of the sha256,
 * which nobody can choose.  The map is only ever replaced as a whole.
 */
#include "tokens.h"

#include <stdlib.h>
#include <string.h>

#include <openssl/evp.h>

#include "common/buf.h"

#define TOKENS_SIZE_MIN 64

void
tokens_release(TokenMap *map)
{
	free(map->entries);
	memset(map, 0, sizeof(*map));
}

void
tokens_hash(const char *token, size_t len, uint8_t *hash)
{
	/* Fails only without memory or without sha256; then it matches nothing. */
	if (EVP_Digest(token, len, hash, NULL, EVP_sha256(), NULL) != 1)
		memset(hash, 0, TOKEN_HASH_BYTES);
}

static TokenEntry *
tokens_slot(const TokenMap *map, const uint8_t *hash)
{
	uint64_t	start;
	size_t		slot;

	memcpy(&start, hash, sizeof(start));
	slot = (size_t) start & (map->size - 1);
	while (map->entries[slot].used &&
		   memcmp(map->entries[slot].hash, hash, TOKEN_HASH_BYTES) != 0)
		slot = (slot + 1) & (map->size - 1);
	return &map->entries[slot];
}

static void
tokens_resize(TokenMap *map, size_t size)
{
	TokenEntry *old = map->entries;
	size_t		old_size = map->size;

	map->entries = ud_calloc(size, sizeof(TokenEntry));
	map->size = size;
	for (size_t i = 0; i < old_size; i++)
		if (old[i].used)
			*tokens_slot(map, old[i].hash) = old[i];
	free(old);
}

void
tokens_add(TokenMap *map, const uint8_t *hash, int32_t node)
{
	TokenEntry *entry;

	if ((map->count + 1) * 2 > map->size)
		tokens_resize(map, map->size ? map->size * 2 : TOKENS_SIZE_MIN);
	entry = tokens_slot(map, hash);
	if (!entry->used)
		map->count++;
	entry->used = true;
	entry->node = node;
	memcpy(entry->hash, hash, TOKEN_HASH_BYTES);
}

void
tokens_replace(TokenMap *map, TokenMap *loaded)
{
	free(map->entries);
	map->entries = loaded->entries;
	map->size = loaded->size;
	map->count = loaded->count;
	map->generation++;
	memset(loaded, 0, sizeof(*loaded));
}

bool
tokens_find(const TokenMap *map, const uint8_t *hash, int32_t *node)
{
	const TokenEntry *entry;

	if (map->size == 0)
		return false;
	entry = tokens_slot(map, hash);
	if (!entry->used)
		return false;
	*node = entry->node;
	return true;
}

TokenVerdict
tokens_check(TokenMap *map, const uint8_t *hash, int32_t *node)
{
	TokenSeen  *seen;

	if (map->generation == 0)
		return TOKEN_NO_MAP;
	if (tokens_find(map, hash, node))
		return TOKEN_KNOWN;
	for (size_t i = 0; i < TOKENS_SEEN; i++)
	{
		seen = &map->seen[i];
		if (seen->generation != 0 && memcmp(seen->hash, hash, TOKEN_HASH_BYTES) == 0)
			return seen->generation < map->generation ? TOKEN_REFUSED : TOKEN_UNKNOWN;
	}
	seen = &map->seen[map->seen_next];
	map->seen_next = (map->seen_next + 1) % TOKENS_SEEN;
	memcpy(seen->hash, hash, TOKEN_HASH_BYTES);
	seen->generation = map->generation;
	return TOKEN_UNKNOWN;
}
