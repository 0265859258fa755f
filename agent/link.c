/*
 * link.c
 *	  The WebSocket to the server: connect, keep alive, connect again.
 *
 * One thread, one connection.  libwebsockets does not reconnect and its own
 * back-off only adds jitter, so the delay is computed in link_delay.c.  Other
 * threads may only call link_wake.
 */
#include "agent/link.h"

#include <libwebsockets.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "common/cleanup.h"
#include "common/log.h"
#include "common/proxy.h"
#include "agent/lease.h"
#include "agent/session.h"

#define TICK_US (100 * LWS_US_PER_MS)
#define PING_S 20
#define HANGUP_S 45
#define STABLE_NS (60 * NS_PER_S)
#define CLOSE_WAIT_NS (2 * NS_PER_S)
#define CONTEXT_FDS 64

typedef struct Link
{
	Agent	   *agent;			/* borrowed */
	struct lws_context *context;
	struct lws *wsi;			/* borrowed; NULL when not connected */
	bool		attempted;		/* a connection is being made or stands */
	bool		established;
	bool		closing;		/* we are closing it */
	int			close_code;		/* ours, when closing */
	char		close_text[120];
	int			tries;
	int64_t		established_ns;
	int64_t		exit_by_ns;		/* the loop ends then at the latest */
	LinkEnd		end;
	Session		session;
	UdBuf		incoming;		/* fragments of one message */
	UdBuf		outgoing;
	lws_sorted_usec_list_t tick;
	lws_sorted_usec_list_t connect;
	lws_sorted_usec_list_t merge;
} Link;

static pthread_mutex_t link_wake_mutex = PTHREAD_MUTEX_INITIALIZER;
static struct lws_context *link_wake_context;

static const uint32_t link_retry_table[] = {1000};

static const lws_retry_bo_t link_policy = {
	.retry_ms_table = link_retry_table,
	.retry_ms_table_count = 1,
	.conceal_count = 1,
	.secs_since_valid_ping = PING_S,
	.secs_since_valid_hangup = HANGUP_S,
	.jitter_percent = 1,
};

void
link_wake(void)
{
	pthread_mutex_lock(&link_wake_mutex);
	if (link_wake_context != NULL)
		lws_cancel_service(link_wake_context);
	pthread_mutex_unlock(&link_wake_mutex);
}

static double
link_random(void)
{
	uint32_t	value = 0;

	if (getrandom(&value, sizeof(value), 0) != sizeof(value))
		value = (uint32_t) clock_boot_ns();
	return (double) value / 4294967296.0;
}

/* The connection is no more, or never was: plan the next one, once. */
static void
link_ended(Link *link)
{
	int64_t		delay_ms;

	if (!link->attempted)
		return;
	link->attempted = false;
	link->wsi = NULL;
	if (link->established && clock_boot_ns() - link->established_ns > STABLE_NS)
		link->tries = 0;
	link->established = false;
	link->closing = false;
	if (link->session.retry_after_ms > 0)
		link->end.retry_after_ms = link->session.retry_after_ms;
	session_close(&link->session);
	ud_buf_reset(&link->incoming);
	if (atomic_load(&link->agent->exiting))
		return;
	delay_ms = link_delay_ms(&link->end, link->tries, link_random());
	if (link->tries < 30)
		link->tries++;
	ud_info("connecting again in %lld.%03lld s", (long long) delay_ms / 1000, (long long) delay_ms % 1000);
	lws_sul_cancel(&link->connect);
	lws_sul_schedule(link->context, 0, &link->connect, link->connect.cb, delay_ms * LWS_US_PER_MS);
}

static void
link_connect(lws_sorted_usec_list_t *sul)
{
	Link	   *link = lws_container_of(sul, Link, connect);
	const AgentConfig *config = link->agent->config;
	struct lws_client_connect_info info = {0};

	memset(&link->end, 0, sizeof(link->end));
	if (atomic_load(&link->agent->exiting))
		return;
	info.context = link->context;
	info.address = config->url_host;
	info.port = config->url_port;
	info.path = config->url_path;
	info.host = config->url_host;
	info.origin = NULL;
	/* A redirect would carry the token to another host. */
	info.ssl_connection = LCCSCF_HTTP_NO_FOLLOW_REDIRECT | (config->url_tls ? LCCSCF_USE_SSL : 0);
	info.protocol = UD_PROTOCOL_NAME;
	info.local_protocol_name = UD_PROTOCOL_NAME;
	info.retry_and_idle_policy = &link_policy;
	info.userdata = link;
	info.pwsi = &link->wsi;
	link->attempted = true;
	if (lws_client_connect_via_info(&info) == NULL && link->attempted)
	{
		ud_warning("could not begin to connect to %s:%d", config->url_host, config->url_port);
		link_ended(link);
	}
}

static void
link_want_write(Link *link)
{
	if (link->established && link->wsi != NULL)
		lws_callback_on_writable(link->wsi);
}

static void
link_close(Link *link, int code, const char *text)
{
	if (link->closing)
		return;
	link->closing = true;
	link->close_code = code;
	snprintf(link->close_text, sizeof(link->close_text), "%.119s", text);
	link_want_write(link);
}

static void
link_check_exit(Link *link)
{
	if (!atomic_load(&link->agent->exiting))
		return;
	if (link->exit_by_ns == 0)
		link->exit_by_ns = clock_boot_ns() + CLOSE_WAIT_NS;
	if (link->established)
		link_close(link, LWS_CLOSE_STATUS_GOINGAWAY, "agent stops");
}

static void
link_look(Link *link)
{
	session_tick(&link->session);
	link_want_write(link);
	link_check_exit(link);
}

static void
link_tick(lws_sorted_usec_list_t *sul)
{
	Link	   *link = lws_container_of(sul, Link, tick);

	lws_sul_schedule(link->context, 0, sul, link_tick, TICK_US);
	link_look(link);
}

static void
link_merge(lws_sorted_usec_list_t *sul)
{
	link_want_write(lws_container_of(sul, Link, merge));
}

/* Write one frame, or our close; -1 ends the connection. */
static int
link_writeable(Link *link)
{
	int64_t		again_us;
	size_t		len;

	if (link->closing)
	{
		lws_close_reason(link->wsi, (enum lws_close_status) link->close_code,
						 (unsigned char *) link->close_text, strlen(link->close_text));
		return -1;
	}
	ud_buf_reset(&link->outgoing);
	ud_buf_reserve(&link->outgoing, LWS_PRE);
	link->outgoing.len = LWS_PRE;
	if (!session_next_frame(&link->session, &link->outgoing, &again_us))
	{
		if (again_us > 0)
			lws_sul_schedule(link->context, 0, &link->merge, link_merge, again_us);
		return 0;
	}
	len = link->outgoing.len - LWS_PRE;
	if (lws_write(link->wsi, link->outgoing.data + LWS_PRE, len, LWS_WRITE_BINARY) < (int) len)
		return -1;
	lws_callback_on_writable(link->wsi);
	return 0;
}

static int
link_receive(Link *link, const void *in, size_t len)
{
	UdError		err;

	lws_validity_confirmed(link->wsi);
	if (link->closing)
		return 0;
	if (!lws_frame_is_binary(link->wsi) || link->incoming.len + len > UD_FRAME_BYTES_MAX)
	{
		ud_err("the server sent a message that is not binary or too long");
		link_close(link, UD_CLOSE_PROTOCOL, "not a frame");
		return 0;
	}
	if (lws_is_first_fragment(link->wsi))
		ud_buf_reset(&link->incoming);
	ud_buf_append(&link->incoming, in, len);
	if (!lws_is_final_fragment(link->wsi) || lws_remaining_packet_payload(link->wsi) > 0)
		return 0;
	if (session_receive(&link->session, link->incoming.data, link->incoming.len, &err) < 0)
	{
		if (err.code == UD_EPROTO)
			ud_err("the server broke the protocol: %s", err.message);
		else
			ud_err("this session cannot be used: %s", err.message);
		link_close(link, err.code == UD_EPROTO ? UD_CLOSE_PROTOCOL : LWS_CLOSE_STATUS_GOINGAWAY, err.message);
	}
	ud_buf_reset(&link->incoming);
	link_look(link);
	return 0;
}

static void
link_peer_closed(Link *link, const uint8_t *in, size_t len)
{
	const char *advice;

	if (len < 2)
		return;
	link->end.close_code = in[0] << 8 | in[1];
	ud_info("the server closed the connection: %d %.*s", link->end.close_code, (int) (len - 2), (const char *) in + 2);
	advice = link_advice(link->end.close_code);
	if (advice != NULL)
		ud_err("%s", advice);
}

static void
link_failed(Link *link, struct lws *wsi, const char *text, size_t len)
{
	char		after[16] = "";
	int			status = (int) lws_http_client_http_response(wsi);

	if (status >= 300 && status < 600)
		link->end.http_status = status;
	if (status == 503 && lws_hdr_copy(wsi, after, sizeof(after), WSI_TOKEN_HTTP_RETRY_AFTER) > 0)
		link->end.retry_after_ms = strtoll(after, NULL, 10) * 1000;
	ud_warning("could not connect: %.*s%s", (int) len, text != NULL ? text : "",
			   status == 401 ? " (unknown or revoked token)" : status == 503 ? " (not ready)" : "");
}

static int
link_callback(struct lws *wsi, enum lws_callback_reasons reason, void *user, void *in, size_t len)
{
	struct lws_context *context = wsi != NULL ? lws_get_context(wsi) : NULL;
	Link	   *link = context != NULL ? lws_context_user(context) : NULL;

	(void) user;
	if (link == NULL)
		return 0;
	switch (reason)
	{
		case LWS_CALLBACK_CLIENT_APPEND_HANDSHAKE_HEADER:
			{
				ud_auto_free char *value = ud_asprintf("Bearer %s", link->agent->config->token);
				unsigned char **at = in;

				return lws_add_http_header_by_token(wsi, WSI_TOKEN_HTTP_AUTHORIZATION, (unsigned char *) value,
													(int) strlen(value), at, *at + len) != 0;
			}
		case LWS_CALLBACK_CLIENT_ESTABLISHED:
			link->wsi = wsi;
			link->established = true;
			link->established_ns = clock_boot_ns();
			session_open(&link->session);
			link_want_write(link);
			link_check_exit(link);
			break;
		case LWS_CALLBACK_CLIENT_RECEIVE:
			return link_receive(link, in, len);
		case LWS_CALLBACK_CLIENT_RECEIVE_PONG:
			lws_validity_confirmed(wsi);
			break;
		case LWS_CALLBACK_CLIENT_WRITEABLE:
			return link->established ? link_writeable(link) : 0;
		case LWS_CALLBACK_WS_PEER_INITIATED_CLOSE:
			link_peer_closed(link, in, len);
			break;
		case LWS_CALLBACK_CLIENT_CONNECTION_ERROR:
			link_failed(link, wsi, in, len);
			link_ended(link);
			break;
		case LWS_CALLBACK_CLIENT_CLOSED:
			ud_info("the connection is closed");
			link_ended(link);
			break;
		case LWS_CALLBACK_EVENT_WAIT_CANCELLED:
			link_look(link);
			break;
		default:
			break;
	}
	return 0;
}

static const struct lws_protocols link_protocols[] = {
	{
		.name = UD_PROTOCOL_NAME,
		.callback = link_callback,
		.rx_buffer_size = 65536,
	},
	{
		.name = NULL,
	},
};

static void
link_log(int level, const char *line)
{
	if (strstr(line, "http_proxy needs to be") != NULL)
		return;
	ud_log(level == LLL_ERR ? UD_LOG_WARNING : UD_LOG_DEBUG, "libwebsockets: %.*s", (int) strcspn(line, "\n"), line);
}

/*
 * By itself libwebsockets asks http_proxy alone, for every host.  An empty
 * address keeps it from that; link_log knows what it says then.
 */
static int
link_set_proxy(const AgentConfig *config, Proxy *proxy, struct lws_context_creation_info *info, UdError *err)
{
	int			found = proxy_find(config->url_tls, config->url_host, config->url_port, proxy, err);
	static char address[sizeof(proxy->user) + sizeof(proxy->host) + 2];

	if (found < 0)
		return found;
	if (found == 0 && getenv("http_proxy") == NULL)
		return 0;
	snprintf(address, sizeof(address), "%s%s%s", proxy->user, proxy->user[0] != '\0' ? "@" : "", proxy->host);
	info->http_proxy_address = address;
	info->http_proxy_port = (unsigned) proxy->port;
	if (found > 0)
		ud_info("reaching the server through the proxy %s:%d", proxy->host, proxy->port);
	return 0;
}

static int
link_create(Link *link, UdError *err)
{
	struct lws_context_creation_info info = {0};
	Proxy		proxy;

	if (link_set_proxy(link->agent->config, &proxy, &info, err) < 0)
		return err->code;
	lws_set_log_level(LLL_ERR | LLL_WARN, link_log);
	info.port = CONTEXT_PORT_NO_LISTEN;
	info.protocols = link_protocols;
	info.user = link;
	info.gid = (gid_t) -1;
	info.uid = (uid_t) -1;
	info.fd_limit_per_thread = CONTEXT_FDS;
	if (link->agent->config->url_tls)
	{
		info.options |= LWS_SERVER_OPTION_DO_SSL_GLOBAL_INIT;
		info.client_ssl_ca_filepath = link->agent->config->ca_file;
	}
	link->context = lws_create_context(&info);
	if (link->context == NULL)
		return ud_error(err, UD_EIO, 0, "could not set up libwebsockets");
	pthread_mutex_lock(&link_wake_mutex);
	link_wake_context = link->context;
	pthread_mutex_unlock(&link_wake_mutex);
	return 0;
}

int
link_run(Agent *agent, UdError *err)
{
	Link	   *link = ud_calloc(1, sizeof(*link));
	int			result;

	link->agent = agent;
	session_init(&link->session, agent);
	result = link_create(link, err);
	if (result == 0)
	{
		link->connect.cb = link_connect;
		lws_sul_schedule(link->context, 0, &link->tick, link_tick, 1);
		lws_sul_schedule(link->context, 0, &link->connect, link_connect, 1);
		while (link->exit_by_ns == 0 || (link->attempted && clock_boot_ns() < link->exit_by_ns))
			if (lws_service(link->context, 0) < 0)
				break;
		pthread_mutex_lock(&link_wake_mutex);
		link_wake_context = NULL;
		pthread_mutex_unlock(&link_wake_mutex);
		lws_sul_cancel(&link->tick);
		lws_sul_cancel(&link->connect);
		lws_sul_cancel(&link->merge);
		link->attempted = false;
		lws_context_destroy(link->context);
	}
	session_release(&link->session);
	ud_buf_release(&link->incoming);
	ud_buf_release(&link->outgoing);
	free(link);
	return result;
}
