/*
 * main.c
 *	  unidesk-init: PID 1 of every task container.
 *
 *	  unidesk-init [--run-dir DIR] [--log-budget BYTES] [--grace SECONDS]
 *				   -- PROGRAM [ARGUMENT...]
 *
 * Runs PROGRAM, records its output and its end in the run directory (see
 * common/run_files.h) and keeps the lease the agent writes there.  It works as
 * any user, without capabilities, on a read-only root.
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "common/log.h"
#include "init/log_file.h"
#include "init/supervise.h"

static const struct option long_options[] = {
	{"run-dir", required_argument, NULL, 'd'},
	{"log-budget", required_argument, NULL, 'b'},
	{"grace", required_argument, NULL, 'g'},
	{NULL, 0, NULL, 0}
};

/* A decimal number from min to max, or the end with a message. */
static uint64_t
parse_number(const char *name, const char *text, uint64_t min, uint64_t max)
{
	char	   *end;
	unsigned long long number;

	errno = 0;
	number = strtoull(text, &end, 10);
	if (text[0] < '0' || text[0] > '9' || *end != '\0' || errno != 0 || number < min || number > max)
	{
		ud_err("%s must be a number from %llu to %llu", name,
			   (unsigned long long) min, (unsigned long long) max);
		exit(INIT_EXIT_REFUSED);
	}
	return number;
}

static void
usage(void)
{
	ud_err("usage: unidesk-init [--run-dir DIR] [--log-budget BYTES] [--grace SECONDS] -- PROGRAM [ARGUMENT...]");
	exit(INIT_EXIT_REFUSED);
}

static void
parse_options(int argc, char **argv, InitOptions *options)
{
	int			option;

	options->run_dir = UD_RUN_MOUNT;
	options->log_budget = LOG_BUDGET_DEFAULT;
	options->grace_s = 0;
	/* One line, our own. */
	opterr = 0;
	/* "+": what follows the program is the program's. */
	while ((option = getopt_long(argc, argv, "+", long_options, NULL)) != -1)
	{
		if (option == 'd')
			options->run_dir = optarg;
		else if (option == 'b')
			options->log_budget = parse_number("--log-budget", optarg, LOG_BUDGET_MIN, UINT64_C(1) << 40);
		else if (option == 'g')
			options->grace_s = (uint32_t) parse_number("--grace", optarg, 0, 30 * 86400);
		else
			usage();
	}
	if (optind >= argc)
		usage();
	options->argv = argv + optind;
}

int
main(int argc, char **argv)
{
	InitOptions options;
	UdError		err;
	sigset_t	all;
	int			code;

	/*
	 * Before anything else: a signal that comes now waits for the program.
	 * Blocked signals also reach PID 1, which has no default actions.
	 */
	sigfillset(&all);
	sigprocmask(SIG_SETMASK, &all, NULL);
	ud_log_setup("unidesk-init", UD_LOG_INFO);
	parse_options(argc, argv, &options);
	/* The task may be of the same user: it must not get at what we hold open. */
	prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
	if (getpid() == 1)
	{
		/* Nobody may be reading our own messages: never wait for them. */
		fcntl(STDERR_FILENO, F_SETFL, O_WRONLY | O_NONBLOCK);
	}
	else
		prctl(PR_SET_CHILD_SUBREAPER, 1);
	memset(&err, 0, sizeof(err));
	code = init_run(&options, &err);
	if (code == INIT_EXIT_REFUSED && err.code != 0)
		ud_err("%s", err.message);
	return code;
}
