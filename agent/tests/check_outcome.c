/*
 * check_outcome.c
 *	  Every way an attempt can end, and exit records that nobody should
 *	  believe.
 */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "agent/outcome.h"
#include "common/protocol.h"
#include "common/reasons.h"

#define NONE -1

/* One way to end: what is known, and what must be concluded. */
static const struct
{
	const char *what;
	StopIntent	intent;
	int			by;				/* stopped_by; 0: no record */
	int			code;
	int			signal;
	int			oom;
	int			start_failed;
	int			container;		/* its exit code; NONE: gone */
	int			engine_oom;
	int			state;
	int			reason;
	int			exit_code;		/* NONE: not said */
	int			rebooted;
}			cases[] =

{
	{"ended well", STOP_NONE, UD_STOPPED_SELF, 0, 0, 0, 0, 0, 0, UD_ATTEMPT_SUCCEEDED, UD_REASON_NONE, 0, 0},
	{"ended well, container gone", STOP_NONE, UD_STOPPED_SELF, 0, 0, 0, 0, NONE, 0, UD_ATTEMPT_SUCCEEDED, UD_REASON_NONE, 0, 0},
	{"ended well though a child was killed", STOP_NONE, UD_STOPPED_SELF, 0, 0, 1, 0, 0, 0, UD_ATTEMPT_SUCCEEDED, UD_REASON_NONE, 0, 0},
	{"exit code", STOP_NONE, UD_STOPPED_SELF, 3, 0, 0, 0, 3, 0, UD_ATTEMPT_FAILED, UD_REASON_RUN_EXIT_CODE, 3, 0},
	{"signal", STOP_NONE, UD_STOPPED_SELF, -1, 11, 0, 0, 139, 0, UD_ATTEMPT_FAILED, UD_REASON_RUN_SIGNAL, 139, 0},
	{"out of memory by record", STOP_NONE, UD_STOPPED_SELF, -1, 9, 1, 0, 137, 0, UD_ATTEMPT_FAILED, UD_REASON_RUN_OOM, 137, 0},
	{"out of memory by engine", STOP_NONE, UD_STOPPED_SELF, 1, 0, 0, 0, 1, 1, UD_ATTEMPT_FAILED, UD_REASON_RUN_OOM, 1, 0},
	{"command not found", STOP_NONE, UD_STOPPED_SELF, 127, 0, 0, 1, 127, 0, UD_ATTEMPT_FAILED, UD_REASON_RUN_START_FAILED, 127, 0},
	{"code 127 of its own", STOP_NONE, UD_STOPPED_SELF, 127, 0, 0, 0, 127, 0, UD_ATTEMPT_FAILED, UD_REASON_RUN_EXIT_CODE, 127, 0},
	{"lease over", STOP_NONE, UD_STOPPED_LEASE, 0, 0, 0, 0, 0, 0, UD_ATTEMPT_LOST, UD_REASON_NODE_LEASE_OVER, 0, 0},
	{"engine stop, code 0", STOP_NONE, UD_STOPPED_OUTSIDE, 0, 0, 0, 0, 0, 0, UD_ATTEMPT_FAILED, UD_REASON_NODE_ENGINE_STOPPED, 0, 0},
	{"engine stop, TERM", STOP_NONE, UD_STOPPED_OUTSIDE, -1, 15, 0, 0, 143, 0, UD_ATTEMPT_FAILED, UD_REASON_NODE_ENGINE_STOPPED, 143, 0},
	{"forged announcement", STOP_NONE, UD_STOPPED_AGENT, 0, 0, 0, 0, 0, 0, UD_ATTEMPT_FAILED, UD_REASON_NODE_ENGINE_STOPPED, 0, 0},
	{"cancelled, code 0", STOP_WANTED, UD_STOPPED_AGENT, 0, 0, 0, 0, 0, 0, UD_ATTEMPT_CANCELLED, UD_REASON_CTL_CANCELLED, 0, 0},
	{"cancelled, killed", STOP_WANTED, 0, 0, 0, 0, 0, 137, 0, UD_ATTEMPT_CANCELLED, UD_REASON_CTL_CANCELLED, 137, 0},
	{"cancelled, gone", STOP_WANTED, 0, 0, 0, 0, 0, NONE, 0, UD_ATTEMPT_CANCELLED, UD_REASON_CTL_CANCELLED, NONE, 0},
	{"ended well before the cancel's signal", STOP_WANTED, UD_STOPPED_SELF, 0, 0, 0, 0, 0, 0, UD_ATTEMPT_SUCCEEDED, UD_REASON_NONE, 0, 0},
	{"ended well before that, container gone", STOP_WANTED, UD_STOPPED_SELF, 0, 0, 0, 0, NONE, 0, UD_ATTEMPT_SUCCEEDED, UD_REASON_NONE, 0, 0},
	{"failed before the cancel's signal", STOP_WANTED, UD_STOPPED_SELF, 3, 0, 0, 0, 3, 0, UD_ATTEMPT_CANCELLED, UD_REASON_CTL_CANCELLED, 3, 0},
	{"told to stop by the engine before the cancel's signal", STOP_WANTED, UD_STOPPED_OUTSIDE, 0, 0, 0, 0, 0, 0, UD_ATTEMPT_CANCELLED, UD_REASON_CTL_CANCELLED, 0, 0},
	{"lease over before the cancel's signal", STOP_WANTED, UD_STOPPED_LEASE, 0, 0, 0, 0, 0, 0, UD_ATTEMPT_CANCELLED, UD_REASON_CTL_CANCELLED, 0, 0},
	{"cancelled, code 0 without a record", STOP_WANTED, 0, 0, 0, 0, 0, 0, 0, UD_ATTEMPT_CANCELLED, UD_REASON_CTL_CANCELLED, 0, 0},
	{"ended well as its run time was over", STOP_RUN_TIMEOUT, UD_STOPPED_SELF, 0, 0, 0, 0, 0, 0, UD_ATTEMPT_SUCCEEDED, UD_REASON_NONE, 0, 0},
	{"ended well as it was silent", STOP_IDLE, UD_STOPPED_SELF, 0, 0, 0, 0, 0, 0, UD_ATTEMPT_SUCCEEDED, UD_REASON_NONE, 0, 0},
	{"ended well as the disk was full", STOP_DISK, UD_STOPPED_SELF, 0, 0, 0, 0, 0, 0, UD_ATTEMPT_SUCCEEDED, UD_REASON_NONE, 0, 0},
	{"run time over", STOP_RUN_TIMEOUT, UD_STOPPED_AGENT, -1, 15, 0, 0, 143, 0, UD_ATTEMPT_TIMED_OUT, UD_REASON_RUN_TIMEOUT, 143, 0},
	{"silent", STOP_IDLE, UD_STOPPED_AGENT, -1, 15, 0, 0, 143, 0, UD_ATTEMPT_TIMED_OUT, UD_REASON_RUN_NO_PROGRESS, 143, 0},
	{"silent, and exited 0", STOP_IDLE, UD_STOPPED_AGENT, 0, 0, 0, 0, 0, 0, UD_ATTEMPT_TIMED_OUT, UD_REASON_RUN_NO_PROGRESS, 0, 0},
	{"filled the disk", STOP_DISK, UD_STOPPED_AGENT, -1, 15, 0, 0, 143, 0, UD_ATTEMPT_FAILED, UD_REASON_RUN_DISK, 143, 0},
	{"filled the disk, and exited 0", STOP_DISK, UD_STOPPED_AGENT, 0, 0, 0, 0, 0, 0, UD_ATTEMPT_FAILED, UD_REASON_RUN_DISK, 0, 0},
	{"no record, gone", STOP_NONE, 0, 0, 0, 0, 0, NONE, 0, UD_ATTEMPT_LOST, UD_REASON_NODE_CONTAINER_GONE, NONE, 0},
	{"no record, killed", STOP_NONE, 0, 0, 0, 0, 0, 137, 0, UD_ATTEMPT_FAILED, UD_REASON_NODE_ENGINE_STOPPED, 137, 0},
	{"no record, the machine went down", STOP_NONE, 0, 0, 0, 0, 0, 255, 0, UD_ATTEMPT_FAILED, UD_REASON_NODE_ENGINE_STOPPED, 255, 0},
	{"no record, out of memory", STOP_NONE, 0, 0, 0, 0, 0, 137, 1, UD_ATTEMPT_FAILED, UD_REASON_RUN_OOM, 137, 0},
	{"no record, code 0", STOP_NONE, 0, 0, 0, 0, 0, 0, 0, UD_ATTEMPT_FAILED, UD_REASON_NODE_AGENT_ERROR, 0, 0},
	{"rebooted, no record", STOP_NONE, 0, 0, 0, 0, 0, 255, 0, UD_ATTEMPT_LOST, UD_REASON_NODE_REBOOTED, 255, 1},
	{"rebooted, no record, killed", STOP_NONE, 0, 0, 0, 0, 0, 137, 0, UD_ATTEMPT_LOST, UD_REASON_NODE_REBOOTED, 137, 1},
	{"rebooted, no record, code 0", STOP_NONE, 0, 0, 0, 0, 0, 0, 0, UD_ATTEMPT_LOST, UD_REASON_NODE_REBOOTED, 0, 1},
	{"rebooted, gone", STOP_NONE, 0, 0, 0, 0, 0, NONE, 0, UD_ATTEMPT_LOST, UD_REASON_NODE_REBOOTED, NONE, 1},
	{"rebooted, stopped from outside", STOP_NONE, UD_STOPPED_OUTSIDE, 0, 0, 0, 0, 0, 0, UD_ATTEMPT_LOST, UD_REASON_NODE_REBOOTED, 0, 1},
	{"rebooted after it had ended well", STOP_NONE, UD_STOPPED_SELF, 0, 0, 0, 0, 0, 0, UD_ATTEMPT_SUCCEEDED, UD_REASON_NONE, 0, 1},
	{"rebooted after it had failed", STOP_NONE, UD_STOPPED_SELF, 3, 0, 0, 0, 3, 0, UD_ATTEMPT_FAILED, UD_REASON_RUN_EXIT_CODE, 3, 1},
	{"rebooted after the lease was over", STOP_NONE, UD_STOPPED_LEASE, 0, 0, 0, 0, 0, 0, UD_ATTEMPT_LOST, UD_REASON_NODE_LEASE_OVER, 0, 1},
	{"rebooted, out of memory before", STOP_NONE, 0, 0, 0, 0, 0, 137, 1, UD_ATTEMPT_FAILED, UD_REASON_RUN_OOM, 137, 1},
	{"rebooted while it was cancelled", STOP_WANTED, 0, 0, 0, 0, 0, 137, 0, UD_ATTEMPT_CANCELLED, UD_REASON_CTL_CANCELLED, 137, 1},
};

START_TEST(judges)
{
	ExitFacts	facts;
	Outcome		outcome;

	memset(&facts, 0, sizeof(facts));
	facts.intent = cases[_i].intent;
	facts.final_state = UD_ATTEMPT_CANCELLED;
	facts.final_reason = UD_REASON_CTL_CANCELLED;
	facts.rebooted = cases[_i].rebooted != 0;
	facts.has_record = cases[_i].by != 0;
	facts.record.stopped_by = (uint8_t) cases[_i].by;
	facts.record.code = cases[_i].code;
	facts.record.signal = cases[_i].signal;
	facts.record.oom = (uint8_t) cases[_i].oom;
	facts.record.start_failed = (uint8_t) cases[_i].start_failed;
	facts.has_container = cases[_i].container != NONE;
	facts.container_code = facts.has_container ? cases[_i].container : 0;
	facts.container_oom = cases[_i].engine_oom != 0;
	outcome_judge(&facts, &outcome);
	ck_assert_msg(outcome.state == cases[_i].state, "%s: state is %s", cases[_i].what, ud_attempt_state_name(outcome.state));
	ck_assert_msg(outcome.reason == cases[_i].reason, "%s: reason is %s", cases[_i].what, ud_reason_text(outcome.reason));
	ck_assert_msg((outcome.has_exit_code ? outcome.exit_code : NONE) == cases[_i].exit_code, "%s: exit code is %d", cases[_i].what, outcome.exit_code);
	ck_assert(UD_ATTEMPT_IS_TERMINAL(outcome.state));
}

END_TEST

static UdExitRecord
good_record(void)
{
	UdExitRecord record;

	memset(&record, 0, sizeof(record));
	record.magic = UD_EXIT_MAGIC;
	record.stopped_by = UD_STOPPED_SELF;
	return record;
}

START_TEST(believes_a_good_record_of_the_right_size_only)
{
	UdExitRecord record = good_record();
	UdExitRecord out;

	ck_assert(outcome_read_record(&record, sizeof(record), &out));
	ck_assert(!outcome_read_record(&record, sizeof(record) - 1, &out));
	ck_assert(!outcome_read_record(&record, 0, &out));
}

END_TEST

#define REFUSES(change) \
	do { \
		UdExitRecord record = good_record(); \
		UdExitRecord out; \
		record.change; \
		ck_assert_msg(!outcome_read_record(&record, sizeof(record), &out), "%s was believed", #change); \
	} while (0)

START_TEST(refuses_forged_records)
{
	REFUSES(magic = 0);
	REFUSES(stopped_by = 0);
	REFUSES(stopped_by = 5);
	REFUSES(signal = -1);
	REFUSES(signal = 65);
	REFUSES(code = 256);
	REFUSES(code = -2);
	REFUSES(code = -1);
	REFUSES(oom = 2);
	REFUSES(start_failed = 255);
	REFUSES(log_end = UINT64_MAX);
	REFUSES(log_cut = UINT64_MAX);
	REFUSES(run_ns = -1);
}

END_TEST

int
main(void)
{
	Suite	   *suite = suite_create("outcome");
	TCase	   *tests = tcase_create("outcome");
	SRunner    *runner;
	int			failed;

	tcase_add_loop_test(tests, judges, 0, (int) (sizeof(cases) / sizeof(cases[0])));
	tcase_add_test(tests, believes_a_good_record_of_the_right_size_only);
	tcase_add_test(tests, refuses_forged_records);
	suite_add_tcase(suite, tests);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
