/*
 * answer.h
 *	  How long the repository's server asks to wait before another try.
 */
#ifndef GIT_ANSWER_H
#define GIT_ANSWER_H

#include <time.h>

#include "common/error.h"

#define ANSWER_RETRY_AFTER_MAX_S 86400

/* From here on the heads of answers are looked at. */
extern int	answer_register(UdError *err) UD_MUSTCHECK;

/* Seconds that the last answer since answer_clear asked for; 0: none. */
extern int	answer_retry_after_s(void);
extern void answer_clear(void);

/*
 * Retry-After of an answer's head (status line and header) with a status that
 * may pass: 403, 429, 5xx.  A date counts from the server's own Date, else from
 * now.  At most ANSWER_RETRY_AFTER_MAX_S; 0 when it says nothing usable.
 */
extern int	answer_parse_retry_after(const char *head, time_t now);

#endif							/* GIT_ANSWER_H */
