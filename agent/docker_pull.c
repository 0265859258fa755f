/*
 * docker_pull.c
 *	  Pulling an image, and why one to build upon could not be pulled.
 *
 * The engine has no codes for that, only what the registry or the network
 * said, wrapped in words of its own that differ between versions.  What is not
 * known here, above all an image or tag that does not exist, is the
 * Dockerfile's fault.
 */
#include "agent/docker_internal.h"

#include <string.h>

#include "agent/json.h"
#include "common/cleanup.h"
#include "common/reasons.h"

#define LINE_BYTES_MAX 65536

/* First match wins: a refusal may come with any of the network's words. */
static const struct
{
	const char *text;
	int			reason;
}			known[] =

{
	{"toomanyrequests: ", UD_REASON_PREP_REPO_THROTTLED},
	{"429 Too Many Requests", UD_REASON_PREP_REPO_THROTTLED},
	{"pull access denied", UD_REASON_PREP_CREDENTIAL},
	{"unauthorized: ", UD_REASON_PREP_CREDENTIAL},
	{"401 Unauthorized", UD_REASON_PREP_CREDENTIAL},
	{"403 Forbidden", UD_REASON_PREP_CREDENTIAL},
	{"no basic auth credentials", UD_REASON_PREP_CREDENTIAL},
	{": denied: ", UD_REASON_PREP_CREDENTIAL},
	{"no such host", UD_REASON_PREP_PULL_FAILED},
	{"server misbehaving", UD_REASON_PREP_PULL_FAILED},
	{"temporary failure in name resolution", UD_REASON_PREP_PULL_FAILED},
	{"i/o timeout", UD_REASON_PREP_PULL_FAILED},
	{"TLS handshake timeout", UD_REASON_PREP_PULL_FAILED},
	{"tls: ", UD_REASON_PREP_PULL_FAILED},
	{"x509: ", UD_REASON_PREP_PULL_FAILED},
	{"server gave HTTP response to HTTPS client", UD_REASON_PREP_PULL_FAILED},
	{"connection refused", UD_REASON_PREP_PULL_FAILED},
	{"connection reset", UD_REASON_PREP_PULL_FAILED},
	{"connection timed out", UD_REASON_PREP_PULL_FAILED},
	{"network is unreachable", UD_REASON_PREP_PULL_FAILED},
	{"no route to host", UD_REASON_PREP_PULL_FAILED},
	{"broken pipe", UD_REASON_PREP_PULL_FAILED},
	{"Client.Timeout", UD_REASON_PREP_PULL_FAILED},
	{"context deadline exceeded", UD_REASON_PREP_PULL_FAILED},
	{"request canceled", UD_REASON_PREP_PULL_FAILED},
	{"unexpected EOF", UD_REASON_PREP_PULL_FAILED},
	{": EOF", UD_REASON_PREP_PULL_FAILED},
	{"proxyconnect ", UD_REASON_PREP_PULL_FAILED},
	{"download failed after attempts", UD_REASON_PREP_PULL_FAILED},
	{"unexpected HTTP status: 5", UD_REASON_PREP_PULL_FAILED},
	{"500 Internal Server Error", UD_REASON_PREP_PULL_FAILED},
	{"502 Bad Gateway", UD_REASON_PREP_PULL_FAILED},
	{"503 Service Unavailable", UD_REASON_PREP_PULL_FAILED},
	{"504 Gateway Time", UD_REASON_PREP_PULL_FAILED},
};

int
docker_pull_reason(const char *error)
{
	for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
		if (strcasestr(error, known[i].text) != NULL)
			return known[i].reason;
	return UD_REASON_NONE;
}

/* The answer to a pull, read line by line. */
typedef struct PullReader
{
	UdBuf		line;
	char		error[400];		/* "" as long as there is none */
} PullReader;

static void
read_pull_line(PullReader *reader)
{
	UdError		ignored;
	ud_auto_json struct json_object *object = json_parse_object(reader->line.data, reader->line.len, &ignored);
	const char *text = NULL;

	if (object == NULL || json_get_text(object, "error", LINE_BYTES_MAX, &text, &ignored) <= 0)
		return;
	if (text[0] == '\0')
		text = "the engine gave no reason";
	text_make_valid(reader->error, sizeof(reader->error), text, strlen(text));
}

static void
on_pull_data(void *arg, const char *bytes, size_t len)
{
	PullReader *reader = arg;

	for (size_t i = 0; i < len; i++)
	{
		if (bytes[i] != '\n')
		{
			if (reader->line.len < LINE_BYTES_MAX)
				ud_buf_append(&reader->line, bytes + i, 1);
			continue;
		}
		read_pull_line(reader);
		ud_buf_reset(&reader->line);
	}
}

int
docker_image_pull(Docker *docker, const char *image, int timeout_s, const atomic_bool *cancel, UdError *err)
{
	const char *digest = strchr(image, '@');
	ud_auto_free char *name = strndup(image, strcspn(image, "@"));
	char	   *slash = strrchr(name, '/');
	char	   *tag = strchr(slash != NULL ? slash : name, ':');
	PullReader	reader = {0};
	ud_auto_buf UdBuf path = {0};
	docker_auto_call DockerCall call = {
		.method = "POST",
		.timeout_s = timeout_s,
		.cancel = cancel,
		.on_data = on_pull_data,
		.arg = &reader,
	};
	int			result;

	if (tag != NULL)
		*tag++ = '\0';
	ud_buf_printf(&path, "/images/create?fromImage=");
	docker_escape_query(&path, name);
	ud_buf_printf(&path, "&tag=");
	docker_escape_query(&path, digest != NULL ? digest + 1 : tag != NULL ? tag : "latest");
	call.path = ud_buf_text(&path);
	result = docker_call_expect(docker, &call, "pull the image", err);
	ud_buf_release(&reader.line);
	if (result == 0 && reader.error[0] != '\0')
		return ud_error(err, UD_EIO, 0, "could not pull the image: %s", reader.error);
	return result;
}
