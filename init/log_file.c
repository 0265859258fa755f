/*
 * log_file.c
 *	  Writing the attempt's log.
 */
#include "init/log_file.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include "common/log.h"
#include "common/clock.h"

/* Room kept for the marker record between head and tail. */
#define MARKER_BYTES_MAX 256

int
log_file_open(LogFile *log, int dir_fd, uint64_t budget, UdError *err)
{
	uint64_t	tail = budget / 2;
	struct stat st;

	memset(log, 0, sizeof(*log));
	log->fd = openat(dir_fd, UD_RUN_LOG, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0644);
	if (log->fd < 0)
		return ud_error(err, UD_EIO, 0, "could not open \"%s\": %s", UD_RUN_LOG, strerror(errno));
	if (fstat(log->fd, &st) != 0 || !S_ISREG(st.st_mode) || st.st_size != 0)
	{
		close(log->fd);
		return ud_error(err, UD_EEXIST, 0, "\"%s\" is not an empty file: this attempt ran before", UD_RUN_LOG);
	}
	if (tail > LOG_TAIL_BYTES_MAX)
		tail = LOG_TAIL_BYTES_MAX;
	log->head_max = budget - tail - MARKER_BYTES_MAX;
	log_tail_init(&log->tail, (size_t) tail);
	return 0;
}

static void
fill_header(UdLogRecord *header, UdLogStream stream, size_t len)
{
	memset(header, 0, sizeof(*header));
	header->magic = UD_LOG_RECORD_MAGIC;
	header->length = (uint32_t) len;
	header->realtime_ns = clock_ns(CLOCK_REALTIME);
	header->stream = (uint8_t) stream;
}

/*
 * One record to the file, or nothing: what was written of it is taken back,
 * so that a reader never meets half a record in the middle.
 */
static int
write_record(LogFile *log, UdLogRecord *header, const void *payload)
{
	struct iovec parts[2];
	ssize_t		total = (ssize_t) (sizeof(*header) + header->length);
	ssize_t		done;

	header->offset = log->offset;
	parts[0].iov_base = header;
	parts[0].iov_len = sizeof(*header);
	parts[1].iov_base = (void *) payload;
	parts[1].iov_len = header->length;
	done = writev(log->fd, parts, 2);
	if (done != total)
	{
		/* A short write to a file means a full disk or a limit. */
		ud_warning("could not write the log: %s", strerror(done < 0 ? errno : ENOSPC));
		if (ftruncate(log->fd, (off_t) log->size) != 0)
			ud_warning("could not cut the log: %s", strerror(errno));
		return -1;
	}
	log->size += (uint64_t) total;
	log->offset += header->length;
	return 0;
}

/* As much as the head still takes; returns the number of bytes. */
static size_t
append_head(LogFile *log, UdLogStream stream, const void *bytes, size_t len)
{
	UdLogRecord header;

	if (log->size + sizeof(header) >= log->head_max)
		return 0;
	if (len > log->head_max - log->size - sizeof(header))
		len = (size_t) (log->head_max - log->size - sizeof(header));
	if (len > UD_LOG_RECORD_BYTES_MAX)
		len = UD_LOG_RECORD_BYTES_MAX;
	fill_header(&header, stream, len);
	return write_record(log, &header, bytes) == 0 ? len : 0;
}

/*
 * What goes into the tail does not make the file grow; its time says all the
 * same that there is something.  At most once a second.
 */
static void
touch(LogFile *log)
{
	int64_t		now = clock_ns(CLOCK_MONOTONIC);

	if (log->touched_ns != 0 && now - log->touched_ns < NS_PER_S)
		return;
	log->touched_ns = now;
	if (futimens(log->fd, NULL) != 0)
		ud_warning("could not touch the log: %s", strerror(errno));
}

void
log_file_append(LogFile *log, UdLogStream stream, const void *bytes, size_t len)
{
	const uint8_t *next = bytes;
	size_t		piece;
	UdLogRecord header;

	while (len > 0 && !log->in_tail)
	{
		piece = append_head(log, stream, next, len);
		log->in_tail = piece == 0;
		next += piece;
		len -= piece;
	}
	if (len > 0)
		touch(log);
	while (len > 0)
	{
		piece = log_tail_payload_max(&log->tail);
		if (piece > len)
			piece = len;
		fill_header(&header, stream, piece);
		log->cut += log_tail_put(&log->tail, &header, next);
		next += piece;
		len -= piece;
	}
}

static void
write_tail(LogFile *log)
{
	static uint8_t payload[UD_LOG_RECORD_BYTES_MAX];
	UdLogRecord header;
	char		text[MARKER_BYTES_MAX - sizeof(UdLogRecord)];
	bool		failed = false;

	if (log->cut > 0)
	{
		snprintf(text, sizeof(text), "unidesk: %" PRIu64 " bytes of output were cut here\n", log->cut);
		fill_header(&header, UD_LOG_MARKER, strlen(text));
		failed = write_record(log, &header, text) != 0;
	}
	while (log_tail_take(&log->tail, &header, payload))
	{
		failed = failed || write_record(log, &header, payload) != 0;
		if (failed)
			log->cut += header.length;
	}
}

void
log_file_finish(LogFile *log)
{
	write_tail(log);
	/* The exit record names the log's end: the log must not be younger. */
	if (fdatasync(log->fd) != 0)
		ud_warning("could not sync the log: %s", strerror(errno));
	close(log->fd);
	log->fd = -1;
	log_tail_release(&log->tail);
}
