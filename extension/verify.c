/*
 * verify.c
 *	  Comparing the worker's memory with the rows: unidesk.verify_memory.
 *
 * A second memory is built from the rows, and the two must agree on every
 * task and on every node's sums.  A difference is a WARNING, is counted for
 * unidesk._memory_differences(), and the memory built from the rows takes
 * over.
 */
#include "unidesk.h"

#include "utils/hsearch.h"
#include "utils/memutils.h"

#include "memory.h"

static bool
tasks_differ(const MemoryTask *a, const MemoryTask *b)
{
	return b == NULL || a->state != b->state || a->priority != b->priority || a->attempt != b->attempt ||
		a->attempt_state != b->attempt_state || a->want != b->want || a->left_at != b->left_at || a->ordered != b->ordered ||
		a->gpus != b->gpus || a->allocated != b->allocated || a->checkpoint_node != b->checkpoint_node ||
		(a->node == NULL) != (b->node == NULL) ||
		(a->node != NULL && a->node->node_id != b->node->node_id);
}

static int
compare_tasks(Memory *kept, Memory *built)
{
	HASH_SEQ_STATUS scan;
	MemoryTask *task;
	int			differences = labs(hash_get_num_entries(kept->tasks) - hash_get_num_entries(built->tasks));

	hash_seq_init(&scan, kept->tasks);
	while ((task = hash_seq_search(&scan)) != NULL)
	{
		MemoryTask *other = hash_search(built->tasks, &task->task_id, HASH_FIND, NULL);

		if (!tasks_differ(task, other))
			continue;
		differences++;
		elog(WARNING, "memory of task %lld differs from its row: state %d, %d; attempt %d, %d; attempt state %d, %d",
			 (long long) task->task_id, task->state, other ? other->state : 0, task->attempt,
			 other ? other->attempt : 0, task->attempt_state, other ? other->attempt_state : 0);
	}
	return differences;
}

static int
compare_nodes(Memory *kept, Memory *built)
{
	HASH_SEQ_STATUS scan;
	MemoryNode *node;
	int			differences = 0;

	hash_seq_init(&scan, built->nodes);
	while ((node = hash_seq_search(&scan)) != NULL)
	{
		MemoryNode *other = hash_search(kept->nodes, &node->node_id, HASH_FIND, NULL);
		PlacementNode *p = &built->placement[node->index];
		PlacementNode *q = other ? &kept->placement[other->index] : NULL;

		if (q == NULL)
		{
			/* Made by create_node, which has nothing to say to the scheduler. */
			if (node->status != UNIDESK_NODE_REGISTERED)
				differences++;
			continue;
		}
		if (p->cpus_milli_used == q->cpus_milli_used && p->memory_used == q->memory_used &&
			p->gpu_used == q->gpu_used && p->gpu_free_mask == q->gpu_free_mask &&
			p->online == q->online && p->open == q->open && p->engine_down == q->engine_down && node->status == other->status &&
			node->scheduling == other->scheduling && node->drain_deadline == other->drain_deadline)
			continue;
		differences++;
		elog(WARNING, "memory of node %d differs from its row: CPUs %d, %d; GPUs %d, %d; online %d, %d; status %d, %d",
			 node->node_id, q->cpus_milli_used, p->cpus_milli_used, q->gpu_used, p->gpu_used,
			 q->online, p->online, other->status, node->status);
	}
	return differences;
}

bool
unidesk_memory_verify(void)
{
	Memory	   *kept = unidesk_memory;
	Memory	   *built;

	/* Somebody committed since the pass: the rows may be ahead. */
	if (kept == NULL || unidesk_hints_pending())
		return false;
	unidesk_memory = NULL;
	unidesk_memory_load();
	built = unidesk_memory;
	unidesk_memory = kept;
	if (!unidesk_hints_pending() && compare_tasks(kept, built) + compare_nodes(kept, built) > 0)
	{
		unidesk_shared_memory_differed();
		unidesk_memory_discard();
		unidesk_memory = built;
		return true;
	}
	MemoryContextDelete(built->context);
	return false;
}
