/*
 * desired.c
 *	  Bodies of what the server sends, parsed and checked field by field.
 *
 * The server is trusted to decide, not to be free of errors: nothing that
 * would be wrong further down (a path that leaves the tree, a NUL in an
 * argument, a negative limit) gets past here.
 */
#include "agent/desired.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/buf.h"
#include "common/protocol.h"
#include "common/reasons.h"
#include "agent/json.h"

#define URL_BYTES_MAX 2048
#define PATH_BYTES_MAX 1024
#define NAME_BYTES_MAX 200
#define ARGUMENTS_MAX 4096
#define ARGUMENT_BYTES_MAX (128 * 1024)
#define VARIABLES_MAX 1024
#define SECONDS_MAX (10.0 * 366 * 86400)
#define BYTES_MAX (INT64_C(1) << 56)

void
incarnation_write(int64_t incarnation, char out[DESIRED_HEX_BYTES])
{
	snprintf(out, DESIRED_HEX_BYTES, "%016" PRIx64, (uint64_t) incarnation);
}

bool
incarnation_read(const char *text, int64_t *incarnation)
{
	uint64_t	value = 0;

	if (strlen(text) != 16)
		return false;
	for (int i = 0; i < 16; i++)
	{
		if (!isdigit((unsigned char) text[i]) && !(text[i] >= 'a' && text[i] <= 'f'))
			return false;
		value = value << 4 | (uint64_t) (text[i] <= '9' ? text[i] - '0' : text[i] - 'a' + 10);
	}
	*incarnation = (int64_t) value;
	return true;
}

void
task_spec_free(TaskSpec *spec)
{
	if (spec == NULL)
		return;
	free(spec->project);
	free(spec->trust);
	free(spec->code_url);
	free(spec->env_url);
	free(spec->dockerfile);
	free(spec->command);
	free(spec->environment);
	free(spec->gpus);
	free(spec);
}

/* A text that must be there and not be empty; *out becomes a copy. */
static int
desired_need_text(struct json_object *object, const char *key, size_t max, char **out, UdError *err)
{
	const char *text = NULL;

	if (json_get_text(object, key, max, &text, err) < 0)
		return err->code;
	if (text == NULL || text[0] == '\0')
		return ud_error(err, UD_EPROTO, 0, "field \"%s\" is missing", key);
	for (const char *c = text; *c; c++)
		if ((unsigned char) *c < 0x20 || *c == 0x7f)
			return ud_error(err, UD_EPROTO, 0, "field \"%s\" contains control characters", key);
	*out = ud_strdup(text);
	return 0;
}

/* {"url":…,"commit":…} under key of spec. */
static int
desired_repository(struct json_object *spec, const char *key, struct json_object **member,
				   char **url, char commit[DESIRED_COMMIT_BYTES], UdError *err)
{
	const char *text = NULL;
	size_t		len;

	*member = NULL;
	if (json_get_object(spec, key, member, err) < 0)
		return err->code;
	if (*member == NULL)
		return ud_error(err, UD_EPROTO, 0, "field \"%s\" is missing", key);
	if (desired_need_text(*member, "url", URL_BYTES_MAX, url, err) < 0 ||
		json_get_text(*member, "commit", DESIRED_COMMIT_BYTES - 1, &text, err) < 0)
		return err->code;
	len = text != NULL ? strlen(text) : 0;
	if ((len != 40 && len != 64) || strspn(text, "0123456789abcdef") != len)
		return ud_error(err, UD_EPROTO, 0, "field \"commit\" of \"%s\" is not 40 or 64 lower-case hex digits", key);
	strcpy(commit, text);
	return 0;
}

/* A path inside a tree: relative, no empty, "." or ".." part. */
static bool
desired_path_is_inside(const char *path)
{
	while (true)
	{
		size_t		len = strcspn(path, "/");

		if (len == 0 || (len == 1 && path[0] == '.') || (len == 2 && path[0] == '.' && path[1] == '.'))
			return false;
		if (path[len] == '\0')
			return true;
		path += len + 1;
	}
}

static bool
desired_variable_name_is_valid(const char *name)
{
	if (!isalpha((unsigned char) name[0]) && name[0] != '_')
		return false;
	for (; *name; name++)
		if (!isalnum((unsigned char) *name) && *name != '_')
			return false;
	return true;
}

/* {"KEY":"value",…} into one piece of KEY=value. */
static int
desired_environment(struct json_object *spec, char ***out, UdError *err)
{
	struct json_object *member = NULL;
	struct json_object_iterator at;
	struct json_object_iterator end;
	size_t		count;
	size_t		bytes = 0;
	size_t		used = 0;
	char	   *next;

	if (json_get_object(spec, "environment", &member, err) < 0)
		return err->code;
	count = member != NULL ? (size_t) json_object_object_length(member) : 0;
	if (count > VARIABLES_MAX)
		return ud_error(err, UD_EPROTO, 0, "field \"environment\" has more than %d variables", VARIABLES_MAX);
	if (count > 0)
	{
		end = json_object_iter_end(member);
		for (at = json_object_iter_begin(member); !json_object_iter_equal(&at, &end); json_object_iter_next(&at))
		{
			const char *name = json_object_iter_peek_name(&at);
			const char *text = NULL;

			if (!desired_variable_name_is_valid(name))
				return ud_error(err, UD_EPROTO, 0, "\"%.64s\" is no name of an environment variable", name);
			if (json_get_text(member, name, ARGUMENT_BYTES_MAX, &text, err) < 0)
				return err->code;
			bytes += strlen(name) + 1 + (text != NULL ? strlen(text) : 0) + 1;
		}
	}
	*out = ud_malloc((count + 1) * sizeof(char *) + bytes);
	next = (char *) (*out + count + 1);
	if (count > 0)
	{
		for (at = json_object_iter_begin(member); !json_object_iter_equal(&at, &end); json_object_iter_next(&at))
		{
			struct json_object *value = json_object_iter_peek_value(&at);

			(*out)[used++] = next;
			next = stpcpy(next, json_object_iter_peek_name(&at));
			next = stpcpy(next, "=");
			next = stpcpy(next, value != NULL ? json_object_get_string(value) : "") + 1;
		}
	}
	(*out)[used] = NULL;
	return 0;
}

/* An array of texts that is empty when the field is absent. */
static int
desired_texts(struct json_object *object, const char *key, int count_max, size_t max, char ***out, UdError *err)
{
	if (json_get_texts(object, key, count_max, max, out, err) < 0)
		return err->code;
	if (*out == NULL)
		*out = ud_calloc(1, sizeof(char *));
	return 0;
}

static int
desired_fill_spec(struct json_object *object, TaskSpec *spec, UdError *err)
{
	struct json_object *member;

	if (desired_need_text(object, "project", NAME_BYTES_MAX, &spec->project, err) < 0 ||
		desired_need_text(object, "trust", NAME_BYTES_MAX, &spec->trust, err) < 0 ||
		desired_repository(object, "code", &member, &spec->code_url, spec->code_commit, err) < 0 ||
		desired_repository(object, "env", &member, &spec->env_url, spec->env_commit, err) < 0 ||
		desired_need_text(member, "dockerfile", PATH_BYTES_MAX, &spec->dockerfile, err) < 0)
		return err->code;
	if (!desired_path_is_inside(spec->dockerfile))
		return ud_error(err, UD_EPROTO, 0, "field \"dockerfile\" is not a path inside the repository");
	if (desired_texts(object, "command", ARGUMENTS_MAX, ARGUMENT_BYTES_MAX, &spec->command, err) < 0 ||
		desired_texts(object, "gpus", DESIRED_GPUS_MAX, DESIRED_GPU_BYTES_MAX, &spec->gpus, err) < 0 ||
		desired_environment(object, &spec->environment, err) < 0 ||
		json_get_int(object, "cpus_milli", 1, 1000000000, &spec->cpus_milli, err) < 0 ||
		json_get_int(object, "memory", 1, BYTES_MAX, &spec->memory, err) < 0)
		return err->code;
	if (spec->cpus_milli == 0 || spec->memory == 0)
		return ud_error(err, UD_EPROTO, 0, "field \"cpus_milli\" or \"memory\" is missing");
	return 0;
}

/* A duration that may be null, from -SECONDS_MAX (already over) on. */
static int
desired_maybe_seconds(struct json_object *object, const char *key, double min, MaybeSeconds *out, UdError *err)
{
	int			got = json_get_number(object, key, min, SECONDS_MAX, &out->value, err);

	out->set = got > 0;
	return got < 0 ? got : 0;
}

/* A name of a signal without "SIG". */
static int
desired_signal(struct json_object *object, const char *key, char out[DESIRED_SIGNAL_BYTES], UdError *err)
{
	const char *text = "USR1";

	if (json_get_text(object, key, DESIRED_SIGNAL_BYTES - 1, &text, err) < 0)
		return err->code;
	if (text[0] == '\0' || strspn(text, "ABCDEFGHIJKLMNOPQRSTUVWXYZ12") != strlen(text))
		return ud_error(err, UD_EPROTO, 0, "field \"%s\" is no name of a signal", key);
	strcpy(out, text);
	return 0;
}

int
desired_parse_run(const void *body, size_t len, DesiredRun *out, UdError *err)
{
	ud_auto_json struct json_object *object = json_parse_object(body, len, err);
	struct json_object *spec = NULL;

	memset(out, 0, sizeof(*out));
	if (object == NULL)
		return err->code;
	out->grace_s = 30;
	if (json_get_number(object, "grace_s", 0, 86400, &out->grace_s, err) < 0 ||
		desired_maybe_seconds(object, "lease_s", 0, &out->lease_s, err) < 0 ||
		desired_maybe_seconds(object, "run_left_s", -SECONDS_MAX, &out->run_left_s, err) < 0 ||
		desired_maybe_seconds(object, "prepare_left_s", -SECONDS_MAX, &out->prepare_left_s, err) < 0 ||
		desired_maybe_seconds(object, "idle_s", 1, &out->idle_s, err) < 0 ||
		desired_maybe_seconds(object, "warn_s", 0, &out->warn_s, err) < 0 ||
		desired_signal(object, "warn_signal", out->warn_signal, err) < 0 ||
		json_get_object(object, "spec", &spec, err) < 0)
		return err->code;
	/* A lease of no time is none: nothing ends here for lack of contact. */
	out->lease_s.set = out->lease_s.set && out->lease_s.value > 0;
	if (spec == NULL)
		return 0;
	out->spec = ud_calloc(1, sizeof(*out->spec));
	if (desired_fill_spec(spec, out->spec, err) < 0)
	{
		task_spec_free(out->spec);
		out->spec = NULL;
		return err->code;
	}
	return 0;
}

int
desired_parse_stop(const void *body, size_t len, DesiredStop *out, UdError *err)
{
	ud_auto_json struct json_object *object = json_parse_object(body, len, err);
	const char *final = "cancelled";
	const char *reason = "ctl.cancelled";

	memset(out, 0, sizeof(*out));
	if (object == NULL)
		return err->code;
	out->grace_s = 30;
	if (json_get_number(object, "grace_s", 0, 86400, &out->grace_s, err) < 0 ||
		json_get_text(object, "final", 32, &final, err) < 0 ||
		json_get_text(object, "reason", 64, &reason, err) < 0)
		return err->code;
	out->final_state = ud_attempt_state_number(final);
	if (out->final_state != UD_ATTEMPT_CANCELLED && out->final_state != UD_ATTEMPT_TIMED_OUT &&
		out->final_state != UD_ATTEMPT_PREEMPTED && out->final_state != UD_ATTEMPT_REJECTED)
		return ud_error(err, UD_EPROTO, 0, "field \"final\" is \"%s\", which is no state to stop into", final);
	out->reason = ud_reason_number(reason);
	/* A newer server's reason is not worth a refused stop. */
	if (out->reason < 0)
		out->reason = UD_REASON_CTL_CANCELLED;
	return 0;
}

int
desired_parse_welcome(const void *body, size_t len, Welcome *out, UdError *err)
{
	ud_auto_json struct json_object *object = json_parse_object(body, len, err);
	struct json_object *limits = NULL;
	SessionLimits *l = &out->limits;
	const char *incarnation = NULL;
	const char *node = NULL;
	const char *seal = "";
	int64_t		node_id = 0;
	int64_t		number;

	memset(out, 0, sizeof(*out));
	if (object == NULL)
		return err->code;
	l->beat_s = 15;
	l->report_repeat_s = 5;
	l->lease_margin_s = 30;
	l->log_budget = 100 * 1024 * 1024;
	l->disk_floor = INT64_C(2) << 30;
	l->fetch_timeout_s = 3600;
	l->build_timeout_s = 7200;
	if (json_get_text(object, "incarnation", 16, &incarnation, err) < 0 ||
		json_get_text(object, "node", sizeof(out->node) - 1, &node, err) < 0 ||
		json_get_int(object, "node_id", 1, INT32_MAX, &node_id, err) < 0 ||
		json_get_text(object, "seal", 16, &seal, err) < 0 ||
		json_get_object(object, "limits", &limits, err) < 0)
		return err->code;
	if (seal[0] != '\0' && !incarnation_read(seal, &number))
		return ud_error(err, UD_EPROTO, 0, "welcome has no valid seal");
	if (incarnation == NULL || !incarnation_read(incarnation, &out->incarnation) || out->incarnation == 0)
		return ud_error(err, UD_EPROTO, 0, "welcome has no valid incarnation");
	if (node == NULL || node[0] == '\0')
		return ud_error(err, UD_EPROTO, 0, "welcome does not say the node's name");
	strcpy(out->node, node);
	strcpy(out->seal, seal);
	out->node_id = (int32_t) node_id;
	if (limits == NULL)
		return 0;
	if (json_get_number(limits, "beat_s", 0.05, 3600, &l->beat_s, err) < 0 ||
		json_get_number(limits, "report_repeat_s", 0.05, 3600, &l->report_repeat_s, err) < 0 ||
		json_get_number(limits, "lease_margin_s", 0, 86400, &l->lease_margin_s, err) < 0 ||
		json_get_int(limits, "log_budget", 4096, BYTES_MAX, &l->log_budget, err) < 0 ||
		json_get_int(limits, "disk_floor", 0, BYTES_MAX, &l->disk_floor, err) < 0 ||
		json_get_number(limits, "fetch_timeout_s", 1, 7 * 86400, &l->fetch_timeout_s, err) < 0 ||
		json_get_number(limits, "build_timeout_s", 1, 7 * 86400, &l->build_timeout_s, err) < 0)
		return err->code;
	return 0;
}

int64_t
desired_parse_drain(const void *body, size_t len)
{
	UdError		err;
	ud_auto_json struct json_object *object = json_parse_object(body, len, &err);
	int64_t		after = 0;

	if (object == NULL || json_get_int(object, "retry_after_ms", 0, 600000, &after, &err) < 0)
		return 0;
	return after;
}
