/*
 * shown.c
 *	  Text from outside, where people will read it.
 *
 * An error that repeats a name would carry whatever the name carries: a
 * megabyte, an escape sequence for the reader's terminal, a line break that
 * forges a line of the log, marks that turn the direction of reading.  Names,
 * labels and paths with such characters are refused; what is refused is
 * quoted only as unidesk_shown leaves it.
 */
#include "unidesk.h"

#include "fmgr.h"
#include "lib/stringinfo.h"
#include "mb/pg_wchar.h"
#include "utils/builtins.h"

#define SHOWN_BYTES_MAX 100

/* C0, DEL, C1, what separates lines, what changes the direction of reading. */
static bool
is_control(pg_wchar c)
{
	return c < 0x20 || (c >= 0x7f && c <= 0x9f) || c == 0x061c || c == 0xfeff ||
		(c >= 0x200b && c <= 0x200f) || (c >= 0x2028 && c <= 0x202e) || (c >= 0x2060 && c <= 0x206f);
}

bool
unidesk_is_plain(const char *text)
{
	for (const unsigned char *c = (const unsigned char *) text; *c != '\0'; c += pg_utf_mblen(c))
		if (is_control(utf8_to_unicode(c)))
			return false;
	return true;
}

char *
unidesk_shown(const char *given)
{
	StringInfoData out;
	int			length = strlen(given);
	int			shown = pg_encoding_mbcliplen(PG_UTF8, given, length, SHOWN_BYTES_MAX);

	initStringInfo(&out);
	for (int i = 0; i < shown;)
	{
		int			bytes = pg_utf_mblen((const unsigned char *) given + i);

		if (is_control(utf8_to_unicode((const unsigned char *) given + i)))
			appendStringInfoChar(&out, '?');
		else
			appendBinaryStringInfo(&out, given + i, bytes);
		i += bytes;
	}
	if (shown < length)
		appendStringInfoString(&out, "...");
	return out.data;
}

PG_FUNCTION_INFO_V1(unidesk_shown_text);

/* unidesk._shown(text) */
Datum
unidesk_shown_text(PG_FUNCTION_ARGS)
{
	PG_RETURN_TEXT_P(cstring_to_text(unidesk_shown(text_to_cstring(PG_GETARG_TEXT_PP(0)))));
}
