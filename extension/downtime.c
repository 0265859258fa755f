/*
 * downtime.c
 *	  Planned downtime of nodes (unidesk.announce_downtime): new terms for what
 *	  runs there, and whether the nodes have them.
 *
 * The server counts with the longer lease from the announcement on until the
 * node has confirmed that it is over: a node is never believed to end a task
 * earlier than it does.  Attempts whose order is older than the downtime's
 * number get a new order, which carries the terms of the day; a beat says how
 * far a node has read its orders.  The scheduler's memory says whether there is
 * any downtime: without one nothing is asked of the database.
 */
#include "unidesk.h"

#include "catalog/pg_type.h"

#include "common/protocol.h"
#include "memory.h"
#include "shared.h"
#include "worker.h"

/* Those whose time has come are over, and all that changed get a number; rows
 * that somebody holds wait. */
static void
end_and_number(void)
{
	static SPIPlanPtr end_plan;
	static SPIPlanPtr number_plan;
	UnideskArgs args = {0};
	UnideskArgs none = {0};

	unidesk_arg_time(&args, unidesk_now());
	unidesk_execute(&end_plan,
					"WITH over AS (UPDATE unidesk_data.downtime SET ended_at = $1, order_no = NULL, confirmed = false"
					" WHERE node_id IN (SELECT node_id FROM unidesk_data.downtime WHERE ended_at IS NULL AND until <= $1"
					" FOR UPDATE SKIP LOCKED) RETURNING node_id)"
					" INSERT INTO unidesk_data.node_event (at, node_id, what, actor_kind, actor_id)"
					" SELECT $1, node_id, 'downtime_over', 0, 0 FROM over RETURNING node_id", &args);
	for (uint64 row = 0; row < SPI_processed; row++)
		unidesk_note_node(unidesk_column_int32(row, 1));
	/* Orders with a higher number are made, and so read, after this commits. */
	unidesk_execute(&number_plan,
					"UPDATE unidesk_data.downtime SET order_no = nextval('unidesk_data.order_no')"
					" WHERE node_id IN (SELECT node_id FROM unidesk_data.downtime WHERE order_no IS NULL"
					" FOR UPDATE SKIP LOCKED)", &none);
}

/* What runs on a node and has a lease, from memory: live has no index for it. */
static int
leased_on(MemoryNode *node, Datum **ids)
{
	dlist_iter	iter;
	int			count = 0;
	int			room = 0;

	dlist_foreach(iter, &node->tasks)
		room++;
	*ids = palloc(sizeof(Datum) * (room + 1));
	dlist_foreach(iter, &node->tasks)
	{
		MemoryTask *task = dlist_container(MemoryTask, on_node, iter.cur);

		if (task->want == UD_WANT_RUN && task->lease_s > 0)
			(*ids)[count++] = Int64GetDatum(task->task_id);
	}
	return count;
}

/* Let the worker make new orders; false while some have none yet.  *newest: the
 * last of those that carry the terms. */
static bool
renew(int32 node_id, Datum *ids, int count, int64 *newest)
{
	static SPIPlanPtr renew_plan;
	static SPIPlanPtr look_plan;
	UnideskArgs args = {0};

	unidesk_arg_int32(&args, node_id);
	unidesk_arg_array(&args, INT8OID, ids, NULL, count);
	unidesk_execute(&renew_plan,
					"UPDATE unidesk_data.live SET order_no = NULL WHERE task_id IN (SELECT l.task_id FROM unidesk_data.live l"
					" JOIN unidesk_data.downtime d ON d.node_id = l.node_id WHERE l.node_id = $1 AND l.task_id = ANY ($2)"
					" AND l.state = 4 AND l.want = 1 AND l.order_no < d.order_no ORDER BY l.task_id FOR NO KEY UPDATE OF l SKIP LOCKED)"
					" RETURNING task_id", &args);
	for (uint64 row = 0; row < SPI_processed; row++)
		unidesk_note_task(unidesk_column_int64(row, 1));
	unidesk_execute(&look_plan,
					"SELECT coalesce(max(l.order_no), 0), count(*) FILTER (WHERE l.order_no IS NULL OR l.order_no < d.order_no)::integer"
					" FROM unidesk_data.live l JOIN unidesk_data.downtime d ON d.node_id = l.node_id"
					" WHERE l.node_id = $1 AND l.task_id = ANY ($2) AND l.state = 4 AND l.want = 1", &args);
	*newest = unidesk_column_int64(0, 1);
	return unidesk_column_int32(0, 2) == 0;
}

/* It has all terms: shown; one that is over is gone. */
static void
confirm(int32 node_id)
{
	static SPIPlanPtr confirm_plan;
	static SPIPlanPtr forget_plan;
	UnideskArgs args = {0};

	unidesk_arg_int32(&args, node_id);
	unidesk_execute(&confirm_plan,
					"UPDATE unidesk_data.downtime SET confirmed = true WHERE node_id IN (SELECT node_id FROM unidesk_data.downtime"
					" WHERE node_id = $1 AND ended_at IS NULL AND order_no IS NOT NULL FOR UPDATE SKIP LOCKED)", &args);
	if (unidesk_execute(&forget_plan,
						"DELETE FROM unidesk_data.downtime WHERE node_id IN (SELECT node_id FROM unidesk_data.downtime"
						" WHERE node_id = $1 AND ended_at IS NOT NULL AND order_no IS NOT NULL FOR UPDATE SKIP LOCKED)", &args) > 0)
		unidesk_note_node(node_id);
}

bool
unidesk_watch_downtimes(void)
{
	static SPIPlanPtr plan;
	UnideskArgs none = {0};
	int32	   *nodes;
	uint64		count;

	if (unidesk_memory == NULL || unidesk_memory->downtimes == 0)
		return false;
	end_and_number();
	count = unidesk_execute(&plan,
							"SELECT node_id FROM unidesk_data.downtime WHERE order_no IS NOT NULL AND NOT confirmed ORDER BY node_id",
							&none);
	nodes = palloc(sizeof(int32) * (count + 1));
	for (uint64 i = 0; i < count; i++)
		nodes[i] = unidesk_column_int32(i, 1);
	for (uint64 i = 0; i < count; i++)
	{
		MemoryNode *node = unidesk_memory_node(nodes[i]);
		UnideskBeat beat;
		Datum	   *ids = NULL;
		int64		newest = 0;
		int			leased = node == NULL ? 0 : leased_on(node, &ids);

		if (leased == 0 || (renew(nodes[i], ids, leased, &newest) &&
							unidesk_beat_get(nodes[i], &beat) && beat.rev >= newest))
			confirm(nodes[i]);
	}
	return false;
}
