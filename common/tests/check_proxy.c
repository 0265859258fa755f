/*
 * check_proxy.c
 *	  Which proxy the environment names.
 */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "common/proxy.h"

static void
clear(void)
{
	static const char *const names[] = {"http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "no_proxy", "NO_PROXY"};

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		unsetenv(names[i]);
}

START_TEST(forms)
{
	static const struct
	{
		const char *value;
		const char *host;
		int			port;
		const char *user;
	}			cases[] = {
		{"http://proxy:3128", "proxy", 3128, ""}, {"http://proxy:3128/", "proxy", 3128, ""}, {"proxy:1", "proxy", 1, ""},
		{"HTTP://proxy", "proxy", 80, ""}, {"http://[::1]:8080", "::1", 8080, ""}, {"http://u:p@ss@proxy:1", "proxy", 1, "u:p@ss"},
	};
	static const char *const bad[] = {"https://proxy:1", "socks5://proxy:1", "http://", "proxy:0", "proxy:x", "http://proxy/path", "a b", "u:secret@"};
	Proxy		proxy;
	UdError		err = {0};

	clear();
	ck_assert_int_eq(proxy_find(true, "host", 443, &proxy, &err), 0);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
	{
		setenv("https_proxy", cases[i].value, 1);
		ck_assert_msg(proxy_find(true, "host", 443, &proxy, &err) == 1, "%s", cases[i].value);
		ck_assert_str_eq(proxy.host, cases[i].host);
		ck_assert_int_eq(proxy.port, cases[i].port);
		ck_assert_str_eq(proxy.user, cases[i].user);
	}
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
	{
		setenv("https_proxy", bad[i], 1);
		ck_assert_msg(proxy_find(true, "host", 443, &proxy, &err) == UD_EINVAL, "%s", bad[i]);
		ck_assert_ptr_null(strstr(err.message, "secret"));
	}
	/* Each scheme has its own. */
	ck_assert_int_eq(proxy_find(false, "host", 80, &proxy, &err), 0);
	setenv("HTTP_PROXY", "plain:1", 1);
	ck_assert_int_eq(proxy_find(false, "host", 80, &proxy, &err), 1);
	ck_assert_str_eq(proxy.host, "plain");
}

END_TEST

START_TEST(exceptions)
{
	static const struct
	{
		const char *list;
		int			found;
	}			cases[] = {
		{"", 1}, {"*", 0}, {"a.example", 0}, {".a.example", 0}, {"*.a.example", 0}, {"example", 0}, {"other, A.Example", 0}, {"other a.example", 0},
		{"b.a.example", 1}, {"xa.example", 1}, {"a.example:443", 0}, {"a.example:444", 1}, {"ample", 1}, {"a.example.", 1}, {",,", 1}, {"a b,c", 1},
	};
	Proxy		proxy;
	UdError		err = {0};

	clear();
	setenv("https_proxy", "proxy", 1);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
	{
		setenv("no_proxy", cases[i].list, 1);
		ck_assert_msg(proxy_find(true, "a.example", 443, &proxy, &err) == cases[i].found, "no_proxy \"%s\"", cases[i].list);
	}
	setenv("no_proxy", "127.0.0.1,[::1]", 1);
	ck_assert_int_eq(proxy_find(true, "127.0.0.1", 8443, &proxy, &err), 0);
	ck_assert_int_eq(proxy_find(true, "::1", 8443, &proxy, &err), 0);
	ck_assert_int_eq(proxy_find(true, "27.0.0.1", 8443, &proxy, &err), 1);
}

END_TEST

int
main(void)
{
	Suite	   *suite = suite_create("common proxy");
	TCase	   *tests = tcase_create("proxy");
	SRunner    *runner;
	int			failed;

	tcase_add_test(tests, forms);
	tcase_add_test(tests, exceptions);
	suite_add_tcase(suite, tests);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
