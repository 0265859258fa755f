/*
 * pass.c
 *	  One pass of the scheduler: read, plan, write.
 *
 * The plan is made by placement/ over arrays: nodes with what is allocated on
 * them (live and held), and queued tasks by priority and age, grouped into
 * classes of equal demand.  What is written is what the rows still allow:
 * a task that somebody else has locked or changed is left for the next pass.
 */
#include "unidesk.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "commands/async.h"
#include "utils/hsearch.h"

#include "placement/placement.h"
#include "shared.h"
#include "worker.h"

/* Queued tasks that one pass looks at. */
#define QUEUE_MAX "100000"
#define BRIDGES_MAX 64

/* Bridges whose nodes got orders in this turn. */
static int32 bridges[BRIDGES_MAX];
static int	bridge_count;

typedef struct Queue
{
	int			count;
	int64	   *tasks;
	PlacementItem *items;
	int			class_count;
	PlacementDemand *classes;
} Queue;

static PlacementNode *
load_nodes(int *count)
{
	static SPIPlanPtr plan;
	UnideskArgs args = {0};
	PlacementNode *nodes;

	*count = (int) unidesk_execute(&plan,
								   "SELECT n.id, n.status = 2 AND n.session IS NOT NULL AND n.reconciled, n.scheduling = 1,"
								   " u.cpus_milli, u.memory, u.gpus, n.labels, coalesce(a.cpus, 0), coalesce(a.memory, 0),"
								   " coalesce(a.gpus, 0), coalesce(g.mask, 0) & ~coalesce(a.mask, 0)"
								   " FROM unidesk_data.node n JOIN unidesk_data.node_use u ON u.node_id = n.id"
								   " LEFT JOIN unidesk_data.allocated a ON a.node_id = n.id"
								   " LEFT JOIN (SELECT node_id, bit_or(1::bigint << index) AS mask FROM unidesk_data.gpu"
								   " GROUP BY node_id) g ON g.node_id = n.id WHERE n.status <> 5 ORDER BY n.id", &args);
	nodes = palloc0(sizeof(PlacementNode) * (*count + 1));
	for (int i = 0; i < *count; i++)
	{
		PlacementNode *node = &nodes[i];

		node->node_id = unidesk_column_int32(i, 1);
		node->online = DatumGetBool(unidesk_column(i, 2, NULL));
		node->open = DatumGetBool(unidesk_column(i, 3, NULL));
		node->cpus_milli = unidesk_column_int32(i, 4);
		node->memory = unidesk_column_int64(i, 5);
		node->gpu_count = unidesk_column_int32(i, 6);
		node->labels = unidesk_column_text(i, 7);
		node->cpus_milli_used = (int32) unidesk_column_int64(i, 8);
		node->memory_used = unidesk_column_int64(i, 9);
		node->gpu_used = (int32) unidesk_column_int64(i, 10);
		node->gpu_free_mask = (uint64) unidesk_column_int64(i, 11);
	}
	return nodes;
}

typedef struct ClassEntry
{
	PlacementClass key;
	int			index;
} ClassEntry;

/* Index of the demand's class, a new one when it is the first of its kind. */
static int
class_of(HTAB *table, Queue *queue, const PlacementDemand *demand)
{
	PlacementClass key = placement_class(demand);
	bool		found;
	ClassEntry *entry = hash_search(table, &key, HASH_ENTER, &found);

	if (!found)
	{
		entry->index = queue->class_count;
		queue->classes[queue->class_count++] = *demand;
	}
	return entry->index;
}

static void
load_queue(Queue *queue)
{
	static SPIPlanPtr plan;
	UnideskArgs args = {0};
	HASHCTL		control = {0};
	HTAB	   *table;

	unidesk_arg_time(&args, unidesk_now());
	queue->count = (int) unidesk_execute(&plan,
										 "SELECT task_id, cpus_milli, memory, gpus, labels, excluded_node"
										 " FROM unidesk_data.live WHERE state = 3 AND (not_before IS NULL OR not_before <= $1)"
										 " ORDER BY priority DESC, task_id LIMIT " QUEUE_MAX, &args);
	queue->tasks = palloc(sizeof(int64) * (queue->count + 1));
	queue->items = palloc0(sizeof(PlacementItem) * (queue->count + 1));
	queue->classes = palloc(sizeof(PlacementDemand) * (queue->count + 1));
	control.keysize = sizeof(PlacementClass);
	control.entrysize = sizeof(ClassEntry);
	control.hcxt = CurrentMemoryContext;
	table = hash_create("demand classes", 256, &control, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	for (int i = 0; i < queue->count; i++)
	{
		PlacementDemand demand = {0};

		queue->tasks[i] = unidesk_column_int64(i, 1);
		demand.cpus_milli = unidesk_column_int32(i, 2);
		demand.memory = unidesk_column_int64(i, 3);
		demand.gpus = unidesk_column_int32(i, 4);
		demand.labels = unidesk_column_text(i, 5);
		demand.excluded_node = unidesk_column_int32(i, 6);
		queue->items[i].class_index = class_of(table, queue, &demand);
	}
	hash_destroy(table);
}

/* $1 time, $2 tasks, $3 nodes, $4 GPU masks */
static const char write_placements[] =
"WITH p AS (SELECT * FROM unnest($2, $3, $4) WITH ORDINALITY AS p (task_id, node_id, gpu_mask, n)),"
" free AS (SELECT l.task_id FROM unidesk_data.live l JOIN p ON p.task_id = l.task_id WHERE l.state = 3"
" ORDER BY l.task_id FOR NO KEY UPDATE OF l SKIP LOCKED),"
" placed AS (UPDATE unidesk_data.live l SET state = 4, reason = 0, attempt = l.attempt + 1, seq = l.seq + 1,"
" incarnation = (SELECT value FROM unidesk_data.incarnation), node_id = p.node_id, session = n.session,"
" attempt_state = 1, want = 1, order_no = nextval('unidesk_data.order_no'), gpu_mask = p.gpu_mask,"
" placed_at = $1, state_at = $1"
" FROM p JOIN free ON free.task_id = p.task_id JOIN unidesk_data.node n ON n.id = p.node_id"
" WHERE l.task_id = p.task_id AND l.state = 3 RETURNING l.task_id, l.seq, l.attempt, n.name, n.bridge_id),"
" told AS (INSERT INTO unidesk_data.task_event (at, task_id, seq, attempt, task_state, attempt_state, reason,"
" actor_kind, actor_id, data) SELECT $1, task_id, seq, attempt, 4, 1, 0, 0, 0, name FROM placed)"
" SELECT DISTINCT bridge_id FROM placed WHERE bridge_id IS NOT NULL";

/* Column 1 of what the last statement returned are bridges to wake. */
static void
note_bridges(void)
{
	for (uint64 row = 0; row < SPI_processed; row++)
	{
		int32		bridge_id = unidesk_column_int32(row, 1);
		bool		known = false;

		for (int i = 0; i < bridge_count; i++)
			known |= bridges[i] == bridge_id;
		if (!known && bridge_count < BRIDGES_MAX)
			bridges[bridge_count++] = bridge_id;
	}
}

static void
place(const Queue *queue, const PlacementNode *nodes, const PlacementAssignment *plan, int count)
{
	static SPIPlanPtr write_plan;
	UnideskArgs args = {0};
	Datum	   *tasks = palloc(sizeof(Datum) * count);
	Datum	   *node_ids = palloc(sizeof(Datum) * count);
	Datum	   *masks = palloc(sizeof(Datum) * count);

	for (int i = 0; i < count; i++)
	{
		tasks[i] = Int64GetDatum(queue->tasks[plan[i].item]);
		node_ids[i] = Int32GetDatum(nodes[plan[i].node].node_id);
		masks[i] = Int64GetDatum((int64) plan[i].gpus);
	}
	unidesk_arg_time(&args, unidesk_now());
	unidesk_arg_array(&args, INT8OID, tasks, NULL, count);
	unidesk_arg_array(&args, INT4OID, node_ids, NULL, count);
	unidesk_arg_array(&args, INT8OID, masks, NULL, count);
	unidesk_execute(&write_plan, write_placements, &args);
	note_bridges();
	ForceSyncCommit();
}

/* Stops that people or deadlines asked for become orders. */
static void
stamp_orders(void)
{
	static SPIPlanPtr plan;
	UnideskArgs args = {0};

	unidesk_execute(&plan,
					"WITH stamped AS (UPDATE unidesk_data.live SET order_no = nextval('unidesk_data.order_no')"
					" WHERE task_id IN (SELECT task_id FROM unidesk_data.live WHERE state = 4 AND order_no IS NULL"
					" ORDER BY task_id FOR NO KEY UPDATE SKIP LOCKED) RETURNING node_id)"
					" SELECT DISTINCT n.bridge_id FROM stamped s JOIN unidesk_data.node n ON n.id = s.node_id"
					" WHERE n.bridge_id IS NOT NULL", &args);
	note_bridges();
}

/* Sums and holders follow live and held; the CHECKs watch over them. */
static void
write_use(void)
{
	static SPIPlanPtr use_plan;
	static SPIPlanPtr gpu_plan;
	UnideskArgs args = {0};

	unidesk_execute(&use_plan,
					"UPDATE unidesk_data.node_use u SET used_cpus_milli = x.cpus, used_memory = x.memory, used_gpus = x.gpus"
					" FROM (SELECT n.node_id, coalesce(a.cpus, 0)::integer AS cpus, coalesce(a.memory, 0)::bigint AS memory,"
					" coalesce(a.gpus, 0)::smallint AS gpus FROM unidesk_data.node_use n"
					" LEFT JOIN unidesk_data.allocated a ON a.node_id = n.node_id) x WHERE x.node_id = u.node_id"
					" AND (u.used_cpus_milli, u.used_memory, u.used_gpus) IS DISTINCT FROM (x.cpus, x.memory, x.gpus)", &args);
	unidesk_execute(&gpu_plan,
					"UPDATE unidesk_data.gpu g SET holder_task = x.task_id, holder_attempt = x.attempt"
					" FROM (SELECT o.node_id, o.index, a.task_id, a.attempt FROM unidesk_data.gpu o"
					" LEFT JOIN unidesk_data.allocation a ON a.node_id = o.node_id AND (a.gpu_mask >> o.index) & 1 = 1) x"
					" WHERE x.node_id = g.node_id AND x.index = g.index"
					" AND (g.holder_task, g.holder_attempt) IS DISTINCT FROM (x.task_id, x.attempt)", &args);
}

bool
unidesk_schedule(void)
{
	Queue		queue = {0};
	PlacementNode *nodes;
	PlacementAssignment *plan;
	PlacementPlanStats stats = {0};
	int			node_count;
	int			planned = 0;

	bridge_count = 0;
	load_queue(&queue);
	if (queue.count > 0)
	{
		nodes = load_nodes(&node_count);
		plan = palloc(sizeof(PlacementAssignment) * unidesk_pass_placements);
		planned = placement_plan(nodes, node_count, queue.classes, queue.class_count, queue.items, queue.count,
								 plan, unidesk_pass_placements, 0,
								 palloc(placement_plan_scratch_bytes(queue.class_count)), &stats);
		if (planned > 0)
			place(&queue, nodes, plan, planned);
	}
	stamp_orders();
	write_use();
	return planned > 0 && stats.items_seen < queue.count;
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

void
unidesk_schedule_reset(void)
{
	/* A wake-up that may not have left is sent again. */
	for (int i = 0; i < bridge_count; i++)
		unidesk_bridge_pulled(bridges[i]);
	bridge_count = 0;
}
