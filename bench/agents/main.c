/*
 * main.c
 *	  unidesk-bench-agents: start, signals, report.
 */
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/resource.h>

#include "common/log.h"
#include "sim.h"

static Sim	main_sim;

/* Signals are taken by a thread, so that nothing runs in a handler. */
static void *
main_signals(void *arg)
{
	const sigset_t *set = arg;
	int			number;

	for (;;)
	{
		if (sigwait(set, &number) != 0)
			continue;
		if (number != SIGCHLD)
			atomic_store(&main_sim.stopped, true);
		connection_wake();
	}
	return NULL;
}

static int
main_prepare(Sim *sim, UdError *err)
{
	static sigset_t set;
	struct rlimit limit;
	pthread_t	thread;
	uint64_t	number;

	if (getrlimit(RLIMIT_NOFILE, &limit) == 0)
	{
		limit.rlim_cur = limit.rlim_max;
		setrlimit(RLIMIT_NOFILE, &limit);
		if (limit.rlim_cur < (rlim_t) sim->options->agents + 128)
			return ud_error(err, UD_EINVAL, 0, "%d agents need more open files than the %llu allowed here: ulimit -n",
							sim->options->agents, (unsigned long long) limit.rlim_cur);
	}
	if (getrandom(&number, sizeof(number), 0) != sizeof(number))
		return ud_error(err, UD_EIO, 0, "could not get a random number");
	srandom((unsigned) number);
	snprintf(sim->machine, sizeof(sim->machine), "%016llx", (unsigned long long) number);
	signal(SIGPIPE, SIG_IGN);
	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGCHLD);
	pthread_sigmask(SIG_BLOCK, &set, NULL);
	if (pthread_create(&thread, NULL, main_signals, &set) != 0)
		return ud_error(err, UD_EIO, 0, "could not start a thread");
	pthread_detach(thread);
	return 0;
}

static int
main_run(Sim *sim, UdError *err)
{
	const SimOptions *options = sim->options;
	int			result;

	sim->nodes = ud_calloc((size_t) options->agents, sizeof(*sim->nodes));
	sim->heap = ud_calloc((size_t) options->agents, sizeof(SimNode *));
	stats_init(&sim->stats);
	for (int i = 0; i < options->agents; i++)
		node_init(&sim->nodes[i], sim, i);
	result = connection_run(sim, err);
	for (int i = 0; i < options->agents; i++)
		node_release(&sim->nodes[i]);
	free(sim->nodes);
	free(sim->heap);
	ud_buf_release(&sim->outgoing);
	if (result == 0)
		result = stats_write_report(&sim->stats, options, err);
	if (result == 0 && options->times != NULL)
		result = stats_write_times(&sim->stats, options->times, err);
	stats_release(&sim->stats);
	return result;
}

int
main(int argc, char **argv)
{
	static SimOptions options;
	UdError		err = {0};
	int			result;

	ud_log_setup("unidesk-bench-agents", UD_LOG_INFO);
	result = options_read(argc, argv, &options, &err);
	if (result > 0)
		return 0;
	main_sim.options = &options;
	if (result < 0 || main_prepare(&main_sim, &err) < 0 || main_run(&main_sim, &err) < 0)
	{
		ud_err("%s", err.message);
		return 1;
	}
	return main_sim.failed ? 1 : 0;
}
