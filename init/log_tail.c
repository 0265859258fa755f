/*
 * log_tail.c
 *	  A bounded ring of log records.
 */
#include "init/log_tail.h"

#include <stdlib.h>
#include <string.h>

#include "common/buf.h"

/* No record takes more than this share, so that a full ring is never empty. */
#define TAIL_RECORDS_MIN 8

void
log_tail_init(LogTail *tail, size_t size)
{
	tail->bytes = ud_malloc(size);
	tail->size = size;
	tail->start = 0;
	tail->used = 0;
}

void
log_tail_release(LogTail *tail)
{
	free(tail->bytes);
	memset(tail, 0, sizeof(*tail));
}

size_t
log_tail_payload_max(const LogTail *tail)
{
	size_t		max = tail->size / TAIL_RECORDS_MIN - sizeof(UdLogRecord);

	return max < UD_LOG_RECORD_BYTES_MAX ? max : UD_LOG_RECORD_BYTES_MAX;
}

static void
ring_write(LogTail *tail, const void *from, size_t len)
{
	size_t		at = (tail->start + tail->used) % tail->size;
	size_t		first = len < tail->size - at ? len : tail->size - at;

	memcpy(tail->bytes + at, from, first);
	memcpy(tail->bytes, (const uint8_t *) from + first, len - first);
	tail->used += len;
}

/* Consume len bytes; to may be NULL. */
static void
ring_read(LogTail *tail, void *to, size_t len)
{
	size_t		first = len < tail->size - tail->start ? len : tail->size - tail->start;

	if (to != NULL)
	{
		memcpy(to, tail->bytes + tail->start, first);
		memcpy((uint8_t *) to + first, tail->bytes, len - first);
	}
	tail->start = (tail->start + len) % tail->size;
	tail->used -= len;
}

uint64_t
log_tail_put(LogTail *tail, const UdLogRecord *header, const void *payload)
{
	size_t		need = sizeof(*header) + header->length;
	uint64_t	dropped = 0;
	UdLogRecord oldest;

	while (tail->size - tail->used < need)
	{
		ring_read(tail, &oldest, sizeof(oldest));
		ring_read(tail, NULL, oldest.length);
		dropped += oldest.length;
	}
	ring_write(tail, header, sizeof(*header));
	ring_write(tail, payload, header->length);
	return dropped;
}

int
log_tail_take(LogTail *tail, UdLogRecord *header, void *payload)
{
	if (tail->used == 0)
		return 0;
	ring_read(tail, header, sizeof(*header));
	ring_read(tail, payload, header->length);
	return 1;
}
