/*
 * report.c
 *	  Parsing the bodies of reports and beats without ever raising an error.
 *
 * Agents are hostile until proven otherwise, and one bad body must not fail
 * the batch it came in; jsonb input raises and costs 7 us.  So this drives
 * PostgreSQL's own JSON parser, which returns a code, with callbacks that
 * keep the known fields of the top level and of stage_ms, and type-check each.
 */
#include "unidesk.h"

#include <math.h>

#include "common/jsonapi.h"
#include "mb/pg_wchar.h"

#include "common/protocol.h"
#include "common/reasons.h"
#include "report.h"

#define MESSAGE_BYTES_MAX 4000
#define RETRY_AFTER_MAX_S 86400
#define BODY_BYTES_MAX 32768
#define BRACKETS_MAX 64

typedef struct ParseState
{
	UnideskReport *report;
	int			depth;			/* open objects and arrays */
	char	   *field;			/* current field of the top level */
	char	   *inner;			/* current field below stage_ms */
	const char *error;			/* first complaint */
} ParseState;

#if PG_VERSION_NUM >= 160000
#define CALLBACK static JsonParseErrorType
#define CALLBACK_DONE return JSON_SUCCESS
#else
#define CALLBACK static void
#define CALLBACK_DONE return
#endif

void
unidesk_report_init(UnideskReport *report)
{
	memset(report, 0, sizeof(*report));
	report->log_end = -1;
	for (int i = 0; i < UNIDESK_STAGES; i++)
		report->stage_ms[i] = -1;
}

static bool
parse_int64(const char *token, JsonTokenType type, int64 min, int64 max, int64 *value)
{
	char	   *end;

	if (type != JSON_TOKEN_NUMBER)
		return false;
	errno = 0;
	*value = strtoll(token, &end, 10);
	return errno == 0 && *end == '\0' && *value >= min && *value <= max;
}

/* sha256:<64 hex> to 32 bytes */
static bytea *
parse_image_id(const char *token)
{
	bytea	   *id;

	if (strlen(token) != 7 + 64 || strncmp(token, "sha256:", 7) != 0)
		return NULL;
	if (strspn(token + 7, "0123456789abcdef") != 64)
		return NULL;
	id = palloc(VARHDRSZ + 32);
	SET_VARSIZE(id, VARHDRSZ + 32);
	for (int i = 0; i < 32; i++)
	{
		char		hex[3] = {token[7 + 2 * i], token[8 + 2 * i], '\0'};

		VARDATA(id)[i] = (char) strtol(hex, NULL, 16);
	}
	return id;
}

/* Cut to a length that does not split a character. */
static char *
clipped(const char *text)
{
	int			length = strlen(text);

	return pnstrdup(text, pg_encoding_mbcliplen(PG_UTF8, text, length, MESSAGE_BYTES_MAX));
}

static void
take_stage(ParseState *state, const char *token, JsonTokenType type)
{
	static const char *const stages[UNIDESK_STAGES] = {"fetch", "build", "stage_in", "run"};
	int64		value;

	for (int i = 0; i < UNIDESK_STAGES; i++)
	{
		if (state->inner == NULL || strcmp(state->inner, stages[i]) != 0)
			continue;
		if (!parse_int64(token, type, 0, PG_INT32_MAX, &value))
			state->error = "stage_ms holds something else than milliseconds";
		else
			state->report->stage_ms[i] = (int32) value;
	}
}

/* Is the field of the top level one of those that hold a single value? */
static bool
is_single_value(const char *field)
{
	static const char *const names[] = {"phase", "reason", "image_id", "message", "exit_code", "log_end", "oom", "retry_after_s", "checkpoint"};

	/* In an array there is no field. */
	for (size_t i = 0; field != NULL && i < lengthof(names); i++)
		if (strcmp(field, names[i]) == 0)
			return true;
	return false;
}

static void
take_text_field(ParseState *state, const char *field, const char *token)
{
	UnideskReport *report = state->report;

	if (strcmp(field, "phase") == 0)
	{
#define X(name, number, text) if (strcmp(token, text) == 0) report->phase = number;
		UD_PREPARE_PHASES(X)
#undef X
			if (report->phase == 0)
			state->error = "phase is unknown";
	}
	else if (strcmp(field, "reason") == 0)
	{
		report->reason = ud_reason_number(token);
		if (report->reason <= 0)
			state->error = "reason is not in the list";
	}
	else if (strcmp(field, "image_id") == 0)
	{
		report->image_id = parse_image_id(token);
		if (report->image_id == NULL)
			state->error = "image_id is not sha256: and 64 hex digits";
	}
	else if (strcmp(field, "message") == 0)
		report->message = clipped(token);
	else if (is_single_value(field) || strcmp(field, "stage_ms") == 0)
		state->error = "a string is given instead of something else";
}

static void
take_field(ParseState *state, const char *token, JsonTokenType type)
{
	UnideskReport *report = state->report;
	const char *field = state->field;
	int64		value;

	if (type == JSON_TOKEN_NULL)
		return;
	if (type == JSON_TOKEN_STRING)
		take_text_field(state, field, token);
	else if (strcmp(field, "exit_code") == 0)
	{
		if (!parse_int64(token, type, -1, 255, &value))
			state->error = "exit_code is not a number from 0 to 255";
		else
		{
			report->has_exit_code = true;
			report->exit_code = (int32) value;
		}
	}
	else if (strcmp(field, "log_end") == 0)
	{
		if (!parse_int64(token, type, 0, PG_INT64_MAX / 2, &value))
			state->error = "log_end is not an offset";
		else
			report->log_end = value;
	}
	else if (strcmp(field, "retry_after_s") == 0)
	{
		if (!parse_int64(token, type, 1, RETRY_AFTER_MAX_S, &value))
			state->error = "retry_after_s is not a number of seconds from 1 to 86400";
		else
			report->retry_after_s = (int32) value;
	}
	else if (strcmp(field, "oom") == 0)
	{
		report->oom = (type == JSON_TOKEN_TRUE);
		if (type != JSON_TOKEN_TRUE && type != JSON_TOKEN_FALSE)
			state->error = "oom is neither true nor false";
	}
	else if (strcmp(field, "checkpoint") == 0)
	{
		report->checkpoint = type == JSON_TOKEN_TRUE ? UNIDESK_CHECKPOINT_THERE : UNIDESK_CHECKPOINT_NONE;
		if (type != JSON_TOKEN_TRUE && type != JSON_TOKEN_FALSE)
			state->error = "checkpoint is neither true nor false";
	}
	else if (strcmp(field, "stage_ms") == 0)
		state->error = "stage_ms is not an object";
	else if (is_single_value(field))
		state->error = "a text field is not a string";
}

CALLBACK
open_object(void *arg)
{
	ParseState *state = arg;

	if (state->depth++ == 1 && is_single_value(state->field))
		state->error = "an object is given instead of a single value";
	CALLBACK_DONE;
}

CALLBACK
open_array(void *arg)
{
	ParseState *state = arg;

	if (state->depth == 0)
		state->error = "body is not an object";
	else if (state->depth == 1 && state->field != NULL &&
			 (is_single_value(state->field) || strcmp(state->field, "stage_ms") == 0))
		state->error = "an array is given instead of something else";
	state->depth++;
	CALLBACK_DONE;
}

CALLBACK
close_nested(void *arg)
{
	((ParseState *) arg)->depth--;
	CALLBACK_DONE;
}

CALLBACK
start_field(void *arg, char *name, bool isnull)
{
	ParseState *state = arg;

	if (state->depth == 1)
		state->field = name;
	else if (state->depth == 2)
		state->inner = name;
	CALLBACK_DONE;
}

CALLBACK
scalar(void *arg, char *token, JsonTokenType type)
{
	ParseState *state = arg;

	if (state->error != NULL)
		CALLBACK_DONE;
	if (state->depth == 0)
		state->error = "body is not an object";
	else if (state->depth == 1 && state->field != NULL)
		take_field(state, token, type);
	else if (state->depth == 2 && state->field != NULL && strcmp(state->field, "stage_ms") == 0)
		take_stage(state, token, type);
	CALLBACK_DONE;
}

/* The parser recurses, and raises when it runs out of stack. */
static int
brackets(const char *body, int length)
{
	int			count = 0;

	for (int i = 0; i < length; i++)
		count += body[i] == '{' || body[i] == '[';
	return count;
}

/* Drive the parser over a body; NULL, or what is wrong with it. */
static const char *
parse_body(const char *body, int length, JsonSemAction *actions)
{
	JsonLexContext *lex;
	char	   *copy;

	if (length > BODY_BYTES_MAX)
		return "body is longer than 32 kB";
	if (!pg_verify_mbstr(PG_UTF8, body, length, true))
		return "body is not valid UTF-8";
	if (brackets(body, length) > BRACKETS_MAX)
		return "body has too many objects or arrays";
	copy = pnstrdup(body, length);
#if PG_VERSION_NUM >= 170000
	lex = makeJsonLexContextCstringLen(NULL, copy, length, PG_UTF8, true);
#else
	lex = makeJsonLexContextCstringLen(copy, length, PG_UTF8, true);
#endif
	return pg_parse_json(lex, actions) != JSON_SUCCESS ? "body is not valid JSON" : NULL;
}

const char *
unidesk_report_parse(const char *body, int length, UnideskReport *report)
{
	ParseState	state = {0};
	JsonSemAction actions = {0};
	const char *wrong;

	unidesk_report_init(report);
	if (length == 0)
		return NULL;
	state.report = report;
	actions.semstate = &state;
	actions.object_start = open_object;
	actions.object_end = close_nested;
	actions.array_start = open_array;
	actions.array_end = close_nested;
	actions.object_field_start = start_field;
	actions.scalar = scalar;
	wrong = parse_body(body, length, &actions);
	return wrong != NULL ? wrong : state.error;
}

/* ---- beats ---- */

typedef struct BeatState
{
	int			depth;
	bool		in_engine;		/* the top level's field is that one */
	UnideskEngine engine;
} BeatState;

CALLBACK
beat_open(void *arg)
{
	((BeatState *) arg)->depth++;
	CALLBACK_DONE;
}

CALLBACK
beat_close(void *arg)
{
	((BeatState *) arg)->depth--;
	CALLBACK_DONE;
}

CALLBACK
beat_field(void *arg, char *name, bool isnull)
{
	BeatState  *state = arg;

	if (state->depth == 1)
		state->in_engine = strcmp(name, "engine") == 0;
	CALLBACK_DONE;
}

CALLBACK
beat_scalar(void *arg, char *token, JsonTokenType type)
{
	BeatState  *state = arg;

	if (state->depth == 1 && state->in_engine && type == JSON_TOKEN_STRING)
		state->engine = strcmp(token, "ok") == 0 ? UNIDESK_ENGINE_OK :
			strcmp(token, "down") == 0 ? UNIDESK_ENGINE_DOWN : UNIDESK_ENGINE_UNSAID;
	CALLBACK_DONE;
}

UnideskEngine
unidesk_beat_parse(const char *body, int length)
{
	BeatState	state = {0};
	JsonSemAction actions = {0};

	actions.semstate = &state;
	actions.object_start = beat_open;
	actions.object_end = beat_close;
	actions.array_start = beat_open;
	actions.array_end = beat_close;
	actions.object_field_start = beat_field;
	actions.scalar = beat_scalar;
	return length > 0 && parse_body(body, length, &actions) == NULL ? state.engine : UNIDESK_ENGINE_UNSAID;
}
