/*
 * transition.c
 *	  The state machines as data, and walks over them.
 *
 * The view unidesk.transition shows these tables; the README's diagram and
 * the model in spec/ are made from it, so that none can drift.
 */
#include "unidesk.h"

#include "fmgr.h"
#include "funcapi.h"
#include "utils/builtins.h"
#include "utils/tuplestore.h"

#include "common/protocol.h"
#include "transition.h"

#define A UNIDESK_BY_AGENT
#define W UNIDESK_BY_WORKER
#define P UNIDESK_BY_PERSON
#define ATTEMPT(from, to, by) {UD_ATTEMPT_##from, UD_ATTEMPT_##to, by}
#define TASK(from, to, by) {UNIDESK_TASK_##from, UNIDESK_TASK_##to, by}
#define NODE(from, to, by) {UNIDESK_NODE_##from, UNIDESK_NODE_##to, by}
#define SCHEDULING(from, to, by) {UNIDESK_SCHEDULING_##from, UNIDESK_SCHEDULING_##to, by}

static const UnideskTransition attempt_transitions[] = {
	ATTEMPT(ASSIGNED, ACCEPTED, A),
	ATTEMPT(ASSIGNED, REJECTED, A),
	ATTEMPT(ASSIGNED, STOPPING, A | W | P),
	ATTEMPT(ASSIGNED, LOST, W | P),
	ATTEMPT(ACCEPTED, PREPARING, A),
	ATTEMPT(ACCEPTED, STOPPING, A | W | P),
	ATTEMPT(ACCEPTED, LOST, W | P),
	ATTEMPT(PREPARING, RUNNING, A),
	ATTEMPT(PREPARING, FAILED, A),
	ATTEMPT(PREPARING, STOPPING, A | W | P),
	ATTEMPT(PREPARING, LOST, A | W | P),
	ATTEMPT(RUNNING, FINISHING, A),
	ATTEMPT(RUNNING, STOPPING, A | W | P),
	ATTEMPT(RUNNING, LOST, A | W | P),
	ATTEMPT(FINISHING, SUCCEEDED, A),
	ATTEMPT(FINISHING, FAILED, A | W),
	ATTEMPT(FINISHING, LOST, W | P),
	ATTEMPT(STOPPING, SUCCEEDED, A),
	ATTEMPT(STOPPING, CANCELLED, A | W | P),
	ATTEMPT(STOPPING, TIMED_OUT, A | W | P),
	ATTEMPT(STOPPING, PREEMPTED, A | W | P),
	ATTEMPT(STOPPING, REJECTED, A | W | P),
	ATTEMPT(STOPPING, LOST, W | P),
};

static const UnideskTransition task_transitions[] = {
	TASK(HELD, BLOCKED, P),
	TASK(HELD, QUEUED, P),
	TASK(HELD, CANCELLED, P),
	TASK(BLOCKED, QUEUED, W),
	TASK(BLOCKED, HELD, P),
	TASK(BLOCKED, SKIPPED, W),
	TASK(BLOCKED, CANCELLED, P),
	TASK(QUEUED, QUEUED, P),
	TASK(QUEUED, ACTIVE, W),
	TASK(QUEUED, HELD, P | W),
	TASK(QUEUED, FAILED, W),
	TASK(QUEUED, CANCELLED, P),
	TASK(ACTIVE, QUEUED, A | W | P),
	TASK(ACTIVE, HELD, A | W | P),
	TASK(ACTIVE, SUCCEEDED, A),
	TASK(ACTIVE, FAILED, A | W | P),
	TASK(ACTIVE, CANCELLED, A | W | P),
};

static const UnideskTransition node_transitions[] = {
	NODE(REGISTERED, ONLINE, A),
	NODE(REGISTERED, INVALID, A),
	NODE(REGISTERED, RETIRED, P),
	NODE(ONLINE, OFFLINE, W),
	NODE(ONLINE, INVALID, A),
	NODE(ONLINE, RETIRED, P),
	NODE(OFFLINE, ONLINE, A),
	NODE(OFFLINE, INVALID, A),
	NODE(OFFLINE, RETIRED, P),
	NODE(INVALID, ONLINE, A),
	NODE(INVALID, OFFLINE, W),
	NODE(INVALID, RETIRED, P),
};

static const UnideskTransition scheduling_transitions[] = {
	SCHEDULING(OPEN, CORDONED, P),
	SCHEDULING(OPEN, DRAINING, P),
	SCHEDULING(CORDONED, OPEN, P),
	SCHEDULING(CORDONED, DRAINING, P),
	SCHEDULING(DRAINING, OPEN, P),
	SCHEDULING(DRAINING, CORDONED, P),
	SCHEDULING(DRAINING, DRAINED, W),
	SCHEDULING(DRAINED, OPEN, P),
	SCHEDULING(DRAINED, CORDONED, P),
};

static bool
allowed(const UnideskTransition *table, int count, int from, int to, int by)
{
	for (int i = 0; i < count; i++)
		if (table[i].from == from && table[i].to == to)
			return (table[i].by & by) != 0;
	return false;
}

bool
unidesk_task_move_allowed(int from, int to, int by)
{
	return allowed(task_transitions, lengthof(task_transitions), from, to, by);
}

bool
unidesk_node_move_allowed(int from, int to, int by)
{
	return allowed(node_transitions, lengthof(node_transitions), from, to, by);
}

bool
unidesk_scheduling_move_allowed(int from, int to, int by)
{
	return allowed(scheduling_transitions, lengthof(scheduling_transitions), from, to, by);
}

void
unidesk_check_task_move(int from, int to, int by)
{
	if (!unidesk_task_move_allowed(from, to, by))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("task cannot go from %s to %s",
						unidesk_task_state_name(from), unidesk_task_state_name(to)),
				 errhint("SELECT * FROM unidesk.transition shows what is possible.")));
}

/* Shortest walk by breadth; the machine has 13 states. */
static int
shortest(int from, int to, int by, int16 *path)
{
	int			previous[UD_ATTEMPT_REJECTED + 1] = {0};
	int			queue[UD_ATTEMPT_REJECTED + 1];
	int			head = 0;
	int			tail = 0;
	int			length = 0;

	queue[tail++] = from;
	previous[from] = from;
	while (head < tail && previous[to] == 0)
	{
		int			here = queue[head++];

		for (size_t i = 0; i < lengthof(attempt_transitions); i++)
		{
			const UnideskTransition *t = &attempt_transitions[i];

			if (t->from == here && (t->by & by) && previous[t->to] == 0)
			{
				previous[t->to] = here;
				queue[tail++] = t->to;
			}
		}
	}
	if (previous[to] == 0)
		return 0;
	for (int s = to; s != from; s = previous[s])
		length++;
	for (int s = to, i = length; s != from; s = previous[s])
		path[--i] = (int16) s;
	return length;
}

int
unidesk_attempt_path(int from, int to, bool ran, int by, int16 path[UNIDESK_PATH_MAX])
{
	int			first;
	int			second;

	if (from == to || from < UD_ATTEMPT_ASSIGNED || from > UD_ATTEMPT_REJECTED ||
		to < UD_ATTEMPT_ASSIGNED || to > UD_ATTEMPT_REJECTED)
		return 0;
	/* Nothing succeeds by a stop: the shorter way is one of late results. */
	ran = ran || to == UD_ATTEMPT_SUCCEEDED;
	if (!ran || from >= UD_ATTEMPT_RUNNING || to == UD_ATTEMPT_RUNNING)
		return shortest(from, to, by, path);
	first = shortest(from, UD_ATTEMPT_RUNNING, by, path);
	if (first == 0)
		return 0;
	second = shortest(UD_ATTEMPT_RUNNING, to, by, path + first);
	return second == 0 ? 0 : first + second;
}

static void
put_table(ReturnSetInfo *result, const char *machine, const UnideskTransition *table,
		  int count, const char *(*name) (int))
{
	for (int i = 0; i < count; i++)
	{
		Datum		values[6];
		bool		nulls[6] = {false};

		values[0] = CStringGetTextDatum(machine);
		values[1] = CStringGetTextDatum(name(table[i].from));
		values[2] = CStringGetTextDatum(name(table[i].to));
		values[3] = BoolGetDatum(table[i].by & A);
		values[4] = BoolGetDatum(table[i].by & W);
		values[5] = BoolGetDatum(table[i].by & P);
		tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
	}
}

PG_FUNCTION_INFO_V1(unidesk_transitions);

/* unidesk._transitions(): the rows of the view unidesk.transition. */
Datum
unidesk_transitions(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;

	InitMaterializedSRF(fcinfo, 0);
	put_table(result, "task", task_transitions, lengthof(task_transitions), unidesk_task_state_name);
	put_table(result, "attempt", attempt_transitions, lengthof(attempt_transitions), ud_attempt_state_name);
	put_table(result, "node", node_transitions, lengthof(node_transitions), unidesk_node_status_name);
	put_table(result, "scheduling", scheduling_transitions, lengthof(scheduling_transitions), unidesk_scheduling_name);
	return (Datum) 0;
}

PG_FUNCTION_INFO_V1(unidesk_attempt_walk_allowed);

/*
 * unidesk._attempt_walk_allowed(from, steps bytea, to, by): is each step, a
 * byte each as events store them, allowed after the one before it?
 */
Datum
unidesk_attempt_walk_allowed(PG_FUNCTION_ARGS)
{
	int			here = PG_GETARG_INT16(0);
	bytea	   *steps = PG_GETARG_BYTEA_PP(1);
	int			to = PG_GETARG_INT16(2);
	int			by = PG_GETARG_INT16(3);
	int			count = VARSIZE_ANY_EXHDR(steps);

	if (count == 0)
		PG_RETURN_BOOL(allowed(attempt_transitions, lengthof(attempt_transitions), here, to, by));
	for (int i = 0; i < count; i++)
	{
		int			next = (unsigned char) VARDATA_ANY(steps)[i];

		if (!allowed(attempt_transitions, lengthof(attempt_transitions), here, next, by))
			PG_RETURN_BOOL(false);
		here = next;
	}
	PG_RETURN_BOOL(here == to);
}

PG_FUNCTION_INFO_V1(unidesk_attempt_walk);

/*
 * unidesk._attempt_walk(from text, to text, ran boolean, by smallint): the
 * states a report would walk through, for the regression test.
 */
Datum
unidesk_attempt_walk(PG_FUNCTION_ARGS)
{
	int			from = ud_attempt_state_number(text_to_cstring(PG_GETARG_TEXT_PP(0)));
	int			to = ud_attempt_state_number(text_to_cstring(PG_GETARG_TEXT_PP(1)));
	int16		path[UNIDESK_PATH_MAX] = {0};
	int			length = unidesk_attempt_path(from, to, PG_GETARG_BOOL(2), PG_GETARG_INT16(3), path);
	StringInfoData text;

	if (length == 0)
		PG_RETURN_NULL();
	initStringInfo(&text);
	for (int i = 0; i < length; i++)
		appendStringInfo(&text, "%s%s", i > 0 ? " " : "", ud_attempt_state_name(path[i]));
	PG_RETURN_TEXT_P(cstring_to_text_with_len(text.data, text.len));
}
