/*
 * door_write.c
 *	  Writing what went through a door: events, rows, endings.
 *
 * One statement per kind, over arrays.  ForceSyncCommit makes sure that what
 * was acknowledged survives a crash, whatever the session's
 * synchronous_commit says.
 */
#include "unidesk.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "utils/builtins.h"

#include "door_write.h"
#include "shared.h"

/* Columns of rows, collected as array arguments. */
typedef struct Columns
{
	UnideskArgs args;
	int			count;			/* rows */
	Datum	   *values;
	bool	   *nulls;
} Columns;

static void
columns_init(Columns *columns, int count)
{
	memset(&columns->args, 0, sizeof(columns->args));
	columns->count = count;
	columns->values = palloc(sizeof(Datum) * count);
	columns->nulls = palloc(sizeof(bool) * count);
}

/*
 * One column: value and null_when are expressions over the row's index i.
 */
#define COLUMN(columns, element, value, null_when) \
	do { \
		for (int i = 0; i < (columns)->count; i++) \
		{ \
			(columns)->nulls[i] = (null_when); \
			(columns)->values[i] = (columns)->nulls[i] ? (Datum) 0 : (value); \
		} \
		unidesk_arg_array(&(columns)->args, element, (columns)->values, (columns)->nulls, (columns)->count); \
	} while (0)

#define INT16_OR_NULL(columns, field) COLUMN(columns, INT2OID, Int16GetDatum(field), (field) == 0)
#define TIME_OR_NULL(columns, field) COLUMN(columns, TIMESTAMPTZOID, TimestampTzGetDatum(field), (field) == 0)

/* Steps of a walk, a byte each. */
static Datum
steps_datum(const DoorEvent *event)
{
	bytea	   *steps = palloc(VARHDRSZ + event->step_count);

	SET_VARSIZE(steps, VARHDRSZ + event->step_count);
	for (int i = 0; i < event->step_count; i++)
		VARDATA(steps)[i] = (char) event->steps[i];
	return PointerGetDatum(steps);
}

static void
write_events(const UnideskDoor *door)
{
	static SPIPlanPtr plan;
	const DoorEvent *e = door->events;
	Columns		c;

	columns_init(&c, door->event_count);
	COLUMN(&c, TIMESTAMPTZOID, TimestampTzGetDatum(e[i].at), false);
	COLUMN(&c, INT8OID, Int64GetDatum(e[i].task_id), false);
	COLUMN(&c, INT4OID, Int32GetDatum(e[i].seq), false);
	COLUMN(&c, INT4OID, Int32GetDatum(e[i].attempt), false);
	COLUMN(&c, INT2OID, Int16GetDatum(e[i].task_state), false);
	INT16_OR_NULL(&c, e[i].attempt_state);
	COLUMN(&c, INT2OID, Int16GetDatum(e[i].reason), false);
	COLUMN(&c, INT2OID, Int16GetDatum(e[i].actor.kind), false);
	COLUMN(&c, INT4OID, Int32GetDatum(e[i].actor.id), false);
	COLUMN(&c, BYTEAOID, steps_datum(&e[i]), e[i].step_count < 2);
	COLUMN(&c, TEXTOID, CStringGetTextDatum(e[i].data), e[i].data == NULL);
	unidesk_execute_by_key(&plan,
						   "INSERT INTO unidesk_data.task_event (at, task_id, seq, attempt, task_state, attempt_state,"
						   " reason, actor_kind, actor_id, steps, data)"
						   " SELECT * FROM unnest($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)", &c.args);
}

/* Rows of live that stay there. */
static void
write_lives(UnideskLive **lives, int count)
{
	static SPIPlanPtr plan;
	Columns		c;

	if (count == 0)
		return;
	columns_init(&c, count);
	COLUMN(&c, INT8OID, Int64GetDatum(lives[i]->task_id), false);
	COLUMN(&c, INT2OID, Int16GetDatum(lives[i]->state), false);
	COLUMN(&c, INT2OID, Int16GetDatum(lives[i]->reason), false);
	COLUMN(&c, INT4OID, Int32GetDatum(lives[i]->seq), false);
	INT16_OR_NULL(&c, lives[i]->attempt_state);
	INT16_OR_NULL(&c, lives[i]->phase);
	INT16_OR_NULL(&c, lives[i]->want);
	INT16_OR_NULL(&c, lives[i]->want_final);
	INT16_OR_NULL(&c, lives[i]->want_reason);
	TIME_OR_NULL(&c, lives[i]->started_at);
	COLUMN(&c, TIMESTAMPTZOID, TimestampTzGetDatum(lives[i]->state_at), false);
	COLUMN(&c, BOOLOID, BoolGetDatum(lives[i]->needs_order), false);
	unidesk_execute_by_key(&plan,
						   "UPDATE unidesk_data.live l SET state = x.state, reason = x.reason, seq = x.seq,"
						   " attempt_state = x.attempt_state, phase = x.phase, want = x.want, want_final = x.want_final,"
						   " want_reason = x.want_reason, started_at = x.started_at, state_at = x.state_at,"
						   " order_no = CASE WHEN x.needs_order THEN NULL ELSE l.order_no END"
						   " FROM unnest($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12) AS x (task_id, state, reason, seq,"
						   " attempt_state, phase, want, want_final, want_reason, started_at, state_at, needs_order)"
						   " WHERE l.task_id = x.task_id", &c.args);
}

/* Rows of live that wait from now on, without an attempt. */
static void
write_requeued(UnideskLive **lives, int count)
{
	static SPIPlanPtr plan;
	Columns		c;

	if (count == 0)
		return;
	columns_init(&c, count);
	COLUMN(&c, INT8OID, Int64GetDatum(lives[i]->task_id), false);
	COLUMN(&c, INT2OID, Int16GetDatum(lives[i]->state), false);
	COLUMN(&c, INT2OID, Int16GetDatum(lives[i]->reason), false);
	COLUMN(&c, INT4OID, Int32GetDatum(lives[i]->seq), false);
	COLUMN(&c, TIMESTAMPTZOID, TimestampTzGetDatum(lives[i]->state_at), false);
	TIME_OR_NULL(&c, lives[i]->not_before);
	COLUMN(&c, INT4OID, Int32GetDatum(lives[i]->excluded_node), lives[i]->excluded_node == 0);
	COLUMN(&c, INT2OID, Int16GetDatum(lives[i]->user_failures), false);
	COLUMN(&c, INT2OID, Int16GetDatum(lives[i]->infra_failures), false);
	COLUMN(&c, INT4OID, Int32GetDatum(lives[i]->restarts), lives[i]->restarts == 0);
	COLUMN(&c, INT4OID, Int32GetDatum(lives[i]->checkpoint_node), lives[i]->checkpoint_node == 0);
	unidesk_execute_by_key(&plan,
						   "UPDATE unidesk_data.live l SET state = x.state, reason = x.reason, seq = x.seq, queued_at = x.at,"
						   " state_at = x.at, not_before = x.not_before, excluded_node = x.excluded_node,"
						   " user_failures = x.user_failures, infra_failures = x.infra_failures,"
						   " restarts = x.restarts, checkpoint_node = x.checkpoint_node,"
						   " incarnation = NULL, node_id = NULL, session = NULL, attempt_state = NULL, phase = NULL,"
						   " want = NULL, want_final = NULL, want_reason = NULL, order_no = NULL, gpu_mask = NULL,"
						   " placed_at = NULL, started_at = NULL, left_on = NULL, left_at = NULL"
						   " FROM unnest($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11) AS x (task_id, state, reason, seq, at, not_before,"
						   " excluded_node, user_failures, infra_failures, restarts, checkpoint_node) WHERE l.task_id = x.task_id", &c.args);
}

static void
delete_lives(UnideskLive **lives, int count)
{
	static SPIPlanPtr plan;
	Columns		c;

	if (count == 0)
		return;
	columns_init(&c, count);
	COLUMN(&c, INT8OID, Int64GetDatum(lives[i]->task_id), false);
	unidesk_execute_by_key(&plan, "DELETE FROM unidesk_data.live WHERE task_id = ANY ($1)", &c.args);
}

/* How an attempt ended: exit code, image, four stages, log end, message. */
static void
ending_columns(Columns *c, const DoorEnding *e)
{
	COLUMN(c, INT4OID, Int32GetDatum(e[i].report->exit_code), e[i].report == NULL || !e[i].report->has_exit_code);
	COLUMN(c, BYTEAOID, PointerGetDatum(e[i].report->image_id), e[i].report == NULL || e[i].report->image_id == NULL);
	for (int stage = 0; stage < UNIDESK_STAGES; stage++)
		COLUMN(c, INT4OID, Int32GetDatum(e[i].report->stage_ms[stage]),
			   e[i].report == NULL || e[i].report->stage_ms[stage] < 0);
	COLUMN(c, INT8OID, Int64GetDatum(e[i].report->log_end), e[i].report == NULL || e[i].report->log_end < 0);
	for (int i = 0; i < c->count; i++)
	{
		c->nulls[i] = e[i].report == NULL || e[i].report->message == NULL;
		c->values[i] = c->nulls[i] ? (Datum) 0 : CStringGetTextDatum(e[i].report->message);
	}
	unidesk_arg_array(&c->args, TEXTOID, c->values, c->nulls, c->count);
}

#define STAGES "CASE WHEN coalesce(x.fetch_ms, x.build_ms, x.stage_in_ms, x.run_ms) IS NOT NULL" \
	" THEN ARRAY[x.fetch_ms, x.build_ms, x.stage_in_ms, x.run_ms] END"

/* The second and last time that the rows of tasks are written. */
static void
write_tasks(const DoorEndings *endings)
{
	static SPIPlanPtr plan;
	const DoorEnding *e = endings->items;
	Columns		c;

	if (endings->count == 0)
		return;
	columns_init(&c, endings->count);
	COLUMN(&c, INT8OID, Int64GetDatum(e[i].live.task_id), false);
	COLUMN(&c, INT2OID, Int16GetDatum(e[i].state), false);
	COLUMN(&c, INT2OID, Int16GetDatum(e[i].reason), false);
	COLUMN(&c, TIMESTAMPTZOID, TimestampTzGetDatum(e[i].at), false);
	COLUMN(&c, INT4OID, Int32GetDatum(e[i].live.attempt), false);
	TIME_OR_NULL(&c, e[i].live.placed_at);
	TIME_OR_NULL(&c, e[i].live.started_at);
	COLUMN(&c, INT4OID, Int32GetDatum(e[i].live.node_id), e[i].live.node_id == 0);
	COLUMN(&c, INT8OID, Int64GetDatum(e[i].live.incarnation), e[i].live.node_id == 0);
	ending_columns(&c, e);
	unidesk_execute_by_key(&plan,
						   "UPDATE unidesk_data.task t SET state = x.state, reason = x.reason, ended_at = x.at, attempts = x.attempt,"
						   " placed_at = x.placed_at, started_at = x.started_at, node_id = x.node_id, incarnation = x.incarnation,"
						   " exit_code = x.exit_code, image_id = x.image_id, stage_ms = " STAGES ", log_end = x.log_end, message = x.message"
						   " FROM unnest($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17) AS x (id, state, reason, at,"
						   " attempt, placed_at, started_at, node_id, incarnation, exit_code, image_id, fetch_ms, build_ms, stage_in_ms, run_ms, log_end, message)"
						   " WHERE t.id = x.id", &c.args);
	unidesk_note_task_ended();
}

/* The history of attempts that did not end their task well. */
static void
write_attempts(const DoorEndings *endings)
{
	static SPIPlanPtr plan;
	const DoorEnding *e = endings->items;
	Columns		c;

	if (endings->count == 0)
		return;
	columns_init(&c, endings->count);
	COLUMN(&c, INT8OID, Int64GetDatum(e[i].live.task_id), false);
	COLUMN(&c, INT4OID, Int32GetDatum(e[i].live.attempt), false);
	COLUMN(&c, INT8OID, Int64GetDatum(e[i].live.incarnation), false);
	COLUMN(&c, INT4OID, Int32GetDatum(e[i].live.node_id), false);
	COLUMN(&c, INT2OID, Int16GetDatum(e[i].state), false);
	COLUMN(&c, INT2OID, Int16GetDatum(e[i].reason), false);
	TIME_OR_NULL(&c, e[i].live.placed_at);
	TIME_OR_NULL(&c, e[i].live.started_at);
	COLUMN(&c, TIMESTAMPTZOID, TimestampTzGetDatum(e[i].at), false);
	ending_columns(&c, e);
	unidesk_execute_by_key(&plan,
						   "INSERT INTO unidesk_data.attempt (task_id, attempt, incarnation, node_id, state, reason, placed_at,"
						   " started_at, ended_at, exit_code, image_id, stage_ms, log_end, message)"
						   " SELECT x.task_id, x.attempt, x.incarnation, x.node_id, x.state, x.reason, x.placed_at, x.started_at, x.at,"
						   " x.exit_code, x.image_id, " STAGES ", x.log_end, x.message"
						   " FROM unnest($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17) AS x (task_id, attempt,"
						   " incarnation, node_id, state, reason, placed_at, started_at, at, exit_code, image_id, fetch_ms, build_ms, stage_in_ms, run_ms,"
						   " log_end, message)", &c.args);
}

/* Ends that nobody confirmed: what the attempts held stays allocated. */
static void
write_held(const DoorEndings *endings)
{
	static SPIPlanPtr plan;
	const DoorEnding *e = endings->items;
	Columns		c;

	if (endings->count == 0)
		return;
	columns_init(&c, endings->count);
	COLUMN(&c, INT8OID, Int64GetDatum(e[i].live.incarnation), false);
	COLUMN(&c, INT8OID, Int64GetDatum(e[i].live.task_id), false);
	COLUMN(&c, INT4OID, Int32GetDatum(e[i].live.attempt), false);
	COLUMN(&c, INT4OID, Int32GetDatum(e[i].live.node_id), false);
	COLUMN(&c, INT4OID, Int32GetDatum(e[i].live.cpus_milli), false);
	COLUMN(&c, INT8OID, Int64GetDatum(e[i].live.memory), false);
	COLUMN(&c, INT2OID, Int16GetDatum(e[i].live.gpus), false);
	COLUMN(&c, INT8OID, Int64GetDatum(e[i].live.gpu_mask), false);
	COLUMN(&c, INT2OID, Int16GetDatum(e[i].reason), false);
	COLUMN(&c, TIMESTAMPTZOID, TimestampTzGetDatum(e[i].at), false);
	COLUMN(&c, UUIDOID, UUIDPGetDatum(&e[i].live.left_on), !e[i].live.left);
	unidesk_execute_by_key(&plan,
						   "INSERT INTO unidesk_data.held (incarnation, task_id, attempt, node_id, cpus_milli, memory, gpus,"
						   " gpu_mask, reason, since, left_on) SELECT * FROM unnest($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)", &c.args);
	for (int i = 0; i < endings->count; i++)
		unidesk_note_node(e[i].live.node_id);
}

/* The rows of live, each by what has become of it. */
static void
write_rows(UnideskDoor *door)
{
	UnideskLive **gone = palloc(sizeof(UnideskLive *) * door->live_count);
	UnideskLive **requeued = palloc(sizeof(UnideskLive *) * door->live_count);
	UnideskLive **staying = palloc(sizeof(UnideskLive *) * door->live_count);
	int			gone_count = 0;
	int			requeued_count = 0;
	int			staying_count = 0;

	for (int i = 0; i < door->live_count; i++)
	{
		UnideskLive *live = door->lives[i];

		if (UNIDESK_TASK_IS_TERMINAL(live->state))
			gone[gone_count++] = live;
		else if (live->requeued)
			requeued[requeued_count++] = live;
		else
			staying[staying_count++] = live;
		/* It may be moved, or told of, again before the door is closed. */
		live->dirty = live->requeued = false;
		unidesk_note_task(live->task_id);
	}
	write_lives(staying, staying_count);
	write_requeued(requeued, requeued_count);
	delete_lives(gone, gone_count);
}

void
unidesk_door_write(UnideskDoor *door)
{
	if (door->live_count == 0)
		return;
	ForceSyncCommit();
	if (door->event_count > 0)
		write_events(door);
	write_rows(door);
	write_tasks(&door->tasks);
	write_attempts(&door->attempts);
	write_held(&door->held);
}
