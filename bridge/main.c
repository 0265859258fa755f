/*
 * main.c
 *	  unidesk-bridge: the stateless relay between agents and the database.
 *
 * Exit codes: 0 after a drain, 1 when it could not start or is not healthy,
 * 2 for wrong usage or configuration.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "bridge.h"
#include "common/log.h"
#include "health.h"

#ifndef UNIDESK_VERSION
#define UNIDESK_VERSION "0.2.0"
#endif

#define EXIT_USAGE 2

static const char usage_text[] =
"usage: unidesk-bridge [--health | --version | --help]\n"
"\n"
"Relays between agents (WebSocket) and PostgreSQL.  Configured by environment:\n"
"  UNIDESK_DATABASE                libpq connection string, without password\n"
"  UNIDESK_DATABASE_PASSWORD_FILE  file with the password\n"
"  UNIDESK_LISTEN                  address:port, default 0.0.0.0:8080\n"
"  UNIDESK_BRIDGE_NAME             default: the host's name\n"
"  UNIDESK_MAX_CONNECTIONS         default 10000\n"
"  UNIDESK_MAX_PER_ADDRESS         default 1000, 0 for no limit\n"
"  UNIDESK_LOG_LEVEL               debug, info (default), warning or error\n";

typedef struct Signals
{
	Bridge	   *bridge;
	LoopSource	source;
} Signals;

static void
on_signal(void *arg, uint32_t events)
{
	Signals    *signals = arg;
	struct signalfd_siginfo info;

	(void) events;
	if (read(signals->source.fd, &info, sizeof(info)) == sizeof(info))
		drain_begin(&signals->bridge->drain);
}

/* Before any thread exists, so that all of them inherit the mask. */
static int
open_signals(UdError *err)
{
	sigset_t	set;
	int			fd;

	signal(SIGPIPE, SIG_IGN);
	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigprocmask(SIG_BLOCK, &set, NULL);
	fd = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
	if (fd < 0)
		return ud_error(err, UD_EIO, 0, "could not set up signals: %s", strerror(errno));
	return fd;
}

static int
run(Bridge *bridge, Signals *signals, UdError *err)
{
	int			fd = open_signals(err);

	if (fd < 0 || loop_init(&bridge->loop, err) != 0)
		return UD_EIO;
	conn_table_init(&bridge->conns);
	control_init(&bridge->control, bridge);
	relay_init(&bridge->relay, bridge);
	listen_init(&bridge->listen, bridge);
	drain_init(&bridge->drain, bridge);
	if (server_start(&bridge->server, bridge, err) != 0)
		return UD_EIO;
	signals->bridge = bridge;
	signals->source.fd = -1;
	signals->source.ready = on_signal;
	signals->source.arg = signals;
	loop_watch(&bridge->loop, &signals->source, fd, EPOLLIN);
	control_start(&bridge->control);
	relay_start(&bridge->relay);
	listen_start(&bridge->listen);
	ud_info("version %s listens on %s port %s", UNIDESK_VERSION,
			bridge->config->listen_address, bridge->config->listen_port);
	while (bridge->drain.phase != DRAIN_DONE)
		loop_step(&bridge->loop);
	return 0;
}

/* The event loop goes first: its last callbacks end the connections. */
static void
release(Bridge *bridge)
{
	server_release(&bridge->server);
	conn_table_release(&bridge->conns);
	relay_release(&bridge->relay);
	listen_release(&bridge->listen);
	control_release(&bridge->control);
	tokens_release(&bridge->tokens);
	loop_release(&bridge->loop);
}

static int
command_run(void)
{
	static Bridge bridge;
	static Signals signals;
	static BridgeConfig config;
	UdError		err;
	int			result;

	if (config_read(&config, &err) != 0)
	{
		ud_err("%s", err.message);
		config_release(&config);
		return EXIT_USAGE;
	}
	ud_log_setup("unidesk-bridge", config.log_level);
	bridge.config = &config;
	result = run(&bridge, &signals, &err);
	if (result != 0)
		ud_err("%s", err.message);
	else
	{
		release(&bridge);
		ud_info("ended");
	}
	config_release(&config);
	return result != 0;
}

static int
command_health(void)
{
	BridgeConfig config = {0};
	UdError		err;
	int			result = config_read_listen(&config, &err);
	int			code = EXIT_USAGE;

	if (result == 0)
	{
		result = health_ask(&config, &err);
		code = result != 0;
	}
	if (result != 0)
		fprintf(stderr, "%s\n", err.message);
	config_release(&config);
	return code;
}

int
main(int argc, char **argv)
{
	ud_log_setup("unidesk-bridge", UD_LOG_INFO);
	if (argc == 1)
		return command_run();
	if (argc == 2 && strcmp(argv[1], "--health") == 0)
		return command_health();
	if (argc == 2 && strcmp(argv[1], "--version") == 0)
	{
		puts("unidesk-bridge " UNIDESK_VERSION);
		return 0;
	}
	if (argc == 2 && strcmp(argv[1], "--help") == 0)
	{
		fputs(usage_text, stdout);
		return 0;
	}
	fputs(usage_text, stderr);
	return EXIT_USAGE;
}
