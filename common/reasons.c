/*
 * reasons.c
 *	  Look-ups in the closed list of reasons.
 */
#include "common/reasons.h"

#include <string.h>

const char *
ud_reason_text(int reason)
{
	switch (reason)
	{
#define X(name, number, text, retryable, counts) case number: return text;
			UD_REASONS(X)
#undef X
	}
	return "";
}

int
ud_reason_number(const char *wanted)
{
#define X(name, number, text, retryable, counts) if (strcmp(wanted, text) == 0) return number;
	UD_REASONS(X)
#undef X
		return -1;
}

int
ud_reason_is_retryable(int reason)
{
	switch (reason)
	{
#define X(name, number, text, retryable, counts) case number: return retryable;
			UD_REASONS(X)
#undef X
	}
	return 0;
}

int
ud_reason_counts(int reason)
{
	switch (reason)
	{
#define X(name, number, text, retryable, counts) case number: return counts;
			UD_REASONS(X)
#undef X
	}
	return 1;
}
