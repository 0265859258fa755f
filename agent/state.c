/*
 * state.c
 *	  state/<name>: what the agent needs to go on after its own restart.
 */
#include "agent/state.h"

#include <stdio.h>
#include <string.h>

#include "common/protocol.h"
#include "common/reasons.h"
#include "agent/attempt.h"
#include "agent/json.h"
#include "agent/lease.h"
#include "agent/report.h"

#define SECONDS_MAX 1e12

static void
state_set_maybe(struct json_object *object, const char *key, const MaybeSeconds *seconds)
{
	if (seconds->set)
		json_set_number(object, key, seconds->value);
}

static int
state_get_maybe(struct json_object *object, const char *key, MaybeSeconds *seconds, UdError *err)
{
	int			got = json_get_number(object, key, 0, SECONDS_MAX, &seconds->value, err);

	seconds->set = got > 0;
	return got;
}

void
state_write(const Attempt *attempt, UdBuf *out)
{
	ud_auto_json struct json_object *object = json_object_new_object();
	struct json_object *stages = json_object_new_object();
	struct json_object *gpus = json_object_new_array();
	char		hex[DESIRED_HEX_BYTES];

	incarnation_write(attempt->fence.incarnation, hex);
	json_set_text(object, "incarnation", hex);
	json_set_int(object, "task", attempt->fence.task);
	json_set_int(object, "attempt", attempt->fence.attempt);
	if (attempt->node_id != 0)
		json_set_int(object, "node_id", attempt->node_id);
	json_set_text(object, "node", attempt->node);
	json_set_text(object, "image_id", attempt->image_id);
	/* Of the boot that it ran in: once it was another one it stays another. */
	json_set_text(object, "boot_id", attempt->other_boot ? "" : clock_boot_id());
	json_set_int(object, "run_deadline_boot_ns", attempt->run_deadline_ns);
	json_set_number(object, "grace_s", attempt->grace_s);
	state_set_maybe(object, "idle_s", &attempt->idle_s);
	state_set_maybe(object, "warn_s", &attempt->warn_s);
	json_set_text(object, "warn_signal", attempt->warn_signal);
	json_set_bool(object, "warned", attempt->warned);
	state_set_maybe(object, "lease_s", &attempt->lease_s);
	json_set_int(object, "cpus_milli", attempt->cpus_milli);
	json_set_int(object, "memory", attempt->memory);
	json_set_int(object, "intent", attempt->intent);
	json_set_bool(object, "stop_wanted", attempt->stop_wanted);
	json_set_int(object, "final_state", attempt->final_state);
	json_set_int(object, "final_reason", attempt->final_reason);
	for (char **gpu = attempt_gpus(attempt); *gpu != NULL; gpu++)
		json_object_array_add(gpus, json_object_new_string(*gpu));
	json_object_object_add(object, "gpus", gpus);
	for (int i = 0; i < AGENT_STAGES; i++)
		if (attempt->stage_ms[i] >= 0)
			json_set_int(stages, report_stage_names[i], attempt->stage_ms[i]);
	json_object_object_add(object, "stage_ms", stages);
	json_write(object, out);
}

int
state_read_fence(const void *text, size_t len, StateRead *out, UdError *err)
{
	ud_auto_json struct json_object *object = json_parse_object(text, len, err);
	const char *incarnation = NULL;
	const char *node = "";
	int64_t		attempt = 0;
	int64_t		node_id = 0;

	memset(out, 0, sizeof(*out));
	if (object == NULL)
		return err->code;
	if (json_get_text(object, "incarnation", 16, &incarnation, err) < 0 ||
		json_get_int(object, "task", 1, INT64_MAX, &out->fence.task, err) < 0 ||
		json_get_int(object, "attempt", 1, INT32_MAX, &attempt, err) < 0 ||
		json_get_int(object, "node_id", 1, INT32_MAX, &node_id, err) < 0 ||
		json_get_text(object, "node", sizeof(out->node) - 1, &node, err) < 0)
		return err->code;
	if (incarnation == NULL || !incarnation_read(incarnation, &out->fence.incarnation) ||
		out->fence.task == 0 || attempt == 0)
		return ud_error(err, UD_EINVAL, UD_REASON_NODE_AGENT_ERROR, "state has no complete fence");
	out->fence.attempt = (int32_t) attempt;
	out->node_id = (int32_t) node_id;
	strcpy(out->node, node);
	return 0;
}

int
state_read(const void *text, size_t len, Attempt *attempt, UdError *err)
{
	ud_auto_json struct json_object *object = json_parse_object(text, len, err);
	struct json_object *stages = NULL;
	const char *image = "";
	const char *boot = "";
	int64_t		intent = 0;
	int64_t		final_state = 0;
	int64_t		final_reason = 0;
	const char *warn_signal = "";

	if (object == NULL)
		return err->code;
	if (json_get_text(object, "image_id", sizeof(attempt->image_id) - 1, &image, err) < 0 ||
		json_get_text(object, "boot_id", UD_BOOT_ID_BYTES, &boot, err) < 0 ||
		json_get_int(object, "run_deadline_boot_ns", INT64_MIN, INT64_MAX, &attempt->run_deadline_ns, err) < 0 ||
		json_get_number(object, "grace_s", 0, SECONDS_MAX, &attempt->grace_s, err) < 0 ||
		json_get_int(object, "cpus_milli", 0, INT64_MAX, &attempt->cpus_milli, err) < 0 ||
		json_get_int(object, "memory", 0, INT64_MAX, &attempt->memory, err) < 0 ||
		state_get_maybe(object, "lease_s", &attempt->lease_s, err) < 0 ||
		state_get_maybe(object, "idle_s", &attempt->idle_s, err) < 0 ||
		state_get_maybe(object, "warn_s", &attempt->warn_s, err) < 0 ||
		json_get_text(object, "warn_signal", DESIRED_SIGNAL_BYTES - 1, &warn_signal, err) < 0 ||
		json_get_bool(object, "warned", &attempt->warned, err) < 0 ||
		json_get_int(object, "intent", STOP_NONE, STOP_IDLE, &intent, err) < 0 ||
		json_get_bool(object, "stop_wanted", &attempt->stop_wanted, err) < 0 ||
		json_get_int(object, "final_state", 0, UD_ATTEMPT_REJECTED, &final_state, err) < 0 ||
		json_get_int(object, "final_reason", 0, 9999, &final_reason, err) < 0 ||
		json_get_object(object, "stage_ms", &stages, err) < 0 ||
		json_get_texts(object, "gpus", DESIRED_GPUS_MAX, DESIRED_GPU_BYTES_MAX, &attempt->gpus, err) < 0)
		return err->code;
	/* One of before wrote 0 for none. */
	attempt->lease_s.set = attempt->lease_s.set && attempt->lease_s.value > 0;
	strcpy(attempt->warn_signal, warn_signal);
	attempt->intent = (StopIntent) intent;
	attempt->discard = intent == STOP_DISCARD;
	attempt->final_state = (int) final_state;
	attempt->final_reason = (int) final_reason;
	if (attempt->stop_wanted && !UD_ATTEMPT_IS_TERMINAL(attempt->final_state))
		return ud_error(err, UD_EINVAL, UD_REASON_NODE_AGENT_ERROR, "state wants a stop without an end");
	strcpy(attempt->image_id, image);
	/* Times of another boot mean nothing; nothing of it can be running. */
	attempt->other_boot = strcmp(boot, clock_boot_id()) != 0;
	if (attempt->other_boot)
		attempt->run_deadline_ns = INT64_MAX;
	for (int i = 0; stages != NULL && i < AGENT_STAGES; i++)
		if (json_get_int(stages, report_stage_names[i], 0, INT64_MAX, &attempt->stage_ms[i], err) < 0)
			return err->code;
	return 0;
}
