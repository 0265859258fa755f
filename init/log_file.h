/*
 * log_file.h
 *	  The attempt's log: exact bytes, in arrival order, within a budget.
 *
 * The budget bounds the size of the file, record headers included.  Output
 * goes to the file until only the room kept for the tail is left; from then
 * on the last bytes are held in memory and written at the end, after one
 * marker record that says how many bytes between head and tail are missing.
 * Appending never fails and never waits for anybody: a disk that is full has
 * the effect of a budget that is used up.
 */
#ifndef INIT_LOG_FILE_H
#define INIT_LOG_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/error.h"
#include "common/protocol.h"
#include "common/run_files.h"
#include "init/log_tail.h"

#define LOG_BUDGET_DEFAULT (UINT64_C(100) * 1024 * 1024)
#define LOG_BUDGET_MIN UINT64_C(4096)
#define LOG_TAIL_BYTES_MAX (4 * 1024 * 1024)

typedef struct LogFile
{
	int			fd;				/* owned */
	uint64_t	size;			/* bytes of the file, whole records only */
	uint64_t	head_max;		/* where the head ends */
	uint64_t	offset;			/* payload offset of the next record */
	uint64_t	cut;			/* payload bytes dropped */
	bool		in_tail;		/* the head is full: never to be left again */
	int64_t		touched_ns;
	LogTail		tail;
} LogFile;

/* UD_EEXIST when the log already holds something: no attempt runs twice. */
extern int	log_file_open(LogFile *log, int dir_fd, uint64_t budget, UdError *err) UD_MUSTCHECK;
extern void log_file_append(LogFile *log, UdLogStream stream, const void *bytes, size_t len);

/* Write marker and tail, sync, close.  offset and cut stay valid. */
extern void log_file_finish(LogFile *log);

#endif							/* INIT_LOG_FILE_H */
