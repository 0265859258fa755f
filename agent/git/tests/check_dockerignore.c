/*
 * check_dockerignore.c
 *	  .dockerignore: what stays out, by Docker's rules.
 */
#include "agent/git/dockerignore.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "common/buf.h"
#include "common/reasons.h"

/* As a walk would judge it: each directory first, then the path. */
static bool
excludes(const Dockerignore *ignore, const char *path)
{
	bool	   *scope = dockerignore_new_scope(ignore);
	bool	   *child = dockerignore_new_scope(ignore);
	char	   *copy = ud_strdup(path);
	bool		excluded;

	for (char *slash = strchr(copy, '/'); slash != NULL; slash = strchr(slash + 1, '/'))
	{
		bool	   *swap = scope;

		*slash = '\0';
		dockerignore_excludes(ignore, scope, copy, child);
		*slash = '/';
		scope = child;
		child = swap;
	}
	excluded = dockerignore_excludes(ignore, scope, path, NULL);
	free(scope);
	free(child);
	free(copy);
	return excluded;
}

typedef struct Case
{
	const char *patterns;
	const char *out;			/* blank-separated paths that are left out */
	const char *in;				/* and that are not */
} Case;

static const Case cases[] = {
	{"", "", "a a/b .git"},
	{"# a\n\n  \nb", "b", "a"},
	{" # a", "", "a"},
	{"a", "a a/b a/b/c", "b b/a ab"},
	{"/a", "a a/b", "b/a"},
	{"a/", "a a/b", "b/a"},
	{"./a", "a", "b"},
	{"a/b", "a/b a/b/c", "a a/c b"},
	{"a//b/../c", "a/c", "a/b"},
	{"../a", "", "a b/a"},
	{"/../a", "a", "b"},
	{".", "", "a"},
	{"*", "a a/b .c", ""},
	{"*.md", "x.md .md", "a/x.md x.mdx"},
	{"*/x", "a/x b/x/y", "x a/b/x"},
	{"a*b", "ab axb axxb/c", "a/b axbc"},
	{"?", "a \xc3\xa9", "ab .."},
	{"a?c", "abc a\xc3\xa9" "c", "ac a/c abbc"},
	{"**", "a a/b", ""},
	{"**/x", "x a/x a/b/x x/y", "ax a/bx"},
	{"**x", "x a/x", "ax"},
	{"a/**", "a/b a/b/c", "b"},
	{"a/**/b", "a/b a/x/b a/x/y/b", "a b a/xb"},
	{"**/*.o", "a.o x/a.o x/y/a.o", "a.ox x/o"},
	{"**/a/**/b", "a/b x/a/b x/a/y/z/b", "a b/a"},
	{"[ab]x", "ax bx", "cx x"},
	{"[^ab]x", "cx", "ax bx /x"},
	{"[a-c]", "a b c", "d"},
	{"[\\]x]", "] x", "y"},
	{"a\\*b", "a*b", "axb"},
	{"a b", "", "a b"},
	{"*\n!keep", "a a/b", "keep keep/a"},
	{"!keep\n*", "keep", ""},
	{"*.md\n!README*.md\nREADME-secret.md", "a.md README-secret.md", "README.md README-x.md"},
	{"a\n!a/b", "a a/c", "a/b a/b/c"},
	{"a/*\n!a/b", "a/c", "a a/b a/b/c"},
	{"a\n!a/b\na/b/c", "a/c a/b/c a/b/c/d", "a/b a/b/d"},
	{"! a", "", "a"},
	/* "!x" has nothing to take back at x, so it does not count below it. */
	{"*/a\n!x", "x/a y/a", "x x/b"},
	{"*\n*/a\n!x", "y", "x x/a x/b"},
	{"*\n! a", "b", "a"},
	{"a\r\nb\r\n", "a b", "c"},
	{"\xef\xbb\xbf" "a", "a", "b"},
	{"a.c", "a.c", "axc"},
	{"a+(b)$^|{1}", "a+(b)$^|{1}", "aab"},
};

/* "a b" in the table means the one path with a blank only for that case. */
static void
check_paths(const Case *one, const Dockerignore *ignore, const char *paths, bool wanted)
{
	char	   *copy = ud_strdup(paths);
	char	   *save = NULL;

	for (char *path = strtok_r(copy, " ", &save); path != NULL; path = strtok_r(NULL, " ", &save))
		ck_assert_msg(excludes(ignore, path) == wanted, "patterns \"%s\", path \"%s\" should be %s",
					  one->patterns, path, wanted ? "out" : "in");
	free(copy);
}

START_TEST(table)
{
	UdError		err = {0};
	Dockerignore *ignore = dockerignore_parse(cases[_i].patterns, strlen(cases[_i].patterns), &err);

	ck_assert_msg(ignore != NULL, "%s: %s", cases[_i].patterns, err.message);
	check_paths(&cases[_i], ignore, cases[_i].out, true);
	check_paths(&cases[_i], ignore, cases[_i].in, false);
	dockerignore_free(ignore);
}

END_TEST

START_TEST(blanks_in_names)
{
	UdError		err = {0};
	Dockerignore *ignore = dockerignore_parse(" a b \n", 6, &err);

	ck_assert(excludes(ignore, "a b"));
	ck_assert(!excludes(ignore, "a"));
	dockerignore_free(ignore);
}

END_TEST

START_TEST(malformed)
{
	static const char *const bad[] = {"[a", "a\\", "[", "x[^", "[a-", "[]a]", "[x-]", "[-x]", "[^]", "[a-]]", "!", "a\n! \nb"};
	UdError		err = {0};

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
	{
		ck_assert_msg(dockerignore_parse(bad[i], strlen(bad[i]), &err) == NULL, "%s", bad[i]);
		ck_assert_int_eq(err.reason, UD_REASON_PREP_TREE_INVALID);
	}
	ck_assert_ptr_null(dockerignore_parse("a\0b", 3, &err));
}

END_TEST

START_TEST(limits)
{
	UdError		err = {0};
	UdBuf		text = {0};

	for (int i = 0; i <= DOCKERIGNORE_PATTERNS_MAX; i++)
		ud_buf_printf(&text, "p%d\n", i);
	ck_assert_ptr_null(dockerignore_parse((char *) text.data, text.len, &err));
	ud_buf_reset(&text);
	for (int i = 0; i < 2000; i++)
		ud_buf_append(&text, "a", 1);
	ck_assert_ptr_null(dockerignore_parse((char *) text.data, text.len, &err));
	ud_buf_release(&text);
}

END_TEST

/* What takes a backtracking matcher for ever. */
START_TEST(no_explosion)
{
	UdBuf		pattern = {0};
	UdBuf		path = {0};
	UdError		err = {0};
	Dockerignore *ignore;
	clock_t		start = clock();

	for (int i = 0; i < 200; i++)
		ud_buf_printf(&pattern, "**/*a*");
	ud_buf_printf(&pattern, "b");
	for (int i = 0; i < 300; i++)
		ud_buf_printf(&path, "a/a");
	ignore = dockerignore_parse((char *) pattern.data, pattern.len, &err);
	ck_assert_ptr_nonnull(ignore);
	ck_assert(!excludes(ignore, ud_buf_text(&path)));
	ck_assert_int_lt((clock() - start) / CLOCKS_PER_SEC, 20);
	dockerignore_free(ignore);
	ud_buf_release(&pattern);
	ud_buf_release(&path);
}

END_TEST

int
main(void)
{
	Suite	   *suite = suite_create("agent/git dockerignore");
	TCase	   *tests = tcase_create("dockerignore");
	SRunner    *runner;
	int			failed;

	tcase_set_timeout(tests, 30);
	tcase_add_loop_test(tests, table, 0, (int) (sizeof(cases) / sizeof(cases[0])));
	tcase_add_test(tests, blanks_in_names);
	tcase_add_test(tests, malformed);
	tcase_add_test(tests, limits);
	tcase_add_test(tests, no_explosion);
	suite_add_tcase(suite, tests);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
