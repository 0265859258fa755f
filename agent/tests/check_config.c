/*
 * check_config.c
 *	  Good settings are taken, each bad one is an error that names it.
 */
#include <check.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/config.h"

static AgentConfig config;
static UdError err;

/* A complete environment with nothing optional. */
static void
setup(void)
{
	clearenv();
	setenv("UNIDESK_URL", "wss://server.example/agent", 1);
	setenv("UNIDESK_TOKEN", "0123456789abcdef0123456789abcdef", 1);
	setenv("UNIDESK_INIT", "/bin/sh", 1);
	setenv("UNIDESK_GIT", "/bin/sh", 1);
	memset(&err, 0, sizeof(err));
}

static void
teardown(void)
{
	config_release(&config);
}

START_TEST(defaults)
{
	ck_assert_int_eq(config_load(&config, &err), 0);
	ck_assert(config.url_tls);
	ck_assert_str_eq(config.url_host, "server.example");
	ck_assert_int_eq(config.url_port, 443);
	ck_assert_str_eq(config.url_path, "/agent");
	ck_assert_str_eq(config.data, "/data");
	ck_assert_int_eq(config.image_budget, -1);
	ck_assert_int_eq(config.mirror_budget, -1);
	ck_assert_str_eq(config.volume, "unidesk-data");
	ck_assert_str_eq(config.docker_socket, "/var/run/docker.sock");
	ck_assert_ptr_null(config.task_network);
	ck_assert_ptr_null(config.data_host);
	ck_assert_str_eq(config.allowed_git_hosts, "*");
	ck_assert_int_eq(config.gpu_count, 0);
}

END_TEST

START_TEST(everything_set)
{
	setenv("UNIDESK_URL", "ws://[::1]:8080", 1);
	setenv("UNIDESK_GPUS", "GPU-1:25000000000:RTX 4090, GPU-2", 1);
	setenv("UNIDESK_LABELS", "zone=a,disk=,", 1);
	setenv("UNIDESK_DATA", "/data/", 1);
	setenv("UNIDESK_ALLOWED_GIT_HOSTS", "git.example, [::1]:8080,*", 1);
	setenv("UNIDESK_GIT_UID", "1999", 1);
	setenv("UNIDESK_IMAGE_BUDGET", "20GB", 1);
	setenv("UNIDESK_MIRROR_BUDGET", "0", 1);
	ck_assert_int_eq(config_load(&config, &err), 0);
	ck_assert(!config.url_tls);
	ck_assert_str_eq(config.url_host, "::1");
	ck_assert_int_eq(config.image_budget, INT64_C(20) << 30);
	ck_assert_int_eq(config.mirror_budget, 0);
	ck_assert_int_eq(config.url_port, 8080);
	ck_assert_str_eq(config.url_path, "/agent");
	ck_assert_str_eq(config.data, "/data");
	ck_assert_int_eq(config.gpu_count, 2);
	ck_assert_int_eq(config.gpus[0].memory, 25000000000);
	ck_assert_str_eq(config.gpus[0].model, "RTX 4090");
	ck_assert_str_eq(config.gpus[1].uuid, "GPU-2");
	ck_assert_int_eq(config.label_count, 2);
	ck_assert_str_eq(config.labels[1].key, "disk");
	ck_assert_str_eq(config.labels[1].value, "");
	ck_assert_str_eq(config.allowed_git_hosts, "git.example, [::1]:8080,*");
	ck_assert_uint_eq(config.git_uid, 1999);
}

END_TEST

static const struct
{
	const char *name;
	const char *value;			/* NULL: not set */
}			bad[] =

{
	{"UNIDESK_URL", NULL},
	{"UNIDESK_URL", ""},
	{"UNIDESK_URL", "http://server/agent"},
	{"UNIDESK_URL", "wss://"},
	{"UNIDESK_URL", "wss://:80/agent"},
	{"UNIDESK_URL", "wss://user:secret@server/agent"},
	{"UNIDESK_URL", "wss://server:0/agent"},
	{"UNIDESK_URL", "wss://server:65536/agent"},
	{"UNIDESK_URL", "wss://server:12x/agent"},
	{"UNIDESK_URL", "wss://server:/agent"},
	{"UNIDESK_URL", "wss://server/agent?token=x"},
	{"UNIDESK_URL", "wss://server/a gent"},
	{"UNIDESK_URL", "wss://[::1/agent"},
	{"UNIDESK_TOKEN", NULL},
	{"UNIDESK_TOKEN", ""},
	{"UNIDESK_TOKEN", "short"},
	{"UNIDESK_TOKEN", "with blanks in it 0123456789"},
	{"UNIDESK_TOKEN", "line\r\nX-Injected: 0123456789abcdef"},
	{"UNIDESK_TOKEN_FILE", "/nonexistent"},
	{"UNIDESK_DATA", "relative"},
	{"UNIDESK_DATA_HOST", "relative"},
	{"UNIDESK_VOLUME", "../etc"},
	{"UNIDESK_VOLUME", "a/b"},
	{"UNIDESK_DOCKER_SOCKET", "tcp://host"},
	{"UNIDESK_TASK_NETWORK", "host"},
	{"UNIDESK_TASK_NETWORK", "container:x"},
	{"UNIDESK_CA_FILE", "/nonexistent"},
	{"UNIDESK_INIT", "/nonexistent"},
	{"UNIDESK_GIT", "/nonexistent"},
	{"UNIDESK_GIT_UID", "nobody"},
	{"UNIDESK_GIT_UID", "-1"},
	{"UNIDESK_GIT_UID", "99999999999999999999"},
	{"UNIDESK_ALLOWED_GIT_HOSTS", "https://git.example/"},
	{"UNIDESK_ALLOWED_GIT_HOSTS", "git.example:0"},
	{"UNIDESK_MAX_FETCH_BYTES", "20GB"},
	{"UNIDESK_MAX_FETCH_BYTES", "0"},
	{"UNIDESK_ALLOWED_GIT_HOSTS", "a, *.example"},
	{"UNIDESK_IMAGE_BUDGET", "much"},
	{"UNIDESK_IMAGE_BUDGET", "-1"},
	{"UNIDESK_IMAGE_BUDGET", "5 GB"},
	{"UNIDESK_IMAGE_BUDGET", "5gb"},
	{"UNIDESK_MIRROR_BUDGET", "1048577TB"},
	{"UNIDESK_MIRROR_BUDGET", "GB"},
	{"UNIDESK_GPUS", ":5"},
	{"UNIDESK_GPUS", "GPU-1:much"},
	{"UNIDESK_GPUS", "GPU-1:-5"},
	{"UNIDESK_GPUS", "GPU-1,GPU-1"},
	{"UNIDESK_GPUS", "GPU 1"},
	{"UNIDESK_LABELS", "novalue"},
	{"UNIDESK_LABELS", "=x"},
	{"UNIDESK_LABELS", "a=1,a=2"},
};

START_TEST(each_bad_value_is_named)
{
	/* The message may name the variable that would do better. */
	size_t		stem = strlen(bad[_i].name) > 13 && strncmp(bad[_i].name, "UNIDESK_TOKEN", 13) == 0 ? 13 : strlen(bad[_i].name);
	char		name[64];

	if (bad[_i].value != NULL)
		setenv(bad[_i].name, bad[_i].value, 1);
	else
		unsetenv(bad[_i].name);
	ck_assert_msg(config_load(&config, &err) < 0, "%s=%s was taken", bad[_i].name, bad[_i].value);
	snprintf(name, sizeof(name), "%.*s", (int) stem, bad[_i].name);
	ck_assert_msg(strstr(err.message, name) != NULL, "%s: %s", bad[_i].name, err.message);
	ck_assert_ptr_null(strstr(err.message, "secret"));
}

END_TEST

static void
use_token_file(const char *text, mode_t mode)
{
	char		path[] = "/tmp/check_config.XXXXXX";
	int			fd = mkstemp(path);

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(write(fd, text, strlen(text)), (ssize_t) strlen(text));
	ck_assert_int_eq(fchmod(fd, mode), 0);
	close(fd);
	unsetenv("UNIDESK_TOKEN");
	setenv("UNIDESK_TOKEN_FILE", path, 1);
	if (config_load(&config, &err) == 0)
		err.message[0] = '\0';
	unlink(path);
}

START_TEST(token_files)
{
	use_token_file("0123456789abcdef\n", 0600);
	ck_assert_str_eq(err.message, "");
	ck_assert_str_eq(config.token, "0123456789abcdef");
	config_release(&config);
	use_token_file("0123456789abcdef\n", 0644);
	ck_assert_ptr_nonnull(strstr(err.message, "chmod 600"));
	config_release(&config);
	use_token_file("", 0600);
	ck_assert_ptr_nonnull(strstr(err.message, "empty"));
	config_release(&config);
	use_token_file("0123456789abcdef\nanother", 0600);
	ck_assert_ptr_nonnull(strstr(err.message, "one line"));
}

END_TEST

START_TEST(both_tokens)
{
	setenv("UNIDESK_TOKEN_FILE", "/dev/null", 1);
	ck_assert_int_lt(config_load(&config, &err), 0);
	ck_assert_ptr_nonnull(strstr(err.message, "keep one"));
}

END_TEST

int
main(void)
{
	Suite	   *suite = suite_create("config");
	TCase	   *tests = tcase_create("config");
	SRunner    *runner;
	int			failed;

	tcase_add_checked_fixture(tests, setup, teardown);
	tcase_add_test(tests, defaults);
	tcase_add_test(tests, everything_set);
	tcase_add_loop_test(tests, each_bad_value_is_named, 0, (int) (sizeof(bad) / sizeof(bad[0])));
	tcase_add_test(tests, token_files);
	tcase_add_test(tests, both_tokens);
	suite_add_tcase(suite, tests);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
