/*
 * spi.c
 *	  Statements with kept plans, and columns of what they returned.
 *
 * A plan costs 43 us when made for each call and 7 when kept; all statements
 * of the extension go through unidesk_execute.  For statements over arrays
 * PostgreSQL would still plan each call, since it knows the arrays' lengths
 * then, and what it chooses for a table that is empty now may be kept until it
 * has a million rows: those that find rows by key are planned once, for keys.
 */
#include "unidesk.h"

#include "catalog/pg_type.h"
#include "nodes/parsenodes.h"
#include "optimizer/cost.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"

#include "version.h"

void
unidesk_arg(UnideskArgs *args, Oid type, Datum value)
{
	Assert(args->count < UNIDESK_ARGS_MAX);
	args->types[args->count] = type;
	args->values[args->count] = value;
	args->nulls[args->count] = ' ';
	args->count++;
}

void
unidesk_arg_null(UnideskArgs *args, Oid type)
{
	unidesk_arg(args, type, (Datum) 0);
	args->nulls[args->count - 1] = 'n';
}

void
unidesk_arg_int16(UnideskArgs *args, int16 value)
{
	unidesk_arg(args, INT2OID, Int16GetDatum(value));
}

void
unidesk_arg_int32(UnideskArgs *args, int32 value)
{
	unidesk_arg(args, INT4OID, Int32GetDatum(value));
}

void
unidesk_arg_int64(UnideskArgs *args, int64 value)
{
	unidesk_arg(args, INT8OID, Int64GetDatum(value));
}

void
unidesk_arg_bool(UnideskArgs *args, bool value)
{
	unidesk_arg(args, BOOLOID, BoolGetDatum(value));
}

void
unidesk_arg_text(UnideskArgs *args, const char *value)
{
	if (value == NULL)
		unidesk_arg_null(args, TEXTOID);
	else
		unidesk_arg(args, TEXTOID, CStringGetTextDatum(value));
}

void
unidesk_arg_time(UnideskArgs *args, TimestampTz value)
{
	if (value == 0)
		unidesk_arg_null(args, TIMESTAMPTZOID);
	else
		unidesk_arg(args, TIMESTAMPTZOID, TimestampTzGetDatum(value));
}

void
unidesk_arg_array(UnideskArgs *args, Oid element, Datum *values, bool *nulls, int count)
{
	int			dims[1] = {count};
	int			bounds[1] = {1};
	int16		length;
	bool		by_value;
	char		alignment;
	ArrayType  *array;

	get_typlenbyvalalign(element, &length, &by_value, &alignment);
	array = construct_md_array(values, nulls, 1, dims, bounds, element,
							   length, by_value, alignment);
	unidesk_arg(args, get_array_type(element), PointerGetDatum(array));
}

static void
prepare(SPIPlanPtr *plan, const char *sql, UnideskArgs *args, int options)
{
	SPIPlanPtr	made = unidesk_prepare(sql, args->count, args->types, options);

	if (made == NULL || SPI_keepplan(made) != 0)
		elog(ERROR, "could not prepare \"%s\": %s", sql, SPI_result_code_string(SPI_result));
	*plan = made;
}

static uint64
execute(SPIPlanPtr *plan, const char *sql, UnideskArgs *args, bool read_only)
{
	int			rc = SPI_execute_plan(*plan, args->values, args->nulls, read_only, 0);

	if (rc < 0)
		elog(ERROR, "could not execute \"%s\": %s", sql, SPI_result_code_string(rc));
	return SPI_processed;
}

uint64
unidesk_execute(SPIPlanPtr *plan, const char *sql, UnideskArgs *args)
{
	if (*plan == NULL)
		prepare(plan, sql, args, 0);
	return execute(plan, sql, args, false);
}

uint64
unidesk_query(SPIPlanPtr *plan, const char *sql, UnideskArgs *args)
{
	if (*plan == NULL)
		prepare(plan, sql, args, 0);
	return execute(plan, sql, args, true);
}

static uint64
execute_by_key(SPIPlanPtr *plan, const char *sql, UnideskArgs *args, bool read_only)
{
	bool		saved = enable_seqscan;
	uint64		rows = 0;

	if (*plan == NULL)
		prepare(plan, sql, args, CURSOR_OPT_GENERIC_PLAN);
	/* Whenever it is planned, also anew after an invalidation. */
	enable_seqscan = false;
	PG_TRY();
	{
		rows = execute(plan, sql, args, read_only);
	}
	PG_FINALLY();
	{
		enable_seqscan = saved;
	}
	PG_END_TRY();
	return rows;
}

uint64
unidesk_execute_by_key(SPIPlanPtr *plan, const char *sql, UnideskArgs *args)
{
	return execute_by_key(plan, sql, args, false);
}

uint64
unidesk_query_by_key(SPIPlanPtr *plan, const char *sql, UnideskArgs *args)
{
	return execute_by_key(plan, sql, args, true);
}

Datum
unidesk_column(uint64 row, int column, bool *isnull)
{
	bool		ignored;

	return SPI_getbinval(SPI_tuptable->vals[row], SPI_tuptable->tupdesc, column,
						 isnull != NULL ? isnull : &ignored);
}

int32
unidesk_column_int32(uint64 row, int column)
{
	bool		isnull;
	Datum		value = unidesk_column(row, column, &isnull);

	if (isnull)
		return 0;
	return SPI_gettypeid(SPI_tuptable->tupdesc, column) == INT2OID ? DatumGetInt16(value) : DatumGetInt32(value);
}

int64
unidesk_column_int64(uint64 row, int column)
{
	bool		isnull;
	Datum		value = unidesk_column(row, column, &isnull);

	return isnull ? 0 : DatumGetInt64(value);
}

TimestampTz
unidesk_column_time(uint64 row, int column)
{
	bool		isnull;
	Datum		value = unidesk_column(row, column, &isnull);

	return isnull ? 0 : DatumGetTimestampTz(value);
}

char *
unidesk_column_text(uint64 row, int column)
{
	bool		isnull;
	Datum		value = unidesk_column(row, column, &isnull);

	return isnull ? NULL : TextDatumGetCString(value);
}
