/*
 * docker_http.c
 *	  One HTTP call to the engine over its unix socket.
 *
 * Every call has an easy handle of its own inside a multi handle of its own:
 * driving the transfer ourselves is what allows to look at the cancel flag in
 * between and to wait for the upload's source without blocking in it.  The
 * engine ends what it does for a call when the connection is closed, which is
 * how a build is cancelled.
 */
#include "agent/docker_internal.h"

#include <curl/curl.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <string.h>
#include <unistd.h>

#include "agent/json.h"
#include "common/cleanup.h"
#include "common/clock.h"
#include "common/log.h"
#include "common/reasons.h"

#define CONNECT_TIMEOUT_MS 5000
#define CANCEL_LOOK_MS 100
/* An engine's error text is kept up to this. */
#define ERROR_BYTES_MAX 65536
#define LIST_ITEMS_MAX 100000

static pthread_once_t curl_once = PTHREAD_ONCE_INIT;

static void
init_curl(void)
{
	curl_global_init(CURL_GLOBAL_NOTHING);
}

static bool
is_readable(int fd)
{
	struct pollfd look = {
		.fd = fd,
		.events = POLLIN,
	};

	return poll(&look, 1, 0) != 0;
}

static bool
is_cancelled(const DockerCall *call)
{
	return (call->cancel != NULL && atomic_load(call->cancel)) || (call->has_wake && is_readable(call->wake_fd));
}

/* libcurl wants more of the upload. */
static size_t
on_send(char *buffer, size_t size, size_t count, void *arg)
{
	DockerCall *call = arg;
	ssize_t		len;

	if (!is_readable(call->upload_fd))
	{
		call->is_paused = true;
		return CURL_READFUNC_PAUSE;
	}
	len = read(call->upload_fd, buffer, size * count);
	if (len < 0 && (errno == EINTR || errno == EAGAIN))
	{
		call->is_paused = true;
		return CURL_READFUNC_PAUSE;
	}
	return len < 0 ? CURL_READFUNC_ABORT : (size_t) len;
}

typedef struct Transfer
{
	CURL	   *easy;
	DockerCall *call;
} Transfer;

/* libcurl has a piece of the answer's body. */
static size_t
on_receive(char *bytes, size_t size, size_t count, void *arg)
{
	Transfer   *transfer = arg;
	DockerCall *call = transfer->call;
	size_t		len = size * count;
	size_t		max = call->reply_max ? call->reply_max : DOCKER_REPLY_BYTES_MAX;
	long		status = 0;

	curl_easy_getinfo(transfer->easy, CURLINFO_RESPONSE_CODE, &status);
	if (status == 200 && call->on_data != NULL)
	{
		call->on_data(call->arg, bytes, len);
		return len;
	}
	if (status >= 400)
	{
		/* The beginning of an error text is enough. */
		if (call->reply.len < ERROR_BYTES_MAX)
			ud_buf_append(&call->reply, bytes, len);
		return len;
	}
	if (call->reply.len + len > max)
	{
		call->reply_too_long = true;
		return 0;
	}
	ud_buf_append(&call->reply, bytes, len);
	return len;
}

/* Drive the transfer to its end, its time limit, or the cancel flag. */
static CURLcode
drive(CURL *easy, DockerCall *call)
{
	CURLM	   *multi = curl_multi_init();
	CURLcode	result = CURLE_FAILED_INIT;
	bool		is_done = multi == NULL || curl_multi_add_handle(multi, easy) != CURLM_OK;

	while (!is_done)
	{
		struct curl_waitfd other = {
			.fd = call->is_paused ? call->upload_fd : call->wake_fd,
			.events = CURL_WAIT_POLLIN,
		};
		CURLMsg    *message;
		int			count;

		if (curl_multi_perform(multi, &count) != CURLM_OK)
			break;
		while ((message = curl_multi_info_read(multi, &count)) != NULL)
			if (message->msg == CURLMSG_DONE)
			{
				result = message->data.result;
				is_done = true;
			}
		if (is_done)
			break;
		if (is_cancelled(call))
		{
			result = CURLE_ABORTED_BY_CALLBACK;
			break;
		}
		curl_multi_poll(multi, &other, call->is_paused || call->has_wake ? 1 : 0,
						call->cancel != NULL ? CANCEL_LOOK_MS : 1000, NULL);
		if (call->is_paused && is_readable(call->upload_fd))
		{
			call->is_paused = false;
			curl_easy_pause(easy, CURLPAUSE_CONT);
		}
	}
	if (multi != NULL)
	{
		curl_multi_remove_handle(multi, easy);
		curl_multi_cleanup(multi);
	}
	return result;
}

static void
set_request(CURL *easy, DockerCall *call, struct curl_slist **headers)
{
	*headers = curl_slist_append(NULL, "Expect:");
	if (call->has_upload)
	{
		*headers = curl_slist_append(*headers, "Content-Type: application/x-tar");
		*headers = curl_slist_append(*headers, "Transfer-Encoding: chunked");
		curl_easy_setopt(easy, CURLOPT_POST, 1L);
		curl_easy_setopt(easy, CURLOPT_READFUNCTION, on_send);
		curl_easy_setopt(easy, CURLOPT_READDATA, call);
		curl_easy_setopt(easy, CURLOPT_UPLOAD_BUFFERSIZE, 256L * 1024);
	}
	else if (strcmp(call->method, "POST") == 0)
	{
		const char *text = call->body == NULL ? "" : json_object_to_json_string_ext(call->body, JSON_C_TO_STRING_PLAIN);

		*headers = curl_slist_append(*headers, "Content-Type: application/json");
		curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE, (long) strlen(text));
		curl_easy_setopt(easy, CURLOPT_COPYPOSTFIELDS, text);
	}
	else if (strcmp(call->method, "GET") != 0)
		curl_easy_setopt(easy, CURLOPT_CUSTOMREQUEST, call->method);
	curl_easy_setopt(easy, CURLOPT_HTTPHEADER, *headers);
}

/* What became of a transfer, as one of our errors. */
static int
judge_result(CURLcode result, const DockerCall *call, const char *detail, UdError *err)
{
	if (result == CURLE_OK)
		return 0;
	if (result == CURLE_ABORTED_BY_CALLBACK && is_cancelled(call))
		return ud_error(err, UD_ECANCELLED, 0, "cancelled");
	if (call->reply_too_long)
		return ud_error(err, UD_EPROTO, UD_REASON_NODE_ENGINE_ERROR, "the engine's answer is too long");
	/* An engine that refuses an upload need not read all of it first. */
	if (call->has_upload && call->status >= 400)
		return 0;
	if (result == CURLE_OPERATION_TIMEDOUT)
		return ud_error(err, UD_ETIMEDOUT, UD_REASON_NODE_ENGINE_ERROR,
						"the engine did not answer %s in time", call->method);
	return ud_error(err, UD_EIO, UD_REASON_NODE_ENGINE_ERROR, "could not talk to the engine: %s",
					detail[0] ? detail : curl_easy_strerror(result));
}

int
docker_call(Docker *docker, DockerCall *call, UdError *err)
{
	char		detail[CURL_ERROR_SIZE] = "";
	ud_auto_free char *url = ud_asprintf("http://docker%s%s", call->unversioned ? "" : docker->prefix, call->path);
	struct curl_slist *headers = NULL;
	Transfer	transfer;
	CURLcode	result;
	CURL	   *easy;
	int64_t		began;

	pthread_once(&curl_once, init_curl);
	easy = curl_easy_init();
	if (easy == NULL)
		return ud_error(err, UD_EIO, UD_REASON_NODE_AGENT_ERROR, "could not make a curl handle");
	transfer.easy = easy;
	transfer.call = call;
	set_request(easy, call, &headers);
	curl_easy_setopt(easy, CURLOPT_URL, url);
	curl_easy_setopt(easy, CURLOPT_UNIX_SOCKET_PATH, docker->socket_path);
	curl_easy_setopt(easy, CURLOPT_NOPROXY, "*");
	curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
	curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, detail);
	curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS, (long) CONNECT_TIMEOUT_MS);
	curl_easy_setopt(easy, CURLOPT_TIMEOUT_MS, 1000L * (call->timeout_s > 0 ? call->timeout_s : DOCKER_SMALL_CALL_S));
	curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_receive);
	curl_easy_setopt(easy, CURLOPT_WRITEDATA, &transfer);
	began = clock_ns(CLOCK_MONOTONIC);
	result = drive(easy, call);
	curl_easy_getinfo(easy, CURLINFO_RESPONSE_CODE, &call->status);
	ud_debug("engine: %s %s: %ld, %.1f ms", call->method, call->path, call->status, (double) (clock_ns(CLOCK_MONOTONIC) - began) / 1e6);
	curl_easy_cleanup(easy);
	curl_slist_free_all(headers);
	return judge_result(result, call, detail, err);
}

void
docker_call_release(DockerCall *call)
{
	ud_buf_release(&call->reply);
}

int
docker_refused(const DockerCall *call, const char *what, UdError *err)
{
	char		text[400];
	const char *message = NULL;
	UdError		ignored;
	ud_auto_json struct json_object *object = json_parse_object(call->reply.data, call->reply.len, &ignored);
	int			code;

	if (object != NULL && json_get_text(object, "message", ERROR_BYTES_MAX, &message, &ignored) > 0)
		text_make_valid(text, sizeof(text), message, strlen(message));
	else
		text_make_valid(text, sizeof(text), call->reply.data, call->reply.len);
	if (call->status == 404)
		code = UD_ENOENT;
	else if (call->status == 409)
		code = UD_EEXIST;
	else if (call->status >= 400 && call->status < 500)
		code = UD_EINVAL;
	else
		code = UD_EIO;
	return ud_error(err, code, strstr(text, "no space left on device") ? UD_REASON_NODE_DISK_FULL : UD_REASON_NODE_ENGINE_ERROR,
					"could not %s: %s (%ld)", what, text[0] ? text : "the engine gave no reason", call->status);
}

int
docker_call_expect(Docker *docker, DockerCall *call, const char *what, UdError *err)
{
	int			result = docker_call(docker, call, err);

	if (result != 0)
		return result;
	if (call->status < 200 || call->status > 299)
		return docker_refused(call, what, err);
	return 0;
}

struct json_object *
docker_reply_object(const DockerCall *call, UdError *err)
{
	UdError		detail;
	size_t		len = call->reply.len;
	struct json_object *object;

	/* The engine ends its documents with a newline. */
	while (len > 0 && (call->reply.data[len - 1] == '\n' || call->reply.data[len - 1] == '\r'))
		len--;
	object = json_parse_object(call->reply.data, len, &detail);
	if (object == NULL)
		ud_error(err, UD_EPROTO, UD_REASON_NODE_ENGINE_ERROR, "unexpected answer of the engine: %s", detail.message);
	return object;
}

/* Wrapped, an array goes through the one parser we have. */
struct json_object *
docker_reply_list(const DockerCall *call, struct json_object **list, UdError *err)
{
	ud_auto_buf UdBuf text = {0};
	struct json_object *object;

	ud_buf_printf(&text, "{\"list\":");
	ud_buf_append(&text, call->reply.data, call->reply.len);
	ud_buf_printf(&text, "}");
	object = json_parse_object(text.data, text.len, err);
	*list = NULL;
	if (object == NULL
		|| !json_object_object_get_ex(object, "list", list)
		|| !json_object_is_type(*list, json_type_array)
		|| json_object_array_length(*list) > LIST_ITEMS_MAX)
	{
		json_object_put(object);
		ud_error(err, UD_EPROTO, UD_REASON_NODE_ENGINE_ERROR, "unexpected answer of the engine: no list");
		return NULL;
	}
	return object;
}
