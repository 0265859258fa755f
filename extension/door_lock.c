/*
 * door_lock.c
 *	  Locking and reading the rows that the door moves.
 */
#include "unidesk.h"

#include "catalog/pg_type.h"
#include "utils/array.h"

#include "door.h"

#define SELECT_LIVE \
	"SELECT task_id, state, reason, seq, attempt, incarnation, node_id, attempt_state," \
	" phase, want, want_final, want_reason, cpus_milli, memory, gpus, gpu_mask," \
	" max_retries, user_failures, infra_failures, on_lost, placed_at, started_at, state_at, left_on," \
	" restart_exit_code, restarts, checkpoint_node, retry_on, excluded_node, not_before" \
	" FROM unidesk_data.live"

/* The exit codes of an array as bits. */
static void
read_retry_on(uint64 row, int column, UnideskLive *live)
{
	Datum		array = unidesk_column(row, column, NULL);
	Datum	   *codes;
	int			count;

	deconstruct_array(DatumGetArrayTypeP(array), INT2OID, sizeof(int16), true, TYPALIGN_SHORT, &codes, NULL, &count);
	live->has_retry_on = true;
	for (int i = 0; i < count; i++)
	{
		uint8		code = (uint8) DatumGetInt16(codes[i]);

		live->retry_on[code / 64] |= UINT64CONST(1) << (code % 64);
	}
}

static void
read_live(uint64 row, UnideskLive *live)
{
	Datum		left_on;
	bool		is_null;

	memset(live, 0, sizeof(*live));
	live->task_id = unidesk_column_int64(row, 1);
	live->state = unidesk_column_int32(row, 2);
	live->reason = unidesk_column_int32(row, 3);
	live->seq = unidesk_column_int32(row, 4);
	live->attempt = unidesk_column_int32(row, 5);
	live->incarnation = unidesk_column_int64(row, 6);
	live->node_id = unidesk_column_int32(row, 7);
	live->attempt_state = unidesk_column_int32(row, 8);
	live->phase = unidesk_column_int32(row, 9);
	live->want = unidesk_column_int32(row, 10);
	live->want_final = unidesk_column_int32(row, 11);
	live->want_reason = unidesk_column_int32(row, 12);
	live->cpus_milli = unidesk_column_int32(row, 13);
	live->memory = unidesk_column_int64(row, 14);
	live->gpus = unidesk_column_int32(row, 15);
	live->gpu_mask = unidesk_column_int64(row, 16);
	live->max_retries = unidesk_column_int32(row, 17);
	live->user_failures = unidesk_column_int32(row, 18);
	live->infra_failures = unidesk_column_int32(row, 19);
	live->on_lost = unidesk_column_int32(row, 20);
	live->placed_at = unidesk_column_time(row, 21);
	live->started_at = unidesk_column_time(row, 22);
	live->state_at = unidesk_column_time(row, 23);
	left_on = unidesk_column(row, 24, &is_null);
	live->left = !is_null;
	if (live->left)
		live->left_on = *DatumGetUUIDP(left_on);
	live->restart_exit_code = unidesk_column_int32(row, 25);
	live->restarts = unidesk_column_int32(row, 26);
	live->checkpoint_node = unidesk_column_int32(row, 27);
	unidesk_column(row, 28, &is_null);
	if (!is_null)
		read_retry_on(row, 28, live);
	live->excluded_node = unidesk_column_int32(row, 29);
	live->not_before = unidesk_column_time(row, 30);
}

UnideskLock
unidesk_live_lock(int64 task_id, bool wait, UnideskLive *live)
{
	static SPIPlanPtr plan;
	UnideskArgs args = {0};
	UnideskLock lock;

	if (!wait)
	{
		unidesk_live_lock_many(&task_id, 1, live, &lock);
		return lock;
	}
	unidesk_arg_int64(&args, task_id);
	if (unidesk_execute_by_key(&plan, SELECT_LIVE " WHERE task_id = $1 FOR NO KEY UPDATE", &args) == 0)
		return UNIDESK_ABSENT;
	read_live(0, live);
	return UNIDESK_LOCKED;
}

int
unidesk_live_lock_waiting(const int64 *task_ids, int count, UnideskLive *lives)
{
	static SPIPlanPtr plan;
	UnideskArgs args = {0};
	Datum	   *ids = palloc(sizeof(Datum) * count);

	for (int i = 0; i < count; i++)
		ids[i] = Int64GetDatum(task_ids[i]);
	unidesk_arg_array(&args, INT8OID, ids, NULL, count);
	unidesk_execute_by_key(&plan, SELECT_LIVE " WHERE task_id = ANY ($1) ORDER BY task_id FOR NO KEY UPDATE", &args);
	for (uint64 row = 0; row < SPI_processed; row++)
		read_live(row, &lives[row]);
	return (int) SPI_processed;
}

/* Which of the rows that were not locked are there all the same?  A plain
 * read tells, and never waits. */
static void
mark_busy(const int64 *task_ids, int count, UnideskLock *locks)
{
	static SPIPlanPtr plan;
	UnideskArgs args = {0};
	Datum	   *ids = palloc(sizeof(Datum) * count);
	int			n = 0;

	for (int i = 0; i < count; i++)
		if (locks[i] == UNIDESK_ABSENT)
			ids[n++] = Int64GetDatum(task_ids[i]);
	if (n == 0)
		return;
	unidesk_arg_array(&args, INT8OID, ids, NULL, n);
	unidesk_execute_by_key(&plan, "SELECT task_id FROM unidesk_data.live WHERE task_id = ANY ($1) ORDER BY task_id", &args);
	for (uint64 row = 0, i = 0; row < SPI_processed; row++)
	{
		while (task_ids[i] != unidesk_column_int64(row, 1))
			i++;
		locks[i] = UNIDESK_BUSY;
	}
}

int
unidesk_compare_ids(const void *a, const void *b)
{
	int64		x = *(const int64 *) a;
	int64		y = *(const int64 *) b;

	return x < y ? -1 : x > y ? 1 : 0;
}

void
unidesk_live_lock_many(const int64 *task_ids, int count, UnideskLive *lives, UnideskLock *locks)
{
	static SPIPlanPtr plan;
	UnideskArgs args = {0};
	Datum	   *ids;

	if (count == 0)
		return;
	ids = palloc(sizeof(Datum) * count);
	for (int i = 0; i < count; i++)
	{
		ids[i] = Int64GetDatum(task_ids[i]);
		locks[i] = UNIDESK_ABSENT;
	}
	unidesk_arg_array(&args, INT8OID, ids, NULL, count);
	unidesk_execute_by_key(&plan, SELECT_LIVE " WHERE task_id = ANY ($1) ORDER BY task_id"
						   " FOR NO KEY UPDATE SKIP LOCKED", &args);
	for (uint64 row = 0, i = 0; row < SPI_processed; row++)
	{
		while (task_ids[i] != unidesk_column_int64(row, 1))
			i++;
		read_live(row, &lives[i]);
		locks[i] = UNIDESK_LOCKED;
	}
	mark_busy(task_ids, count, locks);
}
