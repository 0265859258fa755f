/*
 * names.c
 *	  Names of the codes that rows store, in C and in SQL.
 */
#include "unidesk.h"

#include "catalog/pg_type.h"
#include "fmgr.h"
#include "utils/array.h"
#include "utils/builtins.h"

#include "common/protocol.h"
#include "common/reasons.h"

const char *
unidesk_task_state_name(int state)
{
	switch (state)
	{
#define X(name, number, text) case number: return text;
			UNIDESK_TASK_STATES(X)
#undef X
	}
	return NULL;
}

const char *
unidesk_node_status_name(int status)
{
	switch (status)
	{
#define X(name, number, text) case number: return text;
			UNIDESK_NODE_STATUSES(X)
#undef X
	}
	return NULL;
}

const char *
unidesk_scheduling_name(int scheduling)
{
	switch (scheduling)
	{
#define X(name, number, text) case number: return text;
			UNIDESK_NODE_SCHEDULINGS(X)
#undef X
	}
	return NULL;
}

static const char *
phase_name(int phase)
{
	switch (phase)
	{
#define X(name, number, text) case number: return text;
			UD_PREPARE_PHASES(X)
#undef X
	}
	return NULL;
}

static const char *
stream_name(int stream)
{
	static const char *const names[] = {NULL, "stdout", "stderr", "marker"};

	return stream >= UD_LOG_STDOUT && stream <= UD_LOG_MARKER ? names[stream] : NULL;
}

static const char *
reason_name(int reason)
{
	return reason == UD_REASON_NONE ? NULL : ud_reason_text(reason);
}

static Datum
name_datum(FunctionCallInfo fcinfo, const char *(*name) (int))
{
	const char *text = name(PG_GETARG_INT16(0));

	if (text == NULL)
		PG_RETURN_NULL();
	PG_RETURN_TEXT_P(cstring_to_text(text));
}

PG_FUNCTION_INFO_V1(unidesk_task_state_text);
Datum
unidesk_task_state_text(PG_FUNCTION_ARGS)
{
	return name_datum(fcinfo, unidesk_task_state_name);
}

PG_FUNCTION_INFO_V1(unidesk_attempt_state_text);
Datum
unidesk_attempt_state_text(PG_FUNCTION_ARGS)
{
	return name_datum(fcinfo, ud_attempt_state_name);
}

PG_FUNCTION_INFO_V1(unidesk_node_status_text);
Datum
unidesk_node_status_text(PG_FUNCTION_ARGS)
{
	return name_datum(fcinfo, unidesk_node_status_name);
}

PG_FUNCTION_INFO_V1(unidesk_scheduling_text);
Datum
unidesk_scheduling_text(PG_FUNCTION_ARGS)
{
	return name_datum(fcinfo, unidesk_scheduling_name);
}

PG_FUNCTION_INFO_V1(unidesk_phase_text);
Datum
unidesk_phase_text(PG_FUNCTION_ARGS)
{
	return name_datum(fcinfo, phase_name);
}

PG_FUNCTION_INFO_V1(unidesk_stream_text);
Datum
unidesk_stream_text(PG_FUNCTION_ARGS)
{
	return name_datum(fcinfo, stream_name);
}

PG_FUNCTION_INFO_V1(unidesk_reason_text);
Datum
unidesk_reason_text(PG_FUNCTION_ARGS)
{
	return name_datum(fcinfo, reason_name);
}

PG_FUNCTION_INFO_V1(unidesk_steps);

/* unidesk._steps(steps bytea): names of attempt states, a byte each. */
Datum
unidesk_steps(PG_FUNCTION_ARGS)
{
	bytea	   *steps = PG_GETARG_BYTEA_PP(0);
	int			count = VARSIZE_ANY_EXHDR(steps);
	Datum	   *names = palloc(sizeof(Datum) * (count + 1));
	int			n = 0;

	for (int i = 0; i < count; i++)
	{
		const char *name = ud_attempt_state_name((uint8) VARDATA_ANY(steps)[i]);

		if (name != NULL)
			names[n++] = CStringGetTextDatum(name);
	}
	PG_RETURN_ARRAYTYPE_P(construct_array(names, n, TEXTOID, -1, false, TYPALIGN_INT));
}
