/*
 * orders.c
 *	  Desired state on its way to the nodes: unidesk_bridge.pull, and the
 *	  whole list that a new session gets.
 *
 * Only the worker stamps live.order_no, from one counter, and it commits in
 * that order: so "order_no > cursor" misses nothing.  The ring of recent
 * orders names the rows; a scan of live is the fallback.
 */
#include "unidesk.h"

#include "catalog/pg_type.h"
#include "fmgr.h"
#include "funcapi.h"

#include "desired.h"
#include "orders.h"
#include "shared.h"

int64
unidesk_desired_revision(int32 node_id, int *count)
{
	static SPIPlanPtr plan;
	UnideskArgs args = {0};

	unidesk_arg_int32(&args, node_id);
	unidesk_execute(&plan,
					"SELECT coalesce(max(order_no), 0), count(*)::integer FROM unidesk_data.live"
					" WHERE state = 4 AND node_id = $1 AND left_on IS NULL", &args);
	*count = unidesk_column_int32(0, 2);
	return unidesk_column_int64(0, 1);
}

void
unidesk_send_desired_full(ReturnSetInfo *result, const UnideskMessage *hello, int64 session, int64 rev, int count)
{
	static SPIPlanPtr plan;
	UnideskArgs args = {0};
	UnideskOut	full = unidesk_answer(hello, UD_MSG_DESIRED_FULL);
	UnideskDesired *desired;

	full.session = session;
	full.value = rev;
	full.sequence = count;
	unidesk_out(result, &full);
	if (count == 0)
		return;
	unidesk_arg_int32(&args, hello->node_id);
	unidesk_desired_begin();
	unidesk_query(&plan, UNIDESK_SELECT_DESIRED " WHERE l.state = 4 AND l.node_id = $1 AND l.left_on IS NULL ORDER BY l.task_id", &args);
	desired = unidesk_desired_take(&count);
	for (int i = 0; i < count; i++)
		desired[i].session = session;
	unidesk_desired_send(result, hello->conn, desired, count);
	unidesk_desired_end();
}

void
unidesk_send_unwanted(ReturnSetInfo *result, const UnideskMessage *to, int64 session,
					  int64 incarnation, int64 task, int32 attempt, int want)
{
	UnideskOut	out = unidesk_answer(to, UD_MSG_DESIRED);

	out.session = session;
	out.incarnation = incarnation;
	out.task = task;
	out.attempt = attempt;
	out.state = want;
	out.body = want == UD_WANT_STOP ? "{\"grace_s\":30,\"final\":\"cancelled\",\"reason\":\"ctl.stale\"}" : "{}";
	out.body_bytes = strlen(out.body);
	unidesk_out(result, &out);
}

/* More than these are found by a scan instead: the ring holds no more. */
#define RECENT_MAX 16384

/*
 * Tasks that may have orders for the bridge, from the ring of recent orders:
 * those newer than its cursor, and for sessions that opened, any newer than
 * their revision.  False when only a scan can tell.
 */
static bool
recent_tasks(int32 bridge_id, int64 cursor, int64 oldest, bool any_opened, Datum **tasks, int *count)
{
	int64	   *ids = palloc(sizeof(int64) * RECENT_MAX * 2);
	int			fresh = 0;

	*count = unidesk_recent_find(bridge_id, cursor, ids, RECENT_MAX);
	if (*count < 0)
		return false;
	if (any_opened)
		fresh = unidesk_recent_find(0, oldest, ids + *count, RECENT_MAX);
	if (fresh < 0)
		return false;
	*count += fresh;
	*tasks = palloc(sizeof(Datum) * (*count + 1));
	for (int i = 0; i < *count; i++)
		(*tasks)[i] = Int64GetDatum(ids[i]);
	return true;
}

/* A session that has opened, and how far it knows its node's desired state. */
typedef struct Opened
{
	int64		session;		/* key */
	int64		rev;
} Opened;

static int
compare_opened(const void *a, const void *b)
{
	const Opened *x = a;
	const Opened *y = b;

	return x->session < y->session ? -1 : x->session > y->session ? 1 : 0;
}

/*
 * Keep the orders that are this bridge's and new to it: newer than its cursor,
 * or for sessions that opened, newer than their revision.  Returns how many.
 */
static int
keep_new(UnideskDesired *desired, int count, int32 bridge_id, int64 cursor, Opened *opened, int opened_count)
{
	int			kept = 0;

	qsort(opened, opened_count, sizeof(Opened), compare_opened);
	for (int i = 0; i < count; i++)
	{
		Opened		key = {desired[i].session, 0};
		Opened	   *known = bsearch(&key, opened, opened_count, sizeof(Opened), compare_opened);

		if (desired[i].session == 0 || desired[i].bridge_id != bridge_id ||
			desired[i].order_no <= (known != NULL ? known->rev : cursor))
			continue;
		desired[kept++] = desired[i];
	}
	return kept;
}

/*
 * Orders from the rows of live, all above a number ($1) or those of tasks ($2).
 */
static UnideskDesired *
read_orders(int64 above, Datum *tasks, int task_count, int *count)
{
	static SPIPlanPtr scan_plan;
	static SPIPlanPtr key_plan;
	UnideskArgs args = {0};

	unidesk_arg_int64(&args, above);
	if (tasks == NULL)
		unidesk_query(&scan_plan, UNIDESK_SELECT_DESIRED
					  " WHERE l.node_id IS NOT NULL AND l.state = 4 AND l.left_on IS NULL AND l.order_no > $1 ORDER BY l.order_no", &args);
	else
	{
		unidesk_arg_array(&args, INT8OID, tasks, NULL, task_count);
		unidesk_query_by_key(&key_plan, UNIDESK_SELECT_DESIRED
							 " WHERE l.state = 4 AND l.left_on IS NULL AND l.order_no > $1 AND l.task_id = ANY ($2) ORDER BY l.order_no", &args);
	}
	return unidesk_desired_take(count);
}

PG_FUNCTION_INFO_V1(unidesk_bridge_pull);

/* unidesk_bridge.pull(bridge, cursor, session[], rev[]): docs/bridge-api.md. */
Datum
unidesk_bridge_pull(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	UnideskOut	cursor = {0};
	int32		bridge_id;
	int64		newest;
	int64		oldest;
	Datum	   *sessions;
	Datum	   *revs;
	int			rev_count;
	int64		settled;
	Datum	   *tasks = NULL;
	int			count;
	bool		by_key;
	Opened	   *opened;
	UnideskDesired *desired;

	unidesk_bridge_begin(fcinfo, "pull");
	rev_count = unidesk_bridge_array(fcinfo, 3, "pull", &revs, NULL);
	unidesk_bridge_same_length(unidesk_bridge_array(fcinfo, 2, "pull", &sessions, NULL), rev_count, "pull");
	bridge_id = PG_GETARG_INT32(0);
	newest = PG_GETARG_INT64(1);

	/* Before the snapshot: an order made after it brings a new wake-up. */
	unidesk_bridge_pulled(bridge_id);

	/*
	 * Before the snapshot as well: the cursor may move to what is settled
	 * now, and not to a newer order that happens to be seen, because its
	 * neighbours may not be in the ring yet.
	 */
	settled = unidesk_recent_newest();
	InitMaterializedSRF(fcinfo, 0);
	SPI_connect();
	opened = palloc(sizeof(Opened) * (rev_count + 1));
	oldest = newest;
	for (int i = 0; i < rev_count; i++)
	{
		opened[i].session = DatumGetInt64(sessions[i]);
		opened[i].rev = DatumGetInt64(revs[i]);
		oldest = Min(oldest, opened[i].rev);
	}
	by_key = recent_tasks(bridge_id, newest, oldest, rev_count > 0, &tasks, &count);
	if (!by_key || count > 0)
	{
		unidesk_desired_begin();
		desired = read_orders(oldest, by_key ? tasks : NULL, count, &count);
		count = keep_new(desired, count, bridge_id, newest, opened, rev_count);
		unidesk_desired_send(result, 0, desired, count);
		unidesk_desired_end();

		/*
		 * One snapshot shows whole commits: in a scan what is seen counts
		 * too.
		 */
		if (!by_key && count > 0)
			newest = Max(newest, desired[count - 1].order_no);
	}
	SPI_finish();
	newest = Max(newest, settled);

	cursor.kind = UNIDESK_OUT_CURSOR;
	cursor.value = newest;
	unidesk_out(result, &cursor);
	return (Datum) 0;
}
