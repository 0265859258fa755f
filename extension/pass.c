/*
 * pass.c
 *	  One pass of the scheduler: refresh the memory, plan, write; after the
 *	  commit, let the memory follow.
 *
 * The plan is made by placement/ over the worker's memory.  What is written is
 * what the rows still allow: a task that somebody else has locked or changed
 * is not returned by the statement, and is left out.  Memory changes only by
 * what was returned, and only after the commit, so an ERROR leaves nothing
 * half done.
 */
#include "unidesk.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "commands/async.h"
#include "lib/binaryheap.h"
#include "utils/builtins.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"

#include "common/reasons.h"
#include "demands.h"
#include "door.h"
#include "memory.h"
#include "placement/placement.h"
#include "shared.h"
#include "space.h"
#include "sums.h"
#include "suspect.h"
#include "transition.h"
#include "worker.h"

#define BRIDGES_MAX 64
/* Pairs of demand and node that one pass looks at, about 10 ms. */
#define CHECKS_MAX 1000000
/* Candidates offered to the planner for each placement a pass may make. */
#define CANDIDATES_PER_PLACEMENT 4

/* Queued tasks offered to the planner, best first. */
typedef struct Candidates
{
	int			count;
	MemoryTask **tasks;
	PlacementItem *items;
	int			class_count;
	PlacementDemand *classes;
	bool		more;			/* some were left out */
} Candidates;

/* The result of the pass that is about to commit; in pass_context. */
static MemoryContext pass_context;
static UnideskOrder *orders;
static int	order_count;
static TimestampTz order_time;
static int32 *written_nodes;
static int	written_count;

/* Bridges to wake. */
static int32 bridges[BRIDGES_MAX];
static int	bridge_count;

/* After an ERROR passes place less at a time, down to one task: the poisoned
 * one, which is then held. */
static int	error_streak;
static int	pass_limit;
static int64 single;			/* the one task that this pass tries to place */
static int64 poisoned;
static const char *poisoned_how;	/* what could not be done with it */
static bool placing;			/* an ERROR now may be one task's fault */

/* The head of a class that takes part in the merge. */
typedef struct Head
{
	RBTreeIterator iterator;
	MemoryQueueEntry *entry;
	int			class_index;
} Head;

static int
compare_heads(Datum a, Datum b, void *arg)
{
	const MemoryQueueEntry *x = ((Head *) DatumGetPointer(a))->entry;
	const MemoryQueueEntry *y = ((Head *) DatumGetPointer(b))->entry;

	/* The heap's first is its greatest. */
	if (x->priority != y->priority)
		return x->priority > y->priority ? 1 : -1;
	return x->task_id < y->task_id ? 1 : x->task_id > y->task_id ? -1 : 0;
}

/* Classes that fit somewhere now; the others stay closed until a node changes. */
static binaryheap *
open_classes(Candidates *candidates)
{
	HASH_SEQ_STATUS scan;
	MemoryClass *class;
	long		total = hash_get_num_entries(unidesk_memory->classes);
	binaryheap *heap = binaryheap_allocate(Max(total, 1), compare_heads, NULL);

	candidates->classes = palloc(sizeof(PlacementDemand) * Max(total, 1));
	hash_seq_init(&scan, unidesk_memory->classes);
	while ((class = hash_seq_search(&scan)) != NULL)
	{
		Head	   *head;

		if (unidesk_memory->capacity_changed)
			class->closed = false;
		if (class->closed)
			continue;
		if (placement_choose(unidesk_memory->placement, unidesk_memory->node_count, &class->demand) < 0)
		{
			class->closed = true;
			continue;
		}
		head = palloc(sizeof(Head));
		rbt_begin_iterate(class->queue, LeftRightWalk, &head->iterator);
		head->entry = (MemoryQueueEntry *) rbt_iterate(&head->iterator);
		head->class_index = candidates->class_count;
		candidates->classes[candidates->class_count++] = class->demand;
		binaryheap_add_unordered(heap, PointerGetDatum(head));
	}
	binaryheap_build(heap);
	return heap;
}

/* The best queued tasks of all open classes, merged by priority and age. */
static void
collect(Candidates *candidates, int max)
{
	binaryheap *heap = open_classes(candidates);

	candidates->tasks = palloc(sizeof(MemoryTask *) * max);
	candidates->items = palloc0(sizeof(PlacementItem) * max);
	while (!binaryheap_empty(heap) && candidates->count < max)
	{
		Head	   *head = (Head *) DatumGetPointer(binaryheap_first(heap));

		candidates->tasks[candidates->count] = head->entry->task;
		candidates->items[candidates->count].class_index = head->class_index;
		candidates->count++;
		head->entry = (MemoryQueueEntry *) rbt_iterate(&head->iterator);
		if (head->entry != NULL)
			binaryheap_replace_first(heap, PointerGetDatum(head));
		else
			binaryheap_remove_first(heap);
	}
	candidates->more = !binaryheap_empty(heap);
	binaryheap_free(heap);
}

/* A planned node that takes tasks now, its sums locked. */
typedef struct OpenNode
{
	int32		node_id;		/* key */
	int64		session;
	char	   *name;
} OpenNode;

/* Lock the sums of the planned nodes; a node whose row is taken waits. */
static int
lock_use(Datum *ids, int count)
{
	static SPIPlanPtr plan;
	UnideskArgs args = {0};
	int			locked;

	unidesk_arg_array(&args, INT4OID, ids, NULL, count);
	locked = (int) unidesk_execute_by_key(&plan, "SELECT node_id FROM unidesk_data.node_use WHERE node_id = ANY ($1)"
										  " ORDER BY node_id FOR NO KEY UPDATE SKIP LOCKED", &args);
	for (int i = 0; i < locked; i++)
		ids[i] = unidesk_column(i, 1, NULL);
	return locked;
}

/* Those of the planned nodes that take tasks, read when their sums are locked. */
static HTAB *
lock_nodes(const PlacementAssignment *plan, int count)
{
	static SPIPlanPtr read_plan;
	UnideskArgs args = {0};
	HASHCTL		control = {0};
	HTAB	   *open;
	Datum	   *ids = palloc(sizeof(Datum) * count);

	control.keysize = sizeof(int32);
	control.entrysize = sizeof(OpenNode);
	control.hcxt = CurrentMemoryContext;
	open = hash_create("open nodes", 64, &control, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	for (int i = 0; i < count; i++)
		ids[i] = Int32GetDatum(unidesk_memory->placement[plan[i].node].node_id);
	unidesk_arg_array(&args, INT4OID, ids, NULL, lock_use(ids, count));
	unidesk_execute_by_key(&read_plan,
						   "SELECT n.id, n.session, n.name FROM unidesk_data.node n WHERE n.id = ANY ($1)"
						   " AND n.session IS NOT NULL AND n.reconciled AND n.status = 2 AND n.scheduling = 1 AND n.engine_down_since IS NULL"
						   " AND NOT EXISTS (SELECT FROM unidesk_data.downtime d WHERE d.node_id = n.id AND d.ended_at IS NULL)", &args);
	for (uint64 row = 0; row < SPI_processed; row++)
	{
		int32		id = unidesk_column_int32(row, 1);
		OpenNode   *node = hash_search(open, &id, HASH_ENTER, NULL);

		node->session = unidesk_column_int64(row, 2);
		node->name = unidesk_column_text(row, 3);
	}
	return open;
}

static int
compare_datums(const void *a, const void *b)
{
	int64		x = DatumGetInt64(*(const Datum *) a);
	int64		y = DatumGetInt64(*(const Datum *) b);

	return x < y ? -1 : x > y ? 1 : 0;
}

/* Lock those of the tasks that are queued and nobody else's; returns them sorted. */
static Datum *
lock_queued(const Datum *tasks, int count, int *locked)
{
	static SPIPlanPtr plan;
	UnideskArgs args = {0};
	Datum	   *ids = memcpy(palloc(sizeof(Datum) * count), tasks, sizeof(Datum) * count);

	unidesk_arg_array(&args, INT8OID, ids, NULL, count);
	*locked = (int) unidesk_execute_by_key(&plan, "SELECT task_id FROM unidesk_data.live WHERE task_id = ANY ($1) AND state = 3"
										   " ORDER BY task_id FOR NO KEY UPDATE SKIP LOCKED", &args);
	for (int i = 0; i < *locked; i++)
		ids[i] = unidesk_column(i, 1, NULL);
	return ids;
}

/* $1 time, $2 tasks, $3 nodes, $4 their sessions, $5 GPU masks */
static const char write_placements[] =
"UPDATE unidesk_data.live l SET state = 4, reason = 0, attempt = l.attempt + 1, seq = l.seq + 1,"
" incarnation = (SELECT value FROM unidesk_data.incarnation), node_id = p.node_id, session = p.session,"
" attempt_state = 1, want = 1, order_no = nextval('unidesk_data.order_no'), gpu_mask = p.gpu_mask,"
" placed_at = $1, state_at = $1"
" FROM unnest($2, $3, $4, $5) AS p (task_id, node_id, session, gpu_mask) WHERE l.task_id = p.task_id"
" RETURNING l.task_id, l.node_id, l.gpu_mask, l.attempt, l.order_no, l.seq";

/* The placements that the last statement returned, told. */
static void
tell_placements(HTAB *open)
{
	static SPIPlanPtr plan;
	UnideskArgs args = {0};
	uint64		count = SPI_processed;
	Datum	   *columns[4];

	for (int c = 0; c < 4; c++)
		columns[c] = palloc(sizeof(Datum) * (count + 1));
	for (uint64 row = 0; row < count; row++)
	{
		int32		node_id = unidesk_column_int32(row, 2);
		OpenNode   *node = hash_search(open, &node_id, HASH_FIND, NULL);

		columns[0][row] = unidesk_column(row, 1, NULL);
		columns[1][row] = unidesk_column(row, 6, NULL);
		columns[2][row] = unidesk_column(row, 4, NULL);
		columns[3][row] = CStringGetTextDatum(node->name);
	}
	unidesk_arg_time(&args, order_time);
	unidesk_arg_array(&args, INT8OID, columns[0], NULL, count);
	unidesk_arg_array(&args, INT4OID, columns[1], NULL, count);
	unidesk_arg_array(&args, INT4OID, columns[2], NULL, count);
	unidesk_arg_array(&args, TEXTOID, columns[3], NULL, count);
	unidesk_execute_by_key(&plan,
						   "INSERT INTO unidesk_data.task_event (at, task_id, seq, attempt, task_state, attempt_state, reason,"
						   " actor_kind, actor_id, data) SELECT $1, task_id, seq, attempt, 4, 1, 0, 0, 0, name"
						   " FROM unnest($2, $3, $4, $5) AS x (task_id, seq, attempt, name)", &args);
}

static void
add_orders(void)
{
	for (uint64 row = 0; row < SPI_processed; row++)
	{
		UnideskOrder *order = &orders[order_count++];

		order->task_id = unidesk_column_int64(row, 1);
		order->node_id = unidesk_column_int32(row, 2);
		order->gpus = (uint64) unidesk_column_int64(row, 3);
		order->attempt = unidesk_column_int32(row, 4);
		order->order_no = unidesk_column_int64(row, 5);
	}
}

static void
write_plan(const Candidates *candidates, const PlacementAssignment *plan, int count)
{
	static SPIPlanPtr write_plan;
	UnideskArgs args = {0};
	HTAB	   *open = lock_nodes(plan, count);
	Datum	   *tasks = palloc(sizeof(Datum) * count);
	Datum	   *columns[4];
	Datum	   *locked;
	int			locked_count;
	int			n = 0;

	for (int i = 0; i < count; i++)
		if (hash_search(open, &unidesk_memory->placement[plan[i].node].node_id, HASH_FIND, NULL) != NULL)
			tasks[n++] = Int64GetDatum(candidates->tasks[plan[i].item]->task_id);
	single = n == 1 ? DatumGetInt64(tasks[0]) : 0;
	if (n == 0)
		return;
	locked = lock_queued(tasks, n, &locked_count);
	for (int c = 0; c < 4; c++)
		columns[c] = palloc(sizeof(Datum) * count);
	n = 0;
	for (int i = 0; i < count; i++)
	{
		Datum		task = Int64GetDatum(candidates->tasks[plan[i].item]->task_id);
		OpenNode   *node = hash_search(open, &unidesk_memory->placement[plan[i].node].node_id, HASH_FIND, NULL);

		if (node == NULL || bsearch(&task, locked, locked_count, sizeof(Datum), compare_datums) == NULL)
			continue;
		columns[0][n] = task;
		columns[1][n] = Int32GetDatum(node->node_id);
		columns[2][n] = Int64GetDatum(node->session);
		columns[3][n++] = Int64GetDatum((int64) plan[i].gpus);
	}
	if (n == 0)
		return;
	unidesk_arg_time(&args, order_time);
	unidesk_arg_array(&args, INT8OID, columns[0], NULL, n);
	unidesk_arg_array(&args, INT4OID, columns[1], NULL, n);
	unidesk_arg_array(&args, INT8OID, columns[2], NULL, n);
	unidesk_arg_array(&args, INT8OID, columns[3], NULL, n);
	unidesk_execute_by_key(&write_plan, write_placements, &args);
	add_orders();
	tell_placements(open);
	ForceSyncCommit();
}

/* Plan and write; true when there is more to place. */
static bool
place(void)
{
	Candidates	candidates = {0};
	PlacementAssignment *plan = palloc(sizeof(PlacementAssignment) * pass_limit);
	PlacementPlanStats stats = {0};
	PlacementNode *nodes;
	Size		bytes = sizeof(PlacementNode) * unidesk_memory->node_count;
	int			planned;

	collect(&candidates, pass_limit * CANDIDATES_PER_PLACEMENT);
	if (candidates.count == 0)
		return false;
	/* The planner takes from what it is given: a copy. */
	nodes = memcpy(palloc(bytes), unidesk_memory->placement, bytes);
	planned = placement_plan(nodes, unidesk_memory->node_count, candidates.classes, candidates.class_count,
							 candidates.items, candidates.count, plan, pass_limit, CHECKS_MAX,
							 palloc(placement_plan_scratch_bytes(candidates.class_count)), &stats);
	if (planned > 0)
		write_plan(&candidates, plan, planned);
	for (int i = 0; i < order_count; i++)
		unidesk_memory_task(orders[i].task_id)->returned = true;
	/* Planned and not returned: somebody holds the row, or changed it. */
	for (int i = 0; i < planned; i++)
		if (!candidates.tasks[plan[i].item]->returned)
			unidesk_memory_postpone(candidates.tasks[plan[i].item]);
	return candidates.more || stats.items_seen < candidates.count;
}

/* Stops that people or deadlines asked for become orders. */
static void
stamp_stops(void)
{
	static SPIPlanPtr plan;
	UnideskArgs args = {0};
	int64	   *tasks = palloc(sizeof(int64) * unidesk_pass_placements);
	Datum	   *ids = palloc(sizeof(Datum) * unidesk_pass_placements);
	int			count = 0;
	dlist_iter	iter;

	dlist_foreach(iter, &unidesk_memory->unordered)
	{
		if (count == unidesk_pass_placements)
			break;
		tasks[count++] = dlist_container(MemoryTask, unordered, iter.cur)->task_id;
	}
	count = unidesk_suspect_begin(UNIDESK_SUSPECT_STOPS, tasks, count, unidesk_pass_placements);
	if (count == 0)
		return;
	for (int i = 0; i < count; i++)
		ids[i] = Int64GetDatum(tasks[i]);
	unidesk_arg_array(&args, INT8OID, ids, NULL, count);
	unidesk_execute(&plan,
					"UPDATE unidesk_data.live SET order_no = nextval('unidesk_data.order_no')"
					" WHERE task_id IN (SELECT task_id FROM unidesk_data.live WHERE task_id = ANY ($1) AND state = 4"
					" AND order_no IS NULL ORDER BY task_id FOR NO KEY UPDATE SKIP LOCKED)"
					" RETURNING task_id, node_id, NULL::bigint, 0, order_no", &args);
	add_orders();
	unidesk_suspect_end();
}

/* Hold it when it is queued, else tell of it once; true when it is held. */
static bool
hold_or_tell(int64 task_id, const char *how)
{
	UnideskActor actor = {UNIDESK_ACTOR_SYSTEM, 0};
	UnideskDoor *door = unidesk_door_open();
	UnideskLive live;
	bool		held = false;

	if (unidesk_live_lock(task_id, false, &live) == UNIDESK_LOCKED)
	{
		held = live.state == UNIDESK_TASK_QUEUED;
		if (held)
			unidesk_task_move(door, &live, UNIDESK_TASK_HELD, UD_REASON_SYS_POISONED, UNIDESK_BY_WORKER, actor);
		else if (!unidesk_was_left_out(task_id))
			unidesk_task_note(door, &live, live.attempt, 0, UD_REASON_SYS_POISONED, how, actor);
	}
	unidesk_door_close(door);
	return held;
}

/*
 * A task that alone makes the pass fail is held, or left out for a while, and
 * the others go on.  Its row may refuse that as well.
 */
static void
deal_with_poisoned(void)
{
	MemoryContext context = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	volatile bool held = false;

	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(context);
	PG_TRY();
	{
		held = hold_or_tell(poisoned, poisoned_how);
		ReleaseCurrentSubTransaction();
	}
	PG_CATCH();
	{
		held = false;
		MemoryContextSwitchTo(context);
		FlushErrorState();
		RollbackAndReleaseCurrentSubTransaction();
	}
	PG_END_TRY();
	MemoryContextSwitchTo(context);
	CurrentResourceOwner = owner;
	if (held)
		ereport(WARNING,
				(errmsg("task %lld is held: it alone made the scheduler fail", (long long) poisoned)));
	else
	{
		int			wait_s = unidesk_leave_out(poisoned);

		ereport(WARNING,
				(errmsg("task %lld is left out for %d s: it alone made the scheduler fail", (long long) poisoned, wait_s)));
		unidesk_memory_read_tasks(poisoned, poisoned);
	}
	poisoned = 0;
}

static void
begin_pass(void)
{
	if (pass_context == NULL)
		pass_context = AllocSetContextCreate(TopMemoryContext, "unidesk pass", ALLOCSET_DEFAULT_SIZES);
	MemoryContextReset(pass_context);
	if (pass_limit == 0 || pass_limit > unidesk_pass_placements)
		pass_limit = unidesk_pass_placements;
	/* Placements and stops, each at most a pass's limit. */
	orders = MemoryContextAllocHuge(pass_context, sizeof(UnideskOrder) * (pass_limit + unidesk_pass_placements));
	order_count = written_count = 0;
	order_time = unidesk_now();
	single = 0;
}

bool
unidesk_schedule(void)
{
	bool		more = false;
	bool		unfinished;
	bool		waiting = !unidesk_space_may_place();

	begin_pass();
	unidesk_memory_refresh();
	if (poisoned != 0)
	{
		/* Alone: the others have waited for it, and none is to fail with it. */
		deal_with_poisoned();
		return true;
	}
	unidesk_watch_deadlines();
	unidesk_drain_nodes();
	unfinished = unidesk_demands_admit();
	if (!waiting && (unidesk_memory->queue_changed || unidesk_memory->capacity_changed))
	{
		placing = true;
		more = place();
	}
	unfinished |= unidesk_demands_tell();
	stamp_stops();
	written_nodes = unidesk_write_sums(pass_context, orders, order_count, &written_count);
	unidesk_write_holders(orders, order_count);
	/* What waits for room is looked at again at each nap. */
	unidesk_memory->queue_changed = more || (waiting && unidesk_memory->queue_changed);
	unidesk_memory->capacity_changed = waiting && unidesk_memory->capacity_changed;
	return more || unfinished || unidesk_suspect_searching(UNIDESK_SUSPECT_NONE);
}

static void
note_bridge(int32 bridge_id)
{
	for (int i = 0; i < bridge_count; i++)
		if (bridges[i] == bridge_id)
			return;
	if (bridge_id != 0 && bridge_count < BRIDGES_MAX)
		bridges[bridge_count++] = bridge_id;
}

void
unidesk_schedule_committed(void)
{
	if (unidesk_memory == NULL)
		return;
	for (int i = 0; i < order_count; i++)
	{
		UnideskOrder *order = &orders[i];
		MemoryTask *task = unidesk_memory_task(order->task_id);
		MemoryNode *node = unidesk_memory_node(order->node_id);

		if (order->attempt > 0)
			unidesk_memory_placed(task, node, order->gpus, order->attempt, order_time);
		else
			unidesk_memory_ordered(task);
		task->returned = false;
		if (node == NULL)
			continue;
		unidesk_recent_add(node->bridge_id, order->order_no, order->task_id);
		note_bridge(node->bridge_id);
	}
	for (int i = 0; i < written_count; i++)
		unidesk_memory_clean(unidesk_memory_node(written_nodes[i]));
	order_count = written_count = 0;
	unidesk_suspect_committed();
	error_streak = 0;
	placing = false;
	single = 0;
	pass_limit = Min(pass_limit * 2, unidesk_pass_placements);
}

/* Resources, conflicts, shutdown: no task's fault. */
static bool
is_passing(int sqlerrcode)
{
	switch (ERRCODE_TO_CATEGORY(sqlerrcode))
	{
		case ERRCODE_TRANSACTION_ROLLBACK:
		case ERRCODE_INSUFFICIENT_RESOURCES:
		case ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE:
		case ERRCODE_OPERATOR_INTERVENTION:
		case ERRCODE_SYSTEM_ERROR:
			return true;
	}
	return false;
}

void
unidesk_schedule_failed(int sqlerrcode)
{
	bool		was_placing = placing;

	unidesk_memory_discard();
	order_count = written_count = 0;
	placing = false;
	if (unidesk_suspect_failed(is_passing(sqlerrcode), &poisoned, &poisoned_how))
		return;
	if (!was_placing || is_passing(sqlerrcode) || ++error_streak < 2)
		return;
	if (single != 0)
	{
		poisoned = single;
		poisoned_how = "skipped: it could not be placed";
	}
	pass_limit = Max(pass_limit / 2, 1);
}

bool
unidesk_bridges_to_wake(void)
{
	return bridge_count > 0;
}

bool
unidesk_wake_bridges(void)
{
	for (int i = 0; i < bridge_count; i++)
		if (unidesk_bridge_wake_wanted(bridges[i]))
			Async_Notify(psprintf("unidesk_bridge_%d", bridges[i]), NULL);
	bridge_count = 0;
	return false;
}
