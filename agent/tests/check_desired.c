/*
 * check_desired.c
 *	  Bodies from the server: good ones, and every field spoilt.
 */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "agent/desired.h"
#include "common/protocol.h"
#include "common/reasons.h"

#define COMMIT "0123456789abcdef0123456789abcdef01234567"
#define CODE "\"code\":{\"url\":\"https://h/c\",\"commit\":\"" COMMIT "\"}"
#define ENV "\"env\":{\"url\":\"https://h/e\",\"commit\":\"" COMMIT "\",\"dockerfile\":\"env/Dockerfile\"}"
#define NAMES "\"project\":\"p\",\"trust\":\"p\""
#define SIZES "\"cpus_milli\":1000,\"memory\":1073741824"
#define SPEC(fields) "{\"spec\":{" fields "}}"
#define GOOD SPEC(NAMES "," CODE "," ENV "," SIZES)

static UdError err;

static int
parse(const char *body, DesiredRun *run)
{
	int			result = desired_parse_run(body, strlen(body), run, &err);

	if (result < 0)
		ck_assert_ptr_null(run->spec);
	return result;
}

START_TEST(good_run)
{
	DesiredRun	run;

	ck_assert_int_eq(parse("{\"grace_s\":2.5,\"lease_s\":7200,\"run_left_s\":null,\"future\":[{}],\"spec\":{" NAMES "," CODE "," ENV "," SIZES
						   ",\"command\":[\"python\",\"\",\"t\\u00e4st\"],\"environment\":{\"SEED\":\"1\",\"EMPTY\":\"\",\"NONE\":null},\"gpus\":[\"GPU-1\"]}}", &run), 0);
	ck_assert_double_eq(run.grace_s, 2.5);
	ck_assert(run.lease_s.set);
	ck_assert_double_eq(run.lease_s.value, 7200);
	ck_assert(!run.run_left_s.set);
	ck_assert(!run.prepare_left_s.set);
	task_spec_free(run.spec);
	/* None, and not one that is over. */
	ck_assert_int_eq(parse("{\"lease_s\":0,\"spec\":{" NAMES "," CODE "," ENV "," SIZES
						   ",\"command\":[\"python\",\"\",\"t\\u00e4st\"],\"environment\":{\"SEED\":\"1\",\"EMPTY\":\"\",\"NONE\":null},\"gpus\":[\"GPU-1\"]}}", &run), 0);
	ck_assert(!run.lease_s.set);
	ck_assert_str_eq(run.spec->command[0], "python");
	ck_assert_str_eq(run.spec->command[1], "");
	ck_assert_ptr_null(run.spec->command[3]);
	ck_assert_str_eq(run.spec->environment[0], "SEED=1");
	ck_assert_str_eq(run.spec->environment[1], "EMPTY=");
	ck_assert_str_eq(run.spec->environment[2], "NONE=");
	ck_assert_ptr_null(run.spec->environment[3]);
	ck_assert_str_eq(run.spec->gpus[0], "GPU-1");
	ck_assert_str_eq(run.spec->dockerfile, "env/Dockerfile");
	task_spec_free(run.spec);
}

END_TEST

START_TEST(least_run)
{
	DesiredRun	run;

	ck_assert_int_eq(parse(GOOD, &run), 0);
	ck_assert_ptr_null(run.spec->command[0]);
	ck_assert_ptr_null(run.spec->environment[0]);
	ck_assert_ptr_null(run.spec->gpus[0]);
	task_spec_free(run.spec);
	ck_assert_int_eq(parse("", &run), 0);
	ck_assert_ptr_null(run.spec);
	/* Time that is over already is time, not an error. */
	ck_assert_int_eq(parse("{\"run_left_s\":-5}", &run), 0);
	ck_assert_double_eq(run.run_left_s.value, -5);
	/* A server before there were such limits, and one that has none to tell. */
	ck_assert(!run.idle_s.set && !run.warn_s.set);
	ck_assert_str_eq(run.warn_signal, "USR1");
	ck_assert_int_eq(parse("{\"idle_s\":null,\"warn_s\":null,\"warn_signal\":null}", &run), 0);
	ck_assert(!run.idle_s.set && !run.warn_s.set);
	ck_assert_int_eq(parse("{\"idle_s\":1,\"warn_s\":2.5,\"warn_signal\":\"WINCH\"}", &run), 0);
	ck_assert_double_eq(run.idle_s.value, 1);
	ck_assert_double_eq(run.warn_s.value, 2.5);
	ck_assert_str_eq(run.warn_signal, "WINCH");
}

END_TEST

static const char *const bad_runs[] = {
	"null", "[]", "5", "{", "{}x", "{\"spec\":[]}", "{\"spec\":5}", "\xff\xfe", "{\"a\":\"\xff\"}",
	"{\"grace_s\":\"30\"}", "{\"grace_s\":-1}", "{\"grace_s\":1e9}", "{\"grace_s\":NaN}", "{\"lease_s\":true}",
	"{\"lease_s\":-1}", "{\"lease_s\":{}}", "{\"run_left_s\":1e300}", "{\"prepare_left_s\":[]}",
	"{\"idle_s\":0}", "{\"idle_s\":-1}", "{\"idle_s\":\"1\"}", "{\"warn_s\":-1}", "{\"warn_s\":{}}",
	"{\"warn_signal\":\"\"}", "{\"warn_signal\":\"usr1\"}", "{\"warn_signal\":\"USR1?a=b\"}", "{\"warn_signal\":\"SIGUSR1X\"}", "{\"warn_signal\":10}",
	"[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[",
	SPEC(CODE "," ENV "," SIZES),
	SPEC("\"project\":\"\",\"trust\":\"p\"," CODE "," ENV "," SIZES),
	SPEC("\"project\":\"a\\nb\",\"trust\":\"p\"," CODE "," ENV "," SIZES),
	SPEC("\"project\":\"a\\u0000b\",\"trust\":\"p\"," CODE "," ENV "," SIZES),
	SPEC(NAMES "," ENV "," SIZES),
	SPEC(NAMES "," CODE "," SIZES),
	SPEC(NAMES ",\"code\":\"x\"," ENV "," SIZES),
	SPEC(NAMES ",\"code\":{\"url\":5,\"commit\":\"" COMMIT "\"}," ENV "," SIZES),
	SPEC(NAMES ",\"code\":{\"url\":\"u\",\"commit\":\"main\"}," ENV "," SIZES),
	SPEC(NAMES ",\"code\":{\"url\":\"u\",\"commit\":\"0123456789ABCDEF0123456789ABCDEF01234567\"}," ENV "," SIZES),
	SPEC(NAMES ",\"code\":{\"url\":\"u\",\"commit\":\"" COMMIT "0\"}," ENV "," SIZES),
	SPEC(NAMES ",\"code\":{\"url\":\"u\",\"commit\":null}," ENV "," SIZES),
	SPEC(NAMES "," CODE ",\"env\":{\"url\":\"u\",\"commit\":\"" COMMIT "\"}," SIZES),
	SPEC(NAMES "," CODE ",\"env\":{\"url\":\"u\",\"commit\":\"" COMMIT "\",\"dockerfile\":\"../D\"}," SIZES),
	SPEC(NAMES "," CODE ",\"env\":{\"url\":\"u\",\"commit\":\"" COMMIT "\",\"dockerfile\":\"/D\"}," SIZES),
	SPEC(NAMES "," CODE ",\"env\":{\"url\":\"u\",\"commit\":\"" COMMIT "\",\"dockerfile\":\"a//D\"}," SIZES),
	SPEC(NAMES "," CODE ",\"env\":{\"url\":\"u\",\"commit\":\"" COMMIT "\",\"dockerfile\":\"a/./D\"}," SIZES),
	SPEC(NAMES "," CODE ",\"env\":{\"url\":\"u\",\"commit\":\"" COMMIT "\",\"dockerfile\":\"a/..\"}," SIZES),
	SPEC(NAMES "," CODE "," ENV ",\"cpus_milli\":1000"),
	SPEC(NAMES "," CODE "," ENV ",\"cpus_milli\":0,\"memory\":5"),
	SPEC(NAMES "," CODE "," ENV ",\"cpus_milli\":1000,\"memory\":-1"),
	SPEC(NAMES "," CODE "," ENV ",\"cpus_milli\":1000,\"memory\":1.5"),
	SPEC(NAMES "," CODE "," ENV ",\"cpus_milli\":1000,\"memory\":99999999999999999999999"),
	SPEC(NAMES "," CODE "," ENV "," SIZES ",\"command\":\"sh\""),
	SPEC(NAMES "," CODE "," ENV "," SIZES ",\"command\":[5]"),
	SPEC(NAMES "," CODE "," ENV "," SIZES ",\"command\":[null]"),
	SPEC(NAMES "," CODE "," ENV "," SIZES ",\"command\":[\"a\\u0000b\"]"),
	SPEC(NAMES "," CODE "," ENV "," SIZES ",\"environment\":[]"),
	SPEC(NAMES "," CODE "," ENV "," SIZES ",\"environment\":{\"A=B\":\"x\"}"),
	SPEC(NAMES "," CODE "," ENV "," SIZES ",\"environment\":{\"\":\"x\"}"),
	SPEC(NAMES "," CODE "," ENV "," SIZES ",\"environment\":{\"1A\":\"x\"}"),
	SPEC(NAMES "," CODE "," ENV "," SIZES ",\"environment\":{\"A\":5}"),
	SPEC(NAMES "," CODE "," ENV "," SIZES ",\"environment\":{\"A\":\"x\\u0000\"}"),
	SPEC(NAMES "," CODE "," ENV "," SIZES ",\"gpus\":{}"),
};

START_TEST(bad_run)
{
	DesiredRun	run;

	err.message[0] = '\0';
	ck_assert_msg(parse(bad_runs[_i], &run) < 0, "%s was taken", bad_runs[_i]);
	ck_assert_str_ne(err.message, "");
}

END_TEST

START_TEST(truncated_run)
{
	DesiredRun	run;

	/* Every beginning of a good body but the empty one is an error. */
	for (size_t len = 1; len < strlen(GOOD); len++)
		ck_assert_int_lt(desired_parse_run(GOOD, len, &run, &err), 0);
}

END_TEST

static int
parse_stop(const char *body, DesiredStop *stop)
{
	return desired_parse_stop(body, strlen(body), stop, &err);
}

START_TEST(stops)
{
	DesiredStop stop;

	ck_assert_int_eq(parse_stop("{\"grace_s\":5,\"final\":\"preempted\",\"reason\":\"ctl.preempted\"}", &stop), 0);
	ck_assert_int_eq(stop.final_state, UD_ATTEMPT_PREEMPTED);
	ck_assert_int_eq(stop.reason, UD_REASON_CTL_PREEMPTED);
	ck_assert_int_eq(parse_stop("{\"final\":\"cancelled\",\"reason\":\"ctl.of_the_future\"}", &stop), 0);
	ck_assert_int_eq(stop.reason, UD_REASON_CTL_CANCELLED);
	ck_assert_int_lt(parse_stop("{\"final\":\"succeeded\"}", &stop), 0);
	ck_assert_int_lt(parse_stop("{\"final\":\"running\"}", &stop), 0);
	ck_assert_int_lt(parse_stop("{\"final\":\"\"}", &stop), 0);
	ck_assert_int_lt(parse_stop("{\"final\":7}", &stop), 0);
	ck_assert_int_lt(parse_stop("{\"grace_s\":-1}", &stop), 0);
}

END_TEST

static int
parse_welcome(const char *body, Welcome *welcome)
{
	return desired_parse_welcome(body, strlen(body), welcome, &err);
}

START_TEST(welcomes)
{
	Welcome		welcome;

	ck_assert_int_eq(parse_welcome("{\"incarnation\":\"f0f3a1b2c3d4e5f6\",\"node\":\"n\",\"limits\":{\"beat_s\":0.5,\"disk_floor\":7}}", &welcome), 0);
	ck_assert_int_eq(welcome.incarnation, (int64_t) UINT64_C(0xf0f3a1b2c3d4e5f6));
	ck_assert_double_eq(welcome.limits.beat_s, 0.5);
	ck_assert_int_eq(welcome.limits.disk_floor, 7);
	ck_assert_double_eq(welcome.limits.lease_margin_s, 30);
	ck_assert_int_lt(parse_welcome("{\"node\":\"n\"}", &welcome), 0);
	ck_assert_int_lt(parse_welcome("{\"incarnation\":\"00f3\",\"node\":\"n\"}", &welcome), 0);
	ck_assert_int_lt(parse_welcome("{\"incarnation\":\"0000000000000000\",\"node\":\"n\"}", &welcome), 0);
	ck_assert_int_lt(parse_welcome("{\"incarnation\":\"F0F3A1B2C3D4E5F6\",\"node\":\"n\"}", &welcome), 0);
	ck_assert_int_lt(parse_welcome("{\"incarnation\":\"f0f3a1b2c3d4e5f6\"}", &welcome), 0);
	ck_assert_int_lt(parse_welcome("{\"incarnation\":\"f0f3a1b2c3d4e5f6\",\"node\":\"n\",\"limits\":{\"beat_s\":0}}", &welcome), 0);
	ck_assert_int_lt(parse_welcome("{\"incarnation\":\"f0f3a1b2c3d4e5f6\",\"node\":\"n\",\"limits\":{\"log_budget\":1}}", &welcome), 0);
}

END_TEST

START_TEST(drains)
{
	ck_assert_int_eq(desired_parse_drain("{\"retry_after_ms\":1500}", 23), 1500);
	ck_assert_int_eq(desired_parse_drain("{\"retry_after_ms\":-1}", 21), 0);
	ck_assert_int_eq(desired_parse_drain("x", 1), 0);
	ck_assert_int_eq(desired_parse_drain("", 0), 0);
}

END_TEST

START_TEST(incarnations_in_hex)
{
	char		hex[DESIRED_HEX_BYTES];
	int64_t		value;

	incarnation_write(-2, hex);
	ck_assert_str_eq(hex, "fffffffffffffffe");
	ck_assert(incarnation_read(hex, &value));
	ck_assert_int_eq(value, -2);
	ck_assert(!incarnation_read("fffffffffffffffg", &value));
	ck_assert(!incarnation_read("0xffffffffffffff", &value));
}

END_TEST

int
main(void)
{
	Suite	   *suite = suite_create("desired");
	TCase	   *tests = tcase_create("desired");
	SRunner    *runner;
	int			failed;

	tcase_add_test(tests, good_run);
	tcase_add_test(tests, least_run);
	tcase_add_loop_test(tests, bad_run, 0, (int) (sizeof(bad_runs) / sizeof(bad_runs[0])));
	tcase_add_test(tests, truncated_run);
	tcase_add_test(tests, stops);
	tcase_add_test(tests, welcomes);
	tcase_add_test(tests, drains);
	tcase_add_test(tests, incarnations_in_hex);
	suite_add_tcase(suite, tests);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
