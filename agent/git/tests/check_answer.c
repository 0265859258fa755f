/*
 * check_answer.c
 *	  What a server may say about when to come again, and what it may not.
 */
#include <check.h>
#include <stdlib.h>

#include "agent/git/answer.h"

#define DAY_S 86400
/* Sun, 06 Nov 1994 08:49:37 GMT */
#define NOW 784111777

static const struct
{
	const char *head;
	int			wait_s;
}			cases[] =

{
	{"HTTP/1.1 429 Too Many Requests\r\nRetry-After: 120", 120},
	{"HTTP/1.1 429 Too Many Requests\r\nServer: x\r\nretry-after:\t 7 \r\nX: y", 7},
	{"HTTP/1.0 503 Unavailable\r\nRetry-After: 30\r\n", 30},
	{"HTTP/1.1 403 Forbidden\r\nRetry-After: 60", 60},
	{"HTTP/1.1 500\r\nRetry-After: 1", 1},
	/* Dates of the three forms, from now or from the server's own clock. */
	{"HTTP/1.1 503 x\r\nRetry-After: Sun, 06 Nov 1994 08:50:37 GMT", 60},
	{"HTTP/1.1 503 x\r\nRetry-After: Sunday, 06-Nov-94 08:49:47 GMT", 10},
	{"HTTP/1.1 503 x\r\nRetry-After: Sun Nov  6 08:49:40 1994", 3},
	{"HTTP/1.1 503 x\r\nDate: Tue, 24 Nov 2026 10:00:00 GMT\r\nRetry-After: Tue, 24 Nov 2026 10:02:00 GMT", 120},
	{"HTTP/1.1 503 x\r\nRetry-After: Tue, 24 Nov 2026 10:02:00 GMT\r\nDate: Tue, 24 Nov 2026 10:00:00 GMT", 120},
	{"HTTP/1.1 503 x\r\nDate: yesterday\r\nRetry-After: Sun, 06 Nov 1994 08:50:37 GMT", 60},
	/* Longer than anybody waits. */
	{"HTTP/1.1 429 x\r\nRetry-After: 86401", DAY_S},
	{"HTTP/1.1 429 x\r\nRetry-After: 99999999999999999999999999", DAY_S},
	{"HTTP/1.1 429 x\r\nRetry-After: Sun, 06 Nov 2094 08:50:37 GMT", DAY_S},
	/* Nothing usable. */
	{"HTTP/1.1 429 x", 0},
	{"HTTP/1.1 429 x\r\nRetry-After: 0", 0},
	{"HTTP/1.1 429 x\r\nRetry-After:", 0},
	{"HTTP/1.1 429 x\r\nRetry-After: -5", 0},
	{"HTTP/1.1 429 x\r\nRetry-After: 1.5", 0},
	{"HTTP/1.1 429 x\r\nRetry-After: soon", 0},
	{"HTTP/1.1 429 x\r\nRetry-After: 12 s", 0},
	{"HTTP/1.1 429 x\r\nX-Retry-After: 12", 0},
	{"HTTP/1.1 429 x\r\nRetry-After-X: 12", 0},
	{"HTTP/1.1 429 x\r\nRetry-After: Sun, 06 Nov 1994 08:49:37 GMT", 0},
	{"HTTP/1.1 429 x\r\nRetry-After: Sun, 06 Nov 1984 08:49:37 GMT", 0},
	{"HTTP/1.1 429 x\r\nRetry-After: Sun, 06 Nov 1994 08:50:37 GMT and more than there is room for in the value", 0},
	/* Answers to which it does not belong. */
	{"HTTP/1.1 200 OK\r\nRetry-After: 12", 0},
	{"HTTP/1.1 301 Moved\r\nRetry-After: 12", 0},
	{"HTTP/1.1 404 Not Found\r\nRetry-After: 12", 0},
	{"SSH-2.0 429\r\nRetry-After: 12", 0},
	{"", 0},
};

START_TEST(retry_after)
{
	int			wait_s = answer_parse_retry_after(cases[_i].head, NOW);

	ck_assert_msg(wait_s == cases[_i].wait_s, "%s: %d", cases[_i].head, wait_s);
}

END_TEST

int
main(void)
{
	Suite	   *suite = suite_create("agent/git/answer");
	TCase	   *tests = tcase_create("answer");
	SRunner    *runner;
	int			failed;

	tcase_add_loop_test(tests, retry_after, 0, sizeof(cases) / sizeof(cases[0]));
	suite_add_tcase(suite, tests);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
