/*
 * main.c
 *	  unidesk-git: everything that parses what a repository contains.
 *
 *	unidesk-git fetch --mirror DIR --url URL --commit HEX [--allowed-hosts LIST]
 *	unidesk-git context --mirror DIR --commit HEX --dockerfile PATH
 *	unidesk-git tree --mirror DIR --commit HEX --into DIR
 *	unidesk-git sweep --mirror DIR
 *
 * The agent starts it as another user, without the engine's socket, with a
 * clean environment, and kills it at its timeout (agent/git.c).  What it has
 * to say goes to descriptor 3 (status.h); context's tar goes to stdout.
 * Exit status 0 or 1.
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/git/confine.h"
#include "agent/git/context.h"
#include "agent/git/fetch.h"
#include "agent/git/mirror.h"
#include "agent/git/status.h"
#include "agent/git/tree.h"
#include "common/cleanup.h"
#include "common/hostlist.h"
#include "common/log.h"
#include "common/reasons.h"

#define FILES_MAX 1024
/* Heap and private writable mappings; packs are mapped read-only. */
#define DATA_BYTES_MAX (UINT64_C(4) << 30)

typedef struct Options
{
	const char *mirror;
	const char *url;
	const char *commit;
	const char *dockerfile;
	const char *into;
	const char *allowed_hosts;
	WalkLimits	limits;
} Options;

static int
usage(UdError *err)
{
	return ud_error(err, UD_EINVAL, UD_REASON_PREP_FETCH_FAILED,
					"usage: unidesk-git fetch --mirror DIR --url URL --commit HEX [--allowed-hosts LIST]"
					" | context --mirror DIR --commit HEX --dockerfile PATH"
					" | tree --mirror DIR --commit HEX --into DIR | sweep --mirror DIR"
					" [--max-bytes N] [--max-entries N]");
}

static int
parse_number(const char *text, uint64_t *out, UdError *err)
{
	char	   *end;

	errno = 0;
	*out = strtoull(text, &end, 10);
	return *text < '0' || *text > '9' || *end != '\0' || errno != 0 ? usage(err) : 0;
}

static int
parse_options(int argc, char **argv, bool wants_commit, Options *options, UdError *err)
{
	static const struct option known[] = {
		{"mirror", required_argument, NULL, 'm'}, {"url", required_argument, NULL, 'u'},
		{"commit", required_argument, NULL, 'c'}, {"dockerfile", required_argument, NULL, 'd'},
		{"into", required_argument, NULL, 'i'}, {"allowed-hosts", required_argument, NULL, 'h'},
		{"max-bytes", required_argument, NULL, 'b'}, {"max-entries", required_argument, NULL, 'e'},
		{NULL, 0, NULL, 0}
	};
	int			option;
	int			rc = 0;

	opterr = 0;
	options->allowed_hosts = HOSTLIST_ANY;
	options->limits = walk_default_limits;
	while (rc == 0 && (option = getopt_long(argc, argv, "", known, NULL)) != -1)
		switch (option)
		{
			case 'm':
				options->mirror = optarg;
				break;
			case 'u':
				options->url = optarg;
				break;
			case 'c':
				options->commit = optarg;
				break;
			case 'd':
				options->dockerfile = optarg;
				break;
			case 'i':
				options->into = optarg;
				break;
			case 'h':
				options->allowed_hosts = optarg;
				break;
			case 'b':
				rc = parse_number(optarg, &options->limits.bytes_max, err);
				break;
			case 'e':
				rc = parse_number(optarg, &options->limits.entries_max, err);
				break;
			default:
				rc = usage(err);
		}
	if (rc == 0 && (optind != argc || options->mirror == NULL || (options->commit == NULL) == wants_commit))
		rc = usage(err);
	return rc;
}

static void
limit(int resource, rlim_t most)
{
	struct rlimit now;

	if (getrlimit(resource, &now) != 0)
		return;
	if (now.rlim_max != RLIM_INFINITY && now.rlim_max < most)
		most = now.rlim_max;
	now.rlim_cur = most;
	now.rlim_max = most;
	setrlimit(resource, &now);
}

/* When memory runs out, it is this process that goes and not the agent. */
static void
die_first(void)
{
	ud_auto_fd int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
	ssize_t		ignored = fd < 0 ? 0 : write(fd, "1000", 4);

	(void) ignored;
}

/* What a bug in a parser of ours or of libgit2 must not be able to do. */
static void
restrict_process(const Options *options)
{
	signal(SIGPIPE, SIG_IGN);
	signal(SIGXFSZ, SIG_IGN);
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
	die_first();
	prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
	limit(RLIMIT_CORE, 0);
	limit(RLIMIT_NOFILE, FILES_MAX);
	limit(RLIMIT_FSIZE, options->limits.bytes_max);
#ifndef __SANITIZE_ADDRESS__
	limit(RLIMIT_DATA, DATA_BYTES_MAX);
	if (options->commit != NULL && options->url == NULL)
		confine_reading(options->mirror, options->into);
#endif
}

static int
run_fetch(const Options *options, UdError *err)
{
	FetchRequest request = {
		.mirror = options->mirror,
		.url = options->url,
		.commit = options->commit,
		.allowed_hosts = options->allowed_hosts,
		.bytes_max = options->limits.bytes_max,
	};
	FetchResult result;
	int			rc;

	if (options->url == NULL)
		return usage(err);
	umask(077);
	rc = fetch_run(&request, &result, err);
	if (rc == 0)
		status_ok("present=%d fallback=%d bytes=%llu objects=%u", result.was_present, result.used_fallback,
				  (unsigned long long) result.received_bytes, result.received_objects);
	return rc;
}

/* It was there when it was fetched; since then the mirror may have been removed. */
static bool
reader_has(const char *mirror, const git_oid *commit, git_repository **repo, UdError *err)
{
	if (mirror_open(mirror, repo, err) != 0)
		return false;
	if (mirror_has(*repo, commit))
		return true;
	git_repository_free(*repo);
	return false;
}

static int
run_reader(const char *command, const Options *options, UdError *err)
{
	git_repository *repo = NULL;
	git_oid		oid;
	ContextRequest request = {
		.commit = options->commit,
		.dockerfile = options->dockerfile,
		.limits = options->limits,
		.fd = STDOUT_FILENO,
	};
	int			rc;

	if (strcmp(command, "context") == 0 ? options->dockerfile == NULL : options->into == NULL)
		return usage(err);
	umask(022);
	rc = mirror_parse_commit(options->commit, &oid, err);
	if (rc != 0)
		return rc;
	if (!reader_has(options->mirror, &oid, &repo, err))
	{
		/* What the ref promised is not there: the next attempt fetches it. */
		mirror_forget(options->mirror, &oid);
		return ud_error(err, UD_EIO, UD_REASON_PREP_FETCH_FAILED, "commit %s is in the mirror no more", options->commit);
	}
	if (strcmp(command, "context") == 0)
		rc = context_write(repo, &request, err);
	else
		rc = tree_write(repo, options->commit, options->into, &options->limits, err);
	git_repository_free(repo);
	if (rc == UD_EPROTO)
		mirror_forget(options->mirror, &oid);
	if (rc == 0)
		status_ok("%s", "");
	return rc;
}

int
main(int argc, char **argv)
{
	const char *command = argc > 1 ? argv[1] : "";
	Options		options = {0};
	UdError		err = {0};
	int			rc;

	ud_log_setup("unidesk-git", UD_LOG_INFO);
	status_setup();
	if (strcmp(command, "fetch") != 0 && strcmp(command, "context") != 0 && strcmp(command, "tree") != 0
		&& strcmp(command, "sweep") != 0)
		rc = usage(&err);
	else
		rc = parse_options(argc - 1, argv + 1, strcmp(command, "sweep") != 0, &options, &err);
	if (rc == 0)
	{
		restrict_process(&options);
		rc = mirror_setup(strcmp(command, "fetch") == 0, &err);
	}
	if (rc == 0 && strcmp(command, "fetch") == 0)
		rc = run_fetch(&options, &err);
	else if (rc == 0 && strcmp(command, "sweep") == 0)
	{
		mirror_sweep(options.mirror);
		status_ok("%s", "");
	}
	else if (rc == 0)
		rc = run_reader(command, &options, &err);
	if (rc != 0)
		status_error(&err);
	git_libgit2_shutdown();
	return rc == 0 ? 0 : 1;
}
