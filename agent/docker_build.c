/*
 * docker_build.c
 *	  Building an image with the classic builder.
 *
 * The answer's status says little: a build that fails is a 200 whose last
 * line carries the error.  The answer is a stream of JSON objects, one a
 * line; it is read line by line while the context is still being sent.
 */
#include "agent/docker_internal.h"

#include <stdio.h>
#include <string.h>

#include "agent/json.h"
#include "common/cleanup.h"
#include "common/reasons.h"

#define OUTPUT_BYTES_MAX 16384
#define LINE_BYTES_MAX 1048576
#define CPU_PERIOD_US 100000

typedef struct BuildReader
{
	const DockerBuild *build;
	UdBuf	   *output;			/* borrowed */
	UdBuf		line;			/* bytes without their newline yet */
	bool		line_too_long;	/* dropping until the next newline */
	bool		is_from;		/* the step takes the image that a FROM names */
	bool		cached;			/* the step's image was there before */
	char		image_id[80];
	char		error[400];		/* "" as long as there is none */
} BuildReader;

/* Keep the last OUTPUT_BYTES_MAX of what the build said. */
static void
keep_output(BuildReader *reader, const char *text, size_t len)
{
	UdBuf	   *output = reader->output;

	if (len == 0)
		return;
	if (reader->build->on_output != NULL)
		reader->build->on_output(reader->build->arg, text, len);
	ud_buf_append(output, text, len);
	/* Moved seldom, not with each line. */
	if (output->len > 2 * OUTPUT_BYTES_MAX)
		ud_buf_consume(output, output->len - OUTPUT_BYTES_MAX);
}

/* Hexadecimal digits up to the end of the line, as the engine shortens ids. */
static bool
take_id(const char *text, char id[80])
{
	size_t		len = strspn(text, "0123456789abcdef");

	if (len < 12 || len > 64 || text[len] != '\n')
		return false;
	memcpy(id, text, len);
	id[len] = '\0';
	return true;
}

static void
note_step(BuildReader *reader, const char *text)
{
	const char *instruction = strstr(text, " : ");

	reader->is_from = instruction != NULL && strncasecmp(instruction + 3, "FROM", 4) == 0;
	reader->cached = reader->is_from;
}

/*
 * What a step made.  The image a FROM names is not the build's, nor is one
 * that the engine says it had.
 */
static void
note_made(BuildReader *reader, const char *text)
{
	char		id[80];

	if (strncmp(text, " ---> Using cache", 17) == 0)
		reader->cached = true;
	else if (strncmp(text, " ---> Running in ", 17) == 0)
	{
		if (take_id(text + 17, id))
			reader->build->on_made(reader->build->arg, true, id);
	}
	else if (strncmp(text, " ---> ", 6) == 0 && !reader->cached && take_id(text + 6, id))
		reader->build->on_made(reader->build->arg, false, id);
}

static void
read_line(BuildReader *reader)
{
	UdError		ignored;
	ud_auto_json struct json_object *object = json_parse_object(reader->line.data, reader->line.len, &ignored);
	struct json_object *aux = NULL;
	const char *text = NULL;

	if (object == NULL)
		return;
	if (json_get_text(object, "stream", LINE_BYTES_MAX, &text, &ignored) > 0)
	{
		if (strncmp(text, "Step ", 5) == 0)
			note_step(reader, text);
		else if (reader->build->on_made != NULL)
			note_made(reader, text);
		keep_output(reader, text, strlen(text));
	}
	if (json_get_object(object, "aux", &aux, &ignored) > 0
		&& docker_copy_text(aux, "ID", reader->image_id, sizeof(reader->image_id), &ignored) < 0)
		reader->image_id[0] = '\0';
	if (json_get_text(object, "error", LINE_BYTES_MAX, &text, &ignored) > 0)
	{
		text_make_valid(reader->error, sizeof(reader->error), text, strlen(text));
		if (reader->error[0] == '\0')
			strcpy(reader->error, "the engine gave no reason");
		keep_output(reader, text, strlen(text));
		keep_output(reader, "\n", 1);
	}
}

static void
on_build_data(void *arg, const char *bytes, size_t len)
{
	BuildReader *reader = arg;

	while (len > 0)
	{
		const char *newline = memchr(bytes, '\n', len);
		size_t		piece = newline != NULL ? (size_t) (newline - bytes) : len;

		if (reader->line.len + piece > LINE_BYTES_MAX)
			reader->line_too_long = true;
		if (!reader->line_too_long)
			ud_buf_append(&reader->line, bytes, piece);
		if (newline == NULL)
			return;
		if (!reader->line_too_long && reader->line.len > 0)
			read_line(reader);
		reader->line_too_long = false;
		ud_buf_reset(&reader->line);
		bytes += piece + 1;
		len -= piece + 1;
	}
}

static void
make_query(UdBuf *path, const DockerBuild *build)
{
	ud_auto_json struct json_object *labels = docker_map_of(build->labels);

	ud_buf_printf(path, "/build?rm=1&forcerm=1&t=");
	docker_escape_query(path, build->tag);
	ud_buf_printf(path, "&dockerfile=");
	docker_escape_query(path, build->dockerfile);
	ud_buf_printf(path, "&labels=");
	docker_escape_query(path, json_object_to_json_string_ext(labels, JSON_C_TO_STRING_PLAIN));
	if (build->network_mode != NULL)
	{
		ud_buf_printf(path, "&networkmode=");
		docker_escape_query(path, build->network_mode);
	}
	if (build->memory > 0)
		ud_buf_printf(path, "&memory=%lld&memswap=%lld", (long long) build->memory, (long long) build->memory);
	if (build->cpus_milli > 0)
		ud_buf_printf(path, "&cpuperiod=%d&cpuquota=%lld", CPU_PERIOD_US,
					  (long long) build->cpus_milli * CPU_PERIOD_US / 1000);
}

static bool
is_missing_dockerfile(const char *message)
{
	return strstr(message, "Cannot locate specified Dockerfile") != NULL
		|| strstr(message, "failed to read dockerfile") != NULL
		|| strstr(message, "Cannot locate Dockerfile") != NULL;
}

/* The error of an answer other than 200. */
static int
judge_refusal(const DockerCall *call, UdError *err)
{
	int			code = docker_refused(call, "build the image", err);

	if (is_missing_dockerfile(err->message))
	{
		err->code = UD_ENOENT;
		err->reason = UD_REASON_PREP_DOCKERFILE_NOT_FOUND;
	}
	else if (code == UD_EINVAL)
		err->reason = UD_REASON_PREP_BUILD_FAILED;
	return err->code;
}

/* By the step, or by how the engine begins the error of a COPY --from. */
static bool
is_pull_error(const BuildReader *reader)
{
	return reader->is_from || strncmp(reader->error, "invalid from flag value ", 24) == 0;
}

/* The error of a build that began. */
static int
judge_failure(Docker *docker, const BuildReader *reader, UdError *err)
{
	bool		is_command = strncmp(reader->error, "The command", 11) == 0;
	int			reason = UD_REASON_PREP_BUILD_FAILED;
	int			pull_reason = !is_command && is_pull_error(reader) ? docker_pull_reason(reader->error) : UD_REASON_NONE;

	/*
	 * An engine that stops ends the step that runs, which then looks like a
	 * failure of its own; new calls it has refused before.
	 */
	if (docker_ping(docker, err) < 0)
		return ud_error(err, UD_EIO, UD_REASON_NODE_ENGINE_ERROR, "the engine went away while it built: %s", reader->error);
	if (is_missing_dockerfile(reader->error))
		reason = UD_REASON_PREP_DOCKERFILE_NOT_FOUND;
	/* Of the engine itself; a failing step quotes its command instead. */
	else if (strstr(reader->error, "no space left on device") != NULL && !is_command)
		reason = UD_REASON_NODE_DISK_FULL;
	else if (pull_reason != UD_REASON_NONE)
		return ud_error(err, ud_reason_is_retryable(pull_reason) ? UD_EIO : UD_EINVAL, pull_reason,
						"could not pull an image to build upon: %s", reader->error);
	return ud_error(err, UD_EINVAL, reason, "the build failed: %s", reader->error);
}

static int
judge_build(Docker *docker, const DockerCall *call, const BuildReader *reader, char image_id[80], UdError *err)
{
	DockerImage image;
	int			result;

	if (call->status != 200)
		return judge_refusal(call, err);
	if (reader->error[0] != '\0')
		return judge_failure(docker, reader, err);
	/* No error is not success yet: a dying engine just ends the stream. */
	if (strncmp(reader->image_id, "sha256:", 7) != 0 || strlen(reader->image_id) != 71)
		return ud_error(err, UD_EIO, UD_REASON_NODE_ENGINE_ERROR, "the engine ended the build without a result");
	result = docker_image_inspect(docker, reader->image_id, &image, err);
	if (result != 0)
		return result;
	memcpy(image_id, image.id, sizeof(image.id));
	docker_image_release(&image);
	return 0;
}

int
docker_build(Docker *docker, const DockerBuild *build, const atomic_bool *cancel,
			 char image_id[80], UdBuf *output, UdError *err)
{
	ud_auto_buf UdBuf path = {0};
	UdError		own;
	BuildReader reader = {
		.build = build,
		.output = output,
	};
	docker_auto_call DockerCall call = {
		.method = "POST",
		.upload_fd = build->context_fd,
		.has_upload = true,
		.timeout_s = build->timeout_s,
		.cancel = cancel,
		.on_data = on_build_data,
		.arg = &reader,
	};
	int			result;

	image_id[0] = '\0';
	if (err == NULL)
		err = &own;
	make_query(&path, build);
	call.path = ud_buf_text(&path);
	result = docker_call(docker, &call, err);
	if (result == UD_ETIMEDOUT)
		ud_error(err, UD_ETIMEDOUT, UD_REASON_PREP_TIMEOUT, "the build took longer than %d s", build->timeout_s);
	if (result == 0)
		result = judge_build(docker, &call, &reader, image_id, err);
	if (output->len > OUTPUT_BYTES_MAX)
		ud_buf_consume(output, output->len - OUTPUT_BYTES_MAX);
	ud_buf_release(&reader.line);
	return result;
}
