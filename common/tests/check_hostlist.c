/*
 * check_hostlist.c
 *	  Lists of hosts, as an owner writes them and as a URL asks for them.
 */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "common/hostlist.h"

START_TEST(finds_exactly)
{
	static const struct
	{
		const char *list;
		const char *host;
		int			port;
		HostListed	found;
	}			cases[] = {
		{"*", "a", 443, HOST_BY_ANY},
		{"", "a", 443, HOST_NOT_LISTED},
		{"a", "a", 443, HOST_BY_NAME},
		{"a", "a", 444, HOST_NOT_LISTED},
		{"a:444", "a", 444, HOST_BY_NAME},
		{"a:444", "a", 443, HOST_NOT_LISTED},
		{"A.Example", "a.eXAMPLE", 443, HOST_BY_NAME},
		{"a.example", "b.a.example", 443, HOST_NOT_LISTED},
		{"b.a.example", "a.example", 443, HOST_NOT_LISTED},
		{"a.example", "a.example.", 443, HOST_NOT_LISTED},
		{" b , a:1 ,", "a", 1, HOST_BY_NAME},
		{"a,*", "a", 443, HOST_BY_NAME},
		{"*,a", "a", 443, HOST_BY_NAME},
		{"*,a", "b", 443, HOST_BY_ANY},
		{"[::1]:8080", "::1", 8080, HOST_BY_NAME},
		{"[::1]", "::1", 443, HOST_BY_NAME},
		{"127.0.0.1:1", "127.0.0.1", 1, HOST_BY_NAME},
		{"127.0.0.1:1", "2130706433", 1, HOST_NOT_LISTED},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		ck_assert_msg(hostlist_find(cases[i].list, cases[i].host, strlen(cases[i].host), cases[i].port) == cases[i].found,
					  "\"%s\" asked for %s:%d", cases[i].list, cases[i].host, cases[i].port);
}

END_TEST

START_TEST(bad_items)
{
	static const char *const bad[] = {
		"a b", "*.example", "**", "https://a", "a/", "u@a", "a:", "a:0", "a:65536", "a:1x", "a:-1", "a:999999", "::1", "[::1", "[]",
		"[g]", "[::1]x", "-a", ".a", "a%2e", "\xc3\xa4", "a\n",
	};
	static const char *const good[] = {"", " ", "*", "a", "a_b-c.d:65535", "[::1]", "[::ffff:1.2.3.4]:1", "a,b , c:1", ",,"};
	size_t		len;

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
	{
		char		list[100];
		const char *item;

		strcpy(list, "good, ");
		strcat(list, bad[i]);
		item = hostlist_bad_item(list, &len);
		ck_assert_msg(item == list + 6 && len == strlen(bad[i]), "\"%s\" is taken", bad[i]);
	}
	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++)
		ck_assert_msg(hostlist_bad_item(good[i], &len) == NULL, "\"%s\" is refused", good[i]);
}

END_TEST

int
main(void)
{
	Suite	   *suite = suite_create("common hostlist");
	TCase	   *tests = tcase_create("hostlist");
	SRunner    *runner;
	int			failed;

	tcase_add_test(tests, finds_exactly);
	tcase_add_test(tests, bad_items);
	suite_add_tcase(suite, tests);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
