/*
 * log.c
 *	  Log lines of the programs.
 */
#include "common/log.h"

#include <stdarg.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

static const char *log_program = "unidesk";
static UdLogLevel log_min_level = UD_LOG_INFO;

void
ud_log_setup(const char *program, UdLogLevel min_level)
{
	log_program = program;
	log_min_level = min_level;
}

void
ud_log(UdLogLevel level, const char *fmt,...)
{
	static const char *const names[] = {"debug", "info", "warning", "error"};
	char		line[2048];
	struct timespec now;
	struct tm	utc;
	va_list		args;
	int			used;

	if (level < log_min_level)
		return;
	clock_gettime(CLOCK_REALTIME, &now);
	gmtime_r(&now.tv_sec, &utc);
	used = (int) strftime(line, sizeof(line), "%Y-%m-%dT%H:%M:%S", &utc);
	used += snprintf(line + used, sizeof(line) - (size_t) used, ".%03ldZ %s %s: ",
					 now.tv_nsec / 1000000, log_program, names[level]);
	va_start(args, fmt);
	used += vsnprintf(line + used, sizeof(line) - (size_t) used - 1, fmt, args);
	va_end(args);
	if (used > (int) sizeof(line) - 2)
		used = (int) sizeof(line) - 2;
	for (int i = 0; i < used; i++)
		if ((unsigned char) line[i] < 0x20 || line[i] == 0x7f)
			line[i] = '?';
	line[used++] = '\n';
	/* One write per line: lines of threads and processes never mix. */
	if (write(STDERR_FILENO, line, (size_t) used) < 0)
		return;
}
