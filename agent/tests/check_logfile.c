/*
 * check_logfile.c
 *	  The log reader on good files, growing files and hostile files.
 */
#include <check.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent/logfile.h"
#include "common/log.h"
#include "common/protocol.h"

static int	file_fd;
static LogFile reader;

static void
setup(void)
{
	char		path[] = "/tmp/check_logfile.XXXXXX";

	ud_log_setup("check_logfile", UD_LOG_ERROR);
	file_fd = mkstemp(path);
	ck_assert_int_ge(file_fd, 0);
	unlink(path);
	logfile_init(&reader);
	logfile_open(&reader, dup(file_fd));
}

static void
teardown(void)
{
	logfile_release(&reader);
	close(file_fd);
}

static void
put_header(uint32_t magic, uint32_t length, uint64_t offset, uint8_t stream)
{
	UdLogRecord record;

	memset(&record, 0, sizeof(record));
	record.magic = magic;
	record.length = length;
	record.offset = offset;
	record.stream = stream;
	ck_assert_int_eq(write(file_fd, &record, sizeof(record)), sizeof(record));
}

static void
put(uint64_t offset, uint8_t stream, const char *text)
{
	size_t		len = strlen(text);

	put_header(UD_LOG_RECORD_MAGIC, (uint32_t) len, offset, stream);
	ck_assert_int_eq(write(file_fd, text, len), (ssize_t) len);
}

static void
expect(uint64_t offset, size_t max, const char *text, uint8_t stream)
{
	UdBuf		out = {0};
	uint8_t		got_stream = 0;
	size_t		got = logfile_read(&reader, offset, max, &out, &got_stream);

	ck_assert_uint_eq(got, strlen(text));
	ck_assert_uint_eq(out.len, got);
	if (got > 0)
	{
		ck_assert_mem_eq(out.data, text, got);
		ck_assert_uint_eq(got_stream, stream);
	}
	ud_buf_release(&out);
}

START_TEST(reads_runs_of_one_stream)
{
	put(0, UD_LOG_STDOUT, "abc");
	put(3, UD_LOG_STDOUT, "def");
	put(6, UD_LOG_STDERR, "gh");
	put(8, UD_LOG_MARKER, "cut");
	expect(0, 100, "abcdef", UD_LOG_STDOUT);
	expect(6, 100, "gh", UD_LOG_STDERR);
	expect(8, 100, "cut", UD_LOG_MARKER);
	expect(11, 100, "", 0);
	ck_assert_uint_eq(logfile_end(&reader), 11);
	ck_assert(!reader.damaged);
}

END_TEST

/* A far offset is reached, but not all in one call. */
START_TEST(a_long_walk_is_spread_over_calls)
{
	UdBuf		out = {0};
	uint8_t		stream;
	int			calls = 1;

	for (uint64_t offset = 0; offset < 10000; offset++)
		put(offset, UD_LOG_STDOUT, "x");
	while (logfile_read(&reader, 9999, 10, &out, &stream) == 0)
	{
		ck_assert(reader.unfinished);
		calls++;
	}
	ck_assert_int_eq(calls, 3);
	ck_assert_uint_eq(out.len, 1);
	ck_assert_uint_eq(logfile_read(&reader, 10000, 10, &out, &stream), 0);
	ck_assert(!reader.unfinished);
	ud_buf_release(&out);
	/* A file that cannot be read is no file that ends. */
	close(reader.fd);
	reader.fd = open("/", O_DIRECTORY);
	ck_assert_uint_eq(logfile_read(&reader, 0, 10, &out, &stream), 0);
	ck_assert(reader.unfinished);
}

END_TEST

START_TEST(resumes_at_any_offset_and_limit)
{
	put(0, UD_LOG_STDOUT, "abc");
	put(3, UD_LOG_STDOUT, "def");
	expect(1, 1, "b", UD_LOG_STDOUT);
	expect(2, 2, "cd", UD_LOG_STDOUT);
	expect(5, 10, "f", UD_LOG_STDOUT);
	expect(0, 4, "abcd", UD_LOG_STDOUT);
	expect(100, 10, "", 0);
	expect(4, 10, "ef", UD_LOG_STDOUT);
}

END_TEST

START_TEST(sees_a_file_grow_by_halves)
{
	expect(0, 10, "", 0);
	put_header(UD_LOG_RECORD_MAGIC, 4, 0, UD_LOG_STDOUT);
	expect(0, 10, "", 0);
	ck_assert_int_eq(write(file_fd, "ab", 2), 2);
	expect(0, 10, "", 0);
	ck_assert_int_eq(write(file_fd, "cd", 2), 2);
	expect(0, 10, "abcd", UD_LOG_STDOUT);
	put(4, UD_LOG_STDERR, "x");
	expect(4, 10, "x", UD_LOG_STDERR);
}

END_TEST

START_TEST(goes_back_in_a_large_file)
{
	char		block[1024];
	uint64_t	offset = 0;

	memset(block, 'x', sizeof(block));
	block[sizeof(block) - 1] = '\0';
	for (int i = 0; i < 5000; i++)
	{
		put(offset, UD_LOG_STDOUT, block);
		offset += sizeof(block) - 1;
	}
	put(offset, UD_LOG_STDERR, "end");
	ck_assert_uint_eq(logfile_end(&reader), offset + 3);
	ck_assert_int_ge(reader.mark_count, 4);
	ck_assert_int_le(reader.mark_count, 6);
	expect(offset, 10, "end", UD_LOG_STDERR);
	expect(0, 3, "xxx", UD_LOG_STDOUT);
	expect(offset + 1, 10, "nd", UD_LOG_STDERR);
	expect(3000000, 2, "xx", UD_LOG_STDOUT);
}

END_TEST

/* Each is a record that ends the log behind "ok". */
static const struct
{
	uint32_t	magic;
	uint32_t	length;
	uint64_t	offset;
	uint8_t		stream;
}			hostile[] =

{
	{0, 3, 2, UD_LOG_STDOUT},
	{UD_LOG_RECORD_MAGIC, 0, 2, UD_LOG_STDOUT},
	{UD_LOG_RECORD_MAGIC, UD_LOG_RECORD_BYTES_MAX + 1, 2, UD_LOG_STDOUT},
	{UD_LOG_RECORD_MAGIC, UINT32_MAX, 2, UD_LOG_STDOUT},
	{UD_LOG_RECORD_MAGIC, 3, 0, UD_LOG_STDOUT},
	{UD_LOG_RECORD_MAGIC, 3, 3, UD_LOG_STDOUT},
	{UD_LOG_RECORD_MAGIC, 3, UINT64_MAX, UD_LOG_STDOUT},
	{UD_LOG_RECORD_MAGIC, 3, 2, 0},
	{UD_LOG_RECORD_MAGIC, 3, 2, 4},
};

START_TEST(hostile_records_end_the_log)
{
	put(0, UD_LOG_STDOUT, "ok");
	put_header(hostile[_i].magic, hostile[_i].length, hostile[_i].offset, hostile[_i].stream);
	/* What follows would be good if the record were. */
	if (hostile[_i].length > 0)
		ck_assert_int_eq(write(file_fd, "abc", 3), 3);
	put(hostile[_i].length > 0 ? 5 : 2, UD_LOG_STDOUT, "more");
	expect(0, 100, "ok", UD_LOG_STDOUT);
	expect(2, 100, "", 0);
	expect(5, 100, "", 0);
	ck_assert(reader.damaged);
	ck_assert_uint_eq(logfile_end(&reader), 2);
	expect(1, 100, "k", UD_LOG_STDOUT);
}

END_TEST

START_TEST(random_bytes_never_break_the_reader)
{
	UdBuf		out = {0};
	uint8_t		stream;

	srandom((unsigned) _i);
	put(0, UD_LOG_STDOUT, "first");
	put(5, UD_LOG_STDERR, "second");
	for (int i = 0; i < 60; i++)
	{
		uint8_t		byte = (uint8_t) random();

		ck_assert_int_eq(pwrite(file_fd, &byte, 1, random() % 90), 1);
		ud_buf_reset(&out);
		ck_assert_uint_le(logfile_read(&reader, (uint64_t) random() % 20, 64, &out, &stream), 64);
		ck_assert_uint_le(logfile_end(&reader), 65536 * 2);
	}
	/* Cut short under the reader's hands. */
	ck_assert_int_eq(ftruncate(file_fd, 10), 0);
	ud_buf_reset(&out);
	logfile_read(&reader, 0, 64, &out, &stream);
	ud_buf_release(&out);
}

END_TEST

int
main(void)
{
	Suite	   *suite = suite_create("logfile");
	TCase	   *tests = tcase_create("logfile");
	SRunner    *runner;
	int			failed;

	tcase_add_checked_fixture(tests, setup, teardown);
	tcase_set_timeout(tests, 60);
	tcase_add_test(tests, reads_runs_of_one_stream);
	tcase_add_test(tests, a_long_walk_is_spread_over_calls);
	tcase_add_test(tests, resumes_at_any_offset_and_limit);
	tcase_add_test(tests, sees_a_file_grow_by_halves);
	tcase_add_test(tests, goes_back_in_a_large_file);
	tcase_add_loop_test(tests, hostile_records_end_the_log, 0, (int) (sizeof(hostile) / sizeof(hostile[0])));
	tcase_add_loop_test(tests, random_bytes_never_break_the_reader, 0, 50);
	suite_add_tcase(suite, tests);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
