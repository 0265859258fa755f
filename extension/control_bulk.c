/*
 * control_bulk.c
 *	  The same asked of many tasks at once, by a filter.
 *
 * All in one transaction, rows locked in the order of their ids, so that two
 * of these never wait for each other.  A task that is not as the filter says
 * by the time its row is locked is left alone.
 */
#include "unidesk.h"

#include "catalog/pg_type.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

#include "control.h"
#include "people.h"

/* Rows that are locked and written by one statement each. */
#define CHUNK 1000

typedef struct Filter
{
	int32		project_id;		/* 0: any */
	int			state;			/* 0: any */
	int32		owner_id;		/* 0: any */
	ArrayType  *ids;			/* NULL: any */
	int32		node_id;		/* 0: any */
} Filter;

static int
live_state(const char *name)
{
	for (int state = UNIDESK_TASK_HELD; state <= UNIDESK_TASK_ACTIVE; state++)
		if (strcmp(name, unidesk_task_state_name(state)) == 0)
			return state;
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("state \"%s\" is not one of a task that has not ended", unidesk_shown(name)),
			 errhint("Give held, blocked, queued or active.")));
	return 0;
}

/* The id of what has a name; raises when nothing has it. */
static int32
id_of(SPIPlanPtr *plan, const char *sql, const char *what, const char *name, const char *hint)
{
	UnideskArgs args = {0};

	unidesk_arg_text(&args, name);
	if (unidesk_execute(plan, sql, &args) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("%s \"%s\" does not exist", what, unidesk_shown(name)),
				 errhint("%s", hint)));
	return unidesk_column_int32(0, 1);
}

static ArrayType *
checked_ids(ArrayType *ids)
{
	if (ARR_NDIM(ids) > 1 || array_contains_nulls(ids))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("ids is not a list of tasks"),
				 errhint("Give a one-dimensional array without NULL, for example ARRAY[7, 8].")));
	return ids;
}

/* (project, state, owner, ids, node); one of them has to be given. */
static void
read_filter(FunctionCallInfo fcinfo, Filter *filter)
{
	static SPIPlanPtr owner_plan;
	static SPIPlanPtr node_plan;

	if (PG_ARGISNULL(0) && PG_ARGISNULL(1) && PG_ARGISNULL(2) && PG_ARGISNULL(3) && PG_ARGISNULL(4))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("nothing says which tasks are meant"),
				 errhint("Give project, state, owner, ids or node, for example project => 'demo', state => 'queued'.")));
	if (!PG_ARGISNULL(0))
		filter->project_id = unidesk_project_for(text_to_cstring(PG_GETARG_TEXT_PP(0)), UNIDESK_MEMBER);
	if (!PG_ARGISNULL(1))
		filter->state = live_state(text_to_cstring(PG_GETARG_TEXT_PP(1)));
	if (!PG_ARGISNULL(2))
		filter->owner_id = id_of(&owner_plan, "SELECT id FROM unidesk_data.account WHERE role_name = $1", "user",
								 text_to_cstring(PG_GETARG_TEXT_PP(2)), "SELECT DISTINCT owner FROM unidesk.tasks shows those of your tasks.");
	if (!PG_ARGISNULL(3))
		filter->ids = checked_ids(PG_GETARG_ARRAYTYPE_P(3));
	if (!PG_ARGISNULL(4))
		filter->node_id = id_of(&node_plan, "SELECT id FROM unidesk_data.node WHERE name = $1", "node",
								text_to_cstring(PG_GETARG_TEXT_PP(4)), "SELECT name FROM unidesk.nodes shows them.");
}

static void
arg_id(UnideskArgs *args, int32 id)
{
	if (id != 0)
		unidesk_arg_int32(args, id);
	else
		unidesk_arg_null(args, INT4OID);
}

/* Ids of the live tasks that the filter means and the caller may change. */
static int64 *
find_tasks(const Filter *filter, int32 account_id, int *count)
{
	static SPIPlanPtr plan;
	UnideskArgs args = {0};
	int64	   *ids;

	arg_id(&args, filter->project_id);
	arg_id(&args, filter->state);
	arg_id(&args, filter->owner_id);
	if (filter->ids != NULL)
		unidesk_arg(&args, INT8ARRAYOID, PointerGetDatum(filter->ids));
	else
		unidesk_arg_null(&args, INT8ARRAYOID);
	arg_id(&args, filter->node_id);
	unidesk_arg_bool(&args, unidesk_me_is_admin());
	unidesk_arg_int32(&args, account_id);
	unidesk_execute(&plan,
					"SELECT l.task_id FROM unidesk_data.live l WHERE ($1 IS NULL OR l.project_id = $1)"
					" AND ($2 IS NULL OR l.state = $2) AND ($3 IS NULL OR l.owner_id = $3)"
					" AND ($4 IS NULL OR l.task_id = ANY ($4)) AND ($5 IS NULL OR l.node_id = $5)"
					" AND ($6 OR l.project_id IN (SELECT m.project_id FROM unidesk_data.member m"
					" WHERE m.account_id = $7 AND m.role IN ('member', 'manager'))) ORDER BY l.task_id", &args);
	*count = (int) SPI_processed;
	ids = MemoryContextAllocHuge(CurrentMemoryContext, sizeof(int64) * (SPI_processed + 1));
	for (int row = 0; row < *count; row++)
		ids[row] = unidesk_column_int64(row, 1);
	SPI_freetuptable(SPI_tuptable);
	return ids;
}

static int
ask_chunk(const Filter *filter, UnideskAsk ask, UnideskActor actor, const int64 *ids, int count)
{
	UnideskLive *lives = palloc(sizeof(UnideskLive) * count);
	UnideskDoor *door = unidesk_door_open();
	int			locked = unidesk_live_lock_waiting(ids, count, lives);
	int			changed = 0;

	for (int i = 0; i < locked; i++)
		if ((filter->state == 0 || lives[i].state == filter->state) &&
			(filter->node_id == 0 || lives[i].node_id == filter->node_id) &&
			ask(door, &lives[i], actor) == UNIDESK_DONE)
			changed++;
	unidesk_door_close(door);
	return changed;
}

/* Ask it of all that the filter means; how many changed. */
static Datum
ask_many(FunctionCallInfo fcinfo, const char *name, UnideskAsk ask)
{
	UnideskActor actor = {UNIDESK_ACTOR_ACCOUNT, 0};
	Filter		filter = {0};
	MemoryContext chunk_context;
	MemoryContext outer;
	int64	   *ids;
	int			count;
	int			changed = 0;

	PreventCommandIfReadOnly(psprintf("unidesk.%s()", name));
	SPI_connect();
	read_filter(fcinfo, &filter);
	actor.id = unidesk_caller_account();
	ids = find_tasks(&filter, actor.id, &count);
	chunk_context = AllocSetContextCreate(CurrentMemoryContext, "unidesk bulk", ALLOCSET_DEFAULT_SIZES);
	outer = MemoryContextSwitchTo(chunk_context);
	for (int first = 0; first < count; first += CHUNK)
	{
		changed += ask_chunk(&filter, ask, actor, ids + first, Min(CHUNK, count - first));
		MemoryContextReset(chunk_context);
		CHECK_FOR_INTERRUPTS();
	}
	MemoryContextSwitchTo(outer);
	SPI_finish();
	PG_RETURN_INT32(changed);
}

PG_FUNCTION_INFO_V1(unidesk_cancel_tasks);
Datum
unidesk_cancel_tasks(PG_FUNCTION_ARGS)
{
	return ask_many(fcinfo, "cancel_tasks", unidesk_ask_cancel);
}

PG_FUNCTION_INFO_V1(unidesk_hold_tasks);
Datum
unidesk_hold_tasks(PG_FUNCTION_ARGS)
{
	return ask_many(fcinfo, "hold_tasks", unidesk_ask_hold);
}

PG_FUNCTION_INFO_V1(unidesk_release_tasks);
Datum
unidesk_release_tasks(PG_FUNCTION_ARGS)
{
	return ask_many(fcinfo, "release_tasks", unidesk_ask_release);
}

PG_FUNCTION_INFO_V1(unidesk_requeue_tasks);
Datum
unidesk_requeue_tasks(PG_FUNCTION_ARGS)
{
	return ask_many(fcinfo, "requeue_tasks", unidesk_ask_requeue);
}
