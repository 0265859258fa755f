/*
 * report.c
 *	  JSON bodies of what the agent sends.
 *
 * Texts that came from builds, engines and tasks are made valid UTF-8 here,
 * because PostgreSQL would refuse the whole body for one bad byte.
 */
#include "agent/report.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/protocol.h"
#include "common/reasons.h"
#include "agent/attempt.h"
#include "agent/cache.h"
#include "agent/json.h"
#include "agent/lease.h"

/* So many are listed at once: an inventory is one message. */
#define CHECKPOINTS_MAX 500

const char *const report_stage_names[AGENT_STAGES] = {"fetch", "build", "stage_in", "run"};

/* Like json_set_text for text of any origin, cut to max bytes. */
static void
report_set_text(struct json_object *object, const char *key, const char *text, size_t max)
{
	ud_auto_free char *valid = ud_malloc(max + 1);

	text_make_valid(valid, max + 1, text, strlen(text));
	json_set_text(object, key, valid);
}

static void
report_set_outcome(struct json_object *object, const Attempt *attempt)
{
	const Outcome *outcome = &attempt->outcome;

	if (outcome->has_exit_code)
		json_set_int(object, "exit_code", outcome->exit_code);
	if (outcome->signal != 0)
		json_set_int(object, "signal", outcome->signal);
	if (outcome->oom)
		json_set_bool(object, "oom", true);
	if (outcome->reason != UD_REASON_NONE)
		json_set_text(object, "reason", ud_reason_text(outcome->reason));
	if (outcome->retry_after_s > 0)
		json_set_int(object, "retry_after_s", outcome->retry_after_s);
	if (outcome->message[0] != '\0')
		report_set_text(object, "message", outcome->message, 4000);
	if (attempt->ran)
	{
		json_set_int(object, "log_end", (int64_t) attempt->log_end);
		json_set_bool(object, "checkpoint", attempt->saved);
	}
}

void
report_write(const Attempt *attempt, UdBuf *out)
{
	ud_auto_json struct json_object *object = json_object_new_object();
	struct json_object *stages = NULL;

	if (attempt->state == UD_ATTEMPT_PREPARING && attempt->phase >= 0 && attempt->phase < AGENT_PREPARE_STAGES)
	{
		json_set_text(object, "phase", report_stage_names[attempt->phase]);
		if (attempt->progress[0] != '\0')
			report_set_text(object, "progress", attempt->progress, 200);
	}
	for (int i = 0; i < AGENT_STAGES; i++)
	{
		if (attempt->stage_ms[i] < 0)
			continue;
		if (stages == NULL)
			stages = json_object_new_object();
		json_set_int(stages, report_stage_names[i], attempt->stage_ms[i]);
	}
	if (stages != NULL)
		json_object_object_add(object, "stage_ms", stages);
	if (attempt->image_id[0] != '\0' && attempt->state >= UD_ATTEMPT_RUNNING)
		report_set_text(object, "image_id", attempt->image_id, 80);
	if (UD_ATTEMPT_IS_TERMINAL(attempt->state))
		report_set_outcome(object, attempt);
	else if (attempt->state == UD_ATTEMPT_STOPPING && attempt->intent == STOP_IDLE)
		json_set_text(object, "reason", ud_reason_text(UD_REASON_RUN_NO_PROGRESS));
	json_write(object, out);
}

/* What it takes of the node, also when the server does not know it. */
static void
report_set_uses(struct json_object *item, const Attempt *attempt)
{
	struct json_object *gpus = json_object_new_array();

	json_set_int(item, "cpus_milli", attempt->cpus_milli);
	json_set_int(item, "memory", attempt->memory);
	for (char **gpu = attempt_gpus(attempt); *gpu != NULL; gpu++)
		json_object_array_add(gpus, json_object_new_string(*gpu));
	json_object_object_add(item, "gpus", gpus);
}

static void
report_add_attempts(const Agent *agent, struct json_object *object)
{
	struct json_object *list = json_object_new_array();

	for (const Attempt *attempt = agent->attempts; attempt != NULL; attempt = attempt->next)
	{
		struct json_object *item;
		char		hex[DESIRED_HEX_BYTES];

		if (attempt->gone)
			continue;
		item = json_object_new_object();
		incarnation_write(attempt->fence.incarnation, hex);
		json_set_text(item, "incarnation", hex);
		json_set_int(item, "task", attempt->fence.task);
		json_set_int(item, "attempt", attempt->fence.attempt);
		json_set_text(item, "state", ud_attempt_state_name(attempt->state));
		if (!attempt->ended)
			report_set_uses(item, attempt);
		json_object_array_add(list, item);
	}
	json_object_object_add(object, "attempts", list);
}

/* The list of checkpoints without an attempt while it is made. */
typedef struct CheckpointList
{
	const Agent *agent;
	struct json_object *list;
	int			count;
} CheckpointList;

static void
report_add_checkpoint(void *arg, int64_t incarnation, int64_t task, int64_t age_s)
{
	CheckpointList *checkpoints = arg;
	struct json_object *item;
	char		hex[DESIRED_HEX_BYTES];

	/* The rest comes when these are gone. */
	if (checkpoints->count >= CHECKPOINTS_MAX || attempt_of_task((Agent *) checkpoints->agent, incarnation, task) != NULL)
		return;
	checkpoints->count++;
	item = json_object_new_object();
	incarnation_write(incarnation, hex);
	json_set_text(item, "incarnation", hex);
	json_set_int(item, "task", task);
	json_set_int(item, "age_s", age_s);
	json_object_array_add(checkpoints->list, item);
}

static void
report_add_checkpoints(const Agent *agent, struct json_object *object)
{
	CheckpointList checkpoints = {
		.agent = agent,
		.list = json_object_new_array(),
	};

	data_each_checkpoint(&agent->data, report_add_checkpoint, &checkpoints);
	if (checkpoints.count > 0)
		json_object_object_add(object, "checkpoints", checkpoints.list);
	else
		json_object_put(checkpoints.list);
}

static void
report_add_cache(const Agent *agent, struct json_object *object)
{
	struct json_object *cache = json_object_new_object();
	CacheUse	use;

	cache_get_use(agent, &use);
	json_set_int(cache, "images", use.images);
	json_set_int(cache, "images_budget", use.images_budget);
	json_set_int(cache, "mirrors", use.mirrors);
	json_set_int(cache, "mirrors_budget", use.mirrors_budget);
	json_object_object_add(object, "cache", cache);
}

static struct json_object *
report_resources(const Agent *agent)
{
	struct json_object *object = json_object_new_object();
	struct json_object *gpus = json_object_new_array();
	int64_t		disk_free;
	int64_t		disk_total;

	json_set_int(object, "cpus_milli", agent->info.cpus_milli);
	json_set_int(object, "memory", agent->info.memory);
	if (data_space(&agent->data, &disk_free, &disk_total, NULL) == 0)
		json_set_int(object, "disk", disk_total);
	for (int i = 0; i < agent->config->gpu_count; i++)
	{
		const AgentGpu *gpu = &agent->config->gpus[i];
		struct json_object *item = json_object_new_object();

		json_set_text(item, "uuid", gpu->uuid);
		if (gpu->memory > 0)
			json_set_int(item, "memory", gpu->memory);
		if (gpu->model[0] != '\0')
			json_set_text(item, "model", gpu->model);
		json_object_array_add(gpus, item);
	}
	json_object_object_add(object, "gpus", gpus);
	return object;
}

static void
report_set_engine(const Agent *agent, struct json_object *object)
{
	json_set_text(object, "engine", atomic_load(&agent->engine_ok) ? "ok" : "down");
}

/* What may change while this program runs: a person upgrades the engine. */
static void
report_add_engine(const Agent *agent, struct json_object *object)
{
	const DockerInfo *info = &agent->info;

	report_set_text(object, "engine_id", info->engine_id, 127);
	report_set_text(object, "engine_version", info->version, 63);
	report_set_text(object, "api_version", info->api_version, 15);
	report_set_text(object, "os", info->os, 127);
	report_set_text(object, "kernel", info->kernel, 127);
	report_set_text(object, "arch", info->arch, 31);
	json_set_bool(object, "live_restore", info->live_restore);
	report_set_engine(agent, object);
}

void
report_write_hello(const Agent *agent, int64_t last_rev, UdBuf *out)
{
	ud_auto_json struct json_object *object = json_object_new_object();
	struct json_object *labels = json_object_new_object();
	char		hostname[256] = "";

	if (gethostname(hostname, sizeof(hostname) - 1) < 0)
		hostname[0] = '\0';
	json_set_int(object, "proto_min", UD_PROTOCOL_VERSION);
	json_set_int(object, "proto_max", UD_PROTOCOL_VERSION);
	json_set_text(object, "agent_version", AGENT_VERSION);
	json_set_text(object, "data_id", agent->identity.data_id);
	json_set_text(object, "seal", agent->identity.seal);
	json_set_text(object, "boot_id", clock_boot_id());
	json_set_int(object, "up_s", clock_boot_ns() / NS_PER_S);
	report_add_engine(agent, object);
	report_set_text(object, "hostname", hostname, 255);
	json_object_object_add(object, "resources", report_resources(agent));
	report_add_cache(agent, object);
	for (int i = 0; i < agent->config->label_count; i++)
		json_set_text(labels, agent->config->labels[i].key, agent->config->labels[i].value);
	json_object_object_add(object, "labels", labels);
	json_set_int(object, "last_rev", last_rev);
	report_add_attempts(agent, object);
	report_add_checkpoints(agent, object);
	update_report(agent, object);
	json_write(object, out);
}

void
report_write_inventory(const Agent *agent, UdBuf *out)
{
	ud_auto_json struct json_object *object = json_object_new_object();

	report_add_engine(agent, object);
	report_add_attempts(agent, object);
	report_add_checkpoints(agent, object);
	update_report(agent, object);
	json_write(object, out);
}

/* MemAvailable in bytes, or -1. */
static int64_t
report_memory_free(void)
{
	FILE	   *file = fopen("/proc/meminfo", "re");
	char		line[128];
	int64_t		bytes = -1;

	if (file == NULL)
		return -1;
	while (fgets(line, sizeof(line), file) != NULL)
		if (strncmp(line, "MemAvailable:", 13) == 0)
		{
			bytes = strtoll(line + 13, NULL, 10) * 1024;
			break;
		}
	fclose(file);
	return bytes;
}

void
report_write_beat(const Agent *agent, UdBuf *out)
{
	ud_auto_json struct json_object *object = json_object_new_object();
	double		load;
	int64_t		memory = report_memory_free();
	int64_t		disk_free;
	int64_t		disk_total;
	int			running = 0;

	for (const Attempt *attempt = agent->attempts; attempt != NULL; attempt = attempt->next)
		if (attempt->state == UD_ATTEMPT_RUNNING || attempt->state == UD_ATTEMPT_STOPPING)
			running++;
	if (getloadavg(&load, 1) == 1)
		json_object_object_add(object, "load", json_object_new_double((int) (load * 100) / 100.0));
	if (memory >= 0)
		json_set_int(object, "memory_free", memory);
	if (data_space(&agent->data, &disk_free, &disk_total, NULL) == 0)
		json_set_int(object, "disk_free", disk_free);
	report_add_cache(agent, object);
	json_set_int(object, "running", running);
	report_set_engine(agent, object);
	json_write(object, out);
}

void
report_write_error(const char *reason, const char *message, UdBuf *out)
{
	ud_auto_json struct json_object *object = json_object_new_object();

	json_set_text(object, "reason", reason);
	report_set_text(object, "message", message, 1000);
	json_write(object, out);
}
