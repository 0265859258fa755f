/*
 * error.h
 *	  Errors of the programs: a caller's fixed struct, no allocation.
 *
 * A function that can fail returns 0 or a negative UD_E*, takes UdError *err
 * last and fills it where the fact is known.  Messages are in PostgreSQL's
 * style: lower case, no full stop, "could not ..." when trying again may help.
 */
#ifndef UD_ERROR_H
#define UD_ERROR_H

enum
{
	UD_EINVAL = -1,				/* the caller's or the user's input is wrong */
	UD_EIO = -2,				/* file, socket, engine */
	UD_ENOENT = -3,				/* what was asked for does not exist */
	UD_EEXIST = -4,				/* name taken by something else */
	UD_ETIMEDOUT = -5,
	UD_ECANCELLED = -6,			/* the caller's cancel flag was set */
	UD_EPROTO = -7				/* the peer broke the protocol */
};

typedef struct UdError
{
	int			code;			/* UD_E* */
	int			reason;			/* UdReason of common/reasons.h, or 0 */
	int			retry_after_s;	/* wait that the other side asked for, or 0 */
	char		message[512];
} UdError;

#define UD_MUSTCHECK __attribute__((warn_unused_result))

/*
 * Fill err (may be NULL) and return code, so that "return ud_error(...)" works.
 */
extern int	ud_error(UdError *err, int code, int reason, const char *fmt,...) __attribute__((format(printf, 4, 5)));

#endif							/* UD_ERROR_H */
