/*
 * logtext.c
 *	  Bytes of a log as text for people.
 */
#include "unidesk.h"

#include "fmgr.h"
#include "lib/stringinfo.h"
#include "mb/pg_wchar.h"
#include "utils/builtins.h"

#define REPLACEMENT "\xef\xbf\xbd"	/* U+FFFD */

PG_FUNCTION_INFO_V1(unidesk_lossy_text);

/* unidesk._lossy_text(bytes): valid UTF-8 kept, everything else as U+FFFD. */
Datum
unidesk_lossy_text(PG_FUNCTION_ARGS)
{
	bytea	   *bytes = PG_GETARG_BYTEA_PP(0);
	const unsigned char *in = (const unsigned char *) VARDATA_ANY(bytes);
	int			left = VARSIZE_ANY_EXHDR(bytes);
	StringInfoData out;

	initStringInfo(&out);
	while (left > 0)
	{
		int			length = pg_utf_mblen(in);

		if (*in != '\0' && length <= left && pg_utf8_islegal(in, length))
			appendBinaryStringInfo(&out, (const char *) in, length);
		else
		{
			appendBinaryStringInfo(&out, REPLACEMENT, 3);
			length = 1;
		}
		in += length;
		left -= length;
	}
	PG_RETURN_TEXT_P(cstring_to_text_with_len(out.data, out.len));
}
