/*
 * cache_index.c
 *	  What the agent keeps for later, in the order of its last use.
 */
#include "agent/cache_index.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "common/cleanup.h"
#include "common/log.h"

#define INDEX_FILE "index"
#define INDEX_BYTES_MAX ((size_t) 64 * 1024 * 1024)
#define NAME_BYTES_MAX 512
/* The file is written anew when it has so many lines more than it needs. */
#define SPARE_LINES 1000

static const char *const kind_names[] = {"image", "mirror", "layer", "debris", "container"};

#define KIND_COUNT (sizeof(kind_names) / sizeof(kind_names[0]))

static void
write_line(UdBuf *out, const CacheItem *item)
{
	ud_buf_printf(out, "%s %s", kind_names[item->kind], item->name);
	if (item->since != 0)
		ud_buf_printf(out, " %" PRId64, item->since);
	ud_buf_printf(out, "\n");
}

void
cache_index_write(CacheIndex *index)
{
	ud_auto_buf UdBuf text = {0};
	UdError		err;

	for (size_t i = 0; i < index->count; i++)
		write_line(&text, &index->items[i]);
	if (data_write_file(index->data, INDEX_FILE, text.data, text.len, &err) < 0)
		ud_warning("could not write down what the caches hold: %s", err.message);
	index->lines = index->count;
}

ptrdiff_t
cache_index_find(const CacheIndex *index, CacheKind kind, const char *name)
{
	for (size_t i = index->count; i > 0; i--)
		if (index->items[i - 1].kind == kind && strcmp(index->items[i - 1].name, name) == 0)
			return (ptrdiff_t) i - 1;
	return -1;
}

/* A new item at a place. */
static CacheItem *
insert(CacheIndex *index, size_t place, CacheKind kind, const char *name, int64_t since)
{
	CacheItem  *item;

	if (index->count == index->size)
	{
		index->size = index->size ? index->size * 2 : 64;
		index->items = ud_realloc(index->items, index->size * sizeof(*index->items));
	}
	item = &index->items[place];
	memmove(item + 1, item, (index->count - place) * sizeof(*item));
	memset(item, 0, sizeof(*item));
	item->kind = kind;
	item->name = ud_strdup(name);
	item->since = since;
	index->count++;
	return item;
}

void
cache_index_drop(CacheIndex *index, size_t place)
{
	CacheItem  *item = &index->items[place];

	free(item->name);
	index->count--;
	memmove(item, item + 1, (index->count - place) * sizeof(*item));
}

/* To the end of the order; in memory only. */
static CacheItem *
move_last(CacheIndex *index, CacheKind kind, const char *name, int64_t since)
{
	ptrdiff_t	place = cache_index_find(index, kind, name);
	CacheItem	item;

	if (place < 0)
		return insert(index, index->count, kind, name, since);
	item = index->items[place];
	memmove(&index->items[place], &index->items[place + 1], (index->count - (size_t) place - 1) * sizeof(item));
	index->items[index->count - 1] = item;
	return &index->items[index->count - 1];
}

CacheItem *
cache_index_use(CacheIndex *index, CacheKind kind, const char *name, int64_t since)
{
	CacheItem  *item = move_last(index, kind, name, since);
	ud_auto_buf UdBuf line = {0};
	UdError		err;

	item->settled = false;
	if (index->lines >= 2 * index->count + SPARE_LINES)
	{
		cache_index_write(index);
		return item;
	}
	write_line(&line, item);
	if (data_append_file(index->data, INDEX_FILE, line.data, line.len, &err) < 0)
		ud_debug("could not write down what was used: %s", err.message);
	index->lines++;
	return item;
}

void
cache_index_adopt(CacheIndex *index, CacheKind kind, const char *name)
{
	if (cache_index_find(index, kind, name) < 0)
		insert(index, 0, kind, name, 0);
}

/* One line, NUL-terminated: its words go into the index when they are valid. */
static void
read_line(CacheIndex *index, char *line)
{
	char	   *kind = strsep(&line, " ");
	char	   *name = strsep(&line, " ");
	int64_t		since = line != NULL ? strtoll(line, NULL, 10) : 0;

	if (name == NULL || name[0] == '\0' || strlen(name) > NAME_BYTES_MAX)
		return;
	for (size_t i = 0; i < KIND_COUNT; i++)
		if (strcmp(kind, kind_names[i]) == 0 && ((CacheKind) i >= CACHE_LAYER) == (since > 0))
			move_last(index, (CacheKind) i, name, since);
}

void
cache_index_read(CacheIndex *index, const DataDir *data)
{
	ud_auto_buf UdBuf text = {0};
	UdError		err;
	ud_auto_free char *copy = NULL;
	char	   *rest;
	char	   *line;

	memset(index, 0, sizeof(*index));
	index->data = data;
	if (data_read_file(data, INDEX_FILE, INDEX_BYTES_MAX, &text, &err) < 0)
	{
		if (err.code != UD_ENOENT)
			ud_warning("what the caches hold is not known: %s", err.message);
		return;
	}
	copy = ud_strdup(ud_buf_text(&text));
	rest = copy;
	while ((line = strsep(&rest, "\n")) != NULL)
		read_line(index, line);
	cache_index_write(index);
}

void
cache_index_release(CacheIndex *index)
{
	for (size_t i = 0; i < index->count; i++)
		free(index->items[i].name);
	free(index->items);
	memset(index, 0, sizeof(*index));
}
