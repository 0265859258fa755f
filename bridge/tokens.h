/*
 * tokens.h
 *	  The map from node tokens (their sha256) to nodes, a cache of the
 *	  database's, and the verdict on a token.
 *
 * A token this map does not know may be newer than the map.  It is answered
 * with "try again" once while the map is loaded again, and refused when it is
 * still unknown after that.
 */
#ifndef TOKENS_H
#define TOKENS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define TOKEN_HASH_BYTES 32
#define TOKEN_TEXT_BYTES_MAX 512
#define TOKENS_SEEN 256

typedef struct TokenEntry
{
	uint8_t		hash[TOKEN_HASH_BYTES];
	int32_t		node;
	bool		used;
} TokenEntry;

/* An unknown token and the map's generation when it first came. */
typedef struct TokenSeen
{
	uint8_t		hash[TOKEN_HASH_BYTES];
	uint64_t	generation;		/* 0: free */
} TokenSeen;

typedef struct TokenMap
{
	TokenEntry *entries;		/* owned; size of them, a power of two */
	size_t		size;
	size_t		count;
	uint64_t	generation;		/* 0 until the first load */
	TokenSeen	seen[TOKENS_SEEN];
	size_t		seen_next;		/* the one overwritten next */
} TokenMap;

typedef enum TokenVerdict
{
	TOKEN_KNOWN,
	TOKEN_NO_MAP,				/* nothing loaded yet */
	TOKEN_UNKNOWN,				/* load the map again, then ask again */
	TOKEN_REFUSED				/* unknown to a map loaded after it came */
} TokenVerdict;

extern void tokens_release(TokenMap *map);

/* Hash the text of a token. */
extern void tokens_hash(const char *token, size_t len, uint8_t *hash);

/*
 * Loading: fill a TokenMap of zeroes by tokens_add, then give it to
 * tokens_replace, which takes its entries and counts the generation up.
 */
extern void tokens_add(TokenMap *map, const uint8_t *hash, int32_t node);
extern void tokens_replace(TokenMap *map, TokenMap *loaded);

/* True, and the node, when the hash is in the map. */
extern bool tokens_find(const TokenMap *map, const uint8_t *hash, int32_t *node);
extern TokenVerdict tokens_check(TokenMap *map, const uint8_t *hash, int32_t *node);

#endif							/* TOKENS_H */
