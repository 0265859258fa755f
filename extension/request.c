/*
 * request.c
 *	  Checking what somebody asks for when submitting a task.
 *
 * Every refusal names the argument, says what is wrong and what to do.  What
 * passes here is stored once and never checked again: a node may rely on it.
 */
#include "unidesk.h"

#include <math.h>

#include "common/cryptohash.h"
#include "common/sha2.h"
#include "lib/stringinfo.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

#include "common/hostlist.h"
#include "common/protocol.h"
#include "placement/placement.h"
#include "request.h"

#define URL_BYTES_MAX 2048
#define PATH_BYTES_MAX 1024
#define COMMAND_WORDS_MAX 4096
#define SPEC_BYTES_MAX (128 * 1024)
#define LABELS_MAX 64
#define LABEL_BYTES_MAX 128
#define MEMORY_MIN (16 * 1024 * 1024)
#define KEY_BYTES_MAX 200
#define SPAN_S_MAX ((int64) 10 * 366 * 24 * 3600)

void
unidesk_request_init(UnideskRequest *request)
{
	memset(request, 0, sizeof(*request));
	request->cpus = 1;
	request->memory = (int64) 1024 * 1024 * 1024;
	request->labels = pstrdup("");
	request->lease_s = -1;
	request->grace_s = -1;
}

static void
refuse_null(const char *what)
{
	ereport(ERROR,
			(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
			 errmsg("%s is missing", what),
			 errhint("A task needs project, code_repo_url, code_commit_id, env_repo_url, env_commit_id, dockerfile_path and command.")));
}

static void
check_range(int64 value, int64 min, int64 max, const char *what)
{
	if (value < min || value > max)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s is out of range: %lld", what, (long long) value),
				 errhint("Give a value from %lld to %lld.", (long long) min, (long long) max)));
}

void
unidesk_request_retry_on(UnideskRequest *request, int64 code)
{
	check_range(code, 1, 255, "an exit code in retry_on");
	request->retry_on[code / 64] |= UINT64CONST(1) << (code % 64);
}

static bool
has_control_or_space(const char *text)
{
	return strchr(text, ' ') != NULL || !unidesk_is_plain(text);
}

/* What a URL may consist of; the rest is percent-encoded in it. */
static bool
is_visible_ascii(const char *text)
{
	for (const unsigned char *c = (const unsigned char *) text; *c != '\0'; c++)
		if (*c <= ' ' || *c >= 0x7f)
			return false;
	return true;
}

/* Whether a node may dial it is the node's to decide; this is who we trust. */
static void
check_git_host(const char *authority, size_t length, bool is_https, const char *what)
{
	const char *host;
	size_t		host_length;
	int			port = is_https ? 443 : 80;

	if (!hostlist_split(authority, length, &host, &host_length, &port))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s has no valid host or port", what),
				 errhint("Write https://host/path/to/repository.git, or https://host:port/path/to/repository.git.")));
	if (hostlist_find(unidesk_allowed_git_hosts, host, host_length, port) == HOST_NOT_LISTED)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s is on host \"%.*s\", port %d, which is not allowed", what, (int) host_length, host, port),
				 errhint("Use one of unidesk.allowed_git_hosts: %s", unidesk_allowed_git_hosts)));
}

/* A repository: http(s), a host, nothing secret in it. */
static void
check_url(const char *url, const char *what)
{
	const char *host;
	const char *host_end;

	if (url == NULL)
		refuse_null(what);
	if (strncmp(url, "https://", 8) == 0)
		host = url + 8;
	else if (strncmp(url, "http://", 7) == 0)
		host = url + 7;
	else
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s is not an http or https URL", what),
				 errhint("Write https://host/path/to/repository.git.")));
	host_end = host + strcspn(host, "/?#");
	if (memchr(host, '@', host_end - host) != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s contains a user name or password", what),
				 errhint("Remove everything up to the @ from the URL; it would be visible to all members.")));
	if (host_end == host || *host_end != '/' || host_end[1] == '\0' ||
		strlen(url) > URL_BYTES_MAX || !is_visible_ascii(url) || strpbrk(url, "?#\\") != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s is not the URL of a repository", what),
				 errhint("Write https://host/path/to/repository.git: ASCII without spaces, no query, at most %d bytes.", URL_BYTES_MAX)));
	check_git_host(host, host_end - host, url[4] == 's', what);
}

/* A full object id in lower-case hex, as bytes. */
static bytea *
check_commit(const char *commit, const char *what)
{
	size_t		length;
	bytea	   *bytes;

	if (commit == NULL)
		refuse_null(what);
	length = strlen(commit);
	if ((length != 40 && length != 64) || strspn(commit, "0123456789abcdef") != length)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s is not a full commit id", what),
				 errhint("Give the 40 or 64 lower-case hex digits that \"git rev-parse HEAD\" prints; a branch or a short id may mean another commit tomorrow.")));
	bytes = palloc(VARHDRSZ + length / 2);
	SET_VARSIZE(bytes, VARHDRSZ + length / 2);
	for (size_t i = 0; i < length / 2; i++)
	{
		char		hex[3] = {commit[2 * i], commit[2 * i + 1], '\0'};

		VARDATA(bytes)[i] = (char) strtol(hex, NULL, 16);
	}
	return bytes;
}

static void
check_dockerfile(const char *path)
{
	bool		bad;

	if (path == NULL)
		refuse_null("dockerfile_path");
	bad = path[0] == '\0' || path[0] == '/' || path[0] == '-' || strlen(path) > PATH_BYTES_MAX ||
		path[strlen(path) - 1] == '/' || strchr(path, '\\') != NULL;
	for (const char *part = path; part != NULL && !bad;)
	{
		size_t		length = strcspn(part, "/");

		bad = length == 0 || (length == 1 && part[0] == '.') ||
			(length == 2 && part[0] == '.' && part[1] == '.');
		part = part[length] == '/' ? part + length + 1 : NULL;
	}
	if (bad || !unidesk_is_plain(path))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("dockerfile_path is not a path inside the repository"),
				 errhint("Give it relative to the root of the environment's repository, without . or .., for example \"Dockerfile\" or \"env/Dockerfile\".")));
}

static int
compare_labels(const void *a, const void *b)
{
	return strcmp(*(char *const *) a, *(char *const *) b);
}

static char *
label_text(JsonbValue *key, JsonbValue *value, const char *what)
{
	char	   *text = NULL;

	if (value->type == jbvString)
		text = pnstrdup(value->val.string.val, value->val.string.len);

	else if (value->type == jbvNumeric)
		text = DatumGetCString(DirectFunctionCall1(numeric_out, NumericGetDatum(value->val.numeric)));

	else if (value->type == jbvBool)
		text = pstrdup(value->val.boolean ? "true" : "false");

	if (text == NULL || key->val.string.len == 0 || key->val.string.len > LABEL_BYTES_MAX ||
		strlen(text) > LABEL_BYTES_MAX || has_control_or_space(text) ||
		memchr(key->val.string.val, '=', key->val.string.len) != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s holds a label that cannot be used", what),
				 errhint("A label is a key and a string, number or boolean, each at most %d bytes without spaces; the key has no \"=\".", LABEL_BYTES_MAX)));
	text = psprintf("%s=%s", pnstrdup(key->val.string.val, key->val.string.len), text);

	if (has_control_or_space(text))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s holds a label with a space or control character in its key", what),
				 errhint("Use letters, digits, \".\", \"_\", \"-\" and \"/\".")));
	return text;
}

char *
unidesk_labels_canonical(Jsonb *labels, const char *what)
{
	JsonbIterator *iterator;
	JsonbValue	key;
	JsonbValue	value;
	char	   *sorted[LABELS_MAX];
	int			count = 0;
	StringInfoData text;

	if (labels == NULL)
		return pstrdup("");
	if (!JB_ROOT_IS_OBJECT(labels) || JB_ROOT_COUNT(labels) > LABELS_MAX)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s is not a JSON object of at most %d labels", what, LABELS_MAX),
				 errhint("For example '{\"gpu\": \"a100\", \"site\": \"lab\"}'.")));
	iterator = JsonbIteratorInit(&labels->root);
	JsonbIteratorNext(&iterator, &key, false);
	while (JsonbIteratorNext(&iterator, &key, true) == WJB_KEY)
	{
		JsonbIteratorNext(&iterator, &value, true);
		sorted[count++] = label_text(&key, &value, what);
	}
	qsort(sorted, count, sizeof(char *), compare_labels);
	initStringInfo(&text);
	for (int i = 0; i < count; i++)
		appendStringInfo(&text, "%s%s", i > 0 ? "\n" : "", sorted[i]);
	return text.data;
}

static bool
is_variable_name(const char *name, int length)
{
	for (int i = 0; i < length; i++)
	{
		char		c = name[i];
		bool		letter = (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || c == '_';

		if (!letter && (i == 0 || c < '0' || c > '9'))
			return false;
	}
	return length > 0;
}

static void
check_environment(Jsonb *environment)
{
	JsonbIterator *iterator;
	JsonbValue	key;
	JsonbValue	value;

	if (environment == NULL)
		return;
	if (!JB_ROOT_IS_OBJECT(environment))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("environment is not a JSON object"),
				 errhint("For example '{\"SEED\": \"1\"}'.")));
	iterator = JsonbIteratorInit(&environment->root);
	JsonbIteratorNext(&iterator, &key, false);
	while (JsonbIteratorNext(&iterator, &key, true) == WJB_KEY)
	{
		JsonbIteratorNext(&iterator, &value, true);
		if (!is_variable_name(key.val.string.val, key.val.string.len) || value.type != jbvString)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("environment holds something else than variable names and strings"),
					 errhint("Names are letters, digits and \"_\"; write numbers as strings.")));
		if (key.val.string.len >= 8 && strncmp(key.val.string.val, "UNIDESK_", 8) == 0)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("environment sets a variable whose name begins with UNIDESK_"),
					 errhint("These are set by the agent; choose another name.")));
	}
}

/* Bytes of a string in JSON as PostgreSQL writes it. */
static int64
json_bytes(const char *text, int length)
{
	int64		bytes = length + strlen("\"\", ");

	for (int i = 0; i < length; i++)
	{
		unsigned char c = text[i];

		if (c == '"' || c == '\\' || c == '\b' || c == '\f' || c == '\n' || c == '\r' || c == '\t')
			bytes++;
		else if (c < ' ')
			bytes += strlen("\\u0000") - 1;
	}
	return bytes;
}

static int64
environment_bytes(Jsonb *environment)
{
	JsonbIterator *iterator;
	JsonbValue	v;
	JsonbIteratorToken token;
	int64		bytes = 0;

	if (environment == NULL)
		return 0;
	iterator = JsonbIteratorInit(&environment->root);
	while ((token = JsonbIteratorNext(&iterator, &v, false)) != WJB_DONE)
		if (token == WJB_KEY || token == WJB_VALUE)
			bytes += json_bytes(v.val.string.val, v.val.string.len);
	return bytes;
}

/* The order to the node is one JSON text, and a message has a size. */
static void
check_command(UnideskRequest *request)
{
	int64		bytes;

	if (!request->has_command)
		refuse_null("command");
	check_range(request->command_count, 0, COMMAND_WORDS_MAX, "the number of words in command");
	bytes = environment_bytes(request->environment);
	for (int i = 0; i < request->command_count; i++)
	{
		text	   *word = (text *) DatumGetPointer(request->command[i]);

		bytes += json_bytes(VARDATA_ANY(word), VARSIZE_ANY_EXHDR(word));
	}
	if (bytes > SPEC_BYTES_MAX)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("command and environment have %lld bytes as JSON", (long long) bytes),
				 errhint("At most %d bytes are allowed; put data into a repository.", SPEC_BYTES_MAX)));
}

static void
check_amounts(UnideskRequest *request)
{
	if (isnan(request->cpus) || request->cpus < 0.01 || request->cpus > 100000)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("cpus is out of range: %g", request->cpus),
				 errhint("Give a number of CPUs from 0.01 to 100000.")));
	request->cpus_milli = (int32) lrint(request->cpus * 1000);
	check_range(request->memory, MEMORY_MIN, (int64) 1 << 50, "memory");
	check_range(request->gpus, 0, PLACEMENT_GPUS_MAX - 1, "gpus");
	check_range(request->priority, -1000, 1000, "priority");
	check_range(request->max_retries, 0, 1000, "max_retries");
}

static void
check_loss(UnideskRequest *request)
{
	int64		least;

	if (request->on_lost == NULL || strcmp(request->on_lost, "requeue") == 0)
		request->on_lost_code = UNIDESK_ON_LOST_REQUEUE;
	else if (strcmp(request->on_lost, "wait") == 0)
		request->on_lost_code = UNIDESK_ON_LOST_WAIT;
	else if (strcmp(request->on_lost, "fail") == 0)
		request->on_lost_code = UNIDESK_ON_LOST_FAIL;
	else
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("on_lost is unknown: \"%s\"", unidesk_shown(request->on_lost)),
				 errhint("Give requeue, wait or fail.")));
	if (request->grace_s < 0)
		request->grace_s = unidesk_grace;
	check_range(request->grace_s, 0, 24 * 3600, "grace");
	request->has_lease = request->on_lost_code != UNIDESK_ON_LOST_WAIT;
	if (request->lease_s < 0)
	{
		request->lease_s = unidesk_lease;
		if (request->lease_s > 0)
			request->lease_s = Max(request->lease_s,
								   unidesk_offline_after + request->grace_s + unidesk_lease_margin);
		return;
	}
	if (!request->has_lease)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("a task with on_lost = wait has no lease"),
				 errhint("Leave lease out.")));
	least = unidesk_offline_after + request->grace_s + unidesk_lease_margin;
	if (request->lease_s != 0 && request->lease_s < least)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("lease is too short: %lld s", (long long) request->lease_s),
				 errhint("Give 0 (replace at once, two may run) or at least %lld s: offline_after + grace + lease_margin.", (long long) least)));
}

/* What unidesk-init hands on to the program. */
static bool
is_warning_signal(const char *name)
{
	static const char *const names[] = {"HUP", "INT", "QUIT", "USR1", "USR2", "WINCH"};

	for (size_t i = 0; i < lengthof(names); i++)
		if (strcmp(name, names[i]) == 0)
			return true;
	return false;
}

static void
check_warning(UnideskRequest *request)
{
	if (request->warn_s > 0 && request->warn_s >= request->run_s)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("warn_before is not shorter than run_timeout"),
				 errhint("It is the time between the warning and the end of run_timeout: give a longer run_timeout, or a shorter warn_before.")));
	if (request->warn_signal == NULL)
	{
		request->warn_signal = "USR1";
		return;
	}
	if (request->warn_s == 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("warn_signal is given without warn_before"),
				 errhint("Give warn_before as well: how long before the end of run_timeout the signal is sent.")));
	if (!is_warning_signal(request->warn_signal))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("warn_signal is unknown: \"%s\"", unidesk_shown(request->warn_signal)),
				 errhint("Give HUP, INT, QUIT, USR1, USR2 or WINCH.")));
}

static void
check_repeats(UnideskRequest *request)
{
	uint64		codes = 0;

	for (int i = 0; i < lengthof(request->retry_on); i++)
		codes |= request->retry_on[i];
	if (request->has_retry_on && (codes == 0 || request->max_retries == 0))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg(codes == 0 ? "retry_on is empty" : "retry_on is given without max_retries"),
				 errhint("Give the exit codes after which the task is tried again, for example ARRAY[75], and max_retries; or leave retry_on out for any failure.")));
	if (request->has_restart_exit_code)
		check_range(request->restart_exit_code, 1, 255, "restart_exit_code");
}

int64
unidesk_interval_seconds(Interval *span, const char *what, bool zero_allowed)
{
	/* Neither months nor days in seconds come near the end of int64. */
	int64		seconds = ((int64) span->month * 30 + span->day) * 86400 + span->time / USECS_PER_SEC;

	check_range(seconds, zero_allowed ? 0 : 1, SPAN_S_MAX, what);
	return seconds;
}

static void
check_not_before(TimestampTz not_before)
{
	if (TIMESTAMP_NOT_FINITE(not_before) || not_before > GetCurrentTimestamp() + SPAN_S_MAX * USECS_PER_SEC)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("not_before is infinite or more than 10 years away"),
				 errhint("Give the earliest time to start, or leave it out.")));
}

static void
hash_bytes(pg_cryptohash_ctx *ctx, const void *bytes, uint32 length)
{
	if (pg_cryptohash_update(ctx, (const uint8 *) &length, sizeof(length)) < 0 ||
		pg_cryptohash_update(ctx, bytes, length) < 0)
		elog(ERROR, "could not compute a hash");
}

static void
hash_text(pg_cryptohash_ctx *ctx, const char *text)
{
	hash_bytes(ctx, text !=NULL ? text : "", text !=NULL ? strlen(text) : 0);
}

static void
hash_end(pg_cryptohash_ctx *ctx, UnideskHash *hash)
{
	uint8		digest[PG_SHA256_DIGEST_LENGTH];

	if (pg_cryptohash_final(ctx, digest, sizeof(digest)) < 0)
		elog(ERROR, "could not compute a hash");
	pg_cryptohash_free(ctx);
	memcpy(hash->data, digest, UUID_LEN);
}

static pg_cryptohash_ctx *
hash_begin(void)
{
	pg_cryptohash_ctx *ctx = pg_cryptohash_create(PG_SHA256);

	if (ctx == NULL || pg_cryptohash_init(ctx) < 0)
		elog(ERROR, "could not compute a hash");
	return ctx;
}

/* SHA-256 cut to 128 bits over each field with its length. */
static void
hash_request(UnideskRequest *r)
{
	pg_cryptohash_ctx *ctx = hash_begin();
	int64		numbers[] = {r->cpus_milli, r->memory, r->gpus, r->priority, r->queue_s, r->prepare_s,
	r->run_s, r->max_retries, r->on_lost_code, r->lease_s, r->grace_s, r->hold, r->not_before};
	int64		limits[] = {r->total_s, r->idle_s, r->warn_s, r->restart_exit_code};

	hash_text(ctx, r->project);
	hash_text(ctx, r->code_repo_url);
	hash_text(ctx, r->env_repo_url);
	hash_text(ctx, r->env_commit);
	hash_text(ctx, r->dockerfile_path);
	for (int i = 0; i < r->command_count; i++)
		hash_bytes(ctx, VARDATA_ANY(DatumGetPointer(r->command[i])),
				   VARSIZE_ANY_EXHDR(DatumGetPointer(r->command[i])));
	hash_text(ctx, "environment");
	if (r->environment != NULL)
		hash_bytes(ctx, r->environment, VARSIZE(r->environment));
	hash_end(ctx, &r->spec_hash);

	ctx = hash_begin();
	hash_text(ctx, r->terms);
	hash_end(ctx, &r->terms_hash);

	if (r->idempotency_key == NULL)
		return;
	ctx = hash_begin();
	hash_bytes(ctx, &r->spec_hash, sizeof(r->spec_hash));
	hash_text(ctx, r->code_commit);
	hash_text(ctx, r->labels);
	hash_bytes(ctx, numbers, sizeof(numbers));
	/* Keys that were taken before there were limits stay valid. */
	if (r->total_s > 0 || r->idle_s > 0 || r->warn_s > 0 || r->restart_exit_code > 0 || r->has_retry_on)
	{
		hash_bytes(ctx, limits, sizeof(limits));
		hash_bytes(ctx, r->retry_on, sizeof(r->retry_on));
		hash_text(ctx, r->warn_signal);
	}
	hash_end(ctx, &r->body_hash);
}

void
unidesk_request_check(UnideskRequest *request)
{
	PlacementDemand demand = {0};
	PlacementClass class;

	if (request->project == NULL)
		refuse_null("project");
	check_url(request->code_repo_url, "code_repo_url");
	request->code_commit_bytes = check_commit(request->code_commit, "code_commit_id");
	check_url(request->env_repo_url, "env_repo_url");
	request->env_commit_bytes = check_commit(request->env_commit, "env_commit_id");
	check_dockerfile(request->dockerfile_path);
	check_environment(request->environment);
	check_command(request);
	check_amounts(request);
	/* As asked for, before settings decide what was left open. */
	request->terms = unidesk_terms_text(request);
	check_loss(request);
	check_warning(request);
	check_repeats(request);
	check_not_before(request->not_before);
	if (request->idempotency_key != NULL &&
		(request->idempotency_key[0] == '\0' || strlen(request->idempotency_key) > KEY_BYTES_MAX ||
		 !unidesk_is_plain(request->idempotency_key)))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("idempotency_key is empty, longer than %d bytes, or has control characters", KEY_BYTES_MAX),
				 errhint("Use a UUID, or leave it out.")));
	hash_request(request);

	demand.cpus_milli = request->cpus_milli;
	demand.memory = request->memory;
	demand.gpus = (int32) request->gpus;
	demand.labels = request->labels;
	class = placement_class(&demand);
	memcpy(request->demand_hash.data, &class.low, 8);
	memcpy(request->demand_hash.data + 8, &class.high, 8);
}
