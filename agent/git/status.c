/*
 * status.c
 *	  The lines of descriptor 3.
 */
#include "agent/git/status.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

#include "common/reasons.h"

static int	status_fd = STDERR_FILENO;

void
status_setup(void)
{
	if (fcntl(STATUS_FD, F_GETFD) >= 0)
		status_fd = STATUS_FD;
}

/* A whole line in one write: shorter than PIPE_BUF, so never torn. */
static void
write_line(const char *word, const char *reason, const char *fmt, va_list args)
{
	char		line[STATUS_LINE_MAX];
	int			used;

	used = snprintf(line, sizeof(line), "%s %s%s", word, reason, *reason ? " " : "");
	used += vsnprintf(line + used, sizeof(line) - (size_t) used, fmt, args);
	if (used > (int) sizeof(line) - 1)
		used = (int) sizeof(line) - 1;
	for (int i = 0; i < used; i++)
		if ((unsigned char) line[i] < 0x20 || line[i] == 0x7f)
			line[i] = '?';
	line[used++] = '\n';
	while (write(status_fd, line, (size_t) used) < 0 && errno == EINTR)
		;
}

void
status_progress(const char *fmt,...)
{
	va_list		args;

	va_start(args, fmt);
	write_line("progress", "", fmt, args);
	va_end(args);
}

void
status_ok(const char *fmt,...)
{
	va_list		args;

	va_start(args, fmt);
	write_line("ok", "", fmt, args);
	va_end(args);
}

static void
__attribute__((format(printf, 3, 4)))
write_words(const char *word, const char *reason, const char *fmt,...)
{
	va_list		args;

	va_start(args, fmt);
	write_line(word, reason, fmt, args);
	va_end(args);
}

void
status_error(const UdError *err)
{
	const char *reason = ud_reason_text(err->reason);

	if (*reason == '\0')
		reason = ud_reason_text(UD_REASON_PREP_FETCH_FAILED);
	if (err->retry_after_s > 0)
		write_words("retry_after", "", "%d", err->retry_after_s);
	write_words("error", reason, "%s", err->message);
}
