/*
 * check_tar.c
 *	  The tar stream, as tar itself reads it.
 */
#include "agent/git/tar.h"

#include <check.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/buf.h"

static char base[64];

static void
set_up(void)
{
	strcpy(base, "/tmp/unidesk-check-tar-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(base));
}

static void
tear_down(void)
{
	char		command[128];

	snprintf(command, sizeof(command), "rm -rf %s", base);
	ck_assert_int_eq(system(command), 0);
}

static void
shell(const char *command)
{
	ck_assert_int_eq(chdir(base), 0);
	ck_assert_msg(system(command) == 0, "failed: %s", command);
}

/* Names and targets around the field's 100 bytes, contents around the block's 512. */
START_TEST(read_by_tar)
{
	static const size_t lengths[] = {1, 98, 99, 100, 101, 155, 256, 511, 512, 513, 4000};
	TarWriter  *tar = ud_malloc(sizeof(TarWriter));
	UdError		err;
	char		path[128];
	char		name[4096];
	char	   *big = ud_calloc(1, 200000);
	int			fd;

	snprintf(path, sizeof(path), "%s/out.tar", base);
	fd = open(path, O_WRONLY | O_CREAT, 0644);
	tar_init(tar, fd, 1234567890);
	ck_assert_int_eq(tar_directory(tar, "dir", &err), 0);
	for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++)
	{
		memset(name, 'n', lengths[i]);
		for (size_t j = 60; j + 1 < lengths[i]; j += 61)
			name[j] = '/';
		name[lengths[i]] = '\0';
		ck_assert_int_eq(tar_file(tar, name, i % 2, name, lengths[i], &err), 0);
		snprintf(path, sizeof(path), "link%zu", i);
		ck_assert_int_eq(tar_symlink(tar, path, name, &err), 0);
	}
	ck_assert_int_eq(tar_file(tar, "big", false, big, 200000, &err), 0);
	ck_assert_int_eq(tar_file(tar, "empty", false, "", 0, &err), 0);
	ck_assert_int_eq(tar_file(tar, "\xc3\xa9 blank", true, "x", 1, &err), 0);
	ck_assert_int_eq(tar_end(tar, &err), 0);
	close(fd);
	shell("test $(( $(stat -c %s out.tar) % 512 )) = 0");
	shell("mkdir x && tar -xf out.tar -C x 2>err && test ! -s err");
	shell("test -d x/dir && test ! -s x/empty && test $(stat -c %s x/big) = 200000 && test \"$(cat 'x/\xc3\xa9 blank')\" = x");
	shell("test -x 'x/\xc3\xa9 blank' && test ! -x x/empty && test $(stat -c %Y x/big) = 1234567890");
	/* Every file holds its own name, every link leads to it as text. */
	shell("cd x && test $(find . -type f -path './n*' | wc -l) = 11");
	shell("cd x && find . -type f -path './n*' | while read f; do printf %s \"${f#./}\" | cmp - \"$f\" || exit 1; done");
	shell("cd x && for i in 0 1 2 3 4 5 6 7 8 9 10; do test -f \"$(readlink link$i)\" || exit 1; done");
	shell("tar --numeric-owner -tvf out.tar | awk '$2 != \"0/0\" {bad = 1} END {exit bad}'");
	free(tar);
	free(big);
}

END_TEST

START_TEST(times)
{
	static const int64_t given[] = {-5, 0, INT64_MAX};
	static const char *const wanted[] = {"00000000000", "00000000000", "77777777777"};
	TarWriter  *tar = ud_malloc(sizeof(TarWriter));
	UdError		err;

	for (int i = 0; i < 3; i++)
	{
		tar_init(tar, -1, given[i]);
		ck_assert_int_eq(tar_file(tar, "a", false, "", 0, &err), 0);
		ck_assert_str_eq((const char *) tar->buffer + 136, wanted[i]);
	}
	free(tar);
}

END_TEST

START_TEST(reader_gone)
{
	TarWriter  *tar = ud_malloc(sizeof(TarWriter));
	UdError		err;
	int			ends[2];

	signal(SIGPIPE, SIG_IGN);
	ck_assert_int_eq(pipe(ends), 0);
	close(ends[0]);
	tar_init(tar, ends[1], 0);
	ck_assert_int_eq(tar_file(tar, "a", false, "x", 1, &err), 0);
	ck_assert_int_eq(tar_end(tar, &err), UD_EIO);
	close(ends[1]);
	free(tar);
}

END_TEST

int
main(void)
{
	Suite	   *suite = suite_create("agent/git tar");
	TCase	   *tests = tcase_create("tar");
	SRunner    *runner;
	int			failed;

	tcase_add_checked_fixture(tests, set_up, tear_down);
	tcase_add_test(tests, read_by_tar);
	tcase_add_test(tests, times);
	tcase_add_test(tests, reader_gone);
	suite_add_tcase(suite, tests);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
