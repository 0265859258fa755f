/*
 * attempt_prepare.c
 *	  From an assignment to a started container.
 *
 * Every step looks at the attempt's interrupt flag when it is done; fetch and
 * build also while they wait.  Create and start are never abandoned: their
 * answer is waited for, because the engine carries them out even when the
 * client has gone.
 */
#include "agent/attempt.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/log.h"
#include "common/protocol.h"
#include "common/reasons.h"
#include "agent/alive.h"
#include "agent/cache.h"
#include "agent/image.h"
#include "agent/keeper.h"
#include "agent/keylock.h"
#include "agent/lease.h"
#include "agent/userdb.h"

#define PIDS_LIMIT 4096
#define CREATE_TRIES 5
#define START_TRIES 3
#define ENGINE_RETRY_MS 1000
#define WRITE_TREE_TIMEOUT_S 3600
#define STOP_SLACK_S 5
#define USERDB_BYTES_MAX (1024 * 1024)

enum
{
	STAGE_FETCH,
	STAGE_BUILD,
	STAGE_STAGE_IN
};

static int
prepare_check_interrupt(Attempt *attempt, UdError *err)
{
	if (atomic_load(&attempt->interrupt) || atomic_load(&attempt->agent->exiting))
		return ud_error(err, UD_ECANCELLED, 0, "stopped before it ran");
	return 0;
}

static void
prepare_begin_stage(Attempt *attempt, int stage, int64_t *began_ns)
{
	Agent	   *agent = attempt->agent;

	*began_ns = clock_boot_ns();
	agent_lock(agent);
	attempt->phase = stage;
	attempt->progress[0] = '\0';
	attempt_set_state(attempt, UD_ATTEMPT_PREPARING);
	attempt->phase = stage;
	agent_unlock(agent);
}

static void
prepare_end_stage(Attempt *attempt, int stage, int64_t began_ns)
{
	agent_lock(attempt->agent);
	attempt->stage_ms[stage] = (clock_boot_ns() - began_ns) / NS_PER_MS;
	agent_unlock(attempt->agent);
}

/* Seconds a step may take: its own limit, or what is left for preparing. */
static int
prepare_left_s(Attempt *attempt, double limit_s, UdError *err)
{
	int64_t		left_ns;

	agent_lock(attempt->agent);
	left_ns = attempt->prepare_deadline_ns == INT64_MAX ? INT64_MAX : attempt->prepare_deadline_ns - clock_boot_ns();
	agent_unlock(attempt->agent);
	if (left_ns <= 0)
		return ud_error(err, UD_ETIMEDOUT, UD_REASON_PREP_TIMEOUT, "the time for preparing is over");
	if ((double) left_ns / 1e9 < limit_s)
		limit_s = (double) left_ns / 1e9;
	return limit_s < 1 ? 1 : (int) ceil(limit_s);
}

static int
prepare_reject(Attempt *attempt, int reason, UdError *err)
{
	agent_lock(attempt->agent);
	attempt->outcome.state = UD_ATTEMPT_REJECTED;
	attempt->outcome.reason = reason;
	snprintf(attempt->outcome.message, sizeof(attempt->outcome.message), "%s", err->message);
	agent_unlock(attempt->agent);
	return err->code;
}

/* The GPU is this node's, and no other attempt here may still be using it. */
static int
prepare_admit_gpu(Attempt *attempt, const char *uuid, UdError *err)
{
	Agent	   *agent = attempt->agent;
	bool		ours = false;

	for (int i = 0; i < agent->config->gpu_count; i++)
		ours = ours || strcmp(agent->config->gpus[i].uuid, uuid) == 0;
	if (!ours)
		return ud_error(err, UD_EINVAL, UD_REASON_NODE_REJECTED, "this node has no GPU \"%s\": see UNIDESK_GPUS", uuid);
	for (Attempt *other = agent->attempts; other != NULL; other = other->next)
	{
		if (other == attempt || other->ended || other->gone)
			continue;
		for (char **gpu = attempt_gpus(other); *gpu != NULL; gpu++)
			if (strcmp(*gpu, uuid) == 0)
				return ud_error(err, UD_EEXIST, UD_REASON_NODE_REJECTED, "GPU \"%s\" is still held by attempt %s", uuid, other->name);
	}
	return 0;
}

/* Two attempts of one task must not write into one checkpoint. */
static int
prepare_admit_task(Attempt *attempt, UdError *err)
{
	for (Attempt *other = attempt->agent->attempts; other != NULL; other = other->next)
		if (other != attempt && !other->ended && !other->gone &&
			other->fence.task == attempt->fence.task && other->fence.incarnation == attempt->fence.incarnation)
			return ud_error(err, UD_EEXIST, UD_REASON_NODE_REJECTED, "attempt %s of the same task is still here", other->name);
	return 0;
}

/* Engine alive, disk above the floor, what was asked exists here. */
static int
prepare_admit(Attempt *attempt, UdError *err)
{
	Agent	   *agent = attempt->agent;
	const TaskSpec *spec = attempt->spec;
	int			result = 0;

	if (docker_ping(agent->docker, err) < 0)
		return prepare_reject(attempt, UD_REASON_NODE_ENGINE_ERROR, err);
	if (keeper_admit(agent, err) < 0)
		return prepare_reject(attempt, UD_REASON_NODE_DISK_FULL, err);
	agent_lock(agent);
	if (spec->memory > agent->info.memory || spec->cpus_milli > agent->info.cpus_milli)
		result = ud_error(err, UD_EINVAL, UD_REASON_NODE_REJECTED, "the task asks for more than this machine has");
	if (result == 0)
		result = prepare_admit_task(attempt, err);
	for (char **gpu = spec->gpus; result == 0 && *gpu != NULL; gpu++)
		result = prepare_admit_gpu(attempt, *gpu, err);
	agent_unlock(agent);
	return result < 0 ? prepare_reject(attempt, err->reason, err) : 0;
}

static void
prepare_on_progress(void *arg, const char *text)
{
	attempt_progress(arg, text, strlen(text));
}

/* One fetch per repository at a time; waiting for another's can be cancelled. */
static int
prepare_fetch(Attempt *attempt, const char *name, const char *url, const char *commit, char mirror[4096], UdError *err)
{
	Agent	   *agent = attempt->agent;
	ud_auto_free char *key = ud_asprintf("fetch %s %s", attempt->spec->trust, url);
	GitFetchResult fetched;
	int64_t		deadline_ns;
	int			left_s;
	int			result;

	agent_lock(agent);
	left_s = (int) agent->limits.fetch_timeout_s;
	deadline_ns = attempt->prepare_deadline_ns;
	agent_unlock(agent);
	/* Waiting for other fetches does not shorten this one. */
	if (keylock_take(key, deadline_ns, &attempt->interrupt, err) < 0)
		return err->code;
	left_s = prepare_left_s(attempt, left_s, err);
	result = left_s < 0 ? left_s : git_fetch(&agent->git, attempt->spec->trust, url, commit, left_s, &attempt->interrupt,
											 prepare_on_progress, attempt, mirror, &fetched, err);
	keylock_give(key);
	if (result < 0)
	{
		if (err->reason == 0)
			err->reason = result == UD_ETIMEDOUT ? UD_REASON_PREP_TIMEOUT : UD_REASON_PREP_FETCH_FAILED;
		return result;
	}
	cache_used(agent, CACHE_MIRROR, name);
	if (!fetched.was_present)
		cache_grown(agent);
	ud_info("attempt %s: commit %.12s %s (%" PRIu64 " bytes received)", attempt->name, commit,
			fetched.was_present ? "was here" : "fetched", fetched.received_bytes);
	return prepare_check_interrupt(attempt, err);
}

/* --- environment, entrypoint, labels, mounts: everything of the container --- */

/* A NULL-terminated array of texts that it owns. */
typedef struct TextList
{
	char	  **items;
	size_t		count;
} TextList;

static void
text_list_add(TextList *list, char *owned)
{
	list->items = ud_realloc(list->items, (list->count + 2) * sizeof(char *));
	list->items[list->count++] = owned;
	list->items[list->count] = NULL;
}

static void
text_list_release(TextList *list)
{
	for (size_t i = 0; i < list->count; i++)
		free(list->items[i]);
	free(list->items);
}

#define ud_auto_list __attribute__((cleanup(text_list_release)))

static void
prepare_environment(Attempt *attempt, TextList *list)
{
	const TaskSpec *spec = attempt->spec;
	ud_auto_buf UdBuf gpus = {0};

	for (char **gpu = spec->gpus; *gpu != NULL; gpu++)
		ud_buf_printf(&gpus, "%s%s", gpus.len > 0 ? "," : "", *gpu);
	text_list_add(list, ud_asprintf("UNIDESK_TASK_ID=%" PRId64, attempt->fence.task));
	text_list_add(list, ud_asprintf("UNIDESK_ATTEMPT=%" PRId32, attempt->fence.attempt));
	text_list_add(list, ud_asprintf("UNIDESK_PROJECT=%s", spec->project));
	text_list_add(list, ud_asprintf("UNIDESK_CODE_COMMIT=%s", spec->code_commit));
	text_list_add(list, ud_asprintf("UNIDESK_ENV_COMMIT=%s", spec->env_commit));
	text_list_add(list, ud_strdup("UNIDESK_OUTPUT=/output"));
	text_list_add(list, ud_strdup("UNIDESK_CHECKPOINT=/checkpoint"));
	text_list_add(list, ud_asprintf("UNIDESK_NODE=%s", attempt->node));
	/* An image that asks for all GPUs by default must not get them. */
	text_list_add(list, ud_asprintf("NVIDIA_VISIBLE_DEVICES=%s", gpus.len > 0 ? ud_buf_text(&gpus) : "void"));
	text_list_add(list, ud_asprintf("CUDA_VISIBLE_DEVICES=%s", ud_buf_text(&gpus)));
	for (char **variable = spec->environment; *variable != NULL; variable++)
		if (strncmp(*variable, "UNIDESK_", 8) != 0 &&
			strncmp(*variable, "NVIDIA_VISIBLE_DEVICES=", 23) != 0 &&
			strncmp(*variable, "CUDA_VISIBLE_DEVICES=", 21) != 0)
			text_list_add(list, ud_strdup(*variable));
	for (char **variable = spec->environment; *variable != NULL; variable++)
		if (strncmp(*variable, "PYTHONUNBUFFERED=", 17) == 0)
			return;
	text_list_add(list, ud_strdup("PYTHONUNBUFFERED=1"));
}

/* Entrypoint: unidesk-init.  Command: the image's entrypoint, then the command. */
static int
prepare_command(Attempt *attempt, const DockerImage *image, TextList *entrypoint, TextList *command, UdError *err)
{
	char	  **words = attempt->spec->command[0] != NULL ? attempt->spec->command : image->cmd;
	double		grace_s;
	int64_t		budget;

	agent_lock(attempt->agent);
	grace_s = attempt->grace_s;
	budget = attempt->agent->limits.log_budget;
	agent_unlock(attempt->agent);
	text_list_add(entrypoint, ud_strdup(UD_INIT_MOUNT));
	text_list_add(entrypoint, ud_strdup("--log-budget"));
	text_list_add(entrypoint, ud_asprintf("%" PRId64, budget));
	text_list_add(entrypoint, ud_strdup("--grace"));
	text_list_add(entrypoint, ud_asprintf("%d", grace_s < 1 ? 1 : (int) grace_s));
	text_list_add(entrypoint, ud_strdup("--"));
	for (char **word = image->entrypoint; word != NULL && *word != NULL; word++)
		text_list_add(command, ud_strdup(*word));
	for (char **word = words; word != NULL && *word != NULL; word++)
		text_list_add(command, ud_strdup(*word));
	if (command->count == 0)
		return ud_error(err, UD_EINVAL, UD_REASON_PREP_CREATE_FAILED, "neither the task nor its image says what to run");
	return 0;
}

/* Create, through engine restarts and remains of an earlier agent. */
static int
prepare_create_container(Attempt *attempt, const DockerCreate *create, UdError *err)
{
	Agent	   *agent = attempt->agent;
	char		id[80];
	int			result = 0;

	for (int i = 0; i < CREATE_TRIES; i++)
	{
		result = docker_create(agent->docker, create, id, err);
		if (result == UD_EEXIST)
		{
			/*
			 * What an earlier run of this agent had in flight, or a
			 * stranger's.
			 */
			if (attempt_remove_container(attempt, err) < 0)
				return err->code;
		}
		else if (result == UD_EIO || result == UD_ETIMEDOUT)
			/* It may have been created all the same: the next try sees it. */
			agent_pause(agent, ENGINE_RETRY_MS);
		else
			break;
	}
	if (result < 0 && err->reason == 0)
		err->reason = result == UD_EINVAL ? UD_REASON_PREP_CREATE_FAILED : UD_REASON_NODE_ENGINE_ERROR;
	return result;
}

static int
prepare_create(Attempt *attempt, const DockerImage *image, UdError *err)
{
	Agent	   *agent = attempt->agent;
	const TaskSpec *spec = attempt->spec;
	const char *host = agent->data.host;
	ud_auto_free char *tree = ud_asprintf("%s/tree/%s", host, attempt->name);
	ud_auto_free char *output = ud_asprintf("%s/out/%s/output", host, attempt->name);
	ud_auto_free char *checkpoint = ud_asprintf("%s/checkpoint/%s", host, attempt->checkpoint);
	ud_auto_free char *run = ud_asprintf("%s/run/%s", host, attempt->name);
	ud_auto_free char *init = ud_asprintf("%s/bin/unidesk-init", host);
	ud_auto_list TextList entrypoint = {0};
	ud_auto_list TextList command = {0};
	ud_auto_list TextList environment = {0};
	AttemptLabels labels;
	int			result;
	DockerMount mounts[] = {
		{tree, "/workspace", false},
		{output, "/output", false},
		{checkpoint, "/checkpoint", false},
		{run, UD_RUN_MOUNT, false},
		{init, UD_INIT_MOUNT, true},
	};
	DockerCreate create = {
		.name = attempt->container,
		.image = image->id,
		.working_dir = "/workspace",
		.mounts = mounts,
		.mount_count = (int) (sizeof(mounts) / sizeof(mounts[0])),
		.memory = spec->memory,
		.shm_size = spec->memory,
		.cpus_milli = spec->cpus_milli,
		.pids_limit = PIDS_LIMIT,
		.network_mode = agent->config->task_network,
	};

	if (prepare_command(attempt, image, &entrypoint, &command, err) < 0)
		return err->code;
	prepare_environment(attempt, &environment);
	attempt_make_labels(attempt, &labels);
	create.entrypoint = (const char *const *) entrypoint.items;
	create.command = (const char *const *) command.items;
	create.environment = (const char *const *) environment.items;
	create.labels = (const char *const *) labels.items;
	create.gpus = spec->gpus[0] != NULL ? (const char *const *) spec->gpus : NULL;
	agent_lock(agent);

	/*
	 * An engine that stops waits for unidesk-init, which KILLs after the
	 * grace.
	 */
	create.stop_timeout_s = (int) attempt->grace_s + STOP_SLACK_S;
	agent_unlock(agent);
	result = prepare_create_container(attempt, &create, err);
	attempt_release_labels(&labels);
	return result;
}

/* --- stage_in: directories, container, code, start --- */

/* A small file of the image; "" when it has none. */
static int
prepare_image_file(Attempt *attempt, const char *path, UdBuf *out, UdError *err)
{
	int			result = docker_read_file(attempt->agent->docker, attempt->container, path, USERDB_BYTES_MAX, out, err);

	return result == UD_ENOENT ? 0 : result;
}

static int
prepare_owner(Attempt *attempt, const char *user, uid_t *uid, gid_t *gid, UdError *err)
{
	ud_auto_buf UdBuf passwd = {0};
	ud_auto_buf UdBuf group = {0};

	*uid = 0;
	*gid = 0;
	if (user == NULL || user[0] == '\0')
		return 0;
	if (prepare_image_file(attempt, "/etc/passwd", &passwd, err) < 0 ||
		prepare_image_file(attempt, "/etc/group", &group, err) < 0)
	{
		/* Not a file, or far too long: that is how the image is. */
		if (err->code == UD_EINVAL)
			err->reason = UD_REASON_PREP_CREATE_FAILED;
		return err->code;
	}
	return userdb_resolve(user, ud_buf_text(&passwd), ud_buf_text(&group), uid, gid, err);
}

/* Start, and know whether it started, through engine restarts. */
static int
prepare_start(Attempt *attempt, UdError *err)
{
	Agent	   *agent = attempt->agent;
	int			result = 0;

	for (int i = 0; i < START_TRIES; i++)
	{
		DockerContainer container;
		bool		started;
		UdError		ignored;

		result = docker_start(agent->docker, attempt->container, err);
		if (result != UD_EIO && result != UD_ETIMEDOUT)
			break;
		agent_pause(agent, ENGINE_RETRY_MS);
		if (docker_inspect(agent->docker, attempt->container, &container, &ignored) < 0)
			continue;
		started = strcmp(container.state, "created") != 0;
		docker_container_release(&container);
		if (started)
			return 0;
	}
	if (result < 0 && err->reason == 0)
		err->reason = UD_REASON_RUN_START_FAILED;
	return result;
}

/* From here on a restarted agent finds state, control file and container. */
static void
prepare_about_to_start(Attempt *attempt, const DockerImage *image)
{
	Agent	   *agent = attempt->agent;

	agent_lock(agent);
	snprintf(attempt->image_id, sizeof(attempt->image_id), "%s", image->id);
	if (attempt->run_left_s.set)
		attempt->run_deadline_ns = clock_add_s(clock_boot_ns(), attempt->run_left_s.value);
	attempt_write_control(attempt);
	agent_unlock(agent);
	attempt_save_state(attempt);
}

static int
prepare_stage_in(Attempt *attempt, const char *mirror, const DockerImage *image, UdError *err)
{
	Agent	   *agent = attempt->agent;
	ud_auto_free char *tree = ud_asprintf("%s/tree/%s", agent->data.path, attempt->name);
	uid_t		uid;
	gid_t		gid;
	int			left_s;

	if (data_make_attempt(&agent->data, attempt->name, err) < 0 ||
		data_make_checkpoint(&agent->data, attempt->checkpoint, err) < 0 ||
		prepare_create(attempt, image, err) < 0)
		return err->code;
	if (prepare_check_interrupt(attempt, err) < 0 ||
		prepare_owner(attempt, image->user, &uid, &gid, err) < 0)
		return err->code;
	left_s = prepare_left_s(attempt, WRITE_TREE_TIMEOUT_S, err);
	if (left_s < 0 ||
		git_write_tree(&agent->git, mirror, attempt->spec->code_commit, tree, uid, gid, left_s, &attempt->interrupt, err) < 0 ||
		data_chown_attempt(&agent->data, attempt->name, uid, gid, err) < 0 ||
		data_chown_checkpoint(&agent->data, attempt->checkpoint, uid, gid, err) < 0)
		return err->code;
	if (attempt->alive_fd >= 0)
		close(attempt->alive_fd);
	attempt->alive_fd = alive_make(&agent->data, attempt->name, uid, gid);
	return prepare_check_interrupt(attempt, err);
}

/* What it is prepared from, by the names the caches know. */
typedef struct Sources
{
	char		code[GIT_MIRROR_NAME_BYTES];
	char		env[GIT_MIRROR_NAME_BYTES];
	char		image[IMAGE_NAME_BYTES];
} Sources;

/* Fetch both, have the image, stage in; image is the caller's to release. */
static int
prepare_from(Attempt *attempt, const Sources *sources, DockerImage *image, UdError *err)
{
	Agent	   *agent = attempt->agent;
	const TaskSpec *spec = attempt->spec;
	char		code_mirror[4096];
	char		env_mirror[4096];
	int64_t		began;
	int			left_s;
	int			result;

	prepare_begin_stage(attempt, STAGE_FETCH, &began);
	if (prepare_fetch(attempt, sources->code, spec->code_url, spec->code_commit, code_mirror, err) < 0 ||
		prepare_fetch(attempt, sources->env, spec->env_url, spec->env_commit, env_mirror, err) < 0)
		return err->code;
	prepare_end_stage(attempt, STAGE_FETCH, began);
	for (int i = 0; i < 2; i++)
	{
		prepare_begin_stage(attempt, STAGE_BUILD, &began);
		agent_lock(agent);
		left_s = (int) agent->limits.build_timeout_s;
		agent_unlock(agent);
		left_s = prepare_left_s(attempt, left_s, err);
		docker_image_release(image);
		memset(image, 0, sizeof(*image));
		if (left_s < 0 || image_provide(attempt, sources->image, env_mirror, left_s, image, err) < 0 ||
			prepare_check_interrupt(attempt, err) < 0)
			return err->code;
		prepare_end_stage(attempt, STAGE_BUILD, began);
		prepare_begin_stage(attempt, STAGE_STAGE_IN, &began);
		result = prepare_stage_in(attempt, code_mirror, image, err);
		/* Somebody removed the image in between: once more. */
		if (result == 0 || err->reason != UD_REASON_PREP_IMAGE_GONE)
			break;
	}
	prepare_end_stage(attempt, STAGE_STAGE_IN, began);
	return result;
}

/* Nothing of that is removed while it is in use. */
static int
prepare_stages(Attempt *attempt, DockerImage *image, UdError *err)
{
	const TaskSpec *spec = attempt->spec;
	Sources		sources;
	int			result;

	image_write_name(spec, sources.image);
	if (git_mirror_name(spec->trust, spec->code_url, sources.code, err) < 0 ||
		git_mirror_name(spec->trust, spec->env_url, sources.env, err) < 0)
		return err->code;
	result = cache_hold(CACHE_MIRROR, sources.code, INT64_MAX, &attempt->interrupt, err);
	if (result < 0)
		return result;
	result = cache_hold(CACHE_MIRROR, sources.env, INT64_MAX, &attempt->interrupt, err);
	if (result == 0)
	{
		result = cache_hold(CACHE_IMAGE, sources.image, INT64_MAX, &attempt->interrupt, err);
		if (result == 0)
		{
			result = prepare_from(attempt, &sources, image, err);
			cache_release(CACHE_IMAGE, sources.image);
		}
		cache_release(CACHE_MIRROR, sources.env);
	}
	cache_release(CACHE_MIRROR, sources.code);
	return result;
}

/*
 * Nothing of it may be left before its failure is told: a start that the
 * engine carried out late would run beside the attempt that replaces it.
 */
static void
prepare_undo(Attempt *attempt)
{
	UdError		err;

	if (!attempt_remove_until_gone(attempt))
		return;
	if (data_remove_attempt(&attempt->agent->data, attempt->name, &err) < 0)
		ud_warning("attempt %s: could not remove its directories: %s", attempt->name, err.message);
}

int
attempt_prepare(Attempt *attempt, UdError *err)
{
	Agent	   *agent = attempt->agent;
	DockerImage image = {0};
	int			result;

	if (prepare_check_interrupt(attempt, err) < 0 || prepare_admit(attempt, err) < 0)
		return err->code;
	agent_lock(agent);
	attempt_set_state(attempt, UD_ATTEMPT_ACCEPTED);
	agent_unlock(agent);
	result = prepare_stages(attempt, &image, err);
	if (result == 0)
	{
		prepare_about_to_start(attempt, &image);
		result = prepare_start(attempt, err);
	}
	docker_image_release(&image);
	agent_lock(agent);
	if (result == 0)
	{
		attempt->ran = true;
		attempt_set_state(attempt, UD_ATTEMPT_RUNNING);
	}
	agent_unlock(agent);
	if (result == 0)
		return 0;
	prepare_undo(attempt);
	return result;
}
