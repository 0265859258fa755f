/*
 * image.c
 *	  The image of an attempt: fetched, built once per environment, cached.
 */
#include "agent/image.h"

#include <openssl/evp.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "agent/attempt.h"
#include "agent/cache.h"
#include "common/cleanup.h"
#include "common/log.h"
#include "common/protocol.h"
#include "common/reasons.h"
#include "agent/json.h"
#include "agent/keylock.h"
#include "agent/lease.h"

#define TAG_HEX_DIGITS 40

/* The first digits of the SHA-256 of some bytes. */
static void
image_hash(const UdBuf *bytes, char *out, int digits)
{
	unsigned char hash[EVP_MAX_MD_SIZE];
	unsigned int len = 0;

	if (EVP_Digest(bytes->data, bytes->len, hash, &len, EVP_sha256(), NULL) != 1 || len != 32)
	{
		/* No digest, no cache: a wrong hit would run another's image. */
		ud_err("could not compute a SHA-256");
		abort();
	}
	for (int i = 0; i < digits; i++)
		out[i] = "0123456789abcdef"[i % 2 ? hash[i / 2] & 15 : hash[i / 2] >> 4];
	out[digits] = '\0';
}

/* What the engine takes as one component of a repository's name, as it is. */
static bool
image_is_component(const char *text)
{
	size_t		len = strlen(text);

	return len > 0 && len <= 64 &&
		strspn(text, "abcdefghijklmnopqrstuvwxyz0123456789-") == len &&
		text[0] != '-' && text[len - 1] != '-';
}

void
image_write_name(const TaskSpec *spec, char name[IMAGE_NAME_BYTES])
{
	char		tag[TAG_HEX_DIGITS + 1];
	int			used;
	ud_auto_buf UdBuf key = {0};

	if (image_is_component(spec->trust))
		used = snprintf(name, IMAGE_NAME_BYTES, CACHE_REPOSITORY "%s", spec->trust);
	else
	{
		char		hex[33];

		/* "__" cannot be in a component taken as it is. */
		ud_buf_append(&key, spec->trust, strlen(spec->trust));
		image_hash(&key, hex, 32);
		used = snprintf(name, IMAGE_NAME_BYTES, CACHE_REPOSITORY "x__%s", hex);
		ud_buf_reset(&key);
	}
	/* With their final NULs, so that no two lists of parts look the same. */
	ud_buf_append(&key, spec->trust, strlen(spec->trust) + 1);
	ud_buf_append(&key, spec->env_url, strlen(spec->env_url) + 1);
	ud_buf_append(&key, spec->env_commit, strlen(spec->env_commit) + 1);
	ud_buf_append(&key, spec->dockerfile, strlen(spec->dockerfile) + 1);
	image_hash(&key, tag, TAG_HEX_DIGITS);
	snprintf(name + used, IMAGE_NAME_BYTES - (size_t) used, ":%s", tag);
}

void
attempt_progress(Attempt *attempt, const char *text, size_t len)
{
	Agent	   *agent = attempt->agent;

	while (len > 0 && (text[len - 1] == '\n' || text[len - 1] == '\r'))
		len--;
	for (size_t i = len; i > 0; i--)
		if (text[i - 1] == '\n')
		{
			text += i;
			len -= i;
			break;
		}
	if (len == 0)
		return;
	agent_lock(agent);
	text_make_valid(attempt->progress, sizeof(attempt->progress), text, len);
	attempt->progress_new = true;
	agent_unlock(agent);
}

/* Who is told of a build's progress. */
typedef struct ImageBuild
{
	Attempt    *attempt;
	CacheBuild	build;
} ImageBuild;

static void
image_on_output(void *arg, const char *text, size_t len)
{
	const ImageBuild *run = arg;

	attempt_progress(run->attempt, text, len);
}

static void
image_on_made(void *arg, bool container, const char *id)
{
	const ImageBuild *run = arg;

	cache_build_made(run->attempt->agent, &run->build, container, id);
}

/* Keep the end of the output, and the error after it, for the report. */
static void
image_keep_output(Attempt *attempt, const UdBuf *output, const UdError *err)
{
	Outcome    *outcome = &attempt->outcome;
	size_t		error_len = strlen(err->message);
	size_t		room = sizeof(outcome->message) - error_len - 2;
	size_t		used;

	agent_lock(attempt->agent);
	text_make_valid_tail(outcome->message, room, output->data, output->len);
	used = strlen(outcome->message);
	snprintf(outcome->message + used, sizeof(outcome->message) - used, "%s%s",
			 used > 0 && outcome->message[used - 1] != '\n' ? "\n" : "", err->message);
	agent_unlock(attempt->agent);
}

/* The build itself; what it leaves is the caller's affair. */
static int
image_run_build(ImageBuild *run, const char *mirror, const char *name, int timeout_s, UdError *err)
{
	Attempt    *attempt = run->attempt;
	Agent	   *agent = attempt->agent;
	const TaskSpec *spec = attempt->spec;
	ud_auto_free char *trust_label = ud_asprintf("unidesk.cache=%s", spec->trust);
	ud_auto_buf UdBuf output = {0};
	ud_auto_free char *data_label = ud_asprintf("unidesk.data=%s", agent->data.host);
	const char *labels[] = {trust_label, data_label, NULL};
	char		image_id[80];
	GitContext	context;
	DockerBuild build = {
		.tag = name,
		.dockerfile = spec->dockerfile,
		.labels = labels,
		.memory = spec->memory,
		.cpus_milli = spec->cpus_milli,
		.timeout_s = timeout_s,
		.on_output = image_on_output,
		.on_made = image_on_made,
		.arg = run,
	};
	UdError		context_err = {0};
	int			built;
	int			sent;

	if (git_context_start(&agent->git, mirror, spec->env_commit, spec->dockerfile, &context, err) < 0)
		return err->code;
	build.context_fd = context.fd;
	build.network_mode = agent->config->task_network;
	built = docker_build(agent->docker, &build, &attempt->interrupt, image_id, &output, err);
	sent = git_context_finish(&context, built == UD_ECANCELLED || built == UD_ETIMEDOUT, &context_err);
	if (built == UD_ECANCELLED)
		return built;

	/*
	 * A context that was refused is why the build failed; one that broke
	 * after a good build still means that the image lacks something.
	 */
	if (sent < 0 && (built == 0 || context_err.reason == UD_REASON_PREP_DOCKERFILE_NOT_FOUND ||
					 context_err.reason == UD_REASON_PREP_FROM_REFUSED ||
					 context_err.reason == UD_REASON_PREP_TREE_INVALID))
	{
		UdError		ignored;

		if (built == 0 && docker_image_remove(agent->docker, name, &ignored) < 0)
			ud_warning("could not remove image \"%s\": %s", name, ignored.message);
		*err = context_err;
		return sent;
	}
	if (built < 0)
	{
		if (err->reason == 0)
			err->reason = built == UD_ETIMEDOUT ? UD_REASON_PREP_TIMEOUT : UD_REASON_PREP_BUILD_FAILED;
		image_keep_output(attempt, &output, err);
	}
	return built;
}

static int
image_build(Attempt *attempt, const char *mirror, const char *name, int timeout_s, UdError *err)
{
	Agent	   *agent = attempt->agent;
	ImageBuild	run = {
		.attempt = attempt,
	};
	int			result;

	cache_build_begin(agent, &run.build);
	result = image_run_build(&run, mirror, name, timeout_s, err);
	cache_build_end(agent, &run.build, result == 0);
	return result;
}

int
image_provide(Attempt *attempt, const char *name, const char *mirror, int timeout_s, DockerImage *image, UdError *err)
{
	Docker	   *docker = attempt->agent->docker;
	int64_t		deadline = clock_add_s(clock_boot_ns(), timeout_s);
	int			result;

	result = docker_image_inspect(docker, name, image, err);
	if (result == 0)
		cache_used(attempt->agent, CACHE_IMAGE, name);
	if (result != UD_ENOENT)
		return result;
	if (keylock_take(name, deadline, &attempt->interrupt, err) < 0)
		return err->code;
	/* Whoever held it may have built what we need. */
	result = docker_image_inspect(docker, name, image, err);
	if (result == UD_ENOENT)
	{
		int64_t		left_s = (deadline - clock_boot_ns() + NS_PER_S - 1) / NS_PER_S;

		result = image_build(attempt, mirror, name, left_s > 1 ? (int) left_s : 1, err);
		if (result == 0)
			result = docker_image_inspect(docker, name, image, err);
		if (result == UD_ENOENT && err->reason == 0)
			err->reason = UD_REASON_PREP_IMAGE_GONE;
	}
	keylock_give(name);
	if (result == 0)
		cache_used(attempt->agent, CACHE_IMAGE, name);
	return result;
}
