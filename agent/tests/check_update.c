/*
 * check_update.c
 *	  Which images an agent may be replaced by, which container it is in, and
 *	  how orders are kept.
 */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "agent/update.h"
#include "common/log.h"

#define ID "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
#define OTHER "ffffffffffffffff0123456789abcdef0123456789abcdef0123456789abcdef"

static const struct
{
	const char *list;
	const char *image;
	bool		allowed;
}			lists[] =

{
	{"unidesk/agent:*", "unidesk/agent:0.2", true}, {"unidesk/agent:*", "unidesk/agent:latest", true},
	{"unidesk/agent:*", "unidesk/agent:0.2@sha256:00", true}, {"unidesk/agent:*", "unidesk/agent@sha256:00", false},
	{"unidesk/agent@*", "unidesk/agent@sha256:00", true}, {"unidesk/agent:*", "unidesk/agentx:0.2", false},
	{"unidesk/agent:*", "evil/unidesk/agent:0.2", false}, {"unidesk/agent:*", "unidesk/agent/x:0.2", false},
	{"unidesk/agent:*", "unidesk/agent:x/y", false}, {"*/agent:*", "a/b/agent:1", false}, {"*/*/agent:*", "a/b/agent:1", true},
	{"unidesk/agent:0.2", "unidesk/agent:0.2", true}, {"unidesk/agent:0.2", "unidesk/agent:0.21", false},
	{"unidesk/agent:0.2", "unidesk/agent:0.2@sha256:00", false}, {"unidesk/agent", "unidesk/agent:latest", false},
	{" a:1 , b:* ", "b:2", true}, {" a:1 , b:* ", "a:1", true}, {" a:1 , b:* ", "a:2", false}, {"a:1,,", "a:1", true},
	{"", "a:1", false}, {",", "a:1", false}, {"*", "a:1", true}, {"*", "a/b:1", false}, {"**:1", "ab:1", true},
	{"a*b*c:1", "aXbbXc:1", true}, {"a*b*c:1", "aXbbX:1", false}, {"*a*a*a*a*a*a*a*a:1", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa:2", false},
	{"A:1", "a:1", false},
};

START_TEST(allowed_images)
{
	ck_assert_msg(update_is_allowed(lists[_i].list, lists[_i].image) == lists[_i].allowed, "\"%s\": \"%s\"", lists[_i].list, lists[_i].image);
}

END_TEST

START_TEST(patterns_that_are_none)
{
	size_t		len;

	ck_assert_ptr_null(update_bad_pattern("unidesk/agent:*, registry.example:5000/a_b/C@sha256:00 ,", &len));
	ck_assert_str_eq(update_bad_pattern("a, b c,d", &len), "b c,d");
	ck_assert_uint_eq(len, 3);
	ck_assert_ptr_nonnull(update_bad_pattern("a?", &len));
	ck_assert_ptr_nonnull(update_bad_pattern("a\nb", &len));
	ck_assert_ptr_nonnull(update_bad_pattern("https://a/b?c", &len));
}

END_TEST

START_TEST(full_names)
{
	char		name[UPDATE_IMAGE_BYTES];

	update_full_name("agent", name);
	ck_assert_str_eq(name, "agent:latest");
	update_full_name("localhost:5000/agent", name);
	ck_assert_str_eq(name, "localhost:5000/agent:latest");
	update_full_name("localhost:5000/agent:1", name);
	ck_assert_str_eq(name, "localhost:5000/agent:1");
	update_full_name("a/agent@sha256:00", name);
	ck_assert_str_eq(name, "a/agent@sha256:00");
}

END_TEST

static const struct
{
	const char *mountinfo;
	const char *cgroup;
	const char *id;				/* NULL: none */
}			places[] =

{
	{"1 2 8:1 / / rw - ext4 /dev/sda1 rw\n3 2 8:1 /var/lib/docker/containers/" ID "/hostname /etc/hostname rw - ext4 /dev/sda1 rw\n", "", ID},

	/*
	 * The engine's directory is a file system of its own; the last line has
	 * no end.
	 */
	{"3 2 8:1 /containers/" ID "/resolv.conf /etc/resolv.conf rw - ext4 /dev/sda1 rw", "0::/\n", ID},
	{"3 2 8:1 /containers/x/containers/" ID "/hosts /etc/hosts rw - ext4 /dev/sda1 rw\n", "", ID},
	/* A machine on which containers run is in none. */
	{"3 2 0:1 / /var/lib/docker/containers/" OTHER "/mounts/shm rw - tmpfs shm rw\n", "0::/system.slice/unidesk.service\n", NULL},
	{"3 2 8:1 /containers/" OTHER "/hostname /mnt/etc/hostname rw - ext4 /dev/sda1 rw\n", "", NULL},
	{"3 2 8:1 /containers/0123/hostname /etc/hostname rw - ext4 /dev/sda1 rw\n", "", NULL},
	{"3 2 8:1 /containers/" ID "0/hostname /etc/hostname rw - ext4 /dev/sda1 rw\n", "", NULL},
	{"3 2 8:1 /volumes/" ID "/hostname /etc/hostname rw - ext4 /dev/sda1 rw\n", "", NULL},
	{"", "12:cpu:/docker/" ID "\n11:memory:/docker/" ID "\n", ID},
	{"", "0::/system.slice/docker-" ID ".scope\n", ID},
	{"", "0::/system.slice/docker-" ID ".scopes\n", NULL},
	{"", "0::/kubepods/" ID "\n", NULL},
	{"", "0::/docker/" ID "/child\n", NULL},
	{"", "0::/docker/" ID "0\n", NULL},
	{"", "no slash\n\n\n", NULL},
	{"garbage\n\n \n", "", NULL},
	{"", "", NULL},
};

START_TEST(own_containers)
{
	char		id[80] = "";
	bool		found = update_own_container(places[_i].mountinfo, places[_i].cgroup, id);

	ck_assert(found == (places[_i].id != NULL));
	if (found)
		ck_assert_str_eq(id, places[_i].id);
}

END_TEST

START_TEST(orders_as_text)
{
	static const char *const bad[] = {"", "-1", "00f3a1b2c3d4e5f6", "00f3a1b2c3d4e5f6-", "00f3a1b2c3d4e5f6-0", "00f3a1b2c3d4e5f6--1", "00f3a1b2c3d4e5f6-1x",
	"00f3a1b2c3d4e5f6-1000000000", "00f3a1b2c3d4e5f6-99999999999999999999", "00F3a1b2c3d4e5f6-1", "0f3a1b2c3d4e5f6-1", "000f3a1b2c3d4e5f6-1"};
	char		text[UPDATE_ORDER_BYTES];
	int64_t		incarnation = 0;
	int32_t		order = 0;

	update_write_order(INT64_MIN + 7, 999999999, text);
	ck_assert_str_eq(text, "8000000000000007-999999999");
	ck_assert(update_read_order(text, &incarnation, &order));
	ck_assert(incarnation == INT64_MIN + 7 && order == 999999999);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		ck_assert_msg(!update_read_order(bad[i], &incarnation, &order), "%s", bad[i]);
}

END_TEST

START_TEST(lines)
{
	char		out[12];

	update_line(out, sizeof(out), "a\nb\tc\n");
	ck_assert_str_eq(out, "a b c");
	update_line(out, sizeof(out), "\xff too long to be kept");
	ck_assert_str_eq(out, "? too long");
	update_line(out, sizeof(out), "\n");
	ck_assert_str_eq(out, "");
}

END_TEST

/* Stored by one program, the same length whatever it says. */
START_TEST(outcomes_are_kept)
{
	char		directory[] = "/tmp/check_update.XXXXXX";
	char		path[64];
	char		text[3000] = "";
	char		why[3000];
	struct stat info;
	FILE	   *file;
	UdError		err = {0};

	ck_assert_ptr_nonnull(mkdtemp(directory));
	snprintf(path, sizeof(path), "%s/update", directory);
	memset(why, '"', sizeof(why) - 1);
	why[sizeof(why) - 1] = '\0';
	ck_assert_int_eq(update_finish(directory, "00f3a1b2c3d4e5f6-3", false, why, &err), 0);
	ck_assert_int_eq(stat(path, &info), 0);
	ck_assert_int_eq((int) info.st_size, 2048);
	ck_assert_int_eq(update_finish(directory, "00f3a1b2c3d4e5f6-3", false, "the new agent ended", &err), 0);
	file = fopen(path, "r");
	ck_assert_ptr_nonnull(file);
	ck_assert_uint_eq(fread(text, 1, sizeof(text) - 1, file), 2048);
	fclose(file);
	ck_assert_ptr_nonnull(strstr(text, "\"failed\""));
	ck_assert_ptr_nonnull(strstr(text, "the new agent ended"));
	ck_assert_ptr_nonnull(strstr(text, "00f3a1b2c3d4e5f6-3"));
	ck_assert(update_finish(directory, "x-3", true, "", &err) < 0);
	ck_assert(update_finish("/nonexistent", "00f3a1b2c3d4e5f6-3", true, "", &err) < 0);
	remove(path);
	ck_assert_int_eq(remove(directory), 0);
}

END_TEST

int
main(void)
{
	Suite	   *suite = suite_create("update");
	TCase	   *tests = tcase_create("update");
	SRunner    *runner;
	int			failed;

	ud_log_setup("check_update", UD_LOG_ERROR + 1);
	tcase_add_loop_test(tests, allowed_images, 0, (int) (sizeof(lists) / sizeof(lists[0])));
	tcase_add_test(tests, patterns_that_are_none);
	tcase_add_test(tests, full_names);
	tcase_add_loop_test(tests, own_containers, 0, (int) (sizeof(places) / sizeof(places[0])));
	tcase_add_test(tests, orders_as_text);
	tcase_add_test(tests, lines);
	tcase_add_test(tests, outcomes_are_kept);
	suite_add_tcase(suite, tests);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
