/*
 * main.c
 *	  unidesk-agent: start, signals, end.
 *
 * Containers outlive this program: it may be stopped, killed and replaced at
 * any moment; what it needs to go on lies in the engine and in /data.
 */
#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/agent.h"
#include "agent/attempt.h"
#include "agent/cache.h"
#include "agent/engine.h"
#include "agent/keeper.h"
#include "agent/lease.h"
#include "agent/link.h"
#include "agent/probe.h"
#include "agent/replace.h"
#include "common/log.h"
#include "common/reasons.h"

#define ENGINE_RETRY_S 5
#define EXIT_WAIT_NS (8 * NS_PER_S)
/* Healthy for at least this long after an acknowledged beat. */
#define ALIVE_AGE_MIN_S 60
#define REPLACE_WAIT_S 60

static Agent main_agent = {
	.lock = PTHREAD_MUTEX_INITIALIZER,
};

/* Signals are taken by a thread, so that nothing runs in a handler. */
static void *
main_signals(void *arg)
{
	const sigset_t *set = arg;
	int			number;

	while (sigwait(set, &number) != 0)
		;
	ud_info("signal %d: closing the connection; tasks go on", number);
	atomic_store(&main_agent.exiting, true);
	agent_lock(&main_agent);
	for (Attempt *attempt = main_agent.attempts; attempt != NULL; attempt = attempt->next)
		atomic_store(&attempt->interrupt, true);
	pthread_cond_broadcast(&main_agent.changed);
	agent_unlock(&main_agent);
	link_wake();
	return NULL;
}

static int
main_start_thread(void *(*start) (void *), void *arg, UdError *err)
{
	pthread_t	thread;
	int			result = pthread_create(&thread, NULL, start, arg);

	if (result != 0)
		return ud_error(err, UD_EIO, 0, "could not start a thread: %s", strerror(result));
	pthread_detach(thread);
	return 0;
}

/* What a person can do about an engine that does not answer. */
static const char *
main_engine_advice(const char *path)
{
	struct stat info;

	if (stat(path, &info) < 0)
		return errno == ENOENT ? "there is no such file: start Docker, mount its socket, or set UNIDESK_DOCKER_SOCKET"
			: "its directory is not accessible: run the agent as root or as a member of the group docker";
	if (!S_ISSOCK(info.st_mode))
		return "that is no socket: set UNIDESK_DOCKER_SOCKET to the engine's";
	if (access(path, R_OK | W_OK) < 0)
		return "no permission: run the agent as root or as a member of the group docker";
	return "look at the engine's own log";
}

/* The engine may come up after us: wait for it, unless told to stop. */
static int
main_open_engine(Agent *agent, UdError *err)
{
	assert(agent->config != NULL);
	while (!atomic_load(&agent->exiting))
	{
		agent->docker = docker_open(agent->config->docker_socket, err);
		if (agent->docker != NULL && docker_info(agent->docker, &agent->info, err) == 0)
		{
			atomic_store(&agent->engine_ok, true);
			return 0;
		}
		if (agent->docker != NULL)
			docker_close(agent->docker);
		agent->docker = NULL;
		ud_warning("the engine at \"%s\" does not answer (%s), trying again: %s", agent->config->docker_socket,
				   main_engine_advice(agent->config->docker_socket), err->message);
		agent_lock(agent);
		if (!atomic_load(&agent->exiting))
			agent_wait_changed(agent, ENGINE_RETRY_S * 1000);
		agent_unlock(agent);
	}
	return UD_ECANCELLED;
}

/* Where the engine keeps our data directory, when that was not said. */
static int
main_find_volume(Agent *agent, UdError *err)
{
	const AgentConfig *config = agent->config;
	int			result = docker_volume_mountpoint(agent->docker, config->volume, &agent->data.host, err);

	if (result == UD_ENOENT)
		return ud_error(err, UD_EINVAL, UD_REASON_NODE_NO_DATA_MOUNT,
						"%s: there is no volume \"%s\": set UNIDESK_VOLUME to the one that this agent has at \"%s\"",
						ud_reason_text(UD_REASON_NODE_NO_DATA_MOUNT), config->volume, config->data);
	return result;
}

/* Nothing may run before that is known; an engine that fails is asked again. */
static int
main_prove_data(Agent *agent, UdError *err)
{
	int			result;

	while ((result = probe_data(agent, err)) < 0 && err->reason != UD_REASON_NODE_NO_DATA_MOUNT &&
		   !atomic_load(&agent->exiting))
	{
		ud_warning("whether the engine sees this agent's data is not known, trying again: %s", err->message);
		agent_pause(agent, ENGINE_RETRY_S * 1000);
	}
	return result;
}

/* Data directory, engine, what an earlier run left. */
static int
main_prepare(Agent *agent, UdError *err)
{
	const AgentConfig *config = agent->config;
	char	   *host;

	assert(config != NULL);
	host = config->data_host != NULL ? ud_strdup(config->data_host) : NULL;
	/* First what can be told at once, because the engine is waited for. */
	if (data_open(&agent->data, config->data, host, config->git_uid, config->init_program, err) < 0)
	{
		UdError		cause = *err;

		return ud_error(err, cause.code, cause.reason, "UNIDESK_DATA \"%.200s\" cannot be used, it has to be a directory that can be written and has space: %.200s",
						config->data, cause.message);
	}
	if (identity_open(&agent->data, &agent->identity, err) < 0)
		return err->code;
	update_open(agent);
	if (main_open_engine(agent, err) < 0)
		return err->code;
	ud_info("engine %s, API %s, id %s", agent->info.version, agent->info.api_version, agent->info.engine_id);
	if (host == NULL && main_find_volume(agent, err) < 0)
		return err->code;
	if (main_prove_data(agent, err) < 0)
		return err->code;
	ud_info("data in \"%s\", which the engine sees as \"%s\"", agent->data.path, agent->data.host);
	agent->git.program = config->git_program;
	agent->git.uid = config->git_uid;
	agent->git.gid = (gid_t) config->git_uid;
	agent->git.mirrors = ud_asprintf("%s/mirrors", config->data);
	agent->git.allowed_hosts = config->allowed_git_hosts;
	agent->git.fetch_bytes_max = config->fetch_bytes_max;
	if (attempt_recover(agent, err) < 0)
		return err->code;
	cache_open(agent);
	return 0;
}

/*
 * Workers end by themselves when told to exit; those in the middle of a
 * create or start are given the time to hear the answer.
 */
static void
main_wait_for_workers(Agent *agent)
{
	int64_t		until = clock_boot_ns() + EXIT_WAIT_NS;

	agent_lock(agent);
	while (agent->worker_count > 0 && clock_boot_ns() < until)
		agent_wait_changed(agent, 200);
	if (agent->worker_count > 0)
		ud_warning("%d workers are still busy: leaving them", agent->worker_count);
	agent_unlock(agent);
}

/* Each attempt takes a few descriptors; the usual soft limit is for one user. */
static void
main_raise_files(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) == 0)
	{
		limit.rlim_cur = limit.rlim_max;
		if (setrlimit(RLIMIT_NOFILE, &limit) < 0)
			ud_warning("could not raise the limit of open files: %s", strerror(errno));
	}
}

static int
main_run(const AgentConfig *config)
{
	static sigset_t set;
	Agent	   *agent = &main_agent;
	pthread_condattr_t attributes;
	UdError		err = {0};

	main_raise_files();
	signal(SIGPIPE, SIG_IGN);
	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	pthread_sigmask(SIG_BLOCK, &set, NULL);
	pthread_condattr_init(&attributes);
	pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
	pthread_cond_init(&agent->changed, &attributes);
	agent->config = config;
	agent->started_boot_ns = clock_boot_ns();
	agent->wake = link_wake;
	if (main_start_thread(main_signals, &set, &err) < 0 ||
		(main_prepare(agent, &err) < 0 && !atomic_load(&agent->exiting)) ||
		(!atomic_load(&agent->exiting) &&
		 (main_start_thread(engine_main, agent, &err) < 0 ||
		  main_start_thread(keeper_main, agent, &err) < 0 ||
		  main_start_thread(update_main, agent, &err) < 0 ||
		  link_run(agent, &err) < 0)))
	{
		ud_err("%s", err.message);
		return AGENT_EXIT_FAILED;
	}
	main_wait_for_workers(agent);
	ud_info("stopped");
	return 0;
}

/* Where the agent's data is, whose container's volumes this one has. */
static const char *
main_data_path(void)
{
	const char *path = getenv("UNIDESK_DATA");

	return path != NULL && path[0] != '\0' ? path : "/data";
}

static int
main_health(void)
{
	int64_t		limit;
	int64_t		age = data_alive_age_s(main_data_path(), &limit);

	if (age >= 0 && age < (limit > ALIVE_AGE_MIN_S ? limit : ALIVE_AGE_MIN_S))
		return 0;
	if (age < 0)
		fprintf(stderr, "the server has not acknowledged a beat yet\n");
	else
		fprintf(stderr, "the server's last acknowledgement of a beat is %lld s old\n", (long long) age);
	return AGENT_EXIT_FAILED;
}

/* Said, and kept for the agent where that has ordered it. */
static int
main_replaced(const char *order, int result, const UdError *why)
{
	UdError		err = {0};

	if (result != 0)
		ud_err("the agent was not replaced: %s", why->message);
	if (order == NULL)
		return result == 0 ? 0 : AGENT_EXIT_FAILED;

	/*
	 * What is kept is done, whatever it is: this container is not to run
	 * again.
	 */
	if (update_finish(main_data_path(), order, result == 0, result == 0 ? "" : why->message, &err) == 0)
		return 0;
	ud_err("what became of the update could not be kept: %s", err.message);
	return AGENT_EXIT_FAILED;
}

/* unidesk-agent --replace CONTAINER IMAGE [SECONDS [ORDER]]; ORDER: see update.h. */
static int
main_replace(int argc, char **argv)
{
	const char *socket_path = getenv("UNIDESK_DOCKER_SOCKET");
	char	   *end = NULL;
	long		wait_s = argc > 4 ? strtol(argv[4], &end, 10) : REPLACE_WAIT_S;
	const char *order = argc > 5 ? argv[5] : NULL;
	int64_t		incarnation;
	int32_t		number;
	sigset_t	all;
	Docker	   *docker;
	UdError		err = {0};
	int			result;

	if (argc < 4 || argc > 6 || (order != NULL && !update_read_order(order, &incarnation, &number)) || argv[2][0] == '\0' || argv[3][0] == '\0' ||
		(end != NULL && (*end != '\0' || wait_s < 1 || wait_s > 3600)))
	{
		fprintf(stderr, "usage: unidesk-agent --replace CONTAINER IMAGE [SECONDS]\nSECONDS (1 to 3600, %d unless given) is the time the new agent has to reach the server.\n", REPLACE_WAIT_S);
		return AGENT_EXIT_CONFIG;
	}
	/* What is begun is finished, or undone; it takes no longer than that. */
	sigfillset(&all);
	sigprocmask(SIG_BLOCK, &all, NULL);
	docker = docker_open(socket_path != NULL && socket_path[0] != '\0' ? socket_path : "/var/run/docker.sock", &err);
	if (docker == NULL)
		return main_replaced(order, UD_EIO, &err);
	result = replace_agent(docker, argv[2], argv[3], (int) wait_s, &err);
	docker_close(docker);
	return main_replaced(order, result, &err);
}

int
main(int argc, char **argv)
{
	static AgentConfig config;
	UdError		err = {0};

	if (argc == 2 && strcmp(argv[1], "--version") == 0)
	{
		printf("unidesk-agent %s\n", AGENT_VERSION);
		return 0;
	}
	if (argc == 2 && strcmp(argv[1], "--health") == 0)
		return main_health();
	ud_log_setup("unidesk-agent", UD_LOG_INFO);
	if (argc > 1 && strcmp(argv[1], "--replace") == 0)
		return main_replace(argc, argv);
	if (argc > 1)
	{
		fprintf(stderr, "usage: unidesk-agent [--version | --health | --replace CONTAINER IMAGE [SECONDS]]\nSettings are environment variables, see docs/settings.md.\n");
		return AGENT_EXIT_CONFIG;
	}
	if (config_load(&config, &err) < 0)
	{
		ud_err("%s", err.message);
		return AGENT_EXIT_CONFIG;
	}
	if (config.debug)
		ud_log_setup("unidesk-agent", UD_LOG_DEBUG);
	/* Nothing below reads it, and children must not inherit it. */
	unsetenv("UNIDESK_TOKEN");
	return main_run(&config);
}
