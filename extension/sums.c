/*
 * sums.c
 *	  What is allocated on nodes, written into node_use and gpu.
 *
 * The placements of a pass count in the transaction that writes them, so that
 * the CHECKs of node_use watch over them; what was freed follows in the next.
 */
#include "unidesk.h"

#include "catalog/pg_type.h"

#include "memory.h"
#include "placement/placement.h"
#include "sums.h"

/* Sums of the dirty nodes once the orders of this pass count, in arrays. */
static int
sums_after(const UnideskOrder *orders, int order_count, Datum *columns[4])
{
	Size		bytes = sizeof(PlacementNode) * unidesk_memory->node_count;
	PlacementNode *after = memcpy(palloc(bytes + 1), unidesk_memory->placement, bytes);
	dlist_iter	iter;
	int			count = 0;

	for (int c = 0; c < 4; c++)
		columns[c] = palloc(sizeof(Datum) * (unidesk_memory->node_count + 1));
	for (int i = 0; i < order_count; i++)
		if (orders[i].attempt > 0)
		{
			MemoryNode *node = unidesk_memory_node(orders[i].node_id);

			placement_add(&after[node->index], &unidesk_memory_task(orders[i].task_id)->demand, orders[i].gpus);
			unidesk_memory_dirty(node);
		}
	dlist_foreach(iter, &unidesk_memory->dirty)
	{
		MemoryNode *node = dlist_container(MemoryNode, dirty, iter.cur);
		PlacementNode *p = &after[node->index];

		columns[0][count] = Int32GetDatum(node->node_id);
		columns[1][count] = Int32GetDatum(p->cpus_milli_used);
		columns[2][count] = Int64GetDatum(p->memory_used);
		columns[3][count] = Int16GetDatum(p->gpu_used);
		count++;
	}
	return count;
}

/* The CHECKs of node_use watch over the sums, in the placements' transaction. */
int32 *
unidesk_write_sums(MemoryContext context, const UnideskOrder *orders, int order_count, int *written)
{
	static SPIPlanPtr plan;
	UnideskArgs args = {0};
	Datum	   *columns[4];
	int32	   *nodes;
	int			count = sums_after(orders, order_count, columns);

	*written = 0;
	if (count == 0)
		return NULL;
	unidesk_arg_array(&args, INT4OID, columns[0], NULL, count);
	unidesk_arg_array(&args, INT4OID, columns[1], NULL, count);
	unidesk_arg_array(&args, INT8OID, columns[2], NULL, count);
	unidesk_arg_array(&args, INT2OID, columns[3], NULL, count);
	/* A row that a hello holds is written by a later pass. */
	unidesk_execute(&plan,
					"WITH x AS (SELECT * FROM unnest($1, $2, $3, $4) AS x (node_id, cpus, memory, gpus)),"
					" free AS (SELECT u.node_id FROM unidesk_data.node_use u JOIN x ON x.node_id = u.node_id"
					" ORDER BY u.node_id FOR NO KEY UPDATE OF u SKIP LOCKED)"
					" UPDATE unidesk_data.node_use u SET used_cpus_milli = x.cpus, used_memory = x.memory, used_gpus = x.gpus"
					" FROM x JOIN free ON free.node_id = x.node_id WHERE u.node_id = x.node_id RETURNING u.node_id", &args);
	nodes = MemoryContextAlloc(context, sizeof(int32) * (SPI_processed + 1));
	for (*written = 0; *written < (int) SPI_processed; (*written)++)
		nodes[*written] = unidesk_column_int32(*written, 1);
	return nodes;
}

/* Rows of (node, GPU index, task, attempt) for every GPU that is held. */
typedef struct Holders
{
	int			count;
	int			room;
	Datum	   *columns[4];
} Holders;

static void
add_holder(Holders *holders, int32 node_id, uint64 gpus, int64 task_id, int attempt)
{
	for (int index = 0; index < PLACEMENT_GPUS_MAX; index++)
	{
		if ((gpus >> index & 1) == 0)
			continue;
		if (holders->count == holders->room)
		{
			holders->room = Max(64, holders->room * 2);
			for (int c = 0; c < 4; c++)
				holders->columns[c] = holders->columns[c] == NULL ?
					palloc(sizeof(Datum) * holders->room) :
					repalloc(holders->columns[c], sizeof(Datum) * holders->room);
		}
		holders->columns[0][holders->count] = Int32GetDatum(node_id);
		holders->columns[1][holders->count] = Int16GetDatum(index);
		holders->columns[2][holders->count] = Int64GetDatum(task_id);
		holders->columns[3][holders->count] = Int32GetDatum(attempt);
		holders->count++;
	}
}

static void
add_holders_of(Holders *holders, MemoryNode *node)
{
	dlist_iter	iter;

	for (int i = 0; i < node->held_count; i++)
		add_holder(holders, node->node_id, node->held[i].gpus, node->held[i].task_id, node->held[i].attempt);
	dlist_foreach(iter, &node->tasks)
	{
		MemoryTask *task = dlist_container(MemoryTask, on_node, iter.cur);

		if (task->allocated)
			add_holder(holders, node->node_id, task->gpus, task->task_id, task->attempt);
	}
}

/* Who holds which GPU of the dirty nodes, once the orders of this pass count. */
void
unidesk_write_holders(const UnideskOrder *orders, int order_count)
{
	static SPIPlanPtr plan;
	UnideskArgs args = {0};
	Holders		holders = {0};
	Datum	   *nodes = palloc(sizeof(Datum) * (unidesk_memory->node_count + 1));
	int			node_count = 0;
	dlist_iter	iter;

	dlist_foreach(iter, &unidesk_memory->dirty)
	{
		MemoryNode *node = dlist_container(MemoryNode, dirty, iter.cur);

		if (node->gpu_present == 0)
			continue;
		nodes[node_count++] = Int32GetDatum(node->node_id);
		add_holders_of(&holders, node);
	}
	if (node_count == 0)
		return;
	for (int i = 0; i < order_count; i++)
		if (orders[i].attempt > 0)
			add_holder(&holders, orders[i].node_id, orders[i].gpus, orders[i].task_id, orders[i].attempt);
	unidesk_arg_array(&args, INT4OID, nodes, NULL, node_count);
	unidesk_arg_array(&args, INT4OID, holders.columns[0], NULL, holders.count);
	unidesk_arg_array(&args, INT2OID, holders.columns[1], NULL, holders.count);
	unidesk_arg_array(&args, INT8OID, holders.columns[2], NULL, holders.count);
	unidesk_arg_array(&args, INT4OID, holders.columns[3], NULL, holders.count);
	unidesk_execute(&plan,
					"UPDATE unidesk_data.gpu g SET holder_task = x.task_id, holder_attempt = x.attempt"
					" FROM (SELECT o.node_id, o.index, h.task_id, h.attempt FROM unidesk_data.gpu o"
					" LEFT JOIN unnest($2, $3, $4, $5) AS h (node_id, index, task_id, attempt)"
					" ON h.node_id = o.node_id AND h.index = o.index WHERE o.node_id = ANY ($1)) x"
					" WHERE x.node_id = g.node_id AND x.index = g.index"
					" AND (g.holder_task, g.holder_attempt) IS DISTINCT FROM (x.task_id, x.attempt)", &args);
}
