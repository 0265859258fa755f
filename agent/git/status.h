/*
 * status.h
 *	  What unidesk-git tells its parent: lines on descriptor 3.
 *
 *	progress <text>				any number of times
 *	retry_after <seconds>		before an error: the server asks for that wait
 *	ok [key=value ...]			the verdict: done
 *	error <reason> <message>	the verdict: not done; reason is a text of
 *								common/reasons.h
 *
 * A line is at most STATUS_LINE_MAX bytes with its newline and holds no
 * control characters.  An end without a verdict means that the program died.
 */
#ifndef GIT_STATUS_H
#define GIT_STATUS_H

#include "common/error.h"

#define STATUS_FD 3
#define STATUS_LINE_MAX 1024

/* Lines go to descriptor 3, or to stderr when that is closed (run by hand). */
extern void status_setup(void);
extern void status_progress(const char *fmt,...) __attribute__((format(printf, 1, 2)));
extern void status_ok(const char *fmt,...) __attribute__((format(printf, 1, 2)));
extern void status_error(const UdError *err);

#endif							/* GIT_STATUS_H */
