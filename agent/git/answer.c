/*
 * answer.c
 *	  Retry-After of the repository's server, see answer.h.
 *
 * libgit2 keeps nothing of an answer that it takes for an error but its
 * status.  Its trace is the one place where https can be read like http: a
 * stream of ours lies below TLS.  What the trace of another version does not
 * say is a wait not known, no more.
 */
#include "agent/git/answer.h"

#include <ctype.h>
#include <git2.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "common/reasons.h"

#define HEAD_BYTES_MAX 16384
#define SENDING "Sending "
#define RECEIVED "Received:\n"

/* The answer under way, up to its empty line. */
static char head[HEAD_BYTES_MAX];
static size_t head_len;
static bool head_is_read;
static int	retry_after_s;

/* The value of a header's field without blanks around it; false: not there. */
static bool
header_value(const char *text, const char *name, char *value, size_t size)
{
	size_t		name_len = strlen(name);

	for (const char *line = strchr(text, '\n'); line != NULL; line = strchr(line, '\n'))
	{
		size_t		len;

		line++;
		if (strncasecmp(line, name, name_len) != 0 || line[name_len] != ':')
			continue;
		line += name_len + 1;
		line += strspn(line, " \t");
		len = strcspn(line, "\r\n");
		while (len > 0 && isspace((unsigned char) line[len - 1]))
			len--;
		snprintf(value, size, "%.*s", (int) len, line);
		return len > 0 && len < size;
	}
	return false;
}

/* The three forms of a date in HTTP. */
static bool
parse_date(const char *text, time_t *out)
{
	static const char *const forms[] = {
		"%a, %d %b %Y %H:%M:%S GMT",
		"%a, %d-%b-%y %H:%M:%S GMT",
		"%a %b %d %H:%M:%S %Y",
	};

	for (size_t i = 0; i < sizeof(forms) / sizeof(forms[0]); i++)
	{
		struct tm	parts = {0};
		const char *end = strptime(text, forms[i], &parts);

		if (end == NULL || *end != '\0')
			continue;
		*out = timegm(&parts);
		return true;
	}
	return false;
}

int
answer_parse_retry_after(const char *text, time_t now)
{
	char		value[64];
	char		date[64];
	int			status = 0;
	time_t		until;
	long long	wait_s;

	if (sscanf(text, "HTTP/1.%*1d %3d", &status) != 1 || (status != 403 && status != 429 && status < 500))
		return 0;
	if (!header_value(text, "Retry-After", value, sizeof(value)))
		return 0;
	if (value[strspn(value, "0123456789")] == '\0')
		wait_s = strtoll(value, NULL, 10);
	else if (parse_date(value, &until))
	{
		if (header_value(text, "Date", date, sizeof(date)))
			(void) parse_date(date, &now);
		wait_s = until - now;
	}
	else
		return 0;
	if (wait_s <= 0)
		return 0;
	return wait_s < ANSWER_RETRY_AFTER_MAX_S ? (int) wait_s : ANSWER_RETRY_AFTER_MAX_S;
}

static void
take_bytes(const char *bytes)
{
	size_t		len = strlen(bytes);
	char	   *end;

	if (head_is_read)
		return;
	if (len > sizeof(head) - 1 - head_len)
		len = sizeof(head) - 1 - head_len;
	memcpy(head + head_len, bytes, len);
	head_len += len;
	head[head_len] = '\0';
	end = strstr(head, "\r\n\r\n");
	head_is_read = end != NULL || head_len == sizeof(head) - 1;
	if (end == NULL)
		return;
	*end = '\0';
	retry_after_s = answer_parse_retry_after(head, time(NULL));
}

static void
on_trace(git_trace_level_t level, const char *text)
{
	(void) level;
	if (strncmp(text, SENDING, strlen(SENDING)) == 0)
	{
		head_len = 0;
		head_is_read = false;
	}
	else if (strncmp(text, RECEIVED, strlen(RECEIVED)) == 0)
		take_bytes(text + strlen(RECEIVED));
}

int
answer_register(UdError *err)
{
	answer_clear();
	if (git_trace_set(GIT_TRACE_TRACE, on_trace) != 0)
		return ud_error(err, UD_EIO, UD_REASON_PREP_FETCH_FAILED, "could not register the reader of answers");
	return 0;
}

int
answer_retry_after_s(void)
{
	return retry_after_s;
}

void
answer_clear(void)
{
	head_len = 0;
	head_is_read = false;
	retry_after_s = 0;
}
