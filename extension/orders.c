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

#include "orders.h"
#include "shared.h"

/*
 * Columns: session, incarnation, task, attempt, want, order_no, body.  $1 is
 * the server's time.  From running on there is no spec: a node that has lost
 * such an attempt must not start it again.
 */
#define SELECT_DESIRED \
	"SELECT n.session, l.incarnation, l.task_id, l.attempt, l.want, coalesce(l.order_no, 0)," \
	" CASE l.want WHEN 1 THEN jsonb_build_object(" \
	"'grace_s', l.grace_s, 'lease_s', nullif(l.lease_s, 0)" \
	" + coalesce((SELECT d.extra_s FROM unidesk_data.downtime d WHERE d.node_id = l.node_id AND d.ended_at IS NULL), 0)," \
	"'prepare_left_s', l.prepare_s - least(l.prepare_s, extract(epoch FROM $1 - l.placed_at)::bigint)," \
	"'run_left_s', CASE WHEN l.started_at IS NULL THEN l.run_s" \
	" ELSE l.run_s - least(l.run_s, extract(epoch FROM $1 - l.started_at)::bigint) END," \
	"'idle_s', l.idle_s, 'warn_s', l.warn_s, 'warn_signal', l.warn_signal," \
	"'spec', CASE WHEN l.attempt_state <= 3 THEN jsonb_build_object('project', p.name, 'trust', p.name," \
	" 'code', jsonb_build_object('url', s.code_repo_url, 'commit', encode(t.code_commit, 'hex'))," \
	" 'env', jsonb_build_object('url', s.env_repo_url, 'commit', encode(s.env_commit, 'hex'), 'dockerfile', s.dockerfile_path)," \
	" 'command', to_jsonb(s.command), 'environment', coalesce(s.environment, '{}')," \
	" 'cpus_milli', l.cpus_milli, 'memory', l.memory," \
	" 'gpus', (SELECT coalesce(jsonb_agg(g.uuid ORDER BY g.index), '[]') FROM unidesk_data.gpu g" \
	" WHERE g.node_id = l.node_id AND (l.gpu_mask >> g.index) & 1 = 1)) END)" \
	" ELSE jsonb_build_object('grace_s', l.grace_s, 'final', unidesk._attempt_state_name(l.want_final)," \
	" 'reason', unidesk._reason_name(l.want_reason)) END::text" \
	" FROM unidesk_data.live l" \
	" JOIN unidesk_data.node n ON n.id = l.node_id" \
	" JOIN unidesk_data.task t ON t.id = l.task_id" \
	" JOIN unidesk_data.spec s ON s.id = t.spec_id" \
	" JOIN unidesk_data.project p ON p.id = t.project_id"

static void
send_desired_rows(ReturnSetInfo *result, int32 conn, int64 session, int64 *newest)
{
	for (uint64 row = 0; row < SPI_processed; row++)
	{
		UnideskOut	out = {0};
		int64		order_no = unidesk_column_int64(row, 6);

		out.kind = UNIDESK_OUT_SEND;
		out.conn = conn;
		out.session = session != 0 ? session : unidesk_column_int64(row, 1);
		out.type = UD_MSG_DESIRED;
		out.incarnation = unidesk_column_int64(row, 2);
		out.task = unidesk_column_int64(row, 3);
		out.attempt = unidesk_column_int32(row, 4);
		out.state = unidesk_column_int32(row, 5);
		out.value = order_no;
		out.body = unidesk_column_text(row, 7);
		out.body_bytes = strlen(out.body);
		unidesk_out(result, &out);
		*newest = Max(*newest, order_no);
	}
}

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
	int64		newest = 0;

	full.session = session;
	full.value = rev;
	full.sequence = count;
	unidesk_out(result, &full);
	if (count == 0)
		return;
	unidesk_arg_time(&args, unidesk_now());
	unidesk_arg_int32(&args, hello->node_id);
	unidesk_execute(&plan, SELECT_DESIRED " WHERE l.state = 4 AND l.node_id = $2 AND l.left_on IS NULL ORDER BY l.task_id", &args);
	send_desired_rows(result, hello->conn, session, &newest);
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

/* More than these are found by a scan instead. */
#define RECENT_MAX 4000

/*
 * Tasks that may have orders for the bridge, from the ring of recent orders:
 * those newer than its cursor, and for sessions that opened, any newer than
 * their revision.  False when only a scan can tell.
 */
static bool
recent_tasks(int32 bridge_id, int64 cursor, const Datum *revs, int rev_count, Datum **tasks, int *count)
{
	int64	   *ids = palloc(sizeof(int64) * RECENT_MAX * 2);
	int64		oldest = PG_INT64_MAX;
	int			fresh = 0;

	*count = unidesk_recent_find(bridge_id, cursor, ids, RECENT_MAX);
	if (*count < 0)
		return false;
	for (int i = 0; i < rev_count; i++)
		oldest = Min(oldest, DatumGetInt64(revs[i]));
	if (rev_count > 0)
		fresh = unidesk_recent_find(0, oldest, ids + *count, RECENT_MAX);
	if (fresh < 0)
		return false;
	*count += fresh;
	*tasks = palloc(sizeof(Datum) * (*count + 1));
	for (int i = 0; i < *count; i++)
		(*tasks)[i] = Int64GetDatum(ids[i]);
	return true;
}

#define ORDERS_FOR_BRIDGE \
	" LEFT JOIN unnest($4, $5) AS f (session, rev) ON f.session = n.session" \
	" WHERE l.state = 4 AND l.left_on IS NULL AND n.bridge_id = $2 AND n.session IS NOT NULL" \
	" AND l.order_no > coalesce(f.rev, $3)"

PG_FUNCTION_INFO_V1(unidesk_bridge_pull);

/* unidesk_bridge.pull(bridge, cursor, session[], rev[]): docs/bridge-api.md. */
Datum
unidesk_bridge_pull(PG_FUNCTION_ARGS)
{
	static SPIPlanPtr scan_plan;
	static SPIPlanPtr key_plan;
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	UnideskArgs args = {0};
	UnideskOut	cursor = {0};
	int32		bridge_id;
	int64		newest;
	int64		sent = 0;
	Datum	   *sessions;
	Datum	   *revs;
	int			rev_count;
	int64		settled;
	Datum	   *tasks;
	int			count;

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
	unidesk_arg_time(&args, unidesk_now());
	unidesk_arg_int32(&args, bridge_id);
	unidesk_arg_int64(&args, newest);
	unidesk_arg(&args, INT8ARRAYOID, PG_GETARG_DATUM(2));
	unidesk_arg(&args, INT8ARRAYOID, PG_GETARG_DATUM(3));
	if (!recent_tasks(bridge_id, newest, revs, rev_count, &tasks, &count))
	{
		/* One snapshot shows whole commits: here what is seen counts too. */
		unidesk_execute(&scan_plan, SELECT_DESIRED ORDERS_FOR_BRIDGE " ORDER BY l.order_no", &args);
		send_desired_rows(result, 0, 0, &newest);
	}
	else if (count > 0)
	{
		unidesk_arg_array(&args, INT8OID, tasks, NULL, count);
		unidesk_execute(&key_plan, SELECT_DESIRED ORDERS_FOR_BRIDGE " AND l.task_id = ANY ($6) ORDER BY l.order_no", &args);
		send_desired_rows(result, 0, 0, &sent);
	}
	SPI_finish();
	newest = Max(newest, settled);

	cursor.kind = UNIDESK_OUT_CURSOR;
	cursor.value = newest;
	unidesk_out(result, &cursor);
	return (Datum) 0;
}
