/*
 * connection.c
 *	  The nodes' WebSockets: connect, read and write, connect again.
 */
#include "sim.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/cleanup.h"
#include "common/log.h"

#define STABLE_NS (60 * NS_PER_S)
#define FDS_MORE 64

/* Beats keep the connection alive; so no timers of the library's. */
static const uint32_t connection_retry_table[] = {1000};

static const lws_retry_bo_t connection_policy = {
	.retry_ms_table = connection_retry_table,
	.retry_ms_table_count = 1,
	.conceal_count = 1,
};

static pthread_mutex_t connection_wake_mutex = PTHREAD_MUTEX_INITIALIZER;
static struct lws_context *connection_wake_context;

void
connection_wake(void)
{
	pthread_mutex_lock(&connection_wake_mutex);
	if (connection_wake_context != NULL)
		lws_cancel_service(connection_wake_context);
	pthread_mutex_unlock(&connection_wake_mutex);
}

static void
connection_set_wake(struct lws_context *context)
{
	pthread_mutex_lock(&connection_wake_mutex);
	connection_wake_context = context;
	pthread_mutex_unlock(&connection_wake_mutex);
}

static double
connection_random(void)
{
	return (double) random() / ((double) RAND_MAX + 1);
}

static void
connection_wait(SimNode *node)
{
	Sim		   *sim = node->sim;

	node->next_waiting = NULL;
	if (sim->waiting == NULL)
		sim->waiting = node;
	else
		sim->waiting_last->next_waiting = node;
	sim->waiting_last = node;
}

static void
connection_ended(SimNode *node)
{
	Sim		   *sim = node->sim;
	int64_t		now = clock_ns(CLOCK_MONOTONIC);
	int64_t		delay_ms;

	if (!node->attempted)
		return;
	node->attempted = false;
	if (node->connecting)
		sim->connecting--;
	node->connecting = false;
	if (node->welcomed)
		sim->online--;
	if (node->established && now - node->established_ns > STABLE_NS)
		node->tries = 0;
	node->established = false;
	node->wsi = NULL;
	if (node->retry_after_ms > 0)
		node->end.retry_after_ms = node->retry_after_ms;
	node_close(node);
	delay_ms = link_delay_ms(&node->end, node->tries, connection_random());
	if (sim->options->backoff_ms >= 0 && delay_ms > sim->options->backoff_ms)
		delay_ms = (int64_t) ((double) sim->options->backoff_ms * connection_random());
	if (node->tries < 30)
		node->tries++;
	/* Never at once, or a bridge that is not there would cost all time. */
	timer_set(node, now + (delay_ms + 1) * NS_PER_MS);
}

static void
connection_begin(SimNode *node)
{
	Sim		   *sim = node->sim;
	struct lws_client_connect_info info = {0};

	memset(&node->end, 0, sizeof(node->end));
	info.context = sim->context;
	info.address = sim->options->host;
	info.port = sim->options->port;
	info.path = sim->options->path;
	info.host = sim->options->host;
	info.ssl_connection = LCCSCF_HTTP_NO_FOLLOW_REDIRECT;
	info.protocol = UD_PROTOCOL_NAME;
	info.local_protocol_name = UD_PROTOCOL_NAME;
	info.retry_and_idle_policy = &connection_policy;
	info.userdata = node;
	info.pwsi = &node->wsi;
	node->attempted = true;
	node->connecting = true;
	node->established = false;
	node->connect_ns = clock_ns(CLOCK_MONOTONIC);
	sim->connecting++;
	sim->stats.connects++;
	if (sim->stats.round.began_ns == 0)
		sim->stats.round.began_ns = node->connect_ns;
	if (lws_client_connect_via_info(&info) == NULL && node->attempted)
	{
		sim->stats.failures++;
		connection_ended(node);
	}
}

static void
connection_begin_waiting(Sim *sim)
{
	while (sim->waiting != NULL && sim->connecting < sim->options->connecting)
	{
		SimNode    *node = sim->waiting;

		sim->waiting = node->next_waiting;
		connection_begin(node);
	}
}

static void connection_timer(lws_sorted_usec_list_t *sul);

/* Have the library's one timer fire when the next node is due. */
static void
connection_plan(Sim *sim)
{
	int64_t		next_ns = timer_next_ns(sim);
	int64_t		now;

	if (next_ns > sim->deadline_ns)
		next_ns = sim->deadline_ns;
	if (next_ns >= sim->timer_ns)
		return;
	now = clock_ns(CLOCK_MONOTONIC);
	sim->timer_ns = next_ns;
	lws_sul_schedule(sim->context, 0, &sim->timer, connection_timer, next_ns > now ? (next_ns - now) / 1000 + 1 : 1);
}

static void
connection_timer(lws_sorted_usec_list_t *sul)
{
	Sim		   *sim = lws_container_of(sul, Sim, timer);
	int64_t		now = clock_ns(CLOCK_MONOTONIC);
	SimNode    *node;

	sim->timer_ns = INT64_MAX;
	if (now >= sim->deadline_ns)
		sim->done = true;
	while ((node = timer_take(sim, now)) != NULL)
	{
		if (node->attempted)
			node_look(node);
		else
			connection_wait(node);
	}
	connection_begin_waiting(sim);
	connection_plan(sim);
}

void
connection_close(SimNode *node, int code)
{
	node->close_code = code;
	lws_callback_on_writable(node->wsi);
}

static int
connection_writeable(SimNode *node)
{
	Sim		   *sim = node->sim;
	size_t		len;

	if (node->close_code != 0)
	{
		stats_code(&sim->stats, node->close_code);
		lws_close_reason(node->wsi, (enum lws_close_status) node->close_code, NULL, 0);
		return -1;
	}
	ud_buf_reset(&sim->outgoing);
	ud_buf_reserve(&sim->outgoing, LWS_PRE);
	sim->outgoing.len = LWS_PRE;
	if (node_next_frame(node, &sim->outgoing))
	{
		len = sim->outgoing.len - LWS_PRE;
		if (lws_write(node->wsi, sim->outgoing.data + LWS_PRE, len, LWS_WRITE_BINARY) < (int) len)
			return -1;
	}
	node_look(node);
	return 0;
}

/* All are online: a line for who waits for that. */
static void
connection_all_online(Sim *sim)
{
	const char *ready = sim->options->ready;
	FILE	   *file;

	stats_round_ended(&sim->stats, clock_ns(CLOCK_MONOTONIC));
	if (sim->options->until_online > 0 && (int64_t) sim->stats.round_count >= sim->options->until_online)
		sim->done = true;
	if (ready == NULL)
		return;
	file = fopen(ready, "ae");
	if (file == NULL || fprintf(file, "%zu\n", sim->stats.round_count) < 0)
	{
		ud_err("could not write --ready \"%s\"", ready);
		sim->failed = true;
		sim->done = true;
	}
	if (file != NULL)
		fclose(file);
}

static int
connection_receive(SimNode *node, const void *in, size_t len)
{
	Sim		   *sim = node->sim;
	bool		was_welcomed = node->welcomed;
	UdError		err;

	if (!lws_frame_is_binary(node->wsi) || node->incoming.len + len > UD_FRAME_BYTES_MAX)
	{
		connection_close(node, UD_CLOSE_PROTOCOL);
		return 0;
	}
	if (lws_is_first_fragment(node->wsi))
		ud_buf_reset(&node->incoming);
	ud_buf_append(&node->incoming, in, len);
	if (!lws_is_final_fragment(node->wsi) || lws_remaining_packet_payload(node->wsi) > 0)
		return 0;
	if (node_receive(node, node->incoming.data, node->incoming.len, &err) < 0)
	{
		ud_err("the server broke the protocol: %s", err.message);
		connection_close(node, UD_CLOSE_PROTOCOL);
	}
	ud_buf_release(&node->incoming);
	if (node->welcomed && !was_welcomed)
	{
		node->connecting = false;
		sim->connecting--;
		if (++sim->online == sim->options->agents)
			connection_all_online(sim);
	}
	node_look(node);
	return 0;
}

static void
connection_failed(SimNode *node, struct lws *wsi)
{
	char		after[16] = "";
	int			status = (int) lws_http_client_http_response(wsi);

	node->sim->stats.failures++;
	if (status >= 300 && status < 600)
	{
		node->end.http_status = status;
		stats_code(&node->sim->stats, status);
	}
	if (status == 503 && lws_hdr_copy(wsi, after, sizeof(after), WSI_TOKEN_HTTP_RETRY_AFTER) > 0)
		node->end.retry_after_ms = strtoll(after, NULL, 10) * 1000;
}

static int
connection_add_token(const SimNode *node, struct lws *wsi, unsigned char **at, size_t len)
{
	ud_auto_free char *value = ud_asprintf("Bearer %s", node->sim->options->tokens[node->index]);

	return lws_add_http_header_by_token(wsi, WSI_TOKEN_HTTP_AUTHORIZATION, (unsigned char *) value,
										(int) strlen(value), at, *at + len) != 0;
}

static int
connection_event(SimNode *node, struct lws *wsi, enum lws_callback_reasons reason, void *in, size_t len)
{
	const uint8_t *bytes = in;

	switch (reason)
	{
		case LWS_CALLBACK_CLIENT_APPEND_HANDSHAKE_HEADER:
			return connection_add_token(node, wsi, in, len);
		case LWS_CALLBACK_CLIENT_ESTABLISHED:
			node->wsi = wsi;
			node->established = true;
			node->established_ns = clock_ns(CLOCK_MONOTONIC);
			node_open(node);
			node_look(node);
			break;
		case LWS_CALLBACK_CLIENT_RECEIVE:
			return connection_receive(node, in, len);
		case LWS_CALLBACK_CLIENT_WRITEABLE:
			return node->established ? connection_writeable(node) : 0;
		case LWS_CALLBACK_WS_PEER_INITIATED_CLOSE:
			if (len >= 2)
			{
				node->end.close_code = bytes[0] << 8 | bytes[1];
				stats_code(&node->sim->stats, node->end.close_code);
			}
			break;
		case LWS_CALLBACK_CLIENT_CONNECTION_ERROR:
			connection_failed(node, wsi);
			connection_ended(node);
			break;
		case LWS_CALLBACK_CLIENT_CLOSED:
			connection_ended(node);
			break;
		default:
			break;
	}
	return 0;
}

static int
connection_callback(struct lws *wsi, enum lws_callback_reasons reason, void *user, void *in, size_t len)
{
	struct lws_context *context = wsi != NULL ? lws_get_context(wsi) : NULL;
	Sim		   *sim = context != NULL ? lws_context_user(context) : NULL;
	int			result = 0;

	if (sim == NULL || sim->context == NULL)
		return 0;
	if (reason == LWS_CALLBACK_EVENT_WAIT_CANCELLED)
		task_reap(sim);
	else if (user != NULL)
		result = connection_event(user, wsi, reason, in, len);
	if (sim->waiting != NULL)
		connection_begin_waiting(sim);
	connection_plan(sim);
	return result;
}

static const struct lws_protocols connection_protocols[] = {
	{
		.name = UD_PROTOCOL_NAME,
		.callback = connection_callback,
		.rx_buffer_size = 16384,
	},
	{
		.name = NULL,
	},
};

static void
connection_log(int level, const char *line)
{
	ud_log(level == LLL_ERR ? UD_LOG_WARNING : UD_LOG_DEBUG, "libwebsockets: %.*s", (int) strcspn(line, "\n"), line);
}

int
connection_run(Sim *sim, UdError *err)
{
	struct lws_context_creation_info info = {0};
	int64_t		now = clock_ns(CLOCK_MONOTONIC);
	struct lws_context *context;

	lws_set_log_level(LLL_ERR | LLL_WARN, connection_log);
	info.port = CONTEXT_PORT_NO_LISTEN;
	info.protocols = connection_protocols;
	info.user = sim;
	info.gid = (gid_t) -1;
	info.uid = (uid_t) -1;
	info.fd_limit_per_thread = (unsigned) sim->options->agents + FDS_MORE;
	context = lws_create_context(&info);
	if (context == NULL)
		return ud_error(err, UD_EIO, 0, "could not set up libwebsockets");
	sim->context = context;
	connection_set_wake(context);
	sim->timer_ns = INT64_MAX;
	sim->deadline_ns = now + sim->options->seconds * NS_PER_S;
	for (int i = 0; i < sim->options->agents; i++)
		timer_set(&sim->nodes[i], now);
	connection_plan(sim);
	while (!sim->done && !atomic_load(&sim->stopped))
		if (lws_service(context, 0) < 0)
			break;
	connection_set_wake(NULL);
	lws_sul_cancel(&sim->timer);
	/* What is closed now is not connected again. */
	sim->context = NULL;
	lws_context_destroy(context);
	return 0;
}
