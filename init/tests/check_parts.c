/*
 * check_parts.c
 *	  The parts of unidesk-init that need no process: judging the control
 *	  file, the ring that holds an output's tail, the log's budget.
 */
#include <check.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/log.h"
#include "common/clock.h"
#include "init/control.h"
#include "init/exit_file.h"
#include "init/log_file.h"

static char run_dir[64];
static int	dir_fd;

static void
setup(void)
{
	strcpy(run_dir, "/tmp/unidesk-init-parts-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(run_dir));
	dir_fd = open(run_dir, O_RDONLY | O_DIRECTORY);
	ck_assert_int_ge(dir_fd, 0);
}

static void
teardown(void)
{
	static const char *const names[] = {UD_RUN_LOG, UD_RUN_EXIT, UD_RUN_EXIT ".new", UD_RUN_CONTROL};

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		unlinkat(dir_fd, names[i], 0);
	close(dir_fd);
	ck_assert_int_eq(rmdir(run_dir), 0);
}

static UdControl
some_control(void)
{
	UdControl	control = {
		.magic = UD_CONTROL_MAGIC,
		.has_lease = 1,
		.boot_id = "boot-1",
		.deadline_boot_ns = 160 * NS_PER_S,
		.written_boot_ns = 100 * NS_PER_S,
		.written_realtime_ns = 5000 * NS_PER_S,
	};

	return control;
}

static ControlVerdict
judge(const UdControl *control, const char *boot_id, int64_t boot_s, int64_t realtime_s, int64_t *left_ns)
{
	ControlClocks clocks = {
		.boot_ns = boot_s * NS_PER_S,
		.realtime_ns = realtime_s * NS_PER_S,
	};

	strcpy(clocks.boot_id, boot_id);
	return control_judge(control, &clocks, left_ns);
}

START_TEST(judge_lease)
{
	UdControl	control = some_control();
	int64_t		left;

	ck_assert_int_eq(judge(&control, "boot-1", 130, 5030, &left), CONTROL_GO);
	ck_assert_int_eq(left, 30 * NS_PER_S);
	/* The wall clock may stand still or go back: the boot clock counts. */
	ck_assert_int_eq(judge(&control, "boot-1", 130, 10, &left), CONTROL_GO);
	ck_assert_int_eq(left, 30 * NS_PER_S);
	ck_assert_int_eq(judge(&control, "boot-1", 160, 10, &left), CONTROL_OVER);
	/* Five seconds ahead is tolerated, but counts. */
	ck_assert_int_eq(judge(&control, "boot-1", 130, 5035, &left), CONTROL_GO);
	ck_assert_int_eq(left, 25 * NS_PER_S);
	ck_assert_int_eq(judge(&control, "boot-1", 130, 5036, &left), CONTROL_FREEZE);
	ck_assert_int_eq(judge(&control, "boot-1", 101, 5061, &left), CONTROL_OVER);
	ck_assert_int_eq(left, -NS_PER_S);
}

END_TEST

START_TEST(judge_other_boot)
{
	UdControl	control = some_control();
	int64_t		left;

	/* Boot-clock times of another boot mean nothing. */
	ck_assert_int_eq(judge(&control, "boot-2", 9999, 5001, &left), CONTROL_FREEZE);
	ck_assert_int_eq(judge(&control, "boot-2", 0, 5060, &left), CONTROL_OVER);
	/* A kernel that does not say which boot it is gets the benefit. */
	ck_assert_int_eq(judge(&control, "", 130, 5030, &left), CONTROL_GO);
	control.has_lease = 0;
	ck_assert_int_eq(judge(&control, "boot-2", 9999, 99999, &left), CONTROL_GO);
	ck_assert(left == INT64_MAX);
}

END_TEST

static void
write_file(const char *name, const void *bytes, size_t len)
{
	int			fd = openat(dir_fd, name, O_WRONLY | O_CREAT | O_TRUNC, 0644);

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(write(fd, bytes, len), (ssize_t) len);
	close(fd);
}

static bool
is_accepted(const UdControl *control, size_t len)
{
	char		bytes[2 * sizeof(*control)] = {0};
	UdControl	before = {.grace_s = 77};
	UdControl	found = before;
	bool		accepted;

	memcpy(bytes, control, sizeof(*control));
	write_file(UD_RUN_CONTROL, bytes, len);
	accepted = control_read(dir_fd, &found);
	/* A refused one leaves what was known before. */
	ck_assert_mem_eq(&found, accepted ? control : &before, sizeof(found));
	return accepted;
}

START_TEST(read_control)
{
	UdControl	control = some_control();
	UdControl	bad;

	ck_assert(!control_read(dir_fd, &bad));
	ck_assert(is_accepted(&control, sizeof(control)));
	ck_assert(!is_accepted(&control, sizeof(control) - 1));
	ck_assert(!is_accepted(&control, sizeof(control) + 1));
	ck_assert(!is_accepted(&control, 0));
	bad = control;
	bad.magic++;
	ck_assert(!is_accepted(&bad, sizeof(bad)));
	bad = control;
	bad.has_lease = 2;
	ck_assert(!is_accepted(&bad, sizeof(bad)));
	bad = control;
	bad.stop_announced = 255;
	ck_assert(!is_accepted(&bad, sizeof(bad)));
	bad = control;
	memset(bad.boot_id, 'x', sizeof(bad.boot_id));
	ck_assert(!is_accepted(&bad, sizeof(bad)));
	bad = control;
	bad.deadline_boot_ns = INT64_MIN;
	ck_assert(!is_accepted(&bad, sizeof(bad)));
	bad = control;
	bad.written_realtime_ns = INT64_MAX;
	ck_assert(!is_accepted(&bad, sizeof(bad)));
	/* Neither a FIFO, which would block, nor a link is followed. */
	unlinkat(dir_fd, UD_RUN_CONTROL, 0);
	ck_assert_int_eq(mkfifoat(dir_fd, UD_RUN_CONTROL, 0644), 0);
	ck_assert(!control_read(dir_fd, &bad));
}

END_TEST

START_TEST(tail_keeps_the_end)
{
	LogTail		tail;
	UdLogRecord header = {.magic = UD_LOG_RECORD_MAGIC};
	uint8_t		payload[UD_LOG_RECORD_BYTES_MAX];
	uint64_t	dropped = 0;
	uint64_t	kept = 0;
	uint64_t	put = 0;
	uint32_t	next = UINT32_MAX;

	/* Sizes that wrap at every place of the ring; realtime_ns counts. */
	log_tail_init(&tail, 4093);
	for (uint32_t i = 0; i < 5000; i++)
	{
		header.length = i % (uint32_t) (log_tail_payload_max(&tail) + 1);
		header.realtime_ns = i;
		memset(payload, (int) (i & 0xff), header.length);
		put += header.length;
		dropped += log_tail_put(&tail, &header, payload);
	}
	while (log_tail_take(&tail, &header, payload))
	{
		ck_assert_uint_eq(header.magic, UD_LOG_RECORD_MAGIC);
		if (next != UINT32_MAX)
			ck_assert_int_eq(header.realtime_ns, next);
		next = (uint32_t) header.realtime_ns + 1;
		for (uint32_t i = 0; i < header.length; i++)
			ck_assert_int_eq(payload[i], header.realtime_ns & 0xff);
		kept += header.length;
	}
	ck_assert_uint_eq(next, 5000);
	ck_assert_uint_eq(kept + dropped, put);
	ck_assert_uint_gt(kept, 2000);
	log_tail_release(&tail);
}

END_TEST

START_TEST(log_is_never_written_twice)
{
	LogFile		log;
	UdError		err;
	UdExitRecord record = {.magic = UD_EXIT_MAGIC,.code = 3};
	int			fd;

	ck_assert_int_eq(log_file_open(&log, dir_fd, LOG_BUDGET_MIN, &err), 0);
	log_file_append(&log, UD_LOG_STDOUT, "x", 1);
	log_file_finish(&log);
	ck_assert_uint_eq(log.offset, 1);
	ck_assert_int_eq(log_file_open(&log, dir_fd, LOG_BUDGET_MIN, &err), UD_EEXIST);
	fd = exit_file_prepare(dir_fd, &err);
	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(exit_file_write(dir_fd, fd, &record, &err), 0);
	ck_assert_int_eq(exit_file_prepare(dir_fd, &err), UD_EEXIST);
}

END_TEST

START_TEST(full_disk_is_a_used_up_budget)
{
	LogFile		log;
	UdError		err;
	int			full;
	char		text[100] = {0};

	/* Every write to this device fails with ENOSPC. */
	full = open("/dev/full", O_WRONLY);
	ck_assert_int_ge(full, 0);
	ck_assert_int_eq(log_file_open(&log, dir_fd, LOG_BUDGET_MIN, &err), 0);
	ck_assert_int_eq(dup2(full, log.fd), log.fd);
	close(full);
	log_file_append(&log, UD_LOG_STDOUT, text, sizeof(text));
	ck_assert(log.in_tail);
	log_file_append(&log, UD_LOG_STDERR, text, sizeof(text));
	log_file_finish(&log);
	ck_assert_uint_eq(log.offset, 0);
	ck_assert_uint_eq(log.cut, 2 * sizeof(text));
}

END_TEST

int
main(void)
{
	Suite	   *suite = suite_create("init/parts");
	TCase	   *tcase = tcase_create("parts");
	SRunner    *runner;
	int			failed;

	/* Warnings of a disk that is meant to be full are no news here. */
	ud_log_setup("check_parts", UD_LOG_ERROR);
	tcase_add_checked_fixture(tcase, setup, teardown);
	tcase_add_test(tcase, judge_lease);
	tcase_add_test(tcase, judge_other_boot);
	tcase_add_test(tcase, read_control);
	tcase_add_test(tcase, tail_keeps_the_end);
	tcase_add_test(tcase, log_is_never_written_twice);
	tcase_add_test(tcase, full_disk_is_a_used_up_budget);
	suite_add_tcase(suite, tcase);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
