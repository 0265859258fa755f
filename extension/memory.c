/*
 * memory.c
 *	  The worker's memory: nodes, queued and active tasks, kept by change.
 *
 * Queued tasks with the same demand form a class, each a tree by priority and
 * age.  What time alone changes (not_before, limits, leases) sits in a heap
 * by its due time.  Sums of what is allocated on a node are kept in the
 * planner's own nodes, so that a pass begins without reading anything.
 */
#include "unidesk.h"

#include "catalog/pg_type.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"

#include "common/protocol.h"
#include "common/reasons.h"
#include "demands.h"
#include "memory.h"
#include "suspect.h"

#define HINTS_MAX 4096
/* A task that is due and was not dealt with comes again after this. */
#define DUE_AGAIN_US (1 * USECS_PER_SEC)
/* A task whose row somebody else holds is tried again after this. */
#define POSTPONE_US (100 * 1000)

Memory	   *unidesk_memory;

static int
compare_timers(const pairingheap_node *a, const pairingheap_node *b, void *arg)
{
	TimestampTz x = pairingheap_const_container(MemoryTask, timer, a)->due;
	TimestampTz y = pairingheap_const_container(MemoryTask, timer, b)->due;

	/* The heap's first is its greatest. */
	return x < y ? 1 : x > y ? -1 : 0;
}

static int
compare_queue(const RBTNode *a, const RBTNode *b, void *arg)
{
	const MemoryQueueEntry *x = (const MemoryQueueEntry *) a;
	const MemoryQueueEntry *y = (const MemoryQueueEntry *) b;

	if (x->priority != y->priority)
		return x->priority > y->priority ? -1 : 1;
	return x->task_id < y->task_id ? -1 : x->task_id > y->task_id ? 1 : 0;
}

static void
queue_combine(RBTNode *existing, const RBTNode *newdata, void *arg)
{
	elog(ERROR, "a task stands in a queue twice");
}

static RBTNode *
queue_alloc(void *arg)
{
	return MemoryContextAlloc(((MemoryClass *) arg)->context, sizeof(MemoryQueueEntry));
}

static void
queue_free(RBTNode *node, void *arg)
{
	pfree(node);
}

static HTAB *
make_table(const char *name, Size key, Size entry, long size)
{
	HASHCTL		control = {0};

	control.keysize = key;
	control.entrysize = entry;
	control.hcxt = unidesk_memory->context;
	return hash_create(name, size, &control, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
}

static void
make_memory(void)
{
	MemoryContext context = AllocSetContextCreate(TopMemoryContext, "unidesk scheduler", ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = MemoryContextSwitchTo(context);

	unidesk_memory = palloc0(sizeof(Memory));
	unidesk_memory->context = context;
	unidesk_memory->tasks = make_table("unidesk tasks", sizeof(int64), sizeof(MemoryTask), 1024);
	unidesk_memory->nodes = make_table("unidesk nodes", sizeof(int32), sizeof(MemoryNode), 256);
	unidesk_memory->classes = make_table("unidesk classes", sizeof(PlacementClass), sizeof(MemoryClass), 256);
	unidesk_memory->owners = make_table("unidesk owners", sizeof(int32), sizeof(MemoryOwner), 64);
	unidesk_memory->timers = pairingheap_allocate(compare_timers, NULL);
	dlist_init(&unidesk_memory->unordered);
	dlist_init(&unidesk_memory->untold);
	dlist_init(&unidesk_memory->dirty);
	dlist_init(&unidesk_memory->draining);
	unidesk_memory->node_room = 64;
	unidesk_memory->placement = palloc0(sizeof(PlacementNode) * unidesk_memory->node_room);
	MemoryContextSwitchTo(old);
}

void
unidesk_memory_discard(void)
{
	if (unidesk_memory == NULL)
		return;
	MemoryContextDelete(unidesk_memory->context);
	unidesk_memory = NULL;
}

MemoryTask *
unidesk_memory_task(int64 task_id)
{
	return hash_search(unidesk_memory->tasks, &task_id, HASH_FIND, NULL);
}

MemoryNode *
unidesk_memory_node(int32 node_id)
{
	return hash_search(unidesk_memory->nodes, &node_id, HASH_FIND, NULL);
}

/* ---- timers ---- */

static void
set_due(MemoryTask *task, TimestampTz due)
{
	if (task->due != 0)
		pairingheap_remove(unidesk_memory->timers, &task->timer);
	task->due = due;
	if (due != 0)
		pairingheap_add(unidesk_memory->timers, &task->timer);
}

static void
consider(TimestampTz *due, TimestampTz base, int64 seconds)
{
	TimestampTz at = base + seconds * USECS_PER_SEC;

	if (base != 0 && (*due == 0 || at < *due))
		*due = at;
}

static TimestampTz
due_when_queued(const MemoryTask *task)
{
	TimestampTz due = 0;

	if (task->class == NULL && !task->waiting)
		consider(&due, task->not_before, 0);
	if (task->excluded_node != 0 && task->class != NULL && task->class->demand.excluded_node != 0)
		consider(&due, task->queued_at, unidesk_exclude_for);
	if (task->queue_s > 0)
		consider(&due, task->queued_at, task->queue_s);
	consider(&due, task->deadline, 0);
	/* In its backoff it is not looked for yet. */
	if (task->checkpoint_node != 0 && (task->class != NULL || task->waiting))
		consider(&due, task->queued_at, unidesk_checkpoint_wait);
	return due;
}

static TimestampTz
due_when_active(const MemoryTask *task)
{
	TimestampTz due = 0;

	if (task->left_at != 0)
	{
		consider(&due, task->left_at, unidesk_left_lease(task));
		return due;
	}
	if (task->want == UD_WANT_RUN && task->attempt_state <= UD_ATTEMPT_RUNNING)
		consider(&due, task->deadline, 0);
	if (task->node != NULL && task->node->status == UNIDESK_NODE_OFFLINE)
	{
		if (task->lease_s >= 0)
			consider(&due, unidesk_last_contact(task->node->node_id), (int64) task->lease_s + task->node->extra_lease_s);
		return due;
	}
	if (task->attempt_state == UD_ATTEMPT_STOPPING)
		consider(&due, task->state_at, (int64) task->grace_s + unidesk_stop_limit);
	else if (task->attempt_state == UD_ATTEMPT_FINISHING)
		consider(&due, task->state_at, unidesk_output_limit);
	else if (task->attempt_state == UD_ATTEMPT_ASSIGNED)
		consider(&due, task->state_at, unidesk_withdraw_after);
	else if (task->attempt_state <= UD_ATTEMPT_PREPARING)
		consider(&due, task->placed_at, task->prepare_s > 0 ? task->prepare_s : unidesk_prepare_limit);
	else if (task->attempt_state == UD_ATTEMPT_RUNNING && task->run_s > 0)
		consider(&due, task->started_at, (int64) task->run_s + task->grace_s + UNIDESK_RUN_SLACK_S);
	return due;
}

static void
schedule(MemoryTask *task)
{
	TimestampTz left_out_until = unidesk_left_out_until(task->task_id);

	set_due(task, left_out_until != 0 ? left_out_until :
			task->state == UNIDESK_TASK_QUEUED ? due_when_queued(task) :
			task->state == UNIDESK_TASK_ACTIVE ? due_when_active(task) : 0);
}

void
unidesk_memory_reschedule_node(MemoryNode *node)
{
	dlist_iter	iter;

	dlist_foreach(iter, &node->tasks)
		schedule(dlist_container(MemoryTask, on_node, iter.cur));
}

TimestampTz
unidesk_memory_next_due(void)
{
	TimestampTz due;

	if (unidesk_memory == NULL)
		return 0;
	due = unidesk_memory->drain_due;
	if (!pairingheap_is_empty(unidesk_memory->timers))
	{
		MemoryTask *task = pairingheap_container(MemoryTask, timer, pairingheap_first(unidesk_memory->timers));

		due = due == 0 ? task->due : Min(due, task->due);
	}
	return due;
}

/* ---- queues ---- */

/* NULL: the task's owner has too many. */
static MemoryClass *
class_for(MemoryTask *task, const PlacementDemand *demand)
{
	PlacementClass key = placement_class(demand);
	MemoryClass *class = hash_search(unidesk_memory->classes, &key, HASH_FIND, NULL);
	MemoryOwner *owner;

	if (class != NULL)
		return class;
	owner = unidesk_demand_owner(task);
	if (owner == NULL)
		return NULL;
	class = hash_search(unidesk_memory->classes, &key, HASH_ENTER, NULL);
	class->owner = owner;
	owner->class_count++;
	class->context = AllocSetContextCreate(unidesk_memory->context, "unidesk class", ALLOCSET_SMALL_SIZES);
	class->demand = *demand;
	class->demand.labels = MemoryContextStrdup(class->context, demand->labels);
	class->queue = NULL;
	class->count = 0;
	class->closed = false;
	{
		MemoryContext old = MemoryContextSwitchTo(class->context);

		class->queue = rbt_create(sizeof(MemoryQueueEntry), compare_queue, queue_combine,
								  queue_alloc, queue_free, class);
		MemoryContextSwitchTo(old);
	}
	return class;
}

static void
leave_queue(MemoryTask *task)
{
	MemoryClass *class = task->class;
	MemoryQueueEntry key = {0};
	RBTNode    *entry;

	if (class == NULL)
		return;
	key.priority = task->priority;
	key.task_id = task->task_id;
	entry = rbt_find(class->queue, &key.links);
	Assert(entry != NULL);
	rbt_delete(class->queue, entry);
	task->class = NULL;
	if (--class->count == 0)
	{
		MemoryContext context = class->context;

		class->owner->class_count--;
		hash_search(unidesk_memory->classes, &class->key, HASH_REMOVE, NULL);
		MemoryContextDelete(context);
	}
}

static void
enter_queue(MemoryTask *task, const char *labels)
{
	PlacementDemand demand = task->demand;
	MemoryQueueEntry entry = {0};
	bool		is_new;

	demand.labels = labels;
	demand.only_node = task->checkpoint_node;
	demand.excluded_node = 0;
	if (task->excluded_node != 0 && task->queued_at + unidesk_exclude_for * USECS_PER_SEC > unidesk_now())
		demand.excluded_node = task->excluded_node;
	task->class = class_for(task, &demand);
	if (task->class == NULL)
		return;
	entry.priority = task->priority;
	entry.task_id = task->task_id;
	entry.task = task;
	rbt_insert(task->class->queue, &entry.links, &is_new);
	task->class->count++;
	unidesk_memory->queue_changed = true;
}

/* ---- allocations ---- */

static PlacementNode *
placement_of(MemoryNode *node)
{
	return &unidesk_memory->placement[node->index];
}

void
unidesk_memory_dirty(MemoryNode *node)
{
	if (node->use_dirty || !node->has_use)
		return;
	node->use_dirty = true;
	dlist_push_tail(&unidesk_memory->dirty, &node->dirty);
}

void
unidesk_memory_clean(MemoryNode *node)
{
	if (!node->use_dirty)
		return;
	node->use_dirty = false;
	dlist_delete(&node->dirty);
}

static void
allocate(MemoryTask *task)
{
	if (task->node == NULL || task->allocated || task->attempt_state == UD_ATTEMPT_FINISHING)
		return;
	placement_add(placement_of(task->node), &task->demand, task->gpus);
	task->allocated = true;
	unidesk_memory_dirty(task->node);
}

/* Count everything allocated on the node anew. */
static void
recount(MemoryNode *node)
{
	PlacementNode *p = placement_of(node);
	dlist_iter	iter;

	p->cpus_milli_used = 0;
	p->memory_used = 0;
	p->gpu_used = 0;
	p->gpu_free_mask = node->gpu_present;
	for (int i = 0; i < node->held_count; i++)
		placement_add(p, &node->held[i].demand, node->held[i].gpus);
	dlist_foreach(iter, &node->tasks)
	{
		MemoryTask *task = dlist_container(MemoryTask, on_node, iter.cur);

		if (task->allocated)
			placement_add(p, &task->demand, task->gpus);
	}
	unidesk_memory_dirty(node);
}

static void
release(MemoryTask *task)
{
	if (!task->allocated)
		return;
	task->allocated = false;

	/* A held row may stand for the same GPUs, or one may be gone: count. */
	if (task->node->held_count > 0 || task->gpus != 0)
		recount(task->node);
	else
		placement_give(placement_of(task->node), &task->demand, task->gpus);
	unidesk_memory_dirty(task->node);
	unidesk_memory->capacity_changed = true;
}

static void
leave_node(MemoryTask *task)
{
	release(task);
	if (task->node != NULL)
		dlist_delete(&task->on_node);
	task->node = NULL;
}

void
unidesk_memory_ordered(MemoryTask *task)
{
	task->ordered = true;
	if (task->listed)
		dlist_delete(&task->unordered);
	task->listed = false;
}

/* Out of every list; what the row says now comes next. */
static void
detach(MemoryTask *task)
{
	leave_queue(task);
	unidesk_demand_forget(task);
	leave_node(task);
	set_due(task, 0);
	unidesk_memory_ordered(task);
}

static void
forget(MemoryTask *task)
{
	detach(task);
	hash_search(unidesk_memory->tasks, &task->task_id, HASH_REMOVE, NULL);
}

/* ---- rows of live ---- */

#define TASK_COLUMNS \
	"SELECT task_id, state, priority, cpus_milli, memory, gpus, labels, excluded_node, queued_at, not_before," \
	" queue_s, prepare_s, run_s, grace_s, coalesce(lease_s, -1), attempt, incarnation, node_id, attempt_state," \
	" want, order_no IS NOT NULL, gpu_mask, placed_at, started_at, state_at, owner_id, reason, left_at, deadline, checkpoint_node FROM unidesk_data.live"

static void
fill_task(MemoryTask *task, uint64 row)
{
	task->state = unidesk_column_int32(row, 2);
	task->priority = unidesk_column_int32(row, 3);
	task->demand.cpus_milli = unidesk_column_int32(row, 4);
	task->demand.memory = unidesk_column_int64(row, 5);
	task->demand.gpus = unidesk_column_int32(row, 6);
	task->demand.labels = NULL;
	task->demand.excluded_node = 0;
	task->demand.only_node = 0;
	task->excluded_node = unidesk_column_int32(row, 8);
	task->queued_at = unidesk_column_time(row, 9);
	task->not_before = unidesk_column_time(row, 10);
	task->queue_s = unidesk_column_int32(row, 11);
	task->prepare_s = unidesk_column_int32(row, 12);
	task->run_s = unidesk_column_int32(row, 13);
	task->grace_s = unidesk_column_int32(row, 14);
	task->lease_s = unidesk_column_int32(row, 15);
	task->attempt = unidesk_column_int32(row, 16);
	task->incarnation = unidesk_column_int64(row, 17);
	task->attempt_state = unidesk_column_int32(row, 19);
	task->want = unidesk_column_int32(row, 20);
	task->ordered = DatumGetBool(unidesk_column(row, 21, NULL));
	task->gpus = (uint64) unidesk_column_int64(row, 22);
	task->placed_at = unidesk_column_time(row, 23);
	task->started_at = unidesk_column_time(row, 24);
	task->state_at = unidesk_column_time(row, 25);
	task->owner_id = unidesk_column_int32(row, 26);
	task->left_at = unidesk_column_time(row, 28);
	task->told = unidesk_column_int32(row, 27) == UD_REASON_POLICY_DEMANDS;
	task->deadline = unidesk_column_time(row, 29);
	task->checkpoint_node = unidesk_column_int32(row, 30);
}

static void
take_row(uint64 row)
{
	int64		task_id = unidesk_column_int64(row, 1);
	int32		node_id = unidesk_column_int32(row, 18);
	bool		found;
	bool		left_out = unidesk_left_out_until(task_id) != 0;
	MemoryTask *task = hash_search(unidesk_memory->tasks, &task_id, HASH_ENTER, &found);

	if (found)
		detach(task);
	else
	{
		memset(task, 0, sizeof(MemoryTask));
		task->task_id = task_id;
	}
	fill_task(task, row);
	if (task->state == UNIDESK_TASK_ACTIVE)
	{
		task->node = unidesk_memory_node(node_id);
		if (task->node != NULL)
			dlist_push_tail(&task->node->tasks, &task->on_node);
		allocate(task);
		if (!task->ordered && !left_out)
		{
			task->listed = true;
			dlist_push_tail(&unidesk_memory->unordered, &task->unordered);
		}
	}
	else if (task->state == UNIDESK_TASK_QUEUED && !left_out && task->not_before <= unidesk_now())
		enter_queue(task, unidesk_column_text(row, 7));
	schedule(task);
	if (!left_out)
		unidesk_demand_note(task);
}

static void
read_all_tasks(void)
{
	Portal		cursor;

	/* Through a cursor: a million rows at once would be a gigabyte. */
	cursor = SPI_cursor_open_with_args(NULL, TASK_COLUMNS, 0, NULL, NULL, NULL, false, 0);
	do
	{
		SPI_cursor_fetch(cursor, true, 10000);
		for (uint64 row = 0; row < SPI_processed; row++)
			take_row(row);
		SPI_freetuptable(SPI_tuptable);
	} while (SPI_processed > 0);
	SPI_cursor_close(cursor);
}

void
unidesk_memory_read_tasks(int64 first, int64 last)
{
	static SPIPlanPtr plan;
	UnideskArgs args = {0};
	uint64		row = 0;
	uint64		count;

	unidesk_arg_int64(&args, first);
	unidesk_arg_int64(&args, last);
	count = unidesk_execute_by_key(&plan, TASK_COLUMNS " WHERE task_id BETWEEN $1 AND $2 ORDER BY task_id", &args);
	for (int64 id = first; id <= last; id++)
	{
		MemoryTask *task;

		if (row < count && unidesk_column_int64(row, 1) == id)
			take_row(row++);
		else if ((task = unidesk_memory_task(id)) != NULL)
			forget(task);
	}
	SPI_freetuptable(SPI_tuptable);
}

/* Single tasks, with one statement. */
void
unidesk_memory_read_listed(Datum *ids, int count)
{
	static SPIPlanPtr plan;
	UnideskArgs args = {0};

	if (count == 0)
		return;
	unidesk_arg_array(&args, INT8OID, ids, NULL, count);
	/* Absent from the rows means gone: forget first, then take what is there. */
	for (int i = 0; i < count; i++)
	{
		MemoryTask *task = unidesk_memory_task(DatumGetInt64(ids[i]));

		if (task != NULL)
			forget(task);
	}
	unidesk_execute_by_key(&plan, TASK_COLUMNS " WHERE task_id = ANY ($1)", &args);
	for (uint64 row = 0; row < SPI_processed; row++)
		take_row(row);
	SPI_freetuptable(SPI_tuptable);
}

/* ---- rows of node and held ---- */

static MemoryNode *
node_for(int32 node_id)
{
	bool		found;
	MemoryNode *node = hash_search(unidesk_memory->nodes, &node_id, HASH_ENTER, &found);

	if (found)
		return node;
	if (unidesk_memory->node_count == unidesk_memory->node_room)
	{
		unidesk_memory->node_room *= 2;
		unidesk_memory->placement = repalloc(unidesk_memory->placement,
											 sizeof(PlacementNode) * unidesk_memory->node_room);
	}
	memset(((char *) node) + sizeof(int32), 0, sizeof(MemoryNode) - sizeof(int32));
	node->index = unidesk_memory->node_count++;
	dlist_init(&node->tasks);
	memset(placement_of(node), 0, sizeof(PlacementNode));
	placement_of(node)->node_id = node_id;
	return node;
}

/* $1: nodes, NULL for all.  GPUs that are gone count as held by nobody. */
static const char select_nodes[] =
"SELECT n.id, n.status, n.session IS NOT NULL AND n.reconciled AND n.status = 2,"
" n.scheduling = 1 AND (d.node_id IS NULL OR d.ended_at IS NOT NULL), n.labels,"
" coalesce(n.bridge_id, 0), coalesce(u.cpus_milli, 0), coalesce(u.memory, 0), coalesce(u.gpus, 0), coalesce(g.mask, 0), u.node_id IS NOT NULL,"
" coalesce(d.extra_s, 0), n.scheduling, n.drain_deadline, d.node_id IS NOT NULL, n.engine_down_since IS NOT NULL"
" FROM unidesk_data.node n LEFT JOIN unidesk_data.node_use u ON u.node_id = n.id"
" LEFT JOIN unidesk_data.downtime d ON d.node_id = n.id"
" LEFT JOIN (SELECT node_id, bit_or(1::bigint << index) AS mask FROM unidesk_data.gpu GROUP BY node_id) g ON g.node_id = n.id"
" WHERE $1 IS NULL OR n.id = ANY ($1) ORDER BY n.id";

static const char select_held[] =
"SELECT node_id, task_id, attempt, cpus_milli, memory, gpus, gpu_mask, stop_asked FROM unidesk_data.held"
" WHERE $1 IS NULL OR node_id = ANY ($1) ORDER BY node_id";

static void
take_node_row(uint64 row)
{
	MemoryNode *node = node_for(unidesk_column_int32(row, 1));
	PlacementNode *p = placement_of(node);
	char	   *labels = unidesk_column_text(row, 5);

	node->status = unidesk_column_int32(row, 2);
	p->online = DatumGetBool(unidesk_column(row, 3, NULL));
	p->open = DatumGetBool(unidesk_column(row, 4, NULL));
	p->engine_down = DatumGetBool(unidesk_column(row, 16, NULL));
	if (p->labels == NULL || strcmp(p->labels, labels) != 0)
	{
		if (p->labels != NULL)
			pfree((char *) p->labels);
		p->labels = MemoryContextStrdup(unidesk_memory->context, labels);
	}
	node->bridge_id = unidesk_column_int32(row, 6);
	p->cpus_milli = unidesk_column_int32(row, 7);
	p->memory = unidesk_column_int64(row, 8);
	p->gpu_count = unidesk_column_int32(row, 9);
	node->gpu_present = (uint64) unidesk_column_int64(row, 10);
	node->held_count = 0;
	node->has_use = DatumGetBool(unidesk_column(row, 11, NULL));
	node->extra_lease_s = unidesk_column_int32(row, 12);
	unidesk_memory->downtimes -= node->has_downtime;
	node->has_downtime = DatumGetBool(unidesk_column(row, 15, NULL));
	unidesk_memory->downtimes += node->has_downtime;
	if (node->scheduling == UNIDESK_SCHEDULING_DRAINING)
		dlist_delete(&node->draining);
	node->scheduling = unidesk_column_int32(row, 13);
	node->drain_deadline = unidesk_column_time(row, 14);
	if (node->scheduling == UNIDESK_SCHEDULING_DRAINING)
		dlist_push_tail(&unidesk_memory->draining, &node->draining);
	/* Whatever shared memory says: the way back is an inventory. */
	if (node->status == UNIDESK_NODE_OFFLINE)
		unidesk_beat_expire(node->node_id);
}

static void
take_held_row(uint64 row)
{
	MemoryNode *node = unidesk_memory_node(unidesk_column_int32(row, 1));
	MemoryHeld *held;

	if (node == NULL)
		return;
	if (node->held == NULL)
		node->held = MemoryContextAlloc(unidesk_memory->context, sizeof(MemoryHeld));
	else
		node->held = repalloc(node->held, sizeof(MemoryHeld) * (node->held_count + 1));
	held = &node->held[node->held_count++];
	memset(held, 0, sizeof(MemoryHeld));
	held->task_id = unidesk_column_int64(row, 2);
	held->attempt = unidesk_column_int32(row, 3);
	held->demand.cpus_milli = unidesk_column_int32(row, 4);
	held->demand.memory = unidesk_column_int64(row, 5);
	held->demand.gpus = unidesk_column_int32(row, 6);
	held->gpus = (uint64) unidesk_column_int64(row, 7);
	/* Its next beat is answered with a request for its inventory. */
	if (DatumGetBool(unidesk_column(row, 8, NULL)))
		unidesk_beat_expire(node->node_id);
}

/* ids NULL: all nodes. */
static void
read_nodes(Datum *ids, int count)
{
	static SPIPlanPtr node_plan;
	static SPIPlanPtr held_plan;
	UnideskArgs args = {0};
	uint64		rows;
	MemoryNode **touched;

	if (ids != NULL)
		unidesk_arg_array(&args, INT4OID, ids, NULL, count);
	else
		unidesk_arg_null(&args, INT4ARRAYOID);
	rows = unidesk_execute(&node_plan, select_nodes, &args);
	touched = palloc(sizeof(MemoryNode *) * (rows + 1));
	for (uint64 row = 0; row < rows; row++)
	{
		take_node_row(row);
		touched[row] = unidesk_memory_node(unidesk_column_int32(row, 1));
	}
	unidesk_execute(&held_plan, select_held, &args);
	for (uint64 row = 0; row < SPI_processed; row++)
		take_held_row(row);
	for (uint64 i = 0; i < rows; i++)
	{
		recount(touched[i]);
		unidesk_memory_reschedule_node(touched[i]);
	}
	unidesk_memory->capacity_changed = true;
}

/* ---- keeping it ---- */

static void
apply_hints(const UnideskHint *hints, int count)
{
	Datum	   *nodes = palloc(sizeof(Datum) * (count + 1));
	Datum	   *tasks = palloc(sizeof(Datum) * (count + 1));
	int			node_count = 0;
	int			task_count = 0;

	for (int i = 0; i < count; i++)
		if (hints[i].kind == UNIDESK_HINT_NODE)
			nodes[node_count++] = Int32GetDatum((int32) hints[i].first);
	/* Nodes first: tasks are counted on them. */
	if (node_count > 0)
		read_nodes(nodes, node_count);
	/* Tasks in the order in which they came, single ones together. */
	for (int i = 0; i < count; i++)
	{
		if (hints[i].kind != UNIDESK_HINT_TASKS)
			continue;
		if (hints[i].first == hints[i].last)
			tasks[task_count++] = Int64GetDatum(hints[i].first);
		else
		{
			unidesk_memory_read_listed(tasks, task_count);
			task_count = 0;
			unidesk_memory_read_tasks(hints[i].first, hints[i].last);
		}
	}
	unidesk_memory_read_listed(tasks, task_count);
}

void
unidesk_memory_load(void)
{
	make_memory();
	read_nodes(NULL, 0);
	read_all_tasks();
}

/* Orders that an earlier worker may not have appended are found by a scan. */
static void
forget_recent_orders(void)
{
	static SPIPlanPtr plan;
	UnideskArgs args = {0};

	unidesk_execute(&plan, "SELECT CASE WHEN is_called THEN last_value ELSE last_value - 1 END FROM unidesk_data.order_no", &args);
	unidesk_recent_forget(unidesk_column_int64(0, 1));
}

void
unidesk_memory_refresh(void)
{
	UnideskHint *hints = palloc(sizeof(UnideskHint) * HINTS_MAX);
	bool		rescan;
	int			count = unidesk_hints_take(hints, HINTS_MAX, &rescan);

	/* What came was taken before this snapshot: no row can be older. */
	if (rescan)
		unidesk_memory_discard();
	if (unidesk_memory == NULL)
	{
		unidesk_memory_load();
		forget_recent_orders();
		return;
	}
	while (count > 0)
	{
		apply_hints(hints, count);
		if (count < HINTS_MAX)
			break;
		count = unidesk_hints_take(hints, HINTS_MAX, &rescan);
		if (rescan)
		{
			unidesk_note_all();
			break;
		}
	}
}

void
unidesk_memory_placed(MemoryTask *task, MemoryNode *node, uint64 gpus, int attempt, TimestampTz at)
{
	leave_queue(task);
	unidesk_demand_forget(task);
	task->state = UNIDESK_TASK_ACTIVE;
	task->attempt = attempt;
	task->attempt_state = UD_ATTEMPT_ASSIGNED;
	task->want = UD_WANT_RUN;
	task->ordered = true;
	task->gpus = gpus;
	task->placed_at = task->state_at = at;
	task->node = node;
	dlist_push_tail(&node->tasks, &task->on_node);
	allocate(task);
	schedule(task);
}

void
unidesk_memory_postpone(MemoryTask *task)
{
	leave_queue(task);
	set_due(task, unidesk_now() + POSTPONE_US);
}

bool
unidesk_memory_has_work(TimestampTz now)
{
	TimestampTz due = unidesk_memory_next_due();

	return unidesk_memory == NULL || unidesk_hints_pending() || (due != 0 && due <= now) ||
		unidesk_memory->queue_changed || unidesk_memory->capacity_changed ||
		!dlist_is_empty(&unidesk_memory->unordered) || !dlist_is_empty(&unidesk_memory->dirty) ||
		unidesk_demands_have_work() || unidesk_suspect_searching(UNIDESK_SUSPECT_NONE);
}

int
unidesk_memory_due(TimestampTz now, int64 *ids, int max)
{
	int			count = 0;

	while (count < max && !pairingheap_is_empty(unidesk_memory->timers))
	{
		MemoryTask *task = pairingheap_container(MemoryTask, timer, pairingheap_first(unidesk_memory->timers));

		if (task->due > now)
			break;
		ids[count++] = task->task_id;
		set_due(task, now + DUE_AGAIN_US);
	}
	return count;
}
