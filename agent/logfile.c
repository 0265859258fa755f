/*
 * logfile.c
 *	  Reading an attempt's log: the records unidesk-init appends.
 *
 * The reader walks from record to record through a window of the file.  It
 * remembers the place of one record per MiB, so that a server which
 * acknowledged up to some offset is served from there without reading all
 * that was before.
 */
#include "agent/logfile.h"

#include <string.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/log.h"
#include "common/protocol.h"

#define WINDOW_BYTES ((size_t) (256 * 1024))
#define MARK_DISTANCE ((uint64_t) (1024 * 1024))
/* One call walks over no more than this before it finds what it is to read. */
#define WALK_RECORDS_MAX 4096
#define WALK_BYTES_MAX ((uint64_t) (8 * 1024 * 1024))
#define OFFSET_MAX ((uint64_t) 1 << 62)

void
logfile_init(LogFile *log)
{
	memset(log, 0, sizeof(*log));
	log->fd = -1;
}

void
logfile_open(LogFile *log, int fd)
{
	log->fd = fd;
}

void
logfile_release(LogFile *log)
{
	if (log->fd >= 0)
		close(log->fd);
	free(log->marks);
	free(log->buffer);
	logfile_init(log);
}

/*
 * Have want bytes (at most WINDOW_BYTES) from position in the window; returns
 * where they are, or NULL while the file is shorter.
 */
static const uint8_t *
logfile_window(LogFile *log, uint64_t position, size_t want)
{
	ssize_t		got;

	if (position >= log->buffer_position &&
		position - log->buffer_position + want <= log->buffer_len)
		return log->buffer + (position - log->buffer_position);
	if (log->buffer == NULL)
		log->buffer = ud_malloc(WINDOW_BYTES);
	got = pread(log->fd, log->buffer, WINDOW_BYTES, (off_t) position);
	log->buffer_position = position;
	log->buffer_len = got > 0 ? (size_t) got : 0;
	log->unfinished = got < 0;
	return log->buffer_len >= want ? log->buffer : NULL;
}

/*
 * The record at the reader's place, checked; false when it is not there (yet)
 * or invalid.  *payload points into the window and holds record->length bytes.
 */
static bool
logfile_peek(LogFile *log, UdLogRecord *record, const uint8_t **payload)
{
	const uint8_t *bytes;

	if (log->fd < 0 || log->damaged)
		return false;
	bytes = logfile_window(log, log->position, sizeof(*record));
	if (bytes == NULL)
		return false;
	memcpy(record, bytes, sizeof(*record));
	if (record->magic != UD_LOG_RECORD_MAGIC || record->length == 0 ||
		record->length > UD_LOG_RECORD_BYTES_MAX || record->offset != log->offset ||
		record->offset > OFFSET_MAX ||
		record->stream < UD_LOG_STDOUT || record->stream > UD_LOG_MARKER)
	{
		log->damaged = true;
		ud_warning("log record at byte %llu is invalid: the log ends at offset %llu",
				   (unsigned long long) log->position, (unsigned long long) log->offset);
		return false;
	}
	/* The payload may be still on its way: then nothing of it is taken. */
	bytes = logfile_window(log, log->position, sizeof(*record) + record->length);
	if (bytes == NULL)
		return false;
	*payload = bytes + sizeof(*record);
	return true;
}

static void
logfile_mark(LogFile *log)
{
	if (log->mark_count > 0 && log->marks[log->mark_count - 1].offset + MARK_DISTANCE > log->offset)
		return;
	if (log->mark_count == log->mark_size)
	{
		log->mark_size = log->mark_size ? log->mark_size * 2 : 16;
		log->marks = ud_realloc(log->marks, (size_t) log->mark_size * sizeof(*log->marks));
	}
	log->marks[log->mark_count].offset = log->offset;
	log->marks[log->mark_count].position = log->position;
	log->mark_count++;
}

static void
logfile_step(LogFile *log, const UdLogRecord *record)
{
	logfile_mark(log);
	log->position += sizeof(*record) + record->length;
	log->offset += record->length;
}

/* Go back to the last marked record that does not begin after offset. */
static void
logfile_rewind(LogFile *log, uint64_t offset)
{
	int			low = 0;
	int			high = log->mark_count;

	while (low < high)
	{
		int			middle = low + (high - low) / 2;

		if (log->marks[middle].offset <= offset)
			low = middle + 1;
		else
			high = middle;
	}
	log->position = low > 0 ? log->marks[low - 1].position : 0;
	log->offset = low > 0 ? log->marks[low - 1].offset : 0;
	/* What was invalid is met again when the walk comes there. */
	log->damaged = false;
}

size_t
logfile_read(LogFile *log, uint64_t offset, size_t max, UdBuf *out, uint8_t *stream)
{
	UdLogRecord record;
	const uint8_t *payload;
	size_t		taken = 0;
	int			walked = 0;
	uint64_t	walk_end;

	log->unfinished = false;
	if (offset < log->offset)
		logfile_rewind(log, offset);
	else if (log->mark_count > 0 && log->marks[log->mark_count - 1].offset <= offset &&
			 log->marks[log->mark_count - 1].offset > log->offset)
		logfile_rewind(log, offset);
	walk_end = log->position + WALK_BYTES_MAX;
	while (taken < max && logfile_peek(log, &record, &payload))
	{
		size_t		skip;
		size_t		take;

		if (offset >= log->offset + record.length)
		{
			logfile_step(log, &record);
			if (++walked < WALK_RECORDS_MAX && log->position < walk_end)
				continue;
			log->unfinished = true;
			break;
		}
		if (taken > 0 && record.stream != *stream)
			break;
		skip = (size_t) (offset - log->offset);
		take = record.length - skip;
		if (take > max - taken)
			take = max - taken;
		*stream = record.stream;
		ud_buf_append(out, payload + skip, take);
		taken += take;
		offset += take;
		if (skip + take == record.length)
			logfile_step(log, &record);
	}
	return taken;
}

uint64_t
logfile_end(LogFile *log)
{
	UdLogRecord record;
	const uint8_t *payload;

	while (logfile_peek(log, &record, &payload))
		logfile_step(log, &record);
	return log->offset;
}
