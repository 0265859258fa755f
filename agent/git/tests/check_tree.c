/*
 * check_tree.c
 *	  Code trees and contexts out of hostile commits.
 *
 * The trees are written as raw objects: no git would make them.
 */
#include "agent/git/tree.h"

#include <check.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <git2.h>
#include <linux/landlock.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "agent/git/confine.h"
#include "agent/git/context.h"
#include "agent/git/mirror.h"
#include "common/buf.h"
#include "common/reasons.h"

#define FILE_MODE "100644"
#define LINK_MODE "120000"
#define TREE_MODE "40000"
#define MODULE_MODE "160000"

static char base[64];
static char mirror[128];
static char into[128];
static git_repository *repo;
static git_odb *odb;

static void
set_up(void)
{
	UdError		err;

	strcpy(base, "/tmp/unidesk-check-tree-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(base));
	snprintf(mirror, sizeof(mirror), "%s/mirror", base);
	snprintf(into, sizeof(into), "%s/into", base);
	ck_assert_int_eq(mkdir(into, 0755), 0);
	ck_assert_int_eq(mirror_setup(false, &err), 0);
	ck_assert_int_eq(mirror_open_for_fetch(mirror, &repo, &err), 0);
	ck_assert_int_eq(git_repository_odb(&odb, repo), 0);
}

static void
tear_down(void)
{
	git_odb_free(odb);
	git_repository_free(repo);
	mirror_remove(base);
	git_libgit2_shutdown();
}

static git_oid
put(const void *data, size_t len, git_object_t type)
{
	git_oid		oid;

	ck_assert_int_eq(git_odb_write(&oid, odb, data, len, type), 0);
	return oid;
}

static git_oid
put_blob(const char *text)
{
	return put(text, strlen(text), GIT_OBJECT_BLOB);
}

/* A tree under construction: entries in the order given. */
static void
add(UdBuf *tree, const char *mode, const char *name, git_oid oid)
{
	ud_buf_printf(tree, "%s %s", mode, name);
	ud_buf_append(tree, "", 1);
	ud_buf_append(tree, &oid, GIT_OID_RAWSZ);
}

static git_oid
put_tree(UdBuf *tree)
{
	git_oid		oid = put(tree->data, tree->len, GIT_OBJECT_TREE);

	ud_buf_release(tree);
	return oid;
}

static git_oid
one_entry(const char *mode, const char *name, git_oid oid)
{
	UdBuf		tree = {0};

	add(&tree, mode, name, oid);
	return put_tree(&tree);
}

static void
put_commit(git_oid tree, char hex[GIT_OID_HEXSZ + 1])
{
	UdBuf		commit = {0};
	git_oid		oid;

	ud_buf_printf(&commit, "tree %s\nauthor t <t@t> 1700000000 +0000\ncommitter t <t@t> 1700000000 +0000\n\nx\n",
				  git_oid_tostr(hex, GIT_OID_HEXSZ + 1, &tree));
	oid = put(commit.data, commit.len, GIT_OBJECT_COMMIT);
	git_oid_tostr(hex, GIT_OID_HEXSZ + 1, &oid);
	ud_buf_release(&commit);
}

static int
write_limited(git_oid tree, const WalkLimits *limits, UdError *err)
{
	char		hex[GIT_OID_HEXSZ + 1];

	memset(err, 0, sizeof(*err));
	put_commit(tree, hex);
	return tree_write(repo, hex, into, limits, err);
}

static int
write_tree(git_oid tree, UdError *err)
{
	return write_limited(tree, &walk_default_limits, err);
}

static bool
is_empty(const char *path)
{
	DIR		   *dir = opendir(path);
	int			count = 0;

	while (readdir(dir) != NULL)
		count++;
	closedir(dir);
	return count == 2;
}

/* Refused, and not a byte written. */
static void
refuse(git_oid tree, const char *what)
{
	UdError		err;
	int			rc = write_tree(tree, &err);

	ck_assert_msg(rc == UD_EINVAL && err.reason == UD_REASON_PREP_TREE_INVALID, "%s: %d %s", what, rc, err.message);
	ck_assert_msg(is_empty(into), "%s: something was written", what);
}

START_TEST(forbidden_names)
{
	static const char *const names[] = {
		".git", ".GIT", ".gIt", ".git ", ".git.", ".git . .", ".git::$INDEX_ALLOCATION", "git~1", "GIT~1", "git~12",
		".", "..", "a/b", "/etc", "../x", "a/../../x", "",
	};
	char		long_name[400];
	git_oid		blob = put_blob("x");
	git_oid		good = one_entry(FILE_MODE, "a", blob);

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
	{
		/* libgit2 itself refuses to parse a tree with an empty name. */
		refuse(one_entry(FILE_MODE, names[i], blob), names[i]);
		refuse(one_entry(TREE_MODE, names[i], good), names[i]);
		refuse(one_entry(TREE_MODE, "d", one_entry(LINK_MODE, names[i], blob)), names[i]);
	}
	memset(long_name, 'n', sizeof(long_name));
	long_name[256] = '\0';
	refuse(one_entry(FILE_MODE, long_name, blob), "long name");
	ck_assert(walk_name_is_valid(".gitignore") && walk_name_is_valid(".github") && walk_name_is_valid("git~")
			  && walk_name_is_valid(".gitx") && walk_name_is_valid("...") && walk_name_is_valid("git~1x"));
}

END_TEST

START_TEST(links_that_leave)
{
	static const char *const targets[] = {
		"/etc/passwd", "..", "../x", "../../etc", "a/../../x", "./..", "a/b/../../..", "//x", "x/../../y",
	};

	for (size_t i = 0; i < sizeof(targets) / sizeof(targets[0]); i++)
		refuse(one_entry(LINK_MODE, "link", put_blob(targets[i])), targets[i]);
	refuse(one_entry(TREE_MODE, "d", one_entry(LINK_MODE, "link", put_blob("../../x"))), "below a directory");
	refuse(one_entry(LINK_MODE, "link", put_blob("")), "empty target");
	refuse(one_entry(LINK_MODE, "link", put("a\0b", 3, GIT_OBJECT_BLOB)), "NUL in target");
	ck_assert(tree_link_stays(0, "a") && tree_link_stays(1, "../a") && tree_link_stays(0, "a/..")
			  && tree_link_stays(2, "../../a/b") && !tree_link_stays(1, "../..") && !tree_link_stays(0, "/"));
}

END_TEST

/* "here" is the root itself, so "here/.." is above it although the text stays. */
START_TEST(links_that_leave_through_links)
{
	UdBuf		tree = {0};
	UdError		err;

	add(&tree, LINK_MODE, "here", put_blob("."));
	add(&tree, LINK_MODE, "out", put_blob("here/../x"));
	ck_assert_int_eq(write_tree(put_tree(&tree), &err), UD_EINVAL);
	ck_assert_int_eq(err.reason, UD_REASON_PREP_TREE_INVALID);
}

END_TEST

/* A link in place of a directory, so that what is "below" it lies elsewhere. */
START_TEST(name_twice)
{
	char		target[128];
	UdBuf		tree = {0};
	git_oid		below = one_entry(FILE_MODE, "stolen", put_blob("x"));

	snprintf(target, sizeof(target), "into");
	add(&tree, LINK_MODE, "a", put_blob(target));
	add(&tree, FILE_MODE, "a.b", put_blob("x"));
	add(&tree, TREE_MODE, "a", below);
	refuse(put_tree(&tree), "link and directory");
	add(&tree, FILE_MODE, "a", put_blob("x"));
	add(&tree, FILE_MODE, "a", put_blob("y"));
	refuse(put_tree(&tree), "file twice");
}

END_TEST

START_TEST(submodules_and_lfs)
{
	git_oid		blob = put_blob("x");
	const char *pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n";

	refuse(one_entry(MODULE_MODE, "module", blob), "submodule");
	refuse(one_entry(FILE_MODE, "big.bin", put_blob(pointer)), "LFS pointer");
	refuse(one_entry(TREE_MODE, "a", blob), "directory that is a file");
	refuse(one_entry(FILE_MODE, "a", one_entry(FILE_MODE, "b", blob)), "file that is a directory");
	refuse(one_entry(TREE_MODE, "a", put("rubbish", 7, GIT_OBJECT_TREE)), "broken tree");
}

END_TEST

START_TEST(too_much)
{
	WalkLimits	limits = walk_default_limits;
	git_oid		tree = one_entry(FILE_MODE, "f", put_blob("0123456789"));
	git_oid		deep = tree;
	UdError		err;

	/* 10^20 files in twenty small objects. */
	for (int i = 0; i < 20; i++)
	{
		UdBuf		next = {0};

		for (int j = 0; j < 10; j++)
		{
			char		name[2] = {(char) ('a' + j), '\0'};

			add(&next, TREE_MODE, name, tree);
		}
		tree = put_tree(&next);
	}
	limits.entries_max = 10000;
	ck_assert_int_eq(write_limited(tree, &limits, &err), UD_EINVAL);
	ck_assert_ptr_nonnull(strstr(err.message, "10000 entries"));
	for (int i = 0; i < 300; i++)
		deep = one_entry(TREE_MODE, "d", deep);
	refuse(deep, "deep");
	limits = walk_default_limits;
	limits.bytes_max = 9;
	ck_assert_int_eq(write_limited(one_entry(FILE_MODE, "f", put_blob("0123456789")), &limits, &err), UD_EINVAL);
	limits.bytes_max = 10;
	limits.file_bytes_max = 9;
	ck_assert_int_eq(write_limited(one_entry(FILE_MODE, "f", put_blob("0123456789")), &limits, &err), UD_EINVAL);
	ck_assert(is_empty(into));
}

END_TEST

START_TEST(long_paths)
{
	char		name[256];
	git_oid		tree = put_blob("x");
	UdError		err;

	memset(name, 'n', 255);
	name[255] = '\0';
	tree = one_entry(FILE_MODE, name, tree);
	for (int i = 0; i < 14; i++)
		tree = one_entry(TREE_MODE, name, tree);
	ck_assert_int_eq(write_tree(tree, &err), 0);
	mirror_remove(into);
	ck_assert_int_eq(mkdir(into, 0755), 0);
	tree = one_entry(TREE_MODE, name, one_entry(TREE_MODE, name, tree));
	refuse(tree, "path of 17 * 256 bytes");
}

END_TEST

START_TEST(good_tree)
{
	UdBuf		tree = {0};
	UdBuf		below = {0};
	UdError		err;
	struct stat info;
	char		path[256];
	char		target[64] = "";
	git_oid		blob = put_blob("#!/bin/sh\n");

	add(&below, LINK_MODE, "dangling", put_blob("nowhere"));
	add(&below, LINK_MODE, "loop", put_blob("loop"));
	add(&below, LINK_MODE, "up", put_blob("../run"));
	add(&tree, "100755", "run", blob);
	add(&tree, TREE_MODE, "sub", put_tree(&below));
	/* Set-uid in a mode is no mode git knows. */
	add(&tree, "104755", "suid", blob);
	ck_assert_msg(write_tree(put_tree(&tree), &err) == 0, "%s", err.message);
	snprintf(path, sizeof(path), "%s/run", into);
	ck_assert_int_eq(stat(path, &info), 0);
	ck_assert_int_eq(info.st_mode & 07777, 0755);
	snprintf(path, sizeof(path), "%s/suid", into);
	ck_assert_int_eq(stat(path, &info), 0);
	ck_assert_int_eq(info.st_mode & 07000, 0);
	snprintf(path, sizeof(path), "%s/sub/up", into);
	ck_assert_int_eq(readlink(path, target, sizeof(target) - 1), 6);
	ck_assert_str_eq(target, "../run");
}

END_TEST

START_TEST(missing_objects)
{
	git_oid		none;
	UdError		err;

	git_oid_fromstr(&none, "1234567890123456789012345678901234567890");
	ck_assert_int_eq(write_tree(one_entry(FILE_MODE, "a", none), &err), UD_EPROTO);
	ck_assert_int_eq(err.reason, UD_REASON_PREP_FETCH_FAILED);
	ck_assert_int_eq(write_tree(one_entry(TREE_MODE, "a", none), &err), UD_EPROTO);
	ck_assert_int_eq(write_tree(none, &err), UD_EPROTO);
	ck_assert_int_eq(tree_write(repo, "1234567890123456789012345678901234567890", into, &walk_default_limits, &err), UD_ENOENT);
	ck_assert_int_eq(err.reason, UD_REASON_PREP_COMMIT_NOT_FOUND);
}

END_TEST

/* The context of a tree as a listing; UD_E* in *rc. */
static void
list_context(git_oid tree, const char *dockerfile, int *rc, char listing[4096], UdError *err)
{
	char		hex[GIT_OID_HEXSZ + 1];
	char		path[160];
	char		command[400];
	ContextRequest request = {
		.commit = hex,
		.dockerfile = dockerfile,
		.limits = walk_default_limits,
	};
	FILE	   *tar;
	size_t		len;

	put_commit(tree, hex);
	snprintf(path, sizeof(path), "%s/context.tar", base);
	request.fd = open(path, O_RDWR | O_CREAT | O_TRUNC, 0644);
	*rc = context_write(repo, &request, err);
	/* What is refused leaves not a byte that could pass for a context. */
	ck_assert(*rc == 0 || lseek(request.fd, 0, SEEK_END) == 0);
	close(request.fd);
	listing[0] = '\0';
	if (*rc != 0)
		return;
	snprintf(command, sizeof(command), "tar -tf %s | tr '\\n' ' '", path);
	tar = popen(command, "r");
	len = fread(listing, 1, 4095, tar);
	listing[len] = '\0';
	ck_assert_int_eq(pclose(tar), 0);
}

/* A tree with files in all places and this .dockerignore. */
static git_oid
context_tree(const char *ignore, bool with_bad_entries)
{
	UdBuf		tree = {0};
	UdBuf		sub = {0};
	UdBuf		bad = {0};
	git_oid		blob = put_blob("x");

	add(&bad, FILE_MODE, "lfs", put_blob("version https://git-lfs.github.com/spec/v1\n"));
	add(&bad, MODULE_MODE, "module", blob);
	add(&sub, FILE_MODE, "a", blob);
	add(&sub, TREE_MODE, "b", one_entry(FILE_MODE, "c", blob));
	add(&sub, FILE_MODE, "d", put_blob("FROM debian\n"));
	add(&tree, FILE_MODE, ".dockerignore", put_blob(ignore));
	add(&tree, FILE_MODE, "Dockerfile", put_blob("FROM debian\n"));
	if (with_bad_entries)
		add(&tree, TREE_MODE, "bad", put_tree(&bad));
	add(&tree, FILE_MODE, "empty", put("", 0, GIT_OBJECT_BLOB));
	add(&tree, LINK_MODE, "link", put_blob("/etc/passwd"));
	add(&tree, TREE_MODE, "sub", put_tree(&sub));
	ud_buf_release(&bad);
	return put_tree(&tree);
}

START_TEST(contexts)
{
	static const struct
	{
		const char *ignore;
		const char *dockerfile;
		const char *listing;
	}			cases[] = {
		{"", "Dockerfile", ".dockerignore Dockerfile empty link sub/ sub/a sub/b/ sub/b/c sub/d "},
		{"*", "Dockerfile", ".dockerignore Dockerfile "},
		{"sub", "Dockerfile", ".dockerignore Dockerfile empty link "},
		{"sub\nempty", "sub/d", ".dockerignore Dockerfile link sub/ sub/d "},
		{"*\n!sub/b/c", "Dockerfile", ".dockerignore Dockerfile sub/ sub/b/ sub/b/c "},
		{"sub/*\nlink", "Dockerfile", ".dockerignore Dockerfile empty sub/ "},
		{"**/c\nempty\nlink", "./sub/d", ".dockerignore Dockerfile sub/ sub/a sub/b/ sub/d "},
	};
	char		listing[4096];
	UdError		err = {0};
	int			rc;

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
	{
		list_context(context_tree(cases[i].ignore, false), cases[i].dockerfile, &rc, listing, &err);
		ck_assert_msg(rc == 0, "%s: %s", cases[i].ignore, err.message);
		ck_assert_str_eq(listing, cases[i].listing);
	}
	/* What is left out may be anything. */
	list_context(context_tree("bad", true), "Dockerfile", &rc, listing, &err);
	ck_assert_int_eq(rc, 0);
	list_context(context_tree("bad/lfs", true), "Dockerfile", &rc, listing, &err);
	ck_assert_int_eq(err.reason, UD_REASON_PREP_TREE_INVALID);
	list_context(context_tree("bad/module", true), "Dockerfile", &rc, listing, &err);
	ck_assert_int_eq(err.reason, UD_REASON_PREP_TREE_INVALID);
	list_context(context_tree("[", false), "Dockerfile", &rc, listing, &err);
	ck_assert_int_eq(err.reason, UD_REASON_PREP_TREE_INVALID);
}

END_TEST

START_TEST(dockerfile_paths)
{
	static const char *const paths[] = {
		"", "/Dockerfile", "../Dockerfile", "sub/../Dockerfile", "sub/", "sub", "link", "empty", "none", "sub//d", ".", "./",
		"link/x", "Dockerfile/", ".git/config", "sub/./../Dockerfile",
	};
	char		listing[4096];
	UdError		err = {0};
	int			rc;

	for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++)
	{
		list_context(context_tree("", false), paths[i], &rc, listing, &err);
		ck_assert_msg(rc != 0 && err.reason == UD_REASON_PREP_DOCKERFILE_NOT_FOUND, "%s: %d %s", paths[i], rc, err.message);
	}
}

END_TEST

static bool
can_read(const char *path)
{
	int			fd = open(path, O_RDONLY);

	if (fd >= 0)
		close(fd);
	return fd >= 0 || errno != EACCES;
}

/* In a child of its own: there is no way back. */
START_TEST(confined)
{
	char		path[256];
	int			status;
	pid_t		pid;

	/* A kernel without Landlock has nothing to test. */
	if (syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION) < 1)
		return;
	pid = fork();
	if (pid == 0)
	{
		if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0)
			_exit(1);
		confine_reading(mirror, into);
		snprintf(path, sizeof(path), "%s/HEAD", mirror);
		if (!can_read(path) || !can_read(into))
			_exit(2);
		_exit(can_read("/etc/passwd") || can_read(base) ? 3 : 0);
	}
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_int_eq(status, 0);
}

END_TEST

int
main(void)
{
	Suite	   *suite = suite_create("agent/git tree");
	TCase	   *tests = tcase_create("tree");
	SRunner    *runner;
	int			failed;

	tcase_set_timeout(tests, 30);
	tcase_add_checked_fixture(tests, set_up, tear_down);
	tcase_add_test(tests, forbidden_names);
	tcase_add_test(tests, links_that_leave);
	tcase_add_test(tests, links_that_leave_through_links);
	tcase_add_test(tests, name_twice);
	tcase_add_test(tests, submodules_and_lfs);
	tcase_add_test(tests, too_much);
	tcase_add_test(tests, long_paths);
	tcase_add_test(tests, good_tree);
	tcase_add_test(tests, missing_objects);
	tcase_add_test(tests, contexts);
	tcase_add_test(tests, dockerfile_paths);
	tcase_add_test(tests, confined);
	suite_add_tcase(suite, tests);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
