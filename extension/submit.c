/*
 * submit.c
 *	  unidesk.submit_task and unidesk.submit_tasks.
 *
 * Both check their requests and write them with the same statements over
 * arrays: one row of task, one of live and one event per task, and a spec
 * and terms where no equal ones are found.
 */
#include "unidesk.h"

#include <math.h>

#include "access/xact.h"
#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "commands/sequence.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/numeric.h"
#include "utils/tuplestore.h"

#include "people.h"
#include "request.h"
#include "shared.h"
#include "space.h"

#define BULK_MAX 100000
/* Whole numbers up to here are exact as a double; nothing needs more. */
#define INTEGER_FIELD_MAX ((double) ((int64) 1 << 53))

/* The id of an equal spec, or of a new one. */
static int64
find_or_add_spec(UnideskRequest *request, int32 project_id, int32 account_id)
{
	static SPIPlanPtr find_plan;
	static SPIPlanPtr add_plan;
	UnideskArgs find = {0};
	UnideskArgs add = {0};

	unidesk_arg(&find, UUIDOID, UUIDPGetDatum(&request->spec_hash));
	unidesk_arg_int32(&find, project_id);
	if (unidesk_execute_by_key(&find_plan,
							   "SELECT id FROM unidesk_data.spec WHERE hash = $1 AND project_id = $2 LIMIT 1", &find) == 1)
		return unidesk_column_int64(0, 1);
	unidesk_arg(&add, UUIDOID, UUIDPGetDatum(&request->spec_hash));
	unidesk_arg_int32(&add, project_id);
	unidesk_arg_int32(&add, account_id);
	unidesk_arg_text(&add, request->code_repo_url);
	unidesk_arg_text(&add, request->env_repo_url);
	unidesk_arg(&add, BYTEAOID, PointerGetDatum(request->env_commit_bytes));
	unidesk_arg_text(&add, request->dockerfile_path);
	unidesk_arg_array(&add, TEXTOID, request->command, NULL, request->command_count);
	if (request->environment != NULL)
		unidesk_arg(&add, JSONBOID, JsonbPGetDatum(request->environment));
	else
		unidesk_arg_null(&add, JSONBOID);
	unidesk_execute_by_key(&add_plan,
						   "INSERT INTO unidesk_data.spec (hash, project_id, owner_id, code_repo_url, env_repo_url,"
						   " env_commit, dockerfile_path, command, environment)"
						   " VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) RETURNING id", &add);
	return unidesk_column_int64(0, 1);
}

/* The same for its terms. */
static int32
find_or_add_terms(UnideskRequest *request)
{
	static SPIPlanPtr find_plan;
	static SPIPlanPtr add_plan;
	UnideskArgs args = {0};

	unidesk_arg(&args, UUIDOID, UUIDPGetDatum(&request->terms_hash));
	if (unidesk_execute_by_key(&find_plan, "SELECT id FROM unidesk_data.terms WHERE hash = $1 LIMIT 1", &args) == 1)
		return unidesk_column_int32(0, 1);
	unidesk_arg_text(&args, request->terms);
	unidesk_execute_by_key(&add_plan,
						   "INSERT INTO unidesk_data.terms (hash, request) VALUES ($1, $2::jsonb) RETURNING id", &args);
	return unidesk_column_int32(0, 1);
}

/*
 * The task that already has the request's key, or 0 after the key was taken
 * for task_id.
 */
static int64
take_idempotency_key(UnideskRequest *request, int32 project_id, int64 task_id)
{
	static SPIPlanPtr add_plan;
	static SPIPlanPtr find_plan;
	UnideskArgs add = {0};
	UnideskArgs find = {0};
	pg_uuid_t  *hash;
	int64		found;

	unidesk_arg_int32(&add, project_id);
	unidesk_arg_text(&add, request->idempotency_key);
	unidesk_arg_int64(&add, task_id);
	unidesk_arg(&add, UUIDOID, UUIDPGetDatum(&request->body_hash));
	if (unidesk_execute_by_key(&add_plan,
							   "INSERT INTO unidesk_data.idempotency (project_id, key, task_id, body_hash)"
							   " VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING RETURNING task_id", &add) == 1)
		return 0;
	unidesk_arg_int32(&find, project_id);
	unidesk_arg_text(&find, request->idempotency_key);
	if (unidesk_execute_by_key(&find_plan,
							   "SELECT task_id, body_hash FROM unidesk_data.idempotency"
							   " WHERE project_id = $1 AND key = $2", &find) != 1)
		ereport(ERROR,
				(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
				 errmsg("idempotency_key was used by a transaction that this one cannot see"),
				 errhint("Submit again.")));
	found = unidesk_column_int64(0, 1);
	hash = DatumGetUUIDP(unidesk_column(0, 2, NULL));
	if (memcmp(hash->data, request->body_hash.data, UUID_LEN) != 0)
		ereport(ERROR,
				(errcode(ERRCODE_UNIQUE_VIOLATION),
				 errmsg("idempotency_key \"%s\" was used for a different task", unidesk_shown(request->idempotency_key)),
				 errdetail("It names task %lld.", (long long) found),
				 errhint("Use a new key for a new task.")));
	return found;
}

static const char insert_tasks[] =
"WITH r AS (SELECT * FROM unnest($4::bigint[], $5::bigint[], $6::bytea[], $7::integer[], $8::uuid[], $9::smallint[],"
" $10::smallint[], $11::integer[], $12::bigint[], $13::smallint[], $14::text[], $15::timestamptz[], $16::smallint[],"
" $17::smallint[], $18::integer[], $19::integer[], $20::integer[], $21::integer[], $22::integer[], $23::integer[], $24::integer[],"
" $25::integer[], $26::text[], $27::smallint[], $28::text[], $29::integer[])"
" AS r (id, spec_id, code_commit, project_id, demand_hash, priority, state, cpus_milli, memory, gpus, labels, not_before,"
" max_retries, on_lost, lease_s, grace_s, queue_s, prepare_s, run_s, total_s, idle_s, warn_s, warn_signal, restart_exit_code, retry_on,"
" terms_id)),"
" t AS (INSERT INTO unidesk_data.task (id, spec_id, code_commit, project_id, owner_id, created_at, terms_id)"
" SELECT id, spec_id, code_commit, project_id, $2, $1, terms_id FROM r),"
" l AS (INSERT INTO unidesk_data.live (task_id, project_id, owner_id, demand_hash, priority, state, reason, cpus_milli, memory,"
" gpus, labels, not_before, queued_at, max_retries, on_lost, lease_s, grace_s, queue_s, prepare_s, run_s, seq, state_at,"
" deadline, idle_s, warn_s, warn_signal, restart_exit_code, retry_on)"
" SELECT id, project_id, $2, demand_hash, priority, state, CASE state WHEN 1 THEN 403 ELSE 0 END, cpus_milli, memory,"
" gpus, labels, not_before, $1, max_retries, on_lost, lease_s, grace_s, queue_s, prepare_s, run_s, 1, $1,"
" $1 + make_interval(secs => total_s), idle_s, warn_s, warn_signal, restart_exit_code, retry_on::smallint[] FROM r)"
" INSERT INTO unidesk_data.task_event (at, task_id, seq, attempt, task_state, reason, actor_kind, actor_id)"
" SELECT $1, id, 1, 0, state, CASE state WHEN 1 THEN 403 ELSE 0 END, $3, $2 FROM r";

/* One task, with the same arguments as single values: as an array each costs more. */
static const char insert_task[] =
"INSERT INTO unidesk_data.task (id, spec_id, code_commit, project_id, owner_id, created_at, terms_id)"
" VALUES ($4, $5, $6, $7, $2, $1, $29)";
static const char insert_live[] =
"INSERT INTO unidesk_data.live (task_id, project_id, owner_id, demand_hash, priority, state, reason, cpus_milli, memory,"
" gpus, labels, not_before, queued_at, max_retries, on_lost, lease_s, grace_s, queue_s, prepare_s, run_s, seq, state_at,"
" deadline, idle_s, warn_s, warn_signal, restart_exit_code, retry_on)"
" VALUES ($4, $7, $2, $8, $9, $10, CASE $10 WHEN 1 THEN 403 ELSE 0 END, $11, $12, $13, $14, $15, $1, $16, $17, $18, $19,"
" $20, $21, $22, 1, $1, $1 + make_interval(secs => $23), $24, $25, $26, $27, $28::smallint[])";
static const char insert_event[] =
"INSERT INTO unidesk_data.task_event (at, task_id, seq, attempt, task_state, reason, actor_kind, actor_id)"
" VALUES ($1, $4, 1, 0, $10, CASE $10 WHEN 1 THEN 403 ELSE 0 END, $3, $2)";

/* One column of the new tasks: a value, or an array of them. */
#define COLUMN(element, expression, null_when) \
	do { \
		for (int i = 0; i < count; i++) \
		{ \
			UnideskRequest *r = requests[i]; \
			nulls[i] = (null_when); \
			values[i] = nulls[i] ? (Datum) 0 : (expression); \
			(void) r; \
		} \
		if (count > 1) \
			unidesk_arg_array(&args, element, values, nulls, count); \
		else if (nulls[0]) \
			unidesk_arg_null(&args, element); \
		else \
			unidesk_arg(&args, element, values[0]); \
	} while (0)

/* The exit codes as text of an array: one column cannot hold arrays of different lengths. */
static Datum
retry_on_datum(const UnideskRequest *request)
{
	StringInfoData text;

	initStringInfo(&text);
	for (int code = 1; code <= 255; code++)
		if (request->retry_on[code / 64] >> (code % 64) & 1)
			appendStringInfo(&text, "%c%d", text.len == 0 ? '{' : ',', code);
	appendStringInfoChar(&text, '}');
	return CStringGetTextDatum(text.data);
}

static void
write_tasks(UnideskRequest **requests, int64 *ids, int64 *specs, int32 *terms, int32 *projects, int count, int32 account_id)
{
	static SPIPlanPtr plan;
	static SPIPlanPtr single_plans[3];
	UnideskArgs args = {0};
	Datum	   *values = palloc(sizeof(Datum) * count);
	bool	   *nulls = palloc(sizeof(bool) * count);

	unidesk_arg_time(&args, unidesk_now());
	unidesk_arg_int32(&args, account_id);
	unidesk_arg_int16(&args, UNIDESK_ACTOR_ACCOUNT);
	COLUMN(INT8OID, Int64GetDatum(ids[i]), false);
	COLUMN(INT8OID, Int64GetDatum(specs[i]), false);
	COLUMN(BYTEAOID, PointerGetDatum(r->code_commit_bytes), false);
	COLUMN(INT4OID, Int32GetDatum(projects[i]), false);
	COLUMN(UUIDOID, UUIDPGetDatum(&r->demand_hash), false);
	COLUMN(INT2OID, Int16GetDatum(r->priority), false);
	COLUMN(INT2OID, Int16GetDatum(r->hold ? UNIDESK_TASK_HELD : UNIDESK_TASK_QUEUED), false);
	COLUMN(INT4OID, Int32GetDatum(r->cpus_milli), false);
	COLUMN(INT8OID, Int64GetDatum(r->memory), false);
	COLUMN(INT2OID, Int16GetDatum(r->gpus), false);
	COLUMN(TEXTOID, CStringGetTextDatum(r->labels), false);
	COLUMN(TIMESTAMPTZOID, TimestampTzGetDatum(r->not_before), r->not_before == 0);
	COLUMN(INT2OID, Int16GetDatum(r->max_retries), false);
	COLUMN(INT2OID, Int16GetDatum(r->on_lost_code), false);
	COLUMN(INT4OID, Int32GetDatum(r->lease_s), !r->has_lease);
	COLUMN(INT4OID, Int32GetDatum(r->grace_s), false);
	COLUMN(INT4OID, Int32GetDatum(r->queue_s), r->queue_s == 0);
	COLUMN(INT4OID, Int32GetDatum(r->prepare_s), r->prepare_s == 0);
	COLUMN(INT4OID, Int32GetDatum(r->run_s), r->run_s == 0);
	COLUMN(INT4OID, Int32GetDatum(r->total_s), r->total_s == 0);
	COLUMN(INT4OID, Int32GetDatum(r->idle_s), r->idle_s == 0);
	COLUMN(INT4OID, Int32GetDatum(r->warn_s), r->warn_s == 0);
	COLUMN(TEXTOID, CStringGetTextDatum(r->warn_signal), r->warn_s == 0);
	COLUMN(INT2OID, Int16GetDatum(r->restart_exit_code), !r->has_restart_exit_code);
	COLUMN(TEXTOID, retry_on_datum(r), !r->has_retry_on);
	COLUMN(INT4OID, Int32GetDatum(terms[i]), false);
	if (count > 1)
	{
		unidesk_execute_by_key(&plan, insert_tasks, &args);
		return;
	}
	unidesk_execute_by_key(&single_plans[0], insert_task, &args);
	unidesk_execute_by_key(&single_plans[1], insert_live, &args);
	unidesk_execute_by_key(&single_plans[2], insert_event, &args);
}

/* Store checked requests; fills ids with the tasks' ids in the same order. */
static void
store_requests(UnideskRequest *requests, int count, int64 *ids)
{
	UnideskRequest **fresh = palloc(sizeof(UnideskRequest *) * count);
	int64	   *fresh_ids = palloc(sizeof(int64) * count);
	int64	   *specs = palloc(sizeof(int64) * count);
	int32	   *terms = palloc(sizeof(int32) * count);
	int32	   *projects = palloc(sizeof(int32) * count);
	int32		account_id = unidesk_caller_account();
	int			fresh_count = 0;
	Oid			sequence = get_relname_relid("task_id", get_namespace_oid("unidesk_data", false));

	for (int i = 0; i < count; i++)
	{
		UnideskRequest *r = &requests[i];
		UnideskRequest *last = fresh_count > 0 ? fresh[fresh_count - 1] : NULL;
		bool		same_project = last != NULL && strcmp(last->project, r->project) == 0;
		int32		project_id = same_project ? projects[fresh_count - 1] :
		unidesk_project_for(r->project, UNIDESK_MEMBER);

		ids[i] = nextval_internal(sequence, true);
		if (r->idempotency_key != NULL)
		{
			int64		known = take_idempotency_key(r, project_id, ids[i]);

			if (known != 0)
			{
				ids[i] = known;
				continue;
			}
		}
		fresh[fresh_count] = r;
		fresh_ids[fresh_count] = ids[i];
		projects[fresh_count] = project_id;
		if (same_project && memcmp(&last->spec_hash, &r->spec_hash, UUID_LEN) == 0)
			specs[fresh_count] = specs[fresh_count - 1];
		else
			specs[fresh_count] = find_or_add_spec(r, project_id, account_id);
		if (last != NULL && memcmp(&last->terms_hash, &r->terms_hash, UUID_LEN) == 0)
			terms[fresh_count] = terms[fresh_count - 1];
		else
			terms[fresh_count] = find_or_add_terms(r);
		fresh_count++;
	}
	if (fresh_count == 0)
		return;
	unidesk_space_take_tasks(fresh_count);
	write_tasks(fresh, fresh_ids, specs, terms, projects, fresh_count, account_id);
	ForceSyncCommit();
	unidesk_note_tasks(fresh_ids[0], fresh_ids[fresh_count - 1]);
}

/* A number that may be far beyond what a double holds: infinity then. */
static double
number_as_double(Numeric number)
{
	return DatumGetFloat8(DirectFunctionCall1(numeric_float8_no_overflow, NumericGetDatum(number)));
}

static char *
text_argument(FunctionCallInfo fcinfo, int n)
{
	return PG_ARGISNULL(n) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(n));
}

static void
take_command(UnideskRequest *request, ArrayType *array)
{
	if (ARR_NDIM(array) > 1 || array_contains_nulls(array))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("command is not a list of words"),
				 errhint("Give a one-dimensional array without NULL, for example ARRAY['python', 'train.py'].")));
	deconstruct_array(array, TEXTOID, -1, false, TYPALIGN_INT,
					  &request->command, NULL, &request->command_count);
	request->has_command = true;
}

static void
take_retry_on(UnideskRequest *request, ArrayType *array)
{
	Datum	   *codes;
	int			count;

	if (ARR_NDIM(array) > 1 || array_contains_nulls(array))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("retry_on is not a list of exit codes"),
				 errhint("Give a one-dimensional array without NULL, for example ARRAY[75, 137].")));
	deconstruct_array(array, INT4OID, sizeof(int32), true, TYPALIGN_INT, &codes, NULL, &count);
	request->has_retry_on = true;
	for (int i = 0; i < count; i++)
		unidesk_request_retry_on(request, DatumGetInt32(codes[i]));
}

static int64
span_argument(FunctionCallInfo fcinfo, int n, const char *what, bool zero_allowed, int64 absent)
{
	if (PG_ARGISNULL(n))
		return absent;
	return unidesk_interval_seconds(PG_GETARG_INTERVAL_P(n), what, zero_allowed);
}

/* Arguments that are new since 0.1, whose function has no such ones. */
static void
take_limits(FunctionCallInfo fcinfo, UnideskRequest *request)
{
	if (PG_NARGS() <= 23)
		return;
	if (!PG_ARGISNULL(23))
		take_retry_on(request, PG_GETARG_ARRAYTYPE_P(23));
	request->total_s = span_argument(fcinfo, 24, "total_timeout", false, 0);
	request->idle_s = span_argument(fcinfo, 25, "idle_timeout", false, 0);
	request->warn_s = span_argument(fcinfo, 26, "warn_before", false, 0);
	request->warn_signal = text_argument(fcinfo, 27);
	request->has_restart_exit_code = !PG_ARGISNULL(28);
	if (request->has_restart_exit_code)
		request->restart_exit_code = PG_GETARG_INT32(28);
}

PG_FUNCTION_INFO_V1(unidesk_submit_task);

/* unidesk.submit_task(...): see its COMMENT. */
Datum
unidesk_submit_task(PG_FUNCTION_ARGS)
{
	UnideskRequest request;
	int64		id;

	PreventCommandIfReadOnly("unidesk.submit_task()");
	unidesk_request_init(&request);
	request.project = text_argument(fcinfo, 0);
	request.code_repo_url = text_argument(fcinfo, 1);
	request.code_commit = text_argument(fcinfo, 2);
	request.env_repo_url = text_argument(fcinfo, 3);
	request.env_commit = text_argument(fcinfo, 4);
	request.dockerfile_path = text_argument(fcinfo, 5);
	if (!PG_ARGISNULL(6))
		take_command(&request, PG_GETARG_ARRAYTYPE_P(6));
	if (!PG_ARGISNULL(7))
		request.cpus = number_as_double(PG_GETARG_NUMERIC(7));
	if (!PG_ARGISNULL(8))
		request.memory = PG_GETARG_INT64(8);
	if (!PG_ARGISNULL(9))
		request.gpus = PG_GETARG_INT32(9);
	if (!PG_ARGISNULL(10))
		request.labels = unidesk_labels_canonical(PG_GETARG_JSONB_P(10), "labels");
	if (!PG_ARGISNULL(11))
		request.environment = PG_GETARG_JSONB_P_COPY(11);
	if (!PG_ARGISNULL(12))
		request.priority = PG_GETARG_INT32(12);
	request.queue_s = span_argument(fcinfo, 13, "queue_timeout", false, 0);
	request.prepare_s = span_argument(fcinfo, 14, "prepare_timeout", false, 0);
	request.run_s = span_argument(fcinfo, 15, "run_timeout", false, 0);
	if (!PG_ARGISNULL(16))
		request.max_retries = PG_GETARG_INT32(16);
	request.idempotency_key = text_argument(fcinfo, 17);
	request.on_lost = text_argument(fcinfo, 18);
	take_limits(fcinfo, &request);
	request.lease_s = span_argument(fcinfo, 19, "lease", true, -1);
	request.grace_s = span_argument(fcinfo, 20, "grace", true, -1);
	if (!PG_ARGISNULL(21))
		request.hold = PG_GETARG_BOOL(21);
	if (!PG_ARGISNULL(22))
		request.not_before = PG_GETARG_TIMESTAMPTZ(22);
	unidesk_request_check(&request);

	SPI_connect();
	store_requests(&request, 1, &id);
	SPI_finish();
	PG_RETURN_INT64(id);
}

/* Fields of a submitted object, by the names of submit_task's arguments. */
static void
refuse_field(const char *field, const char *wanted)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("field \"%s\" is not %s", unidesk_shown(field), wanted),
			 errhint("The fields are the arguments of unidesk.submit_task; see \\df+ unidesk.submit_task.")));
}

static char *
field_text(const char *field, JsonbValue *value)
{
	if (value->type != jbvString)
		refuse_field(field, "a string");
	return pnstrdup(value->val.string.val, value->val.string.len);
}

static int64
field_integer(const char *field, JsonbValue *value)
{
	double		approximate;

	if (value->type != jbvNumeric)
		refuse_field(field, "a number");
	approximate = number_as_double(value->val.numeric);
	if (fabs(approximate) > INTEGER_FIELD_MAX || approximate != rint(approximate))
		refuse_field(field, "a whole number in range");
	return DatumGetInt64(DirectFunctionCall1(numeric_int8, NumericGetDatum(value->val.numeric)));
}

/*
 * Text to a value by the type's input function, which says what it dislikes
 * about it but not where it stands.
 */
static Datum
field_parsed(const char *field, JsonbValue *value, PGFunction input, const char *wanted)
{
	MemoryContext context = CurrentMemoryContext;
	char	   *text = field_text(field, value);
	Datum		parsed = 0;

	PG_TRY();
	{
		parsed = DirectFunctionCall3(input, CStringGetDatum(text), ObjectIdGetDatum(InvalidOid), Int32GetDatum(-1));
	}
	PG_CATCH();
	{
		if (ERRCODE_TO_CATEGORY(geterrcode()) != ERRCODE_DATA_EXCEPTION)
			PG_RE_THROW();
		MemoryContextSwitchTo(context);
		FlushErrorState();
		refuse_field(field, wanted);
	}
	PG_END_TRY();
	return parsed;
}

/* Seconds as a number, or an interval as a string. */
static int64
field_span(const char *field, JsonbValue *value, bool zero_allowed)
{
	Interval	span = {0};

	if (value->type == jbvString)
		return unidesk_interval_seconds(DatumGetIntervalP(field_parsed(field, value, interval_in, "an interval")),
										field, zero_allowed);
	/* Bounded before it is multiplied; what is out of range stays so. */
	span.time = Max(Min(field_integer(field, value), (int64) 1 << 40), -1) * USECS_PER_SEC;
	return unidesk_interval_seconds(&span, field, zero_allowed);
}

static Jsonb *
field_object(const char *field, JsonbValue *value)
{
	if (value->type != jbvBinary || !JsonContainerIsObject(value->val.binary.data))
		refuse_field(field, "an object");
	return JsonbValueToJsonb(value);
}

static void
field_command(UnideskRequest *request, JsonbValue *value)
{
	JsonbIterator *iterator;
	JsonbValue	word;
	JsonbIteratorToken token;

	if (value->type != jbvBinary || !JsonContainerIsArray(value->val.binary.data))
		refuse_field("command", "an array of strings");
	request->command = palloc(sizeof(Datum) * (JsonContainerSize(value->val.binary.data) + 1));
	request->has_command = true;
	iterator = JsonbIteratorInit(value->val.binary.data);
	JsonbIteratorNext(&iterator, &word, true);
	while ((token = JsonbIteratorNext(&iterator, &word, true)) == WJB_ELEM)
		request->command[request->command_count++] = CStringGetTextDatum(field_text("command", &word));
}

static void
field_retry_on(UnideskRequest *request, JsonbValue *value)
{
	JsonbIterator *iterator;
	JsonbValue	code;
	JsonbIteratorToken token;

	if (value->type != jbvBinary || !JsonContainerIsArray(value->val.binary.data))
		refuse_field("retry_on", "an array of numbers");
	request->has_retry_on = true;
	iterator = JsonbIteratorInit(value->val.binary.data);
	JsonbIteratorNext(&iterator, &code, true);
	while ((token = JsonbIteratorNext(&iterator, &code, true)) == WJB_ELEM)
		unidesk_request_retry_on(request, field_integer("retry_on", &code));
}

/* A field that is new since 0.1; false when it is none. */
static bool
take_limit_field(UnideskRequest *r, const char *field, JsonbValue *value)
{
	if (strcmp(field, "retry_on") == 0)
		field_retry_on(r, value);
	else if (strcmp(field, "total_timeout") == 0)
		r->total_s = field_span(field, value, false);
	else if (strcmp(field, "idle_timeout") == 0)
		r->idle_s = field_span(field, value, false);
	else if (strcmp(field, "warn_before") == 0)
		r->warn_s = field_span(field, value, false);
	else if (strcmp(field, "warn_signal") == 0)
		r->warn_signal = field_text(field, value);
	else if (strcmp(field, "restart_exit_code") == 0)
	{
		r->has_restart_exit_code = true;
		r->restart_exit_code = field_integer(field, value);
	}
	else
		return false;
	return true;
}

static void
take_json_field(UnideskRequest *r, const char *field, JsonbValue *value)
{
	if (value->type == jbvNull)
		return;
	if (strcmp(field, "project") == 0)
		r->project = field_text(field, value);
	else if (strcmp(field, "code_repo_url") == 0)
		r->code_repo_url = field_text(field, value);
	else if (strcmp(field, "code_commit_id") == 0)
		r->code_commit = field_text(field, value);
	else if (strcmp(field, "env_repo_url") == 0)
		r->env_repo_url = field_text(field, value);
	else if (strcmp(field, "env_commit_id") == 0)
		r->env_commit = field_text(field, value);
	else if (strcmp(field, "dockerfile_path") == 0)
		r->dockerfile_path = field_text(field, value);
	else if (strcmp(field, "command") == 0)
		field_command(r, value);
	else if (strcmp(field, "cpus") == 0)
	{
		if (value->type != jbvNumeric)
			refuse_field(field, "a number");
		r->cpus = number_as_double(value->val.numeric);
	}
	else if (strcmp(field, "memory") == 0)
		r->memory = field_integer(field, value);
	else if (strcmp(field, "gpus") == 0)
		r->gpus = field_integer(field, value);
	else if (strcmp(field, "labels") == 0)
		r->labels = unidesk_labels_canonical(field_object(field, value), "labels");
	else if (strcmp(field, "environment") == 0)
		r->environment = field_object(field, value);
	else if (strcmp(field, "priority") == 0)
		r->priority = field_integer(field, value);
	else if (strcmp(field, "queue_timeout") == 0)
		r->queue_s = field_span(field, value, false);
	else if (strcmp(field, "prepare_timeout") == 0)
		r->prepare_s = field_span(field, value, false);
	else if (strcmp(field, "run_timeout") == 0)
		r->run_s = field_span(field, value, false);
	else if (strcmp(field, "max_retries") == 0)
		r->max_retries = field_integer(field, value);
	else if (strcmp(field, "idempotency_key") == 0)
		r->idempotency_key = field_text(field, value);
	else if (strcmp(field, "on_lost") == 0)
		r->on_lost = field_text(field, value);
	else if (strcmp(field, "lease") == 0)
		r->lease_s = field_span(field, value, true);
	else if (strcmp(field, "grace") == 0)
		r->grace_s = field_span(field, value, true);
	else if (strcmp(field, "hold") == 0)
	{
		if (value->type != jbvBool)
			refuse_field(field, "true or false");
		r->hold = value->val.boolean;
	}
	else if (strcmp(field, "not_before") == 0)
		r->not_before = DatumGetTimestampTz(field_parsed(field, value, timestamptz_in, "a time"));
	else if (!take_limit_field(r, field, value))
		refuse_field(field, "known");
}

static void
take_json_request(UnideskRequest *request, JsonbValue *object)
{
	JsonbIterator *iterator;
	JsonbValue	key;
	JsonbValue	value;

	if (object->type != jbvBinary || !JsonContainerIsObject(object->val.binary.data))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("an element of tasks is not an object"),
				 errhint("Give an array of objects with the arguments of unidesk.submit_task as fields.")));
	unidesk_request_init(request);
	iterator = JsonbIteratorInit(object->val.binary.data);
	JsonbIteratorNext(&iterator, &key, true);
	while (JsonbIteratorNext(&iterator, &key, true) == WJB_KEY)
	{
		JsonbIteratorNext(&iterator, &value, true);
		take_json_field(request, pnstrdup(key.val.string.val, key.val.string.len), &value);
	}
	unidesk_request_check(request);
}

PG_FUNCTION_INFO_V1(unidesk_submit_tasks);

/* unidesk.submit_tasks(tasks jsonb): see its COMMENT. */
Datum
unidesk_submit_tasks(PG_FUNCTION_ARGS)
{
	Jsonb	   *tasks;
	UnideskRequest *requests;
	int64	   *ids;
	int			count;
	int			n = 0;
	JsonbIterator *iterator;
	JsonbValue	element;
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;

	if (PG_ARGISNULL(0))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("tasks is missing"),
				 errhint("Give an array of objects with the arguments of unidesk.submit_task as fields.")));
	PreventCommandIfReadOnly("unidesk.submit_tasks()");
	tasks = PG_GETARG_JSONB_P(0);
	if (!JB_ROOT_IS_ARRAY(tasks) || JB_ROOT_IS_SCALAR(tasks) || JB_ROOT_COUNT(tasks) > BULK_MAX)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("tasks is not a JSON array of at most %d tasks", BULK_MAX),
				 errhint("Give an array of objects with the arguments of unidesk.submit_task as fields.")));
	InitMaterializedSRF(fcinfo, MAT_SRF_USE_EXPECTED_DESC);
	count = JB_ROOT_COUNT(tasks);
	if (count == 0)
		return (Datum) 0;
	requests = MemoryContextAllocHuge(CurrentMemoryContext, sizeof(UnideskRequest) * count);
	ids = palloc(sizeof(int64) * count);
	iterator = JsonbIteratorInit(&tasks->root);
	JsonbIteratorNext(&iterator, &element, true);
	while (JsonbIteratorNext(&iterator, &element, true) == WJB_ELEM)
		take_json_request(&requests[n++], &element);

	SPI_connect();
	store_requests(requests, count, ids);
	SPI_finish();
	for (int i = 0; i < count; i++)
	{
		Datum		values[1] = {Int64GetDatum(ids[i])};
		bool		nulls[1] = {false};

		tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
	}
	return (Datum) 0;
}
