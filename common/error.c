/*
 * error.c
 *	  Filling a UdError.
 */
#include "common/error.h"

#include <stdarg.h>
#include <stdio.h>

int
ud_error(UdError *err, int code, int reason, const char *fmt,...)
{
	va_list		args;

	if (err == NULL)
		return code;
	err->code = code;
	err->reason = reason;
	err->retry_after_s = 0;
	va_start(args, fmt);
	vsnprintf(err->message, sizeof(err->message), fmt, args);
	va_end(args);
	return code;
}
