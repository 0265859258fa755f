/*
 * ws_echo.c
 *	  What WebSockets cost at least on this machine: a server of bare
 *	  libwebsockets that echoes, and a client that opens connections and leaves
 *	  them idle, or keeps a number of messages in flight on each.
 *
 *	ws_echo server PORT
 *	ws_echo client PORT CONNECTIONS SECONDS [IN_FLIGHT BYTES]
 *
 * The client prints "opened FAILED SECONDS" when all are open, waits for a line on
 * standard input, then runs for SECONDS and prints "echoes COUNT SECONDS".
 */
#include <libwebsockets.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define MESSAGE_MAX 4096
#define HANDSHAKES_AT_ONCE 50
#define OPEN_LIMIT_S 60

typedef struct Connection
{
	size_t		length;
	int			to_send;
} Connection;

typedef struct Client
{
	int			wanted;
	int			begun;
	int			opened;
	int			failed;
	int			in_flight;
	size_t		bytes;
	bool		sending;
	unsigned long echoes;
} Client;

static volatile sig_atomic_t stopped;
static Client client;
static unsigned char message[LWS_PRE + MESSAGE_MAX];

static void
on_signal(int number)
{
	(void) number;
	stopped = 1;
}

static double
now(void)
{
	struct timespec at;

	clock_gettime(CLOCK_MONOTONIC, &at);
	return (double) at.tv_sec + (double) at.tv_nsec / 1e9;
}

/* Send one of the messages that are due; ask again while there are more. */
static int
send_due(struct lws *wsi, Connection *connection, size_t length)
{
	if (connection->to_send == 0)
		return 0;
	connection->to_send--;
	if (lws_write(wsi, message + LWS_PRE, length, LWS_WRITE_BINARY) < (int) length)
		return -1;
	if (connection->to_send > 0)
		lws_callback_on_writable(wsi);
	return 0;
}

static int
serve(struct lws *wsi, enum lws_callback_reasons reason, void *user, void *in, size_t length)
{
	Connection *connection = user;

	(void) in;
	switch (reason)
	{
		case LWS_CALLBACK_RECEIVE:
			connection->length = length < MESSAGE_MAX ? length : MESSAGE_MAX;
			connection->to_send++;
			lws_callback_on_writable(wsi);
			return 0;
		case LWS_CALLBACK_SERVER_WRITEABLE:
			return send_due(wsi, connection, connection->length);
		default:
			return 0;
	}
}

static int
ask(struct lws *wsi, enum lws_callback_reasons reason, void *user, void *in, size_t length)
{
	Connection *connection = user;

	(void) in;
	(void) length;
	switch (reason)
	{
		case LWS_CALLBACK_CLIENT_ESTABLISHED:
			client.opened++;
			connection->to_send = client.in_flight;
			return 0;
		case LWS_CALLBACK_CLIENT_CONNECTION_ERROR:
		case LWS_CALLBACK_CLIENT_CLOSED:
			client.failed++;
			return 0;
		case LWS_CALLBACK_CLIENT_RECEIVE:
			client.echoes++;
			connection->to_send++;
			lws_callback_on_writable(wsi);
			return 0;
		case LWS_CALLBACK_CLIENT_WRITEABLE:
			return client.sending ? send_due(wsi, connection, client.bytes) : 0;
		default:
			return 0;
	}
}

static struct lws_protocols serving[] = {{"bench", serve, sizeof(Connection), MESSAGE_MAX, 0, NULL, 0}, {0}};
static struct lws_protocols asking[] = {{"bench", ask, sizeof(Connection), MESSAGE_MAX, 0, NULL, 0}, {0}};

static int
run_server(int port)
{
	struct lws_context_creation_info info = {0};
	struct lws_context *context;

	info.port = port;
	info.iface = "127.0.0.1";
	info.protocols = serving;
	context = lws_create_context(&info);
	if (context == NULL)
		return 1;
	printf("ready\n");
	fflush(stdout);
	while (!stopped && lws_service(context, 0) >= 0)
		;
	lws_context_destroy(context);
	return 0;
}

static void
begin_connection(struct lws_context *context, int port)
{
	struct lws_client_connect_info info = {0};

	info.context = context;
	info.address = "127.0.0.1";
	info.host = "localhost";
	info.origin = "localhost";
	info.path = "/";
	info.port = port;
	info.protocol = "bench";
	info.local_protocol_name = "bench";
	client.begun++;
	/* A connection that fails at once is told by the callback. */
	lws_client_connect_via_info(&info);
}

static void
open_connections(struct lws_context *context, int port)
{
	double		began = now();

	while (!stopped && client.opened + client.failed < client.wanted && now() - began < OPEN_LIMIT_S)
	{
		while (client.begun < client.wanted && client.begun - client.opened - client.failed < HANDSHAKES_AT_ONCE)
			begin_connection(context, port);
		lws_service(context, 0);
	}
	printf("%d %d %.4f\n", client.opened, client.wanted - client.opened, now() - began);
	fflush(stdout);
}

static int
run_client(int port, int seconds)
{
	struct lws_context_creation_info info = {0};
	struct lws_context *context;
	double		began;
	char		line[8];

	info.port = CONTEXT_PORT_NO_LISTEN;
	info.protocols = asking;
	context = lws_create_context(&info);
	if (context == NULL)
		return 1;
	open_connections(context, port);
	if (fgets(line, sizeof line, stdin) == NULL)
		stopped = 1;
	client.sending = client.in_flight > 0;
	if (client.sending)
		lws_callback_on_writable_all_protocol(context, &asking[0]);
	began = now();
	while (client.sending && !stopped && now() - began < seconds)
		lws_service(context, 0);
	printf("%lu %.4f\n", client.echoes, now() - began);
	lws_context_destroy(context);
	return 0;
}

int
main(int argc, char **argv)
{
	signal(SIGINT, on_signal);
	signal(SIGTERM, on_signal);
	lws_set_log_level(LLL_ERR, NULL);
	if (argc == 3 && strcmp(argv[1], "server") == 0)
		return run_server(atoi(argv[2]));
	if ((argc == 5 || argc == 7) && strcmp(argv[1], "client") == 0)
	{
		client.wanted = atoi(argv[3]);
		client.in_flight = argc == 7 ? atoi(argv[5]) : 0;
		client.bytes = argc == 7 ? (size_t) atoi(argv[6]) : 0;
		if (client.wanted > 0 && client.bytes <= MESSAGE_MAX)
			return run_client(atoi(argv[2]), atoi(argv[4]));
	}
	fprintf(stderr, "usage: ws_echo server PORT | client PORT CONNECTIONS SECONDS [IN_FLIGHT BYTES]\n");
	return 2;
}
