/*
 * log_tail.h
 *	  A bounded ring of log records: the end of an output that is too long.
 *
 * Records lie one after another, header and payload, wrapping at the end of
 * the memory; the oldest whole records make room for new ones.
 */
#ifndef INIT_LOG_TAIL_H
#define INIT_LOG_TAIL_H

#include <stddef.h>
#include <stdint.h>

#include "common/run_files.h"

typedef struct LogTail
{
	uint8_t    *bytes;			/* owned */
	size_t		size;
	size_t		start;			/* index of the oldest record */
	size_t		used;
} LogTail;

/* The memory is touched only when records come. */
extern void log_tail_init(LogTail *tail, size_t size);
extern void log_tail_release(LogTail *tail);

/* The longest payload log_tail_put takes. */
extern size_t log_tail_payload_max(const LogTail *tail);

/*
 * Add a record with header->length bytes of payload; returns the number of
 * payload bytes that had to be dropped for it.
 */
extern uint64_t log_tail_put(LogTail *tail, const UdLogRecord *header, const void *payload);

/*
 * Take the oldest record out; payload has room for UD_LOG_RECORD_BYTES_MAX.
 * Returns 0 when there is none.
 */
extern int	log_tail_take(LogTail *tail, UdLogRecord *header, void *payload);

#endif							/* INIT_LOG_TAIL_H */
