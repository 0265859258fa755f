/*
 * server.c
 *	  The listening socket, the HTTP answers, and libwebsockets' callbacks.
 *
 * The listening socket is our own, its connections are handed over after they
 * were counted: Debian builds libwebsockets without its own limits per
 * address, and a drain has to stop accepting without closing what is open.
 */
#include "server.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "admit.h"
#include "bridge.h"
#include "common/log.h"

#define LISTEN_BACKLOG 1024
#define ACCEPTS_PER_EVENT 64
#define TICK_US INT64_C(1000000)
#define REFUSED_LINE_TICKS 10
/* Sockets beside the agents': health checks, refused ones, our own. */
#define SOCKETS_SPARE 64
#define REQUEST_TIMEOUT_S 10
#define KEEPALIVE_TIMEOUT_S 5
/* Kept for each connection; what does not fit comes in pieces. */
#define RX_BUFFER_BYTES 2048

/* What a wsi's opaque pointer holds while its socket is counted. */
typedef struct SocketMark
{
	uint64_t	address;
} SocketMark;

/* User space of a WebSocket's wsi. */
typedef struct AgentSocket
{
	Conn	   *conn;			/* NULL before it is established */
	int32_t		node;
	uint8_t		token_hash[TOKEN_HASH_BYTES];
} AgentSocket;

static Bridge *
bridge_of(struct lws *wsi)
{
	return lws_context_user(lws_get_context(wsi));
}

static void
note_refused(Server *server, const char *why)
{
	server->refused++;
	snprintf(server->refused_why, sizeof(server->refused_why), "%s", why);
}

static const char *
status_text(int status)
{
	switch (status)
	{
		case HTTP_STATUS_OK:
			return "OK";
		case HTTP_STATUS_BAD_REQUEST:
			return "Bad Request";
		case HTTP_STATUS_UNAUTHORIZED:
			return "Unauthorized";
		case HTTP_STATUS_FORBIDDEN:
			return "Forbidden";
		case HTTP_STATUS_NOT_FOUND:
			return "Not Found";
		case HTTP_STATUS_UPGRADE_REQUIRED:
			return "Upgrade Required";
		default:
			return "Service Unavailable";
	}
}

/*
 * Answer a request at once, because all answers are small, and end the
 * connection: the result is for the callback to return.  The head is made
 * here, because libwebsockets' own says HTTP/1.0 while an upgrade is asked for.
 */
static int
respond(struct lws *wsi, int status, int retry_after_s, const char *body)
{
	char		buffer[LWS_PRE + 1024];
	char	   *text = buffer + LWS_PRE;
	char		extra[64] = "";
	int			len;

	if (retry_after_s > 0)
		snprintf(extra, sizeof(extra), "Retry-After: %d\r\n", retry_after_s);
	else if (status == HTTP_STATUS_UNAUTHORIZED)
		snprintf(extra, sizeof(extra), "WWW-Authenticate: Bearer\r\n");
	else if (status == HTTP_STATUS_UPGRADE_REQUIRED)
		snprintf(extra, sizeof(extra), "Upgrade: websocket\r\nSec-WebSocket-Version: " WEBSOCKET_VERSION "\r\n");
	len = snprintf(text, sizeof(buffer) - LWS_PRE,
				   "HTTP/1.1 %d %s\r\nContent-Type: application/json\r\nContent-Length: %zu\r\n"
				   "Cache-Control: no-store\r\nConnection: close\r\n%s\r\n%s",
				   status, status_text(status), strlen(body), extra, body);
	lws_write(wsi, (unsigned char *) text, (size_t) len, LWS_WRITE_HTTP_HEADERS);
	return -1;
}

static int
refuse(struct lws *wsi, const Admission *admission)
{
	char		body[160];

	note_refused(&bridge_of(wsi)->server, admission->reason);
	snprintf(body, sizeof(body), "{\"message\":\"%s\"}\n", admission->reason);
	return respond(wsi, admission->status, admission->retry_after_s, body);
}

static int
respond_health(struct lws *wsi, Bridge *bridge)
{
	const char *reason = NULL;
	char		body[160];

	if (bridge->drain.phase != DRAIN_NONE)
		reason = "draining";
	else if (bridge->control.db.state != DB_READY)
		reason = "no connection to the database";
	else if (bridge->tokens.generation == 0)
		reason = "no token map yet";
	else if (!control_is_well(&bridge->control, loop_now()))
		reason = "no beat reached the database lately";
	if (reason != NULL)
		snprintf(body, sizeof(body), "{\"status\":\"unavailable\",\"reason\":\"%s\"}\n", reason);
	else
		snprintf(body, sizeof(body), "{\"status\":\"ok\",\"bridge\":%d,\"connections\":%zu}\n",
				 bridge->control.id, bridge->conns.count);
	return respond(wsi, reason != NULL ? HTTP_STATUS_SERVICE_UNAVAILABLE : HTTP_STATUS_OK, 0, body);
}

static int
on_http(struct lws *wsi, const char *path)
{
	if (strcmp(path, "/healthz") == 0 && lws_hdr_total_length(wsi, WSI_TOKEN_GET_URI) > 0)
		return respond_health(wsi, bridge_of(wsi));
	if (strcmp(path, AGENT_PATH) == 0)
		return respond(wsi, HTTP_STATUS_UPGRADE_REQUIRED, 0, "{\"message\":\"websocket only\"}\n");
	return respond(wsi, HTTP_STATUS_NOT_FOUND, 0, "{\"message\":\"no such path\"}\n");
}

static void
socket_destroyed(Server *server, struct lws *wsi)
{
	SocketMark *mark = lws_get_opaque_user_data(wsi);
	uint64_t	count;

	if (mark == NULL)
		return;
	lws_set_opaque_user_data(wsi, NULL);
	server->sockets--;
	count = map_get(&server->per_address, mark->address);
	if (count > 1)
		map_put(&server->per_address, mark->address, count - 1);
	else
		map_remove(&server->per_address, mark->address);
	free(mark);
}

/*
 * Plain HTTP, and upgrades until their subprotocol is chosen.  The argument of
 * LWS_CALLBACK_HTTP_CONFIRM_UPGRADE is not touched: in 4.1 it may point to
 * headers already freed.  The headers themselves are asked for instead.
 */
static int
http_callback(struct lws *wsi, enum lws_callback_reasons reason, void *user, void *in, size_t len)
{
	Admission	admission;

	(void) user;
	(void) len;
	switch (reason)
	{
		case LWS_CALLBACK_HTTP:
			return on_http(wsi, in);
		case LWS_CALLBACK_HTTP_CONFIRM_UPGRADE:
			if (lws_hdr_total_length(wsi, WSI_TOKEN_UPGRADE) <= 0)
				return -1;
			admit_upgrade(wsi, &admission);
			return admission.status != 0 ? refuse(wsi, &admission) : 0;
		case LWS_CALLBACK_FILTER_PROTOCOL_CONNECTION:
		case LWS_CALLBACK_RAW_CONNECTED:
		case LWS_CALLBACK_RAW_RX:
			/* A method like CONNECT; or no subprotocol, seen before. */
			return -1;
		case LWS_CALLBACK_WSI_DESTROY:
			socket_destroyed(&bridge_of(wsi)->server, wsi);
			return 0;
		default:
			return 0;
	}
}

/* One frame per call, then pings, then the end. */
static int
on_writable(Server *server, struct lws *wsi, Conn *conn)
{
	uint8_t    *payload = server->frame + LWS_PRE;
	size_t		len;

	if (conn->ping_due)
	{
		conn->ping_due = false;
		/* Not empty: 4.1 keeps the answer to an empty one to itself. */
		memcpy(payload, "ping", 4);
		if (lws_write(wsi, payload, 4, LWS_WRITE_PING) < 0)
			return -1;
	}
	else if ((len = conn_take_frame(conn, payload)) > 0)
	{
		if (lws_write(wsi, payload, len, LWS_WRITE_BINARY) < (int) len)
			return -1;
	}
	else if (conn->state == CONN_CLOSING)
	{
		lws_close_reason(wsi, (enum lws_close_status) conn->close_code,
						 (unsigned char *) conn->close_text, strlen(conn->close_text));
		return -1;
	}
	else
		return 0;
	if (conn->out.len > 0 || conn->ping_due || conn->state == CONN_CLOSING)
		lws_callback_on_writable(wsi);
	return 0;
}

static int
on_admit(struct lws *wsi, AgentSocket *socket)
{
	Admission	admission = {0};

	admit_agent(bridge_of(wsi), wsi, &admission);
	if (admission.status != 0)
		return refuse(wsi, &admission);
	socket->node = admission.node;
	memcpy(socket->token_hash, admission.token_hash, TOKEN_HASH_BYTES);
	return 0;
}

static void
on_established(struct lws *wsi, AgentSocket *socket)
{
	char		address[64] = "";

	socket->conn = conn_new(bridge_of(wsi), wsi, socket->node, socket->token_hash);
	lws_get_peer_simple(wsi, address, sizeof(address));
	ud_info("connection %d of node %d from %s", socket->conn->number, socket->node, address);
}

static int
agent_callback(struct lws *wsi, enum lws_callback_reasons reason, void *user, void *in, size_t len)
{
	AgentSocket *socket = user;

	switch (reason)
	{
		case LWS_CALLBACK_FILTER_PROTOCOL_CONNECTION:
			return on_admit(wsi, socket);
		case LWS_CALLBACK_ESTABLISHED:
			on_established(wsi, socket);
			return 0;
		case LWS_CALLBACK_RECEIVE:
			conn_receive(socket->conn, in, len, lws_is_first_fragment(wsi),
						 lws_is_final_fragment(wsi), lws_frame_is_binary(wsi));
			return 0;
		case LWS_CALLBACK_RECEIVE_PONG:
			socket->conn->received_at = loop_now();
			return 0;
		case LWS_CALLBACK_SERVER_WRITEABLE:
			return on_writable(&bridge_of(wsi)->server, wsi, socket->conn);
		case LWS_CALLBACK_CLOSED:
			if (socket->conn != NULL)
				conn_free(socket->conn);
			socket->conn = NULL;
			return 0;
		default:
			return 0;
	}
}

static const struct lws_protocols protocols[] = {
	{
		.name = "http",
		.callback = http_callback,
	},
	{
		.name = UD_PROTOCOL_NAME,
		.callback = agent_callback,
		.per_session_data_size = sizeof(AgentSocket),
		.rx_buffer_size = RX_BUFFER_BYTES,
	},
	{
		.name = NULL,
	},
};

/* An IPv4 address, or the 64 bits of an IPv6 one that name a network. */
static uint64_t
address_key(const struct sockaddr_storage *address)
{
	uint64_t	key = 0;

	if (address->ss_family == AF_INET)
		key = ((const struct sockaddr_in *) address)->sin_addr.s_addr;
	else if (address->ss_family == AF_INET6)
	{
		const struct in6_addr *in6 = &((const struct sockaddr_in6 *) address)->sin6_addr;

		if (IN6_IS_ADDR_V4MAPPED(in6))
			memcpy(&key, in6->s6_addr + 12, 4);
		else
			memcpy(&key, in6->s6_addr, 8);
	}
	return key != 0 ? key : 1;
}

static void
take_socket(Server *server, int fd, const struct sockaddr_storage *peer)
{
	uint64_t	address = address_key(peer);
	uint64_t	count = map_get(&server->per_address, address);
	int			per_address_max = server->bridge->config->per_address_max;
	int			on = 1;
	struct lws *wsi;
	SocketMark *mark;

	if (server->sockets >= server->sockets_max ||
		(per_address_max > 0 && count >= (uint64_t) per_address_max))
	{
		note_refused(server, server->sockets >= server->sockets_max
					 ? "too many sockets" : "too many sockets of one address");
		close(fd);
		return;
	}
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	/* On failure it has closed fd. */
	wsi = lws_adopt_socket_vhost(server->vhost, fd);
	if (wsi == NULL)
		return;
	mark = ud_malloc(sizeof(*mark));
	mark->address = address;
	lws_set_opaque_user_data(wsi, mark);
	server->sockets++;
	map_put(&server->per_address, address, count + 1);
}

static void
on_accept(void *arg, uint32_t events)
{
	Server	   *server = arg;

	(void) events;
	for (int i = 0; i < ACCEPTS_PER_EVENT && server->listen_fd >= 0; i++)
	{
		struct sockaddr_storage peer = {0};
		socklen_t	len = sizeof(peer);
		int			fd = accept4(server->listen_fd, (struct sockaddr *) &peer, &len,
								 SOCK_NONBLOCK | SOCK_CLOEXEC);

		if (fd >= 0)
			take_socket(server, fd, &peer);
		else if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM)
		{
			/* The next tick looks again; until then do not spin. */
			note_refused(server, strerror(errno));
			loop_unwatch(&server->bridge->loop, &server->listener);
			return;
		}
		else if (errno != EINTR && errno != ECONNABORTED)
			return;
	}
}

/*
 * A timer of libwebsockets, once a second: its libev plugin does not move its
 * one alarm forward, so without this a request's time limit would wait for
 * what was due before it, and that may be hours away.
 */
static void
on_tick(lws_sorted_usec_list_t *tick)
{
	Server	   *server = lws_container_of(tick, Server, tick);
	Bridge	   *bridge = server->bridge;
	int64_t		now = loop_now();
	Conn	   *conn;

	TAILQ_FOREACH(conn, &bridge->conns.all, entry)
		conn_tick(conn, now);
	if (server->listen_fd >= 0 && server->listener.fd < 0)
		loop_watch(&bridge->loop, &server->listener, server->listen_fd, EPOLLIN);
	/* One line for many: strangers shall not fill the log. */
	if (++server->ticks >= REFUSED_LINE_TICKS)
	{
		server->ticks = 0;
		if (server->refused > 0)
			ud_warning("refused %u connections, the last one: %s", server->refused, server->refused_why);
		server->refused = 0;
	}
	lws_sul_schedule(server->context, 0, &server->tick, on_tick, TICK_US);
}

static int
open_listener(Server *server, UdError *err)
{
	const BridgeConfig *config = server->bridge->config;
	struct addrinfo hints = {0};
	struct addrinfo *found;
	int			on = 1;
	int			fd;
	int			code = 0;

	hints.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV | AI_PASSIVE;
	hints.ai_socktype = SOCK_STREAM;
	if (getaddrinfo(config->listen_address, config->listen_port, &hints, &found) != 0)
		return ud_error(err, UD_EINVAL, 0, "UNIDESK_LISTEN is not usable");
	fd = socket(found->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd >= 0)
		setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (fd < 0 || bind(fd, found->ai_addr, found->ai_addrlen) != 0 || listen(fd, LISTEN_BACKLOG) != 0)
		code = ud_error(err, UD_EIO, 0, "could not listen on %s port %s: %s",
						config->listen_address, config->listen_port, strerror(errno));
	freeaddrinfo(found);
	if (code != 0)
	{
		if (fd >= 0)
			close(fd);
		return code;
	}
	server->listen_fd = fd;
	loop_watch(&server->bridge->loop, &server->listener, fd, EPOLLIN);
	return 0;
}

/*
 * Descriptors for all connections; libwebsockets sizes its tables by the soft
 * limit, so it is lowered as well as raised.
 */
static void
set_descriptor_limit(Server *server)
{
	struct rlimit limit;
	rlim_t		wanted = (rlim_t) server->bridge->config->connections_max + 2 * SOCKETS_SPARE;

	server->sockets_max = (size_t) server->bridge->config->connections_max + SOCKETS_SPARE;
	if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
		return;
	if (limit.rlim_max != RLIM_INFINITY && wanted > limit.rlim_max)
	{
		ud_warning("only %llu descriptors allowed (ulimit -n), too few for %d connections",
				   (unsigned long long) limit.rlim_max, server->bridge->config->connections_max);
		wanted = limit.rlim_max;
		server->sockets_max = wanted > 2 * SOCKETS_SPARE ? wanted - SOCKETS_SPARE : SOCKETS_SPARE / 2;
	}
	limit.rlim_cur = wanted;
	if (setrlimit(RLIMIT_NOFILE, &limit) != 0)
		ud_warning("could not set the limit of descriptors: %s", strerror(errno));
}

/* Most of its lines can be caused by strangers: only for debugging. */
static void
log_libwebsockets(int level, const char *line)
{
	(void) level;
	ud_debug("libwebsockets: %.*s", (int) strcspn(line, "\n"), line);
}

int
server_start(Server *server, Bridge *bridge, UdError *err)
{
	void	   *loops[] = {bridge->loop.ev};
	struct lws_context_creation_info info = {0};

	memset(server, 0, sizeof(*server));
	server->bridge = bridge;
	server->listen_fd = -1;
	server->listener.fd = -1;
	server->listener.ready = on_accept;
	server->listener.arg = server;
	server->frame = ud_malloc(LWS_PRE + UD_FRAME_BYTES_MAX);
	set_descriptor_limit(server);
	lws_set_log_level(LLL_ERR | LLL_WARN, log_libwebsockets);
	info.port = CONTEXT_PORT_NO_LISTEN_SERVER;
	info.protocols = protocols;
	info.options = LWS_SERVER_OPTION_EXPLICIT_VHOSTS | LWS_SERVER_OPTION_LIBEV;
	info.foreign_loops = loops;
	info.user = bridge;
	info.timeout_secs = REQUEST_TIMEOUT_S;
	info.keepalive_timeout = KEEPALIVE_TIMEOUT_S;
	info.pt_serv_buf_size = 32 * 1024;
	server->context = lws_create_context(&info);
	if (server->context != NULL)
		server->vhost = lws_create_vhost(server->context, &info);
	if (server->vhost == NULL)
		return ud_error(err, UD_EIO, 0, "could not set up libwebsockets (is its libev plugin, libwebsockets-evlib-ev, installed?)");
	lws_sul_schedule(server->context, 0, &server->tick, on_tick, TICK_US);
	/* The alarm is first set when something has happened. */
	lws_cancel_service(server->context);
	return open_listener(server, err);
}

void
server_stop_listening(Server *server)
{
	if (server->listen_fd < 0)
		return;
	loop_unwatch(&server->bridge->loop, &server->listener);
	close(server->listen_fd);
	server->listen_fd = -1;
}

void
server_release(Server *server)
{
	server_stop_listening(server);
	if (server->context != NULL)
	{
		lws_sul_cancel(&server->tick);
		lws_context_destroy(server->context);
	}
	server->context = NULL;
	map_release(&server->per_address);
	free(server->frame);
	server->frame = NULL;
}
