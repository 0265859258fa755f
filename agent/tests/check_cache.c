/*
 * check_cache.c
 *	  What is kept for later: the order of use over restarts and damage, locks
 *	  that are shared, mirrors that are removed, sizes.
 */
#include <check.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/cache_index.h"
#include "agent/keylock.h"
#include "agent/remove_tree.h"
#include "agent/tree_size.h"

#define MIRROR "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

static char directory[64];
static DataDir data;
static CacheIndex cache;
static UdError err;

static void
setup(void)
{
	strcpy(directory, "/tmp/unidesk-cache.XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(directory));
	ck_assert_int_eq(data_open(&data, directory, ud_strdup(directory), 0, "/bin/true", &err), 0);
	cache_index_read(&cache, &data);
}

static void
teardown(void)
{
	cache_index_release(&cache);
	data_close(&data);
	remove_tree(AT_FDCWD, directory);
}

/* The names in their order, each behind the first letter of its kind. */
static void
order_is(const char *wanted)
{
	char		found[1000] = "";

	for (size_t i = 0; i < cache.count; i++)
		snprintf(found + strlen(found), sizeof(found) - strlen(found), "%c:%s ",
				 "imldc"[cache.items[i].kind], cache.items[i].name);
	ck_assert_str_eq(found, wanted);
}

static void
read_again(void)
{
	cache_index_release(&cache);
	cache_index_read(&cache, &data);
}

START_TEST(order_of_use)
{
	cache_index_use(&cache, CACHE_IMAGE, "a:1", 0);
	cache_index_use(&cache, CACHE_MIRROR, MIRROR, 0);
	cache_index_use(&cache, CACHE_DEBRIS, "0123456789ab", 77);
	cache_index_use(&cache, CACHE_IMAGE, "a:1", 0);
	order_is("m:" MIRROR " d:0123456789ab i:a:1 ");
	read_again();
	order_is("m:" MIRROR " d:0123456789ab i:a:1 ");
	ck_assert_int_eq(cache.items[1].since, 77);
	/* What is found is older than what was used. */
	cache_index_adopt(&cache, CACHE_IMAGE, "b:2");
	cache_index_adopt(&cache, CACHE_IMAGE, "a:1");
	cache_index_drop(&cache, 1);
	cache_index_write(&cache);
	read_again();
	order_is("i:b:2 d:0123456789ab i:a:1 ");
}

END_TEST

START_TEST(file_stays_small)
{
	struct stat info;

	for (int i = 0; i < 20000; i++)
		cache_index_use(&cache, CACHE_IMAGE, i % 2 ? "odd:1" : "even:1", 0);
	ck_assert_int_eq(fstatat(data.root_fd, "index", &info, 0), 0);
	ck_assert_int_lt(info.st_size, 30000);
	read_again();
	order_is("i:even:1 i:odd:1 ");
}

END_TEST

START_TEST(damage_is_left_out)
{
	static const char text[] = "image\nimage \n\n \nimage good:1\nimage good:2 5\nlayer 0123456789ab\n"
	"layer 0123456789ab x\nlayer abcdef012345 9\nnothing name\nimage half";

	ck_assert_int_eq(data_write_file(&data, "index", text, sizeof(text) - 1, &err), 0);
	read_again();
	order_is("i:good:1 l:abcdef012345 i:half ");
	/* A line that was cut short is no part of the next one. */
	cache_index_use(&cache, CACHE_IMAGE, "new:1", 0);
	read_again();
	order_is("i:good:1 l:abcdef012345 i:half i:new:1 ");
}

END_TEST

START_TEST(shared_locks)
{
	atomic_bool cancel = false;

	ck_assert_int_eq(keylock_share("x", INT64_MAX, &cancel, &err), 0);
	ck_assert_int_eq(keylock_share("x", INT64_MAX, &cancel, &err), 0);
	ck_assert(!keylock_try("x"));
	keylock_give("x");
	ck_assert(!keylock_try("x"));
	ck_assert(keylock_try("y"));
	keylock_give("x");
	ck_assert(keylock_try("x"));
	ck_assert(!keylock_try("x"));
	cancel = true;
	ck_assert_int_eq(keylock_share("x", INT64_MAX, &cancel, &err), UD_ECANCELLED);
	cancel = false;
	ck_assert_int_eq(keylock_share("x", 0, &cancel, &err), UD_ETIMEDOUT);
	keylock_give("x");
	keylock_give("y");
	ck_assert_int_eq(keylock_take("x", INT64_MAX, &cancel, &err), 0);
	keylock_give("x");
}

END_TEST

static void
make_mirror(const char *name, const char *file)
{
	char		path[300];

	snprintf(path, sizeof(path), "%s/mirrors/%s", directory, name);
	ck_assert_int_eq(mkdir(path, 0700), 0);
	snprintf(path, sizeof(path), "%s/mirrors/%s/%s", directory, name, file);
	ck_assert_int_eq(symlink("/etc", path), 0);
}

static void
count_mirror(void *arg, const char *name)
{
	ck_assert_str_eq(name, MIRROR);
	++*(int *) arg;
}

static int
keep_none(void *arg, const char *name)
{
	(void) arg;
	(void) name;
	return 0;
}

START_TEST(mirrors)
{
	int			count = 0;

	make_mirror(MIRROR, "link");
	make_mirror(MIRROR ".gone", "link");
	make_mirror("other", "link");
	data_each_mirror(&data, count_mirror, &count);
	ck_assert_int_eq(count, 1);
	/* The half removed one is in the way, and no reason to fail. */
	ck_assert_int_eq(data_remove_mirror(&data, MIRROR, &err), 0);
	ck_assert_int_eq(data_remove_mirror(&data, MIRROR, &err), 0);
	ck_assert_int_eq(access("/etc/passwd", F_OK), 0);
	make_mirror(MIRROR, "link");
	make_mirror(MIRROR ".gone", "link");
	data_sweep(&data, keep_none, NULL);
	ck_assert_int_eq(faccessat(data.mirrors_fd, MIRROR ".gone", F_OK, 0), -1);
	ck_assert_int_eq(faccessat(data.mirrors_fd, MIRROR, F_OK, 0), 0);
	ck_assert_int_eq(faccessat(data.mirrors_fd, "other", F_OK, 0), 0);
}

END_TEST

START_TEST(sizes)
{
	static uint8_t bytes[1000000];

	ck_assert_int_eq(tree_size(data.root_fd, "nothing"), 0);
	ck_assert_int_eq(data_write_probe(&data, "file", bytes, sizeof(bytes), &err), 0);
	ck_assert_int_ge(tree_size(data.root_fd, "probe"), (int64_t) sizeof(bytes));
	ck_assert_int_lt(tree_size(data.root_fd, "probe"), 2 * (int64_t) sizeof(bytes));
	/* Not what a link leads to. */
	ck_assert_int_eq(symlinkat("/usr", data.mirrors_fd, "link"), 0);
	ck_assert_int_lt(tree_size(data.root_fd, "mirrors"), 100000);
}

END_TEST

int
main(void)
{
	Suite	   *suite = suite_create("cache");
	TCase	   *tests = tcase_create("cache");
	SRunner    *runner;
	int			failed;

	tcase_add_checked_fixture(tests, setup, teardown);
	tcase_add_test(tests, order_of_use);
	tcase_add_test(tests, file_stays_small);
	tcase_add_test(tests, damage_is_left_out);
	tcase_add_test(tests, shared_locks);
	tcase_add_test(tests, mirrors);
	tcase_add_test(tests, sizes);
	suite_add_tcase(suite, tests);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
