/*
 * desired.c
 *	  Desired messages: what a node is to do with an attempt, as JSON.
 *
 * Thousands of orders name few nodes, specs and projects.  So the rows of live
 * and task come with one statement, what they share with one more each, and
 * the text is put together here: by a join and jsonb_build_object it was the
 * dearest step in the life of a task.
 */
#include "unidesk.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "lib/stringinfo.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/json.h"
#include "utils/jsonb.h"
#include "utils/snapmgr.h"

#include "common/protocol.h"
#include "common/reasons.h"
#include "desired.h"

/* What orders take from a node. */
typedef struct OrderNode
{
	int64		id;				/* key */
	int64		session;
	int32		bridge_id;
	int32		extra_s;
} OrderNode;

/* What orders take from a spec: its fields, up to the commit of the code. */
typedef struct OrderSpec
{
	int64		id;				/* key */
	char	   *fields;
} OrderSpec;

typedef struct OrderGpu
{
	int64		node_id;
	int			index;
	char	   *uuid;
} OrderGpu;

/* What the orders of one call share. */
typedef struct Shared
{
	OrderSpec  *specs;			/* by id */
	int			spec_count;
	OrderGpu   *gpus;			/* by node and index */
	int			gpu_count;
} Shared;

void
unidesk_desired_begin(void)
{
	CommandCounterIncrement();
	PushActiveSnapshot(GetTransactionSnapshot());
}

void
unidesk_desired_end(void)
{
	PopActiveSnapshot();
}

/* All that is looked up begins with its key. */
static int
compare_keys(const void *a, const void *b)
{
	int64		x = *(const int64 *) a;
	int64		y = *(const int64 *) b;

	return x < y ? -1 : x > y ? 1 : 0;
}

/* The distinct ones of count keys, sorted, as an argument. */
static void
distinct_argument(UnideskArgs *args, Oid type, int64 *keys, int count)
{
	Datum	   *values = palloc(sizeof(Datum) * (count + 1));
	int			n = 0;

	qsort(keys, count, sizeof(int64), compare_keys);
	for (int i = 0; i < count; i++)
		if (i == 0 || keys[i] != keys[i - 1])
			values[n++] = type == INT4OID ? Int32GetDatum((int32) keys[i]) : Int64GetDatum(keys[i]);
	unidesk_arg_array(args, type, values, NULL, n);
}

/* Session, bridge and longer leases of their nodes. */
static void
take_nodes(UnideskDesired *desired, int count)
{
	static SPIPlanPtr plan;
	UnideskArgs args = {0};
	int64	   *keys = palloc(sizeof(int64) * (count + 1));
	OrderNode  *nodes;
	uint64		rows;

	for (int i = 0; i < count; i++)
		keys[i] = desired[i].node_id;
	distinct_argument(&args, INT4OID, keys, count);
	rows = unidesk_query_by_key(&plan,
								"SELECT n.id, n.session, n.bridge_id, d.extra_s FROM unidesk_data.node n"
								" LEFT JOIN unidesk_data.downtime d ON d.node_id = n.id AND d.ended_at IS NULL"
								" WHERE n.id = ANY ($1) ORDER BY n.id", &args);
	nodes = palloc(sizeof(OrderNode) * (rows + 1));
	for (uint64 row = 0; row < rows; row++)
	{
		nodes[row].id = unidesk_column_int32(row, 1);
		nodes[row].session = unidesk_column_int64(row, 2);
		nodes[row].bridge_id = unidesk_column_int32(row, 3);
		nodes[row].extra_s = unidesk_column_int32(row, 4);
	}
	for (int i = 0; i < count; i++)
	{
		int64		key = desired[i].node_id;
		OrderNode  *node = bsearch(&key, nodes, rows, sizeof(OrderNode), compare_keys);

		if (node == NULL)
			continue;
		desired[i].session = node->session;
		desired[i].bridge_id = node->bridge_id;
		desired[i].extra_s = node->extra_s;
	}
}

/* What is left of a limit that began then; -1: there is none. */
static int64
seconds_left(int64 limit_s, TimestampTz began)
{
	if (limit_s < 0 || began == 0)
		return limit_s;
	return limit_s - Min(limit_s, (unidesk_now() - began) / USECS_PER_SEC);
}

static void
take_row(uint64 row, UnideskDesired *d)
{
	bool		is_null;
	Datum		commit = unidesk_column(row, 23, &is_null);

	d->node_id = unidesk_column_int32(row, 1);
	d->incarnation = unidesk_column_int64(row, 2);
	d->task_id = unidesk_column_int64(row, 3);
	d->attempt = unidesk_column_int32(row, 4);
	d->want = unidesk_column_int32(row, 5);
	d->order_no = unidesk_column_int64(row, 6);
	d->attempt_state = unidesk_column_int32(row, 7);
	d->grace_s = unidesk_column_int32(row, 8);
	d->lease_s = unidesk_column_int32(row, 9);
	d->prepare_left_s = seconds_left(unidesk_column_int32(row, 10), unidesk_column_time(row, 12));
	d->run_left_s = seconds_left(unidesk_column_int32(row, 11), unidesk_column_time(row, 13));
	d->idle_s = unidesk_column_int32(row, 14);
	d->warn_s = unidesk_column_int32(row, 15);
	d->warn_signal = unidesk_column_text(row, 16);
	d->cpus_milli = unidesk_column_int32(row, 17);
	d->memory = unidesk_column_int64(row, 18);
	d->gpu_mask = (uint64) unidesk_column_int64(row, 19);
	d->want_final = unidesk_column_int32(row, 20);
	d->want_reason = unidesk_column_int32(row, 21);
	d->spec_id = unidesk_column_int64(row, 22);
	d->code_commit = is_null ? NULL : DatumGetByteaPCopy(commit);
}

UnideskDesired *
unidesk_desired_take(int *count)
{
	UnideskDesired *desired;

	*count = (int) SPI_processed;
	desired = MemoryContextAllocExtended(CurrentMemoryContext, sizeof(UnideskDesired) * (*count + 1),
										 MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO);
	for (int i = 0; i < *count; i++)
		take_row(i, &desired[i]);
	if (*count > 0)
		take_nodes(desired, *count);
	return desired;
}

/*
 * From running on there is no spec: a node that has lost such an attempt must
 * not start it again.
 */
static bool
needs_spec(const UnideskDesired *d)
{
	return d->want == UD_WANT_RUN && d->session != 0 && d->attempt_state <= UD_ATTEMPT_PREPARING;
}

static void
put_text(StringInfo json, const char *field, const char *value)
{
	appendStringInfo(json, "\"%s\":", field);
	escape_json(json, value);
	appendStringInfoChar(json, ',');
}

static void
put_command(StringInfo json, Datum array)
{
	Datum	   *words;
	int			count;

	deconstruct_array(DatumGetArrayTypeP(array), TEXTOID, -1, false, TYPALIGN_INT, &words, NULL, &count);
	appendStringInfoString(json, "\"command\":[");
	for (int i = 0; i < count; i++)
	{
		if (i > 0)
			appendStringInfoChar(json, ',');
		escape_json(json, TextDatumGetCString(words[i]));
	}
	appendStringInfoString(json, "],");
}

static void
put_hex(StringInfo json, const bytea *bytes)
{
	int			length = VARSIZE_ANY_EXHDR(bytes);

	enlargeStringInfo(json, 2 * length + 1);
	json->len += hex_encode(VARDATA_ANY(bytes), length, json->data + json->len);
	json->data[json->len] = '\0';
}

/* The fields of a spec that is in this row. */
static char *
spec_fields(uint64 row)
{
	StringInfoData text;
	bool		is_null;
	Datum		environment = unidesk_column(row, 8, &is_null);
	char	   *project = unidesk_column_text(row, 2);

	initStringInfo(&text);
	put_text(&text, "project", project);
	put_text(&text, "trust", project);
	appendStringInfoString(&text, "\"env\":{");
	put_text(&text, "url", unidesk_column_text(row, 4));
	put_text(&text, "dockerfile", unidesk_column_text(row, 6));
	appendStringInfoString(&text, "\"commit\":\"");
	put_hex(&text, DatumGetByteaPP(unidesk_column(row, 5, NULL)));
	appendStringInfoString(&text, "\"},");
	put_command(&text, unidesk_column(row, 7, NULL));
	appendStringInfoString(&text, "\"environment\":");
	if (is_null)
		appendStringInfoString(&text, "{}");
	else
	{
		Jsonb	   *object = DatumGetJsonbP(environment);

		JsonbToCString(&text, &object->root, VARSIZE(object));
	}
	appendStringInfoString(&text, ",\"code\":{");
	put_text(&text, "url", unidesk_column_text(row, 3));
	return text.data;
}

static void
read_specs(Shared *shared, const UnideskDesired *desired, int count)
{
	static SPIPlanPtr plan;
	UnideskArgs args = {0};
	int64	   *keys = palloc(sizeof(int64) * (count + 1));
	int			n = 0;

	for (int i = 0; i < count; i++)
		if (needs_spec(&desired[i]))
			keys[n++] = desired[i].spec_id;
	if (n == 0)
		return;
	distinct_argument(&args, INT8OID, keys, n);
	shared->spec_count = (int) unidesk_query_by_key(&plan,
													"SELECT s.id, p.name, s.code_repo_url, s.env_repo_url, s.env_commit, s.dockerfile_path, s.command, s.environment"
													" FROM unidesk_data.spec s JOIN unidesk_data.project p ON p.id = s.project_id"
													" WHERE s.id = ANY ($1) ORDER BY s.id", &args);
	shared->specs = palloc(sizeof(OrderSpec) * (shared->spec_count + 1));
	for (int i = 0; i < shared->spec_count; i++)
	{
		shared->specs[i].id = unidesk_column_int64(i, 1);
		shared->specs[i].fields = spec_fields(i);
	}
}

static void
read_gpus(Shared *shared, const UnideskDesired *desired, int count)
{
	static SPIPlanPtr plan;
	UnideskArgs args = {0};
	int64	   *keys = palloc(sizeof(int64) * (count + 1));
	int			n = 0;

	for (int i = 0; i < count; i++)
		if (needs_spec(&desired[i]) && desired[i].gpu_mask != 0)
			keys[n++] = desired[i].node_id;
	if (n == 0)
		return;
	distinct_argument(&args, INT4OID, keys, n);
	shared->gpu_count = (int) unidesk_query_by_key(&plan,
												   "SELECT node_id, index, uuid FROM unidesk_data.gpu WHERE node_id = ANY ($1) ORDER BY node_id, index", &args);
	shared->gpus = palloc(sizeof(OrderGpu) * (shared->gpu_count + 1));
	for (int i = 0; i < shared->gpu_count; i++)
	{
		shared->gpus[i].node_id = unidesk_column_int32(i, 1);
		shared->gpus[i].index = unidesk_column_int32(i, 2);
		shared->gpus[i].uuid = unidesk_column_text(i, 3);
	}
}

static void
put_gpus(StringInfo json, const Shared *shared, const UnideskDesired *d)
{
	bool		first = true;

	appendStringInfoString(json, ",\"gpus\":[");
	for (int i = 0; d->gpu_mask != 0 && i < shared->gpu_count; i++)
	{
		const OrderGpu *gpu = &shared->gpus[i];

		if (gpu->node_id != d->node_id || (d->gpu_mask >> gpu->index & 1) == 0)
			continue;
		if (!first)
			appendStringInfoChar(json, ',');
		escape_json(json, gpu->uuid);
		first = false;
	}
	appendStringInfoChar(json, ']');
}

static void
put_spec(StringInfo json, const Shared *shared, const UnideskDesired *d)
{
	OrderSpec  *spec = !needs_spec(d) ? NULL :
	bsearch(&d->spec_id, shared->specs, shared->spec_count, sizeof(OrderSpec), compare_keys);

	if (spec == NULL)
	{
		appendStringInfoString(json, "\"spec\":null");
		return;
	}
	appendStringInfo(json, "\"spec\":{%s\"commit\":\"", spec->fields);
	put_hex(json, d->code_commit);
	appendStringInfo(json, "\"},\"cpus_milli\":%d,\"memory\":%lld", d->cpus_milli, (long long) d->memory);
	put_gpus(json, shared, d);
	appendStringInfoChar(json, '}');
}

/* Seconds, or null below zero. */
static void
put_seconds(StringInfo json, const char *field, int64 seconds)
{
	if (seconds < 0)
		appendStringInfo(json, "\"%s\":null,", field);
	else
		appendStringInfo(json, "\"%s\":%lld,", field, (long long) seconds);
}

static void
put_run(StringInfo json, const Shared *shared, const UnideskDesired *d)
{
	put_seconds(json, "lease_s", d->lease_s == 0 ? -1 : (int64) d->lease_s + d->extra_s);
	put_seconds(json, "prepare_left_s", d->prepare_left_s);
	put_seconds(json, "run_left_s", d->run_left_s);
	put_seconds(json, "idle_s", d->idle_s);
	put_seconds(json, "warn_s", d->warn_s);
	if (d->warn_signal == NULL)
		appendStringInfoString(json, "\"warn_signal\":null,");
	else
		put_text(json, "warn_signal", d->warn_signal);
	put_spec(json, shared, d);
}

void
unidesk_desired_send(ReturnSetInfo *result, int32 conn, const UnideskDesired *desired, int count)
{
	Shared		shared = {0};
	StringInfoData text;

	read_specs(&shared, desired, count);
	read_gpus(&shared, desired, count);
	initStringInfo(&text);
	for (int i = 0; i < count; i++)
	{
		const UnideskDesired *d = &desired[i];
		UnideskOut	out = {0};

		if (d->session == 0)
			continue;
		resetStringInfo(&text);
		appendStringInfo(&text, "{\"grace_s\":%d,", d->grace_s);
		if (d->want == UD_WANT_RUN)
			put_run(&text, &shared, d);
		else
			appendStringInfo(&text, "\"final\":\"%s\",\"reason\":\"%s\"",
							 ud_attempt_state_name(d->want_final), ud_reason_text(d->want_reason));
		appendStringInfoChar(&text, '}');
		out.kind = UNIDESK_OUT_SEND;
		out.conn = conn;
		out.session = d->session;
		out.type = UD_MSG_DESIRED;
		out.incarnation = d->incarnation;
		out.task = d->task_id;
		out.attempt = d->attempt;
		out.state = d->want;
		out.value = d->order_no;
		out.body = text.data;
		out.body_bytes = text.len;

		unidesk_out(result, &out);
	}
}
