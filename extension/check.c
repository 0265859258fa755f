/*
 * check.c
 *	  What unidesk.check_invariants cannot see from SQL: the clock that rules go
 *	  by, the last contact with a node, and that the worker has caught up.
 */
#include "unidesk.h"

#include "fmgr.h"

#include "memory.h"
#include "shared.h"

PG_FUNCTION_INFO_V1(unidesk_sql_now);

/* unidesk._now() */
Datum
unidesk_sql_now(PG_FUNCTION_ARGS)
{
	PG_RETURN_TIMESTAMPTZ(unidesk_now());
}

PG_FUNCTION_INFO_V1(unidesk_sql_last_contact);

/* unidesk._last_contact(node) */
Datum
unidesk_sql_last_contact(PG_FUNCTION_ARGS)
{
	PG_RETURN_TIMESTAMPTZ(unidesk_last_contact(PG_GETARG_INT32(0)));
}

PG_FUNCTION_INFO_V1(unidesk_sql_wait_passes);

/* unidesk._wait_passes(passes, timeout_ms) */
Datum
unidesk_sql_wait_passes(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(unidesk_shared_wait_passes(PG_GETARG_INT32(0), PG_GETARG_INT32(1)));
}
