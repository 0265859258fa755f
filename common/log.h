/*
 * log.h
 *	  Log lines of the programs: one line each to stderr, with level and name.
 *
 * Control characters in what is logged are shown as '?', so that a hostile
 * peer cannot forge lines.  Never pass a token or a secret.
 */
#ifndef UD_LOG_H
#define UD_LOG_H

typedef enum UdLogLevel
{
	UD_LOG_DEBUG,
	UD_LOG_INFO,
	UD_LOG_WARNING,
	UD_LOG_ERROR
} UdLogLevel;

/* program appears in each line; lines below min_level are dropped. */
extern void ud_log_setup(const char *program, UdLogLevel min_level);
extern void ud_log(UdLogLevel level, const char *fmt,...) __attribute__((format(printf, 2, 3)));

#define ud_debug(...) ud_log(UD_LOG_DEBUG, __VA_ARGS__)
#define ud_info(...) ud_log(UD_LOG_INFO, __VA_ARGS__)
#define ud_warning(...) ud_log(UD_LOG_WARNING, __VA_ARGS__)
#define ud_err(...) ud_log(UD_LOG_ERROR, __VA_ARGS__)

#endif							/* UD_LOG_H */
