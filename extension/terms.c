/*
 * terms.c
 *	  The terms of a request: all of it but what runs (its spec and commit) and
 *	  what is meant for once (hold, not_before, idempotency_key).
 *
 * A JSON object as submit_tasks takes it, without what is as by default: equal
 * terms are one row, ordinary ones {}.  rerun_task submits it again.
 */
#include "unidesk.h"

#include "lib/stringinfo.h"
#include "utils/json.h"

#include "request.h"

static void
begin_field(StringInfo text, const char *field)
{
	appendStringInfo(text, "%s\"%s\":", text->len > 1 ? "," : "", field);
}

static void
put_number(StringInfo text, const char *field, int64 value, int64 by_default)
{
	if (value == by_default)
		return;
	begin_field(text, field);
	appendStringInfo(text, "%lld", (long long) value);
}

static void
put_text(StringInfo text, const char *field, const char *value, const char *by_default)
{
	if (value == NULL || strcmp(value, by_default) == 0)
		return;
	begin_field(text, field);
	escape_json(text, value);
}

static void
put_cpus(StringInfo text, int32 milli)
{
	if (milli == 1000)
		return;
	begin_field(text, "cpus");
	appendStringInfo(text, "%d.%03d", milli / 1000, milli % 1000);
}

/* Lines of key=value back into an object; a key has no "=". */
static void
put_labels(StringInfo text, const char *labels)
{
	char	   *rest = pstrdup(labels);
	char	   *line;
	bool		first = true;

	if (labels[0] == '\0')
		return;
	begin_field(text, "labels");
	while ((line = strsep(&rest, "\n")) != NULL)
	{
		char	   *value = strchr(line, '=');

		*value++ = '\0';
		appendStringInfoChar(text, first ? '{' : ',');
		escape_json(text, line);
		appendStringInfoChar(text, ':');
		escape_json(text, value);
		first = false;
	}
	appendStringInfoChar(text, '}');
}

static void
put_exit_codes(StringInfo text, const uint64 *bits)
{
	bool		first = true;

	begin_field(text, "retry_on");
	for (int code = 1; code < 256; code++)
		if (bits[code / 64] >> (code % 64) & 1)
		{
			appendStringInfo(text, "%c%d", first ? '[' : ',', code);
			first = false;
		}
	appendStringInfoString(text, first ? "[]" : "]");
}

/* A line for each argument; control.sql fails for one that is missing. */
char *
unidesk_terms_text(const UnideskRequest *r)
{
	UnideskRequest plain;
	StringInfoData text;

	unidesk_request_init(&plain);
	initStringInfo(&text);
	appendStringInfoChar(&text, '{');
	put_cpus(&text, r->cpus_milli);
	put_number(&text, "memory", r->memory, plain.memory);
	put_number(&text, "gpus", r->gpus, plain.gpus);
	put_labels(&text, r->labels);
	put_number(&text, "priority", r->priority, plain.priority);
	put_number(&text, "queue_timeout", r->queue_s, plain.queue_s);
	put_number(&text, "prepare_timeout", r->prepare_s, plain.prepare_s);
	put_number(&text, "run_timeout", r->run_s, plain.run_s);
	put_number(&text, "max_retries", r->max_retries, plain.max_retries);
	put_text(&text, "on_lost", r->on_lost, "requeue");
	put_number(&text, "lease", r->lease_s, plain.lease_s);
	put_number(&text, "grace", r->grace_s, plain.grace_s);
	put_number(&text, "total_timeout", r->total_s, plain.total_s);
	put_number(&text, "idle_timeout", r->idle_s, plain.idle_s);
	put_number(&text, "warn_before", r->warn_s, plain.warn_s);
	if (r->warn_s != plain.warn_s)
		put_text(&text, "warn_signal", r->warn_signal, "USR1");
	if (r->has_restart_exit_code)
		put_number(&text, "restart_exit_code", r->restart_exit_code, 0);
	if (r->has_retry_on)
		put_exit_codes(&text, r->retry_on);
	appendStringInfoChar(&text, '}');
	return text.data;
}
