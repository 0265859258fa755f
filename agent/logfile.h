/*
 * logfile.h
 *	  Reading an attempt's log: the records unidesk-init appends.
 *
 * The file lies in a directory the task can write to, so every record is
 * judged as hostile input: the first one that is not what the format asks for
 * ends the log there, for good.  Memory and time stay bounded whatever is in
 * the file.  Used by one thread at a time.
 */
#ifndef AGENT_LOGFILE_H
#define AGENT_LOGFILE_H

#include <stdbool.h>
#include <stdint.h>

#include "common/buf.h"
#include "common/run_files.h"

typedef struct LogMark
{
	uint64_t	offset;			/* payload offset of the record ... */
	uint64_t	position;		/* ... that starts at this place of the file */
} LogMark;

typedef struct LogFile
{
	int			fd;				/* owned, -1: not open */
	bool		damaged;		/* a record was invalid: nothing follows */
	bool		unfinished;		/* the last read ended before the end: at its
								 * bound, or because the file could not be
								 * read: ask again later */
	uint64_t	position;		/* file position of the next record to walk
								 * over */
	uint64_t	offset;			/* payload offset it must carry */
	LogMark    *marks;			/* ascending, about one per MiB; owned */
	int			mark_count;
	int			mark_size;
	uint8_t    *buffer;			/* owned; file bytes from buffer_position on */
	uint64_t	buffer_position;
	size_t		buffer_len;
} LogFile;

/* A LogFile of zeroes must be given to logfile_init before anything else. */
extern void logfile_init(LogFile *log);

/* Takes the descriptor over. */
extern void logfile_open(LogFile *log, int fd);
extern void logfile_release(LogFile *log);

/*
 * Bytes from payload offset on: at most max, of one stream, appended to out.
 * Returns their number, 0 when there is nothing more at present (or ever, see
 * damaged or unfinished); *stream is then not set.  Sequential use costs
 * O(bytes); a jump costs a walk over at most about one MiB of records once that
 * part is known, else a walk that is spread over calls, each of a bounded
 * number of records and bytes.
 */
extern size_t logfile_read(LogFile *log, uint64_t offset, size_t max, UdBuf *out, uint8_t *stream);

/* Walk to the present end; the offset after the last byte of valid records. */
extern uint64_t logfile_end(LogFile *log);

#endif							/* AGENT_LOGFILE_H */
