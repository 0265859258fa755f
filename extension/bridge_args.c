/*
 * bridge_args.c
 *	  Arguments of the functions that the bridge calls.
 *
 * Messages of agents never raise, but a call that is wrong by itself (a NULL,
 * arrays that do not belong together) is a fault of the caller and says so.
 */
#include "unidesk.h"

#include "catalog/pg_type.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/lsyscache.h"

#include "message.h"

void
unidesk_bridge_begin(FunctionCallInfo fcinfo, const char *function)
{
	for (int i = 0; i < PG_NARGS(); i++)
		if (PG_ARGISNULL(i))
			ereport(ERROR,
					(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
					 errmsg("argument %d of unidesk_bridge.%s is missing", i + 1, function),
					 errhint("No argument may be NULL; docs/bridge-api.md describes them.")));
	PreventCommandIfReadOnly(psprintf("unidesk_bridge.%s()", function));
}

int
unidesk_bridge_array(FunctionCallInfo fcinfo, int n, const char *function, Datum **values, bool **nulls)
{
	ArrayType  *array = PG_GETARG_ARRAYTYPE_P(n);
	int16		length;
	bool		by_value;
	char		alignment;
	int			count;

	if (ARR_NDIM(array) > 1 || (nulls == NULL && array_contains_nulls(array)) ||
		ArrayGetNItems(ARR_NDIM(array), ARR_DIMS(array)) > UNIDESK_BATCH_MAX)
		ereport(ERROR,
				(errcode(ERRCODE_ARRAY_SUBSCRIPT_ERROR),
				 errmsg("argument %d of unidesk_bridge.%s is not a list", n + 1, function),
				 errhint("Give an array of one dimension with at most %d elements, none of them NULL.", UNIDESK_BATCH_MAX)));
	get_typlenbyvalalign(ARR_ELEMTYPE(array), &length, &by_value, &alignment);
	deconstruct_array(array, ARR_ELEMTYPE(array), length, by_value, alignment, values, nulls, &count);
	return count;
}

void
unidesk_bridge_same_length(int count, int other, const char *function)
{
	if (count != other)
		ereport(ERROR,
				(errcode(ERRCODE_ARRAY_SUBSCRIPT_ERROR),
				 errmsg("the arrays of unidesk_bridge.%s differ in length", function),
				 errhint("Element i of each array belongs to the same message or session.")));
}
