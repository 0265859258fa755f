/*
 * options.c
 *	  What the simulated agents are to do, from the command line.
 */
#include "options.h"

#include <errno.h>
#include <getopt.h>
#include <libwebsockets.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/buf.h"
#include "common/cleanup.h"

#define AGENTS_MAX 100000
#define TOKEN_BYTES_MAX 256
#define URL_BYTES_MAX 1024

static const char options_help[] =
"usage: unidesk-bench-agents --url ws://HOST:PORT/agent --tokens FILE [OPTION...]\n"
"Simulated agents: real connections and protocol, tasks that do nothing.\n"
"  --url URL          of the bridge\n"
"  --tokens FILE      nodes' tokens, one a line\n"
"  --first N          leave out the first N of them (0)\n"
"  --agents N         how many agents (1)\n"
"  --cpus N           CPUs that each says it has (24)\n"
"  --steps N          reports of a task: 1 its end, 2 and that it runs, 3 and that it was accepted (2)\n"
"  --task-ms N        how long a task runs (0)\n"
"  --exec             run the task's command on this machine instead\n"
"  --log-bytes N      log of each task (0)\n"
"  --log-rate N       bytes of it a second; 0 all at once (0)\n"
"  --connecting N     handshakes under way at once (64)\n"
"  --backoff-ms N     wait at most so long before connecting again (as the agent waits)\n"
"  --seconds N        end then at the latest (60)\n"
"  --until-ended N    end when the ends of N tasks were acknowledged\n"
"  --until-online N   end when all agents were online for the Nth time\n"
"  --ready FILE       gets a line each time all agents are online\n"
"  --times FILE       gets a line a task: id, attempt, and in microseconds since 1970 when it was\n"
"                     assigned, its end sent, the end acknowledged\n"
"  --report FILE      gets the report, JSON (standard output)\n";

enum
{
	OPTION_URL = 1,
	OPTION_TOKENS,
	OPTION_FIRST,
	OPTION_AGENTS,
	OPTION_CPUS,
	OPTION_STEPS,
	OPTION_TASK_MS,
	OPTION_EXEC,
	OPTION_LOG_BYTES,
	OPTION_LOG_RATE,
	OPTION_CONNECTING,
	OPTION_BACKOFF_MS,
	OPTION_SECONDS,
	OPTION_UNTIL_ENDED,
	OPTION_UNTIL_ONLINE,
	OPTION_READY,
	OPTION_TIMES,
	OPTION_REPORT,
	OPTION_HELP
};

static const struct option options_known[] = {
	{"url", required_argument, NULL, OPTION_URL},
	{"tokens", required_argument, NULL, OPTION_TOKENS},
	{"first", required_argument, NULL, OPTION_FIRST},
	{"agents", required_argument, NULL, OPTION_AGENTS},
	{"cpus", required_argument, NULL, OPTION_CPUS},
	{"steps", required_argument, NULL, OPTION_STEPS},
	{"task-ms", required_argument, NULL, OPTION_TASK_MS},
	{"exec", no_argument, NULL, OPTION_EXEC},
	{"log-bytes", required_argument, NULL, OPTION_LOG_BYTES},
	{"log-rate", required_argument, NULL, OPTION_LOG_RATE},
	{"connecting", required_argument, NULL, OPTION_CONNECTING},
	{"backoff-ms", required_argument, NULL, OPTION_BACKOFF_MS},
	{"seconds", required_argument, NULL, OPTION_SECONDS},
	{"until-ended", required_argument, NULL, OPTION_UNTIL_ENDED},
	{"until-online", required_argument, NULL, OPTION_UNTIL_ONLINE},
	{"ready", required_argument, NULL, OPTION_READY},
	{"times", required_argument, NULL, OPTION_TIMES},
	{"report", required_argument, NULL, OPTION_REPORT},
	{"help", no_argument, NULL, OPTION_HELP},
	{NULL, 0, NULL, 0},
};

/* What is not kept as it was said. */
typedef struct Said
{
	const char *url;
	const char *tokens;
	int64_t		first;
	int64_t		agents;
	int64_t		cpus;
	int64_t		steps;
	int64_t		connecting;
} Said;

static int
options_number(const char *name, const char *text, int64_t min, int64_t max, int64_t *value, UdError *err)
{
	char	   *end;
	long long	number;

	errno = 0;
	number = strtoll(text, &end, 10);
	if (errno != 0 || end == text || *end != '\0' || number < min || number > max)
		return ud_error(err, UD_EINVAL, 0, "--%s must be a whole number from %lld to %lld, not \"%s\"",
						name, (long long) min, (long long) max, text);
	*value = number;
	return 0;
}

static int
options_take(int option, const char *name, SimOptions *options, Said *said, UdError *err)
{
	switch (option)
	{
		case OPTION_URL:
			said->url = optarg;
			return 0;
		case OPTION_TOKENS:
			said->tokens = optarg;
			return 0;
		case OPTION_FIRST:
			return options_number(name, optarg, 0, INT32_MAX, &said->first, err);
		case OPTION_AGENTS:
			return options_number(name, optarg, 1, AGENTS_MAX, &said->agents, err);
		case OPTION_CPUS:
			return options_number(name, optarg, 1, 100000, &said->cpus, err);
		case OPTION_STEPS:
			return options_number(name, optarg, 1, 3, &said->steps, err);
		case OPTION_TASK_MS:
			return options_number(name, optarg, 0, 86400000, &options->task_ms, err);
		case OPTION_EXEC:
			options->exec = true;
			return 0;
		case OPTION_LOG_BYTES:
			return options_number(name, optarg, 0, INT64_C(1) << 40, &options->log_bytes, err);
		case OPTION_LOG_RATE:
			return options_number(name, optarg, 0, INT64_C(1) << 30, &options->log_rate, err);
		case OPTION_CONNECTING:
			return options_number(name, optarg, 1, AGENTS_MAX, &said->connecting, err);
		case OPTION_BACKOFF_MS:
			return options_number(name, optarg, 0, 86400000, &options->backoff_ms, err);
		case OPTION_SECONDS:
			return options_number(name, optarg, 1, 86400, &options->seconds, err);
		case OPTION_UNTIL_ENDED:
			return options_number(name, optarg, 1, INT64_MAX, &options->until_ended, err);
		case OPTION_UNTIL_ONLINE:
			return options_number(name, optarg, 1, INT64_MAX, &options->until_online, err);
		case OPTION_READY:
			options->ready = optarg;
			return 0;
		case OPTION_TIMES:
			options->times = optarg;
			return 0;
		case OPTION_REPORT:
			options->report = optarg;
			return 0;
	}
	return ud_error(err, UD_EINVAL, 0, "unknown option, or one without its value: see --help");
}

static int
options_split_url(const char *url, SimOptions *options, UdError *err)
{
	char		copy[URL_BYTES_MAX];
	const char *protocol;
	const char *host;
	const char *path;
	int			port = 0;

	if (strlen(url) >= sizeof(copy) || strncmp(url, "ws://", 5) != 0)
		return ud_error(err, UD_EINVAL, 0, "--url must be ws://HOST:PORT/agent, not \"%.100s\"", url);
	strcpy(copy, url);
	if (lws_parse_uri(copy, &protocol, &host, &port, &path) != 0 || host[0] == '\0' || port <= 0)
		return ud_error(err, UD_EINVAL, 0, "--url must be ws://HOST:PORT/agent, not \"%.100s\"", url);
	options->host = ud_strdup(host);
	options->port = port;
	options->path = ud_asprintf("/%s", path);
	return 0;
}

/* A token is never shown, also not a line that is none. */
static int
options_read_tokens(const Said *said, SimOptions *options, UdError *err)
{
	FILE	   *file = fopen(said->tokens, "re");
	char		line[TOKEN_BYTES_MAX + 2];
	int64_t		seen = 0;
	int			count = 0;

	if (file == NULL)
		return ud_error(err, UD_EIO, 0, "could not open --tokens \"%s\": %s", said->tokens, strerror(errno));
	options->tokens = ud_calloc((size_t) options->agents, sizeof(char *));
	while (count < options->agents && fgets(line, sizeof(line), file) != NULL)
	{
		size_t		len = strcspn(line, "\r\n");

		if (len == 0 || len > TOKEN_BYTES_MAX)
			break;
		line[len] = '\0';
		if (seen++ >= said->first)
			options->tokens[count++] = ud_strdup(line);
	}
	fclose(file);
	if (count < options->agents)
		return ud_error(err, UD_EINVAL, 0, "--tokens \"%s\" has %d usable lines behind the first %lld, %d agents need as many",
						said->tokens, count, (long long) said->first, options->agents);
	return 0;
}

int
options_read(int argc, char **argv, SimOptions *options, UdError *err)
{
	Said		said = {
		.agents = 1,
		.cpus = 24,
		.steps = 2,
		.connecting = 64,
	};
	int			option;
	int			index = 0;

	memset(options, 0, sizeof(*options));
	options->seconds = 60;
	options->backoff_ms = -1;
	opterr = 0;
	while ((option = getopt_long(argc, argv, "", options_known, &index)) != -1)
	{
		if (option == OPTION_HELP)
		{
			fputs(options_help, stdout);
			return 1;
		}
		if (options_take(option, options_known[index].name, options, &said, err) < 0)
			return err->code;
	}
	if (optind < argc || said.url == NULL || said.tokens == NULL)
		return ud_error(err, UD_EINVAL, 0, "--url and --tokens are needed, and nothing but options: see --help");
	options->agents = (int) said.agents;
	options->cpus = (int) said.cpus;
	options->steps = (int) said.steps;
	options->connecting = (int) said.connecting;
	if (options_split_url(said.url, options, err) < 0)
		return err->code;
	return options_read_tokens(&said, options, err);
}
