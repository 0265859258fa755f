/*
 * demands.c
 *	  How many different demands one person may have in the queue.
 *
 * A pass costs (distinct demands) x (nodes), and a million tasks with a million
 * demands would be one pass of minutes for everybody.  So each person may have
 * unidesk.max_demands classes; a task that would need one more waits outside,
 * first come first served, and its row says why.
 */
#include "unidesk.h"

#include "catalog/pg_type.h"
#include "utils/hsearch.h"

#include "common/reasons.h"
#include "demands.h"
#include "suspect.h"

/* Waiting tasks that are read again at once, and rows that are told at once. */
#define BATCH_MAX 1000

static MemoryOwner *
owner_for(int32 owner_id)
{
	bool		found;
	MemoryOwner *owner = hash_search(unidesk_memory->owners, &owner_id, HASH_ENTER, &found);

	if (!found)
	{
		owner->class_count = 0;
		dlist_init(&owner->waiting);
	}
	return owner;
}

MemoryOwner *
unidesk_demand_owner(MemoryTask *task)
{
	MemoryOwner *owner = owner_for(task->owner_id);

	if (owner->class_count < unidesk_max_demands)
		return owner;
	task->waiting = true;
	dlist_push_tail(&owner->waiting, &task->wait);
	return NULL;
}

void
unidesk_demand_note(MemoryTask *task)
{
	if (task->untold || task->state != UNIDESK_TASK_QUEUED || task->waiting == task->told)
		return;
	task->untold = true;
	dlist_push_tail(&unidesk_memory->untold, &task->tell);
}

void
unidesk_demand_forget(MemoryTask *task)
{
	if (task->waiting)
		dlist_delete(&task->wait);
	if (task->untold)
		dlist_delete(&task->tell);
	task->waiting = task->untold = false;
}

/* Somebody with tasks that wait and room for another demand; NULL: nobody. */
static MemoryOwner *
owner_with_room(void)
{
	HASH_SEQ_STATUS scan;
	MemoryOwner *owner;

	hash_seq_init(&scan, unidesk_memory->owners);
	while ((owner = hash_seq_search(&scan)) != NULL)
		if (owner->class_count < unidesk_max_demands && !dlist_is_empty(&owner->waiting))
		{
			hash_seq_term(&scan);
			return owner;
		}
	return NULL;
}

bool
unidesk_demands_have_work(void)
{
	return !dlist_is_empty(&unidesk_memory->untold) || owner_with_room() != NULL;
}

bool
unidesk_demands_admit(void)
{
	MemoryOwner *owner;
	Datum	   *ids = palloc(sizeof(Datum) * BATCH_MAX);
	int			left = BATCH_MAX;

	while (left > 0 && (owner = owner_with_room()) != NULL)
	{
		int			room = Min(left, unidesk_max_demands - owner->class_count);
		int			count = 0;

		while (count < room && !dlist_is_empty(&owner->waiting))
		{
			MemoryTask *task = dlist_head_element(MemoryTask, wait, &owner->waiting);

			dlist_delete(&task->wait);
			task->waiting = false;
			ids[count++] = Int64GetDatum(task->task_id);
		}
		unidesk_memory_read_listed(ids, count);
		left -= count;
	}
	return left == 0;
}

bool
unidesk_demands_tell(void)
{
	static SPIPlanPtr plan;
	UnideskArgs args = {0};
	int64	   *tasks;
	Datum	   *ids;
	Datum	   *reasons;
	int			count = 0;
	int			n = 0;
	dlist_iter	iter;

	if (dlist_is_empty(&unidesk_memory->untold) && !unidesk_suspect_searching(UNIDESK_SUSPECT_TELL))
		return false;
	tasks = palloc(sizeof(int64) * BATCH_MAX);
	ids = palloc(sizeof(Datum) * BATCH_MAX);
	reasons = palloc(sizeof(Datum) * BATCH_MAX);
	dlist_foreach(iter, &unidesk_memory->untold)
	{
		if (count == BATCH_MAX)
			break;
		tasks[count++] = dlist_container(MemoryTask, tell, iter.cur)->task_id;
	}
	count = unidesk_suspect_begin(UNIDESK_SUSPECT_TELL, tasks, count, BATCH_MAX);
	for (int i = 0; i < count; i++)
	{
		MemoryTask *task = unidesk_memory_task(tasks[i]);

		if (task == NULL || !task->untold)
			continue;
		ids[n] = Int64GetDatum(task->task_id);
		reasons[n++] = Int16GetDatum(task->waiting ? UD_REASON_POLICY_DEMANDS : UD_REASON_NONE);
	}
	unidesk_arg_array(&args, INT8OID, ids, NULL, n);
	unidesk_arg_array(&args, INT2OID, reasons, NULL, n);
	unidesk_execute(&plan,
					"WITH x AS (SELECT * FROM unnest($1, $2) AS x (task_id, reason)),"
					" free AS (SELECT l.task_id FROM unidesk_data.live l JOIN x ON x.task_id = l.task_id WHERE l.state = 3"
					" ORDER BY l.task_id FOR NO KEY UPDATE OF l SKIP LOCKED)"
					" UPDATE unidesk_data.live l SET reason = x.reason"
					" FROM x JOIN free ON free.task_id = x.task_id WHERE l.task_id = x.task_id RETURNING l.task_id", &args);
	/* An ERROR before the commit throws the memory away. */
	for (uint64 row = 0; row < SPI_processed; row++)
	{
		MemoryTask *task = unidesk_memory_task(unidesk_column_int64(row, 1));

		task->told = task->waiting;
		task->untold = false;
		dlist_delete(&task->tell);
	}
	unidesk_suspect_end();
	/* Rows that somebody holds come again after a nap. */
	return SPI_processed == BATCH_MAX;
}
