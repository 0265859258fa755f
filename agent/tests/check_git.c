/*
 * check_git.c
 *	  The agent's side of git against git's own server on loopback.
 *
 * As root everything of unidesk-git runs as another user, as it does on a
 * node.  The program under test is $UNIDESK_GIT or ../git/unidesk-git.
 */
#include "agent/git.h"

#include <check.h>
#include <dirent.h>
#include <errno.h>
#include <pthread.h>
#include <stdarg.h>
#include <sys/stat.h>
#include <time.h>

#include "agent/tests/git_server.h"
#include "common/buf.h"
#include "common/reasons.h"

#define OTHER_UID 65534

static char base[64];
static GitSetup setup;
static GitServer server;
static char mirrors[128];
static char program[128];
static char allowed[256];		/* hosts that may be dialled */
static char commits[4][41];		/* oldest first; the last is on no branch */

/* Print on failure what was said. */
#define ck_reason(rc, err, wanted) \
	do { \
		ck_assert_int_ne(rc, 0); \
		ck_assert_msg((err).reason == (wanted), "reason %s, message %s", ud_reason_text((err).reason), (err).message); \
	} while (0)
#define ck_ok(rc, err) ck_assert_msg((rc) == 0, "%s: %s", ud_reason_text((err).reason), (err).message)

static void
__attribute__((format(printf, 1, 2)))
shell(const char *fmt,...)
{
	char	   *command = NULL;
	va_list		args;

	va_start(args, fmt);
	ck_assert_int_ge(vasprintf(&command, fmt, args), 0);
	va_end(args);
	ck_assert_msg(system(command) == 0, "failed: %s", command);
	free(command);
}

static void
read_text(const char *path, char *out, size_t size)
{
	FILE	   *file = fopen(path, "r");
	size_t		len;

	ck_assert_msg(file != NULL, "no %s", path);
	len = fread(out, 1, size - 1, file);
	out[len] = '\0';
	fclose(file);
}

/*
 * full.git gives out any reachable commit, plain.git none.  History: one
 * with a big file, two with a Dockerfile and all kinds of files, three.
 */
static void
make_repositories(void)
{
	char		path[128];
	char		text[512];

	shell("set -e; cd %s; export HOME=$PWD GIT_CONFIG_NOSYSTEM=1;"
		  "git config --global user.name t; git config --global user.email t@t; git config --global init.defaultBranch main;"
		  "git init -q work; cd work;"
		  "head -c 400000 /dev/urandom > big.bin; git add .; git commit -qm one;"
		  "mkdir -p src/deep; echo 'print(1)' > src/main.py; printf '#!/bin/sh\\n' > run.sh; chmod +x run.sh;"
		  "ln -s ../run.sh src/link; echo x > src/deep/'a name with blanks'; : > empty;"
		  "n=$(printf 'n%%.0s' $(seq 1 120)); mkdir $n; echo long > $n/$n;"
		  "printf 'FROM debian:trixie\\nCOPY . /x\\n' > Dockerfile; printf 'FROM unidesk-cache/x\\n' > Bad.Dockerfile;"
		  "git add .; git commit -qm two;"
		  "printf '*.bin\\nsrc/deep\\nDockerfile\\n' > .dockerignore; git add .; git commit -qm three;"
		  "git checkout -q -b side; echo y > y; git add .; git commit -qm four;"
		  "git log --reverse --format=%%H > ../commits; git checkout -q main; cd ..;"
		  "git clone -q --bare --single-branch --branch main work full.git; git clone -q --bare --single-branch --branch main work plain.git;"
		  "git -C full.git config uploadpack.allowReachableSHA1InWant true;"
		  "chmod -R go+rX .", base);
	snprintf(path, sizeof(path), "%s/commits", base);
	read_text(path, text, sizeof(text));
	ck_assert_int_eq(sscanf(text, "%40s %40s %40s %40s", commits[0], commits[1], commits[2], commits[3]), 4);
}

static void
set_up_all(void)
{
	const char *found = getenv("UNIDESK_GIT");

	strcpy(base, "/tmp/unidesk-check-git-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(base));
	chmod(base, 0755);
	make_repositories();
	snprintf(program, sizeof(program), "%s/unidesk-git", base);
	shell("cp %s %s && chmod 755 %s", found != NULL ? found : "../git/unidesk-git", program, program);
	server_start(&server, base);
}

static void
tear_down_all(void)
{
	server_stop(&server);
	shell("rm -rf %s", base);
}

/* Fresh mirrors for each test. */
static void
set_up(void)
{
	static int	number;

	snprintf(mirrors, sizeof(mirrors), "%s/mirrors%d", base, number++);
	snprintf(allowed, sizeof(allowed), "127.0.0.1:%d", server.port);
	ck_assert_int_eq(mkdir(mirrors, 0700), 0);
	setup = (GitSetup)
	{
		.program = program,
			.mirrors = mirrors,
			.allowed_hosts = allowed,
			.fetch_bytes_max = INT64_C(1000000000),
	};
	if (geteuid() == 0)
	{
		setup.uid = OTHER_UID;
		setup.gid = OTHER_UID;
		ck_assert_int_eq(chown(mirrors, OTHER_UID, OTHER_UID), 0);
	}
}

static int
descriptors_open(void)
{
	DIR		   *dir = opendir("/proc/self/fd");
	int			count = 0;

	while (readdir(dir) != NULL)
		count++;
	closedir(dir);
	return count;
}

static void
make_url(char url[256], const char *path)
{
	snprintf(url, 256, "http://127.0.0.1:%d%s", server.port, path);
}

static int
fetch_url(const char *url, const char *commit, int timeout_s, char mirror[4096], GitFetchResult *result, UdError *err)
{
	memset(err, 0, sizeof(*err));
	return git_fetch(&setup, "public", url, commit, timeout_s, NULL, NULL, NULL, mirror, result, err);
}

static int
fetch_path(const char *path, const char *commit, char mirror[4096], GitFetchResult *result, UdError *err)
{
	char		url[256];

	make_url(url, path);
	return fetch_url(url, commit, 20, mirror, result, err);
}

START_TEST(exact_present_incremental)
{
	char		mirror[4096];
	GitFetchResult result;
	UdError		err;
	uint64_t	first;
	int			requests;
	int			descriptors = descriptors_open();

	ck_ok(fetch_path("/full.git", commits[0], mirror, &result, &err), err);
	ck_assert(!result.was_present && !result.used_fallback);
	ck_assert_uint_eq(result.received_objects, 3);
	first = result.received_bytes;
	ck_assert_uint_gt(first, 400000);

	ck_ok(fetch_path("/full.git", commits[2], mirror, &result, &err), err);
	ck_assert(!result.was_present && !result.used_fallback);
	ck_assert_uint_gt(result.received_bytes, 0);
	ck_assert_uint_lt(result.received_bytes, 5000);

	/* Nothing is dialled for what is here, be it only as an ancestor. */
	requests = server_requests(&server);
	for (int i = 0; i < 3; i++)
	{
		ck_ok(fetch_path("/full.git", commits[i], mirror, &result, &err), err);
		ck_assert(result.was_present);
		ck_assert_uint_eq(result.received_bytes, 0);
	}
	ck_assert_int_eq(server_requests(&server), requests);
	ck_assert_int_eq(descriptors_open(), descriptors);
	shell("GIT_DIR=%s HOME=%s git -c safe.directory='*' fsck --full --strict 2>&1 | (! grep -v -e dangling -e notice)", mirror, base);
}

END_TEST

/* What is here is used without unidesk-git, as long as nothing has changed. */
START_TEST(present_needs_no_child)
{
	char		mirror[4096];
	GitFetchResult result;
	UdError		err;
	GitSetup	was = setup;

	ck_ok(fetch_path("/full.git", commits[0], mirror, &result, &err), err);
	setup.program = "/nonexistent/unidesk-git";
	ck_ok(fetch_path("/full.git", commits[0], mirror, &result, &err), err);
	ck_assert(result.was_present);
	/* Another commit, another mirror, other hosts: all of these ask. */
	ck_assert_int_ne(fetch_path("/full.git", commits[1], mirror, &result, &err), 0);
	ck_assert_int_ne(fetch_path("/plain.git", commits[0], mirror, &result, &err), 0);
	setup.allowed_hosts = "elsewhere.example:443";
	ck_assert_int_ne(fetch_path("/full.git", commits[0], mirror, &result, &err), 0);
	setup = was;
	ck_ok(fetch_path("/full.git", commits[0], mirror, &result, &err), err);
	/* A commit whose ref is gone, or no file, is fetched again. */
	shell("rm %s/refs/unidesk/%s", mirror, commits[0]);
	setup.program = "/nonexistent/unidesk-git";
	ck_assert_int_ne(fetch_path("/full.git", commits[0], mirror, &result, &err), 0);
	shell("ln -s ../../HEAD %s/refs/unidesk/%s", mirror, commits[0]);
	ck_assert_int_ne(fetch_path("/full.git", commits[0], mirror, &result, &err), 0);
}

END_TEST

START_TEST(trust_domains_are_apart)
{
	char		mirror[4096];
	char		other[4096];
	char		url[256];
	GitFetchResult result;
	UdError		err = {0};

	make_url(url, "/full.git");
	ck_ok(git_fetch(&setup, "public", url, commits[0], 20, NULL, NULL, NULL, mirror, &result, &err), err);
	ck_ok(git_fetch(&setup, "project", url, commits[0], 20, NULL, NULL, NULL, other, &result, &err), err);
	ck_assert(!result.was_present);
	ck_assert_str_ne(mirror, other);
}

END_TEST

START_TEST(fallback)
{
	char		mirror[4096];
	GitFetchResult result;
	UdError		err;

	ck_ok(fetch_path("/plain.git", commits[1], mirror, &result, &err), err);
	ck_assert(result.used_fallback && !result.was_present);
	ck_ok(fetch_path("/plain.git", commits[2], mirror, &result, &err), err);
	ck_assert(result.was_present);
	ck_reason(fetch_path("/plain.git", commits[3], mirror, &result, &err), err, UD_REASON_PREP_COMMIT_NOT_FOUND);
}

END_TEST

START_TEST(unknown_commit)
{
	const char *none = "1234567890123456789012345678901234567890";
	char		mirror[4096];
	GitFetchResult result;
	UdError		err;

	ck_reason(fetch_path("/full.git", none, mirror, &result, &err), err, UD_REASON_PREP_COMMIT_NOT_FOUND);
	ck_reason(fetch_path("/full.git", commits[3], mirror, &result, &err), err, UD_REASON_PREP_COMMIT_NOT_FOUND);
	ck_reason(fetch_path("/plain.git", none, mirror, &result, &err), err, UD_REASON_PREP_COMMIT_NOT_FOUND);
	ck_reason(fetch_path("/full.git", "main", mirror, &result, &err), err, UD_REASON_PREP_COMMIT_NOT_FOUND);
}

END_TEST

START_TEST(bad_answers)
{
	static const struct
	{
		const char *path;
		int			reason;
	}			cases[] = {
		{"/status/429/x.git", UD_REASON_PREP_REPO_THROTTLED},
		{"/status/503/x.git", UD_REASON_PREP_REPO_UNREACHABLE},
		{"/status/500/x.git", UD_REASON_PREP_REPO_UNREACHABLE},
		{"/status/401/x.git", UD_REASON_PREP_CREDENTIAL},
		{"/status/404/x.git", UD_REASON_PREP_REPO_REFUSED},
		{"/status/403/x.git", UD_REASON_PREP_CREDENTIAL},
		{"/status/200/x.git", UD_REASON_PREP_REPO_REFUSED},
		{"/nothing.git", UD_REASON_PREP_REPO_REFUSED},
		/* To another name, be it the same machine. */
		{"/redirect/full.git", UD_REASON_PREP_REPO_REFUSED},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
	{
		char		mirror[4096];
		GitFetchResult result;
		UdError		err;
		int			rc = fetch_path(cases[i].path, commits[0], mirror, &result, &err);

		ck_assert_msg(rc != 0 && err.reason == cases[i].reason, "%s: %s %s", cases[i].path,
					  ud_reason_text(err.reason), err.message);
	}
}

END_TEST

START_TEST(asks_to_wait)
{
	static const struct
	{
		const char *path;
		int			reason;
		int			wait_s;
	}			cases[] = {
		{"/after/429/77/x.git", UD_REASON_PREP_REPO_THROTTLED, 77},
		{"/after/503/30/x.git", UD_REASON_PREP_REPO_UNREACHABLE, 30},
		{"/after/403/60/x.git", UD_REASON_PREP_REPO_THROTTLED, 60},
		{"/after/404/60/x.git", UD_REASON_PREP_REPO_REFUSED, 0},
		{"/status/429/x.git", UD_REASON_PREP_REPO_THROTTLED, 0},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
	{
		char		mirror[4096];
		GitFetchResult result;
		UdError		err;

		ck_reason(fetch_path(cases[i].path, commits[0], mirror, &result, &err), err, cases[i].reason);
		ck_assert_msg(err.retry_after_s == cases[i].wait_s, "%s: %d", cases[i].path, err.retry_after_s);
	}
}

END_TEST

START_TEST(refused_urls)
{
	char		with_port[6][256];
	const char *urls[] = {
		"file:///tmp", "/tmp", "ssh://git@example.com/x", "git@example.com:x.git", "git://example.com/x",
		"ext::sh -c true", "-oProxyCommand=true", "https://user:word@example.com/x", "https:///x",
		"https://exa mple.com/x", "https://example.com/x\nHost: y", "https://example.com/%0d%0aHost:y",
		"http://example.com/x",
		with_port[0], with_port[1], with_port[2], with_port[3], with_port[4], with_port[5],
		"https://10.0.0.1/x", "https://169.254.169.254/latest", "https://[::1]/x", "https://[fd00:ec2::254]/x",
	};
	static const char *const hosts[] = {
		"http://127.0.0.1", "https://127.0.0.1", "https://localhost", "https://2130706433", "https://0x7f.1",
		"https://[::ffff:127.0.0.1]",
	};
	int			requests = server_requests(&server);

	for (int i = 0; i < 6; i++)
		snprintf(with_port[i], sizeof(with_port[i]), "%s:%d/full.git", hosts[i], server.port);
	strcpy(allowed, "*");
	for (size_t i = 0; i < sizeof(urls) / sizeof(urls[0]); i++)
	{
		char		mirror[4096];
		GitFetchResult result;
		UdError		err;
		int			rc = fetch_url(urls[i], commits[0], 20, mirror, &result, &err);

		ck_assert_msg(rc != 0 && err.reason == UD_REASON_PREP_REPO_REFUSED, "%s: %s %s", urls[i],
					  ud_reason_text(err.reason), err.message);
	}
	/* Listing a host does not make a cloud give out its keys. */
	strcpy(allowed, "169.254.169.254:80,[fe80::1]:80");
	for (size_t i = 0; i < 2; i++)
	{
		char		mirror[4096];
		GitFetchResult result;
		UdError		err;
		int			rc = fetch_url(i == 0 ? "http://169.254.169.254/latest" : "http://[fe80::1]/x", commits[0], 20, mirror, &result, &err);

		ck_assert_msg(rc != 0 && err.reason == UD_REASON_PREP_REPO_REFUSED, "%s", err.message);
	}
	ck_assert_int_eq(server_requests(&server), requests);
}

END_TEST

/* Exactly the host and port that the list says. */
START_TEST(listed_hosts)
{
	static const struct
	{
		const char *host;
		const char *rest;		/* NULL: the server's port */
	}			lists[] = {
		{"localhost", NULL}, {"127.0.0.1", ""}, {"127.0.0.1", ":80"}, {"2130706433", NULL}, {"127.0.0.1.example", NULL}, {"*,127.0.0.1", ""},
	};
	char		mirror[4096];
	GitFetchResult result;
	UdError		err;
	int			requests = server_requests(&server);

	for (size_t i = 0; i < sizeof(lists) / sizeof(lists[0]); i++)
	{
		if (lists[i].rest != NULL)
			snprintf(allowed, sizeof(allowed), "%s%s", lists[i].host, lists[i].rest);
		else
			snprintf(allowed, sizeof(allowed), "%s:%d", lists[i].host, server.port);
		ck_reason(fetch_path("/full.git", commits[0], mirror, &result, &err), err, UD_REASON_PREP_REPO_REFUSED);
	}
	ck_assert_int_eq(server_requests(&server), requests);
	snprintf(allowed, sizeof(allowed), "example.org, 127.0.0.1:%d", server.port);
	ck_ok(fetch_path("/full.git", commits[0], mirror, &result, &err), err);
	/* Not dialled, but here: the list is asked all the same. */
	strcpy(allowed, "example.org");
	ck_reason(fetch_path("/full.git", commits[0], mirror, &result, &err), err, UD_REASON_PREP_REPO_REFUSED);
}

END_TEST

/* What a failed fetch leaves in the mirrors: nothing. */
START_TEST(nothing_left)
{
	char		mirror[4096];
	char		url[256];
	GitFetchResult result;
	UdError		err;

	ck_reason(fetch_path("/nothing.git", commits[0], mirror, &result, &err), err, UD_REASON_PREP_REPO_REFUSED);
	shell("ls -A %s | (! grep .)", mirrors);
	make_url(url, "/hang/x.git");
	ck_reason(fetch_url(url, commits[0], 1, mirror, &result, &err), err, UD_REASON_PREP_TIMEOUT);
	shell("ls -A %s | (! grep .)", mirrors);
	setup.fetch_bytes_max = 100000;
	ck_reason(fetch_path("/full.git", commits[0], mirror, &result, &err), err, UD_REASON_PREP_REPO_REFUSED);
	ck_assert_msg(strstr(err.message, "100000") != NULL, "%s", err.message);
	shell("ls -A %s | (! grep .)", mirrors);
	/* A mirror that keeps a commit stays as it was. */
	setup.fetch_bytes_max = 1000000;
	ck_ok(fetch_path("/full.git", commits[0], mirror, &result, &err), err);
	ck_reason(fetch_path("/full.git", commits[3], mirror, &result, &err), err, UD_REASON_PREP_COMMIT_NOT_FOUND);
	shell("test -e %s/refs/unidesk/%s", mirror, commits[0]);
	ck_ok(fetch_path("/full.git", commits[0], mirror, &result, &err), err);
	ck_assert(result.was_present);
}

END_TEST

START_TEST(unreachable)
{
	char		mirror[4096];
	char		url[256];
	GitFetchResult result;
	UdError		err;
	struct sockaddr_in address = {
		.sin_family = AF_INET,
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK),
	};
	socklen_t	len = sizeof(address);
	int			fd = socket(AF_INET, SOCK_STREAM, 0);

	/* Bound but not listening: refused for sure. */
	ck_assert_int_eq(bind(fd, (struct sockaddr *) &address, len), 0);
	ck_assert_int_eq(getsockname(fd, (struct sockaddr *) &address, &len), 0);
	snprintf(url, sizeof(url), "http://127.0.0.1:%d/x.git", ntohs(address.sin_port));
	snprintf(allowed, sizeof(allowed), "127.0.0.1:%d,no-such-host.invalid:80", ntohs(address.sin_port));
	ck_reason(fetch_url(url, commits[0], 20, mirror, &result, &err), err, UD_REASON_PREP_REPO_UNREACHABLE);
	close(fd);
	ck_reason(fetch_url("http://no-such-host.invalid/x.git", commits[0], 20, mirror, &result, &err), err,
			  UD_REASON_PREP_REPO_UNREACHABLE);
}

END_TEST

static double
seconds(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double) now.tv_sec + (double) now.tv_nsec / 1e9;
}

START_TEST(hung_server_times_out)
{
	char		mirror[4096];
	char		url[256];
	GitFetchResult result;
	UdError		err;
	double		start = seconds();
	int			descriptors = descriptors_open();

	make_url(url, "/hang/x.git");
	ck_reason(fetch_url(url, commits[0], 1, mirror, &result, &err), err, UD_REASON_PREP_TIMEOUT);
	ck_assert_int_eq(err.code, UD_ETIMEDOUT);
	ck_assert(seconds() - start >= 1 && seconds() - start < 2.5);
	ck_assert_int_eq(descriptors_open(), descriptors);
	/* Reaped: no child is left but the server. */
	ck_assert_int_eq(waitpid(-1, NULL, WNOHANG), 0);
}

END_TEST

static void *
set_soon(void *arg)
{
	usleep(300 * 1000);
	atomic_store((atomic_bool *) arg, true);
	return NULL;
}

START_TEST(cancel)
{
	char		mirror[4096];
	char		url[256];
	GitFetchResult result;
	UdError		err = {0};
	atomic_bool flag = false;
	pthread_t	thread;
	double		start = seconds();

	make_url(url, "/hang/x.git");
	pthread_create(&thread, NULL, set_soon, &flag);
	ck_assert_int_eq(git_fetch(&setup, "public", url, commits[0], 30, &flag, NULL, NULL, mirror, &result, &err), UD_ECANCELLED);
	ck_assert(seconds() - start < 1.5);
	pthread_join(thread, NULL);
}

END_TEST

typedef struct Racer
{
	pthread_t	thread;
	GitFetchResult result;
	UdError		err;
	int			rc;
} Racer;

static void *
race(void *arg)
{
	Racer	   *racer = arg;
	char		mirror[4096];

	racer->rc = fetch_path("/full.git", commits[2], mirror, &racer->result, &racer->err);
	return NULL;
}

START_TEST(one_fetch_at_a_time)
{
	Racer		racers[4];
	int			fetched = 0;

	for (int i = 0; i < 4; i++)
		pthread_create(&racers[i].thread, NULL, race, &racers[i]);
	for (int i = 0; i < 4; i++)
	{
		pthread_join(racers[i].thread, NULL);
		ck_ok(racers[i].rc, racers[i].err);
		fetched += !racers[i].result.was_present;
	}
	ck_assert_int_eq(fetched, 1);
}

END_TEST

START_TEST(leftovers_and_damage_heal)
{
	char		mirror[4096];
	GitFetchResult result;
	GitContext	context;
	UdError		err;
	char		byte;

	ck_ok(fetch_path("/full.git", commits[0], mirror, &result, &err), err);
	/* As a killed fetch leaves it. */
	shell("touch %s/objects/pack/pack_git2_abc %s/refs/unidesk/%s.lock %s/HEAD.lock", mirror, mirror, commits[2], mirror);
	ck_ok(fetch_path("/full.git", commits[2], mirror, &result, &err), err);
	shell("test ! -e %s/objects/pack/pack_git2_abc", mirror);
	/* Packs lost: the reader notices, the next fetch brings all again. */
	shell("rm -f %s/objects/pack/pack-*", mirror);
	ck_ok(git_context_start(&setup, mirror, commits[2], "Dockerfile", &context, &err), err);
	ck_assert_int_eq(read(context.fd, &byte, 1), 0);
	ck_assert_int_ne(git_context_finish(&context, false, &err), 0);
	ck_ok(fetch_path("/full.git", commits[2], mirror, &result, &err), err);
	ck_assert(!result.was_present);
	ck_assert_uint_gt(result.received_bytes, 400000);
	/* A mirror whose making was interrupted. */
	shell("rm -f %s/HEAD", mirror);
	ck_ok(fetch_path("/full.git", commits[2], mirror, &result, &err), err);
}

END_TEST

/* The context of a commit, unpacked into base/<name>. */
static int
unpack_context(const char *mirror, const char *commit, const char *dockerfile, const char *name, UdError *err)
{
	GitContext	context;
	char		command[1024];
	char		chunk[65536];
	ssize_t		got;
	FILE	   *tar;
	int			rc;

	shell("mkdir %s/%s", base, name);
	snprintf(command, sizeof(command), "cat > %s/%s.tar; test ! -s %s/%s.tar || tar -xf %s/%s.tar -C %s/%s",
			 base, name, base, name, base, name, base, name);
	tar = popen(command, "w");
	ck_assert_ptr_nonnull(tar);
	rc = git_context_start(&setup, mirror, commit, dockerfile, &context, err);
	ck_ok(rc, *err);
	while ((got = read(context.fd, chunk, sizeof(chunk))) > 0)
		ck_assert_uint_eq(fwrite(chunk, 1, (size_t) got, tar), (size_t) got);
	ck_assert_int_eq(got, 0);
	rc = git_context_finish(&context, false, err);
	ck_assert_int_eq(pclose(tar), 0);
	return rc;
}

START_TEST(context_equals_archive)
{
	char		mirror[4096];
	GitFetchResult result;
	UdError		err = {0};
	int			descriptors = descriptors_open();

	ck_ok(fetch_path("/full.git", commits[2], mirror, &result, &err), err);
	ck_ok(fetch_path("/full.git", commits[1], mirror, &result, &err), err);
	ck_ok(unpack_context(mirror, commits[1], "Dockerfile", "ctx2", &err), err);
	shell("cd %s && mkdir arc2 && HOME=%s git -C work archive %s | tar -x -C arc2 && diff -r --no-dereference arc2 ctx2", base, base, commits[1]);
	shell("cd %s && test -x ctx2/run.sh && test ! -x ctx2/src/main.py && test -L ctx2/src/link", base);
	shell("cd %s && tar --numeric-owner -tvf ctx2.tar | awk '$2 != \"0/0\" {bad = 1} END {exit bad}'", base);
	/* The ignored are gone; the Dockerfile is ignored too and yet there. */
	ck_ok(unpack_context(mirror, commits[2], "./Dockerfile", "ctx3", &err), err);
	shell("cd %s/ctx3 && test -e Dockerfile && test -e .dockerignore && test -e src/main.py"
		  " && test ! -e big.bin && test ! -e src/deep", base);
	ck_assert_int_eq(descriptors_open(), descriptors);
}

END_TEST

START_TEST(context_refused)
{
	char		mirror[4096];
	GitFetchResult result;
	GitContext	context;
	UdError		err = {0};
	double		start;

	ck_ok(fetch_path("/full.git", commits[1], mirror, &result, &err), err);
	ck_reason(unpack_context(mirror, commits[1], "No.Dockerfile", "no1", &err), err, UD_REASON_PREP_DOCKERFILE_NOT_FOUND);
	ck_reason(unpack_context(mirror, commits[1], "../Dockerfile", "no2", &err), err, UD_REASON_PREP_DOCKERFILE_NOT_FOUND);
	ck_reason(unpack_context(mirror, commits[1], "src/link", "no3", &err), err, UD_REASON_PREP_DOCKERFILE_NOT_FOUND);
	ck_reason(unpack_context(mirror, commits[1], "empty", "no4", &err), err, UD_REASON_PREP_DOCKERFILE_NOT_FOUND);
	ck_reason(unpack_context(mirror, commits[1], "Bad.Dockerfile", "no5", &err), err, UD_REASON_PREP_FROM_REFUSED);
	/* A reader that gives up: the child does not wait for it. */
	start = seconds();
	ck_ok(git_context_start(&setup, mirror, commits[1], "Dockerfile", &context, &err), err);
	ck_assert_int_ne(git_context_finish(&context, true, &err), 0);
	ck_ok(git_context_start(&setup, mirror, commits[1], "Dockerfile", &context, &err), err);
	ck_assert_int_ne(git_context_finish(&context, false, &err), 0);
	ck_assert(seconds() - start < 3);
	ck_assert_int_eq(waitpid(-1, NULL, WNOHANG), 0);
}

END_TEST

START_TEST(tree_is_written_and_handed_over)
{
	char		mirror[4096];
	char		into[128];
	GitFetchResult result;
	UdError		err = {0};
	struct stat info;
	uid_t		owner = geteuid() == 0 ? 1234 : geteuid();
	gid_t		group = geteuid() == 0 ? 2345 : getegid();
	atomic_bool flag = true;

	ck_ok(fetch_path("/full.git", commits[2], mirror, &result, &err), err);
	snprintf(into, sizeof(into), "%s/tree", base);
	ck_assert_int_eq(mkdir(into, 0700), 0);
	ck_ok(git_write_tree(&setup, mirror, commits[2], into, owner, group, 20, NULL, &err), err);
	shell("cd %s && mkdir arc3 && HOME=%s git -C work archive %s | tar -x -C arc3 && diff -r --no-dereference arc3 tree", base, base, commits[2]);
	shell("cd %s && test -x tree/run.sh && test ! -x tree/src/main.py && test -L tree/src/link", base);
	shell("cd %s && test -z \"$(find tree ! -uid %d -o ! -gid %d)\"", base, (int) owner, (int) group);
	ck_assert_int_eq(stat(into, &info), 0);
	ck_assert_int_eq(info.st_mode & 07777, 0755);

	/* Not into a directory that holds something of that name already. */
	ck_reason(git_write_tree(&setup, mirror, commits[2], into, owner, group, 20, NULL, &err), err, UD_REASON_PREP_FETCH_FAILED);
	snprintf(into, sizeof(into), "%s/tree2", base);
	ck_assert_int_eq(mkdir(into, 0700), 0);
	ck_assert_int_eq(git_write_tree(&setup, mirror, commits[2], into, owner, group, 20, &flag, &err), UD_ECANCELLED);
}

END_TEST

/* A program in place of unidesk-git, as a script. */
static void
use_script(const char *name, const char *text)
{
	static char path[160];
	FILE	   *file;

	snprintf(path, sizeof(path), "%s/%s", base, name);
	file = fopen(path, "w");
	fprintf(file, "#!/bin/sh\n%s\n", text);
	fclose(file);
	chmod(path, 0755);
	setup.program = path;
}

static void
keep_progress(void *arg, const char *text)
{
	snprintf(arg, 256, "%s", text);
}

START_TEST(hostile_child)
{
	char		mirror[4096];
	char		progress[256] = "";
	GitFetchResult result;
	UdError		err = {0};
	double		start;

	setup.program = "/bin/false";
	ck_reason(fetch_path("/x.git", commits[0], mirror, &result, &err), err, UD_REASON_PREP_FETCH_FAILED);
	setup.program = "/no/such/program";
	ck_reason(fetch_path("/x.git", commits[0], mirror, &result, &err), err, UD_REASON_PREP_FETCH_FAILED);
	ck_assert_ptr_nonnull(strstr(err.message, "execute"));
	/* A reason that is not its business; control characters; no end. */
	use_script("forger", "echo 'error ctl.cancelled x' >&3");
	ck_reason(fetch_path("/x.git", commits[0], mirror, &result, &err), err, UD_REASON_PREP_FETCH_FAILED);
	use_script("dirty", "printf 'progress a\\033[2Jb\\377\\303\\251\\n' >&3; printf 'error prep.repo_refused x\\001y\\000z\\n' >&3");
	ck_assert_int_ne(git_fetch(&setup, "p", "x", commits[0], 5, NULL, keep_progress, progress, mirror, &result, &err), 0);
	ck_assert_str_eq(progress, "a?[2Jb?\303\251");
	ck_assert_str_eq(err.message, "x?y?z");
	/* A wait is a number of seconds, at most a day. */
	use_script("waiter", "printf 'retry_after 120\\nerror prep.repo_throttled x\\n' >&3");
	ck_reason(fetch_path("/x.git", commits[0], mirror, &result, &err), err, UD_REASON_PREP_REPO_THROTTLED);
	ck_assert_int_eq(err.retry_after_s, 120);
	use_script("waiter", "printf 'retry_after 99999999999999999999\\nerror prep.repo_throttled x\\n' >&3");
	ck_reason(fetch_path("/x.git", commits[0], mirror, &result, &err), err, UD_REASON_PREP_REPO_THROTTLED);
	ck_assert_int_eq(err.retry_after_s, 86400);
	use_script("waiter", "printf 'retry_after -5\\nretry_after soon\\nerror prep.repo_throttled x\\n' >&3");
	ck_reason(fetch_path("/x.git", commits[0], mirror, &result, &err), err, UD_REASON_PREP_REPO_THROTTLED);
	ck_assert_int_eq(err.retry_after_s, 0);
	use_script("flood", "[ $1 = fetch ] || exit 0; while :; do echo xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx; done | tr -d '\\n' >&3");
	start = seconds();
	ck_reason(fetch_url("x", commits[0], 1, mirror, &result, &err), err, UD_REASON_PREP_TIMEOUT);
	ck_assert(seconds() - start < 2.5);
	/* Closes its status but does not end; leaves a child of its own. */
	use_script("lingerer", "echo 'ok x' >&3; exec 3>&-; sleep 1000 & echo $! > /tmp/unidesk-check-git-sleep; exit 0");
	ck_ok(fetch_url("x", commits[0], 5, mirror, &result, &err), err);
	shell("sleep 0.2; pid=$(cat /tmp/unidesk-check-git-sleep); rm -f /tmp/unidesk-check-git-sleep; ! kill -0 $pid 2>/dev/null || grep -q zombie /proc/$pid/status");
}

END_TEST

START_TEST(clean_surroundings)
{
	char		mirror[4096];
	char		text[1024];
	char		path[256];
	GitFetchResult result;
	UdError		err = {0};
	int			leak = open("/dev/null", O_RDONLY);

	setenv("UNIDESK_SECRET_TOKEN", "secret", 1);
	setenv("no_proxy", "127.0.0.1", 1);
	snprintf(path, sizeof(path), "exec > %s/seen; env; id -u; id -G; ls /proc/self/fd; echo 'ok x' >&3", mirrors);
	use_script("looker", path);
	ck_ok(fetch_url("x", commits[0], 5, mirror, &result, &err), err);
	unsetenv("UNIDESK_SECRET_TOKEN");
	unsetenv("no_proxy");
	close(leak);
	snprintf(path, sizeof(path), "%s/seen", mirrors);
	read_text(path, text, sizeof(text));
	ck_assert_ptr_null(strstr(text, "SECRET"));
	ck_assert_ptr_null(strstr(text, "HOME="));
	ck_assert_ptr_nonnull(strstr(text, "no_proxy=127.0.0.1"));
	if (geteuid() == 0)
		ck_assert_ptr_nonnull(strstr(text, "\n65534\n65534\n"));
	/* 0 to 3, and the descriptor of ls itself. */
	ck_assert_ptr_nonnull(strstr(text, "\n0\n1\n2\n3\n4\n"));
	ck_assert_ptr_null(strstr(text, "\n5\n"));
}

END_TEST

/* A TLS server with a certificate of its own authority; way: what it answers. */
static pid_t
start_tls_server(const char *way, char url[256])
{
	char		path[256];
	char		text[256];
	pid_t		pid;

	shell("cd %s && openssl req -x509 -newkey rsa:2048 -nodes -keyout key.pem -out cert.pem -days 2 -subj /CN=localhost"
		  " -addext subjectAltName=DNS:localhost,IP:127.0.0.1 2>/dev/null && chmod 644 cert.pem", base);
	pid = fork();
	if (pid == 0)
	{
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (chdir(base) != 0 || freopen("tls.out", "w", stdout) == NULL || freopen("tls.out", "a", stderr) == NULL
			|| freopen("/dev/null", "r", stdin) == NULL)
			_exit(1);
		execlp("openssl", "openssl", "s_server", "-accept", "127.0.0.1:0", "-key", "key.pem", "-cert", "cert.pem", way, NULL);
		_exit(127);
	}
	snprintf(path, sizeof(path), "%s/tls.out", base);
	text[0] = '\0';
	for (int i = 0; i < 100 && strstr(text, "ACCEPT 127") == NULL; i++)
	{
		usleep(50 * 1000);
		read_text(path, text, sizeof(text));
	}
	ck_assert_ptr_nonnull(strstr(text, "ACCEPT 127"));
	snprintf(allowed, sizeof(allowed), "localhost:%d", atoi(strchr(strstr(text, "ACCEPT"), ':') + 1));
	snprintf(url, 256, "https://%.200s/x.git", allowed);
	return pid;
}

START_TEST(certificates_are_verified)
{
	char		mirror[4096];
	char		url[256];
	char		text[256];
	GitFetchResult result;
	UdError		err;
	pid_t		pid = start_tls_server("-www", url);

	ck_reason(fetch_url(url, commits[0], 10, mirror, &result, &err), err, UD_REASON_PREP_REPO_REFUSED);
	ck_assert_msg(strstr(err.message, "certificate") != NULL, "%s", err.message);
	snprintf(text, sizeof(text), "%s/cert.pem", base);
	setenv("SSL_CERT_FILE", text, 1);
	/* Trusted now, and found to be no git server. */
	ck_reason(fetch_url(url, commits[0], 10, mirror, &result, &err), err, UD_REASON_PREP_REPO_REFUSED);
	ck_assert_msg(strstr(err.message, "certificate") == NULL && strstr(err.message, "no git repository") != NULL, "%s", err.message);
	unsetenv("SSL_CERT_FILE");
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
}

END_TEST

/* The head of an answer is read after TLS, and in as many pieces as it comes. */
START_TEST(asks_to_wait_by_tls)
{
	char		mirror[4096];
	char		url[256];
	char		text[256];
	GitFetchResult result;
	UdError		err;
	pid_t		pid;

	shell("mkdir -p %s/x.git/info && printf 'HTTP/1.1 429 Slow Down\\r\\nX: %%04000d\\r\\nRetry-After: 55\\r\\nContent-Length: 0\\r\\nConnection: close\\r\\n\\r\\n'"
		  " 0 > '%s/x.git/info/refs?service=git-upload-pack'", base, base);
	pid = start_tls_server("-HTTP", url);
	snprintf(text, sizeof(text), "%s/cert.pem", base);
	setenv("SSL_CERT_FILE", text, 1);
	ck_reason(fetch_url(url, commits[0], 10, mirror, &result, &err), err, UD_REASON_PREP_REPO_THROTTLED);
	ck_assert_int_eq(err.retry_after_s, 55);
	unsetenv("SSL_CERT_FILE");
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
}

END_TEST

int
main(void)
{
	Suite	   *suite = suite_create("agent/git");
	TCase	   *tests = tcase_create("git");
	SRunner    *runner;
	int			failed;

	tcase_set_timeout(tests, 40);
	/* One process: a server and its port for all of them. */
	tcase_add_unchecked_fixture(tests, set_up_all, tear_down_all);
	tcase_add_checked_fixture(tests, set_up, NULL);
	tcase_add_test(tests, exact_present_incremental);
	tcase_add_test(tests, present_needs_no_child);
	tcase_add_test(tests, trust_domains_are_apart);
	tcase_add_test(tests, fallback);
	tcase_add_test(tests, unknown_commit);
	tcase_add_test(tests, bad_answers);
	tcase_add_test(tests, asks_to_wait);
	tcase_add_test(tests, refused_urls);
	tcase_add_test(tests, listed_hosts);
	tcase_add_test(tests, nothing_left);
	tcase_add_test(tests, unreachable);
	tcase_add_test(tests, hung_server_times_out);
	tcase_add_test(tests, cancel);
	tcase_add_test(tests, one_fetch_at_a_time);
	tcase_add_test(tests, leftovers_and_damage_heal);
	tcase_add_test(tests, context_equals_archive);
	tcase_add_test(tests, context_refused);
	tcase_add_test(tests, tree_is_written_and_handed_over);
	tcase_add_test(tests, hostile_child);
	tcase_add_test(tests, clean_surroundings);
	tcase_add_test(tests, certificates_are_verified);
	tcase_add_test(tests, asks_to_wait_by_tls);
	suite_add_tcase(suite, tests);
	runner = srunner_create(suite);
	srunner_set_fork_status(runner, CK_NOFORK);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
