/*
 * check_config.c
 *	  Environment variables: what is taken, and what is refused by name.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <check.h>

#include "bridge/config.h"

static BridgeConfig config;
static UdError err;

static void
setup(void)
{
	unsetenv("UNIDESK_LISTEN");
	unsetenv("UNIDESK_BRIDGE_NAME");
	unsetenv("UNIDESK_MAX_CONNECTIONS");
	unsetenv("UNIDESK_MAX_PER_ADDRESS");
	unsetenv("UNIDESK_LOG_LEVEL");
	unsetenv("UNIDESK_DATABASE_PASSWORD_FILE");
	setenv("UNIDESK_DATABASE", "host=db dbname=unidesk user=unidesk_bridge", 1);
	memset(&config, 0, sizeof(config));
	memset(&err, 0, sizeof(err));
}

static void
teardown(void)
{
	config_release(&config);
}

/* Reading fails, and the message names the variable. */
static void
assert_refused(const char *name, const char *value)
{
	setup();
	if (value != NULL)
		setenv(name, value, 1);
	else
		unsetenv(name);
	ck_assert_msg(config_read(&config, &err) == UD_EINVAL, "%s=%s was accepted", name, value ? value : "");
	ck_assert_msg(strstr(err.message, name) != NULL, "message does not name %s: %s", name, err.message);
	config_release(&config);
}

START_TEST(defaults)
{
	ck_assert_int_eq(config_read(&config, &err), 0);
	ck_assert_str_eq(config.listen_address, "0.0.0.0");
	ck_assert_str_eq(config.listen_port, "8080");
	ck_assert_int_eq(config.connections_max, 10000);
	ck_assert_int_eq(config.per_address_max, 1000);
	ck_assert_int_eq(config.log_level, UD_LOG_INFO);
	ck_assert_ptr_nonnull(config.name);
	ck_assert_str_eq(config.keywords[0], "user");
	ck_assert_str_eq(config.values[0], "unidesk_bridge");
}

END_TEST

START_TEST(everything_set)
{
	setenv("UNIDESK_LISTEN", "[::1]:9", 1);
	setenv("UNIDESK_BRIDGE_NAME", "bridge-1.a_b", 1);
	setenv("UNIDESK_MAX_CONNECTIONS", "7", 1);
	setenv("UNIDESK_MAX_PER_ADDRESS", "0", 1);
	setenv("UNIDESK_LOG_LEVEL", "error", 1);
	ck_assert_int_eq(config_read(&config, &err), 0);
	ck_assert_str_eq(config.listen_address, "::1");
	ck_assert_str_eq(config.listen_port, "9");
	ck_assert_str_eq(config.name, "bridge-1.a_b");
	ck_assert_int_eq(config.connections_max, 7);
	ck_assert_int_eq(config.per_address_max, 0);
	ck_assert_int_eq(config.log_level, UD_LOG_ERROR);
}

END_TEST

START_TEST(refused)
{
	static const char *const listen[] = {
		"8080", ":8080", "host:8080", "1.2.3.4", "1.2.3.4:", "1.2.3.4:0", "1.2.3.4:65536",
		"1.2.3.4:80x", "1.2.3.4: 80", "::1:80", "[::1:80", "1.2.3.4:-1",
	};
	static const char *const number[] = {"0", "-1", "+1", " 1", "1x", "x", "1000001", "99999999999999999999", "1.5"};

	for (size_t i = 0; i < sizeof(listen) / sizeof(listen[0]); i++)
		assert_refused("UNIDESK_LISTEN", listen[i]);
	for (size_t i = 0; i < sizeof(number) / sizeof(number[0]); i++)
		assert_refused("UNIDESK_MAX_CONNECTIONS", number[i]);
	assert_refused("UNIDESK_MAX_PER_ADDRESS", "-1");
	assert_refused("UNIDESK_BRIDGE_NAME", "a b");
	assert_refused("UNIDESK_BRIDGE_NAME", "a\n");
	assert_refused("UNIDESK_BRIDGE_NAME",
				   "0123456789012345678901234567890123456789012345678901234567890123");
	assert_refused("UNIDESK_LOG_LEVEL", "loud");
	assert_refused("UNIDESK_DATABASE", NULL);
	assert_refused("UNIDESK_DATABASE", "");
	assert_refused("UNIDESK_DATABASE", "no such keyword");
	assert_refused("UNIDESK_DATABASE_PASSWORD_FILE", "/nonexistent/password");
}

END_TEST

START_TEST(password_in_the_connection_string)
{
	assert_refused("UNIDESK_DATABASE", "host=db password=secret-text");
	ck_assert_ptr_null(strstr(err.message, "secret-text"));
	assert_refused("UNIDESK_DATABASE", "postgresql://user:secret-text@db/unidesk");
	ck_assert_ptr_null(strstr(err.message, "secret-text"));
}

END_TEST

static void
write_file(const char *path, const char *text)
{
	FILE	   *file = fopen(path, "w");

	ck_assert_ptr_nonnull(file);
	fputs(text, file);
	fclose(file);
}

START_TEST(password_file)
{
	char		path[] = "/tmp/check_config.XXXXXX";
	int			fd = mkstemp(path);
	char	   *password;

	ck_assert_int_ge(fd, 0);
	close(fd);
	assert_refused("UNIDESK_DATABASE_PASSWORD_FILE", path);
	write_file(path, "\n");
	assert_refused("UNIDESK_DATABASE_PASSWORD_FILE", path);
	write_file(path, "se cret\n");
	setup();
	setenv("UNIDESK_DATABASE_PASSWORD_FILE", path, 1);
	ck_assert_int_eq(config_read(&config, &err), 0);
	ck_assert_int_eq(config_password(&config, &password, &err), 0);
	ck_assert_str_eq(password, "se cret");
	free(password);
	/* It is read anew each time. */
	write_file(path, "other");
	ck_assert_int_eq(config_password(&config, &password, &err), 0);
	ck_assert_str_eq(password, "other");
	free(password);
	unlink(path);
	ck_assert_int_eq(config_password(&config, &password, &err), UD_EINVAL);
	ck_assert_ptr_null(password);
}

END_TEST

int
main(void)
{
	Suite	   *suite = suite_create("bridge/config");
	TCase	   *tcase = tcase_create("config");
	SRunner    *runner;
	int			failed;

	tcase_add_checked_fixture(tcase, setup, teardown);
	tcase_add_test(tcase, defaults);
	tcase_add_test(tcase, everything_set);
	tcase_add_test(tcase, refused);
	tcase_add_test(tcase, password_in_the_connection_string);
	tcase_add_test(tcase, password_file);
	suite_add_tcase(suite, tcase);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed != 0;
}
