/*
 * check_map.c
 *	  The 64-bit map against a plain array, with many removals.
 */
#include <stdlib.h>

#include <check.h>

#include "bridge/map.h"

#define KEYS 4000

START_TEST(empty_map_knows_nothing)
{
	Map			map = {0};

	ck_assert(!map_has(&map, 1));
	ck_assert_uint_eq(map_get(&map, 1), 0);
	map_remove(&map, 1);
	ck_assert_uint_eq(map.count, 0);
}

END_TEST

START_TEST(random_changes_match_an_array)
{
	static uint64_t expected[KEYS];
	Map			map = {0};
	size_t		count = 0;

	srand(7);
	for (int step = 0; step < 200000; step++)
	{
		uint64_t	key = 1 + (uint64_t) (rand() % (KEYS - 1));

		if (rand() % 2)
		{
			count += expected[key] == 0;
			expected[key] = (uint64_t) step + 1;
			map_put(&map, key, expected[key]);
		}
		else
		{
			count -= expected[key] != 0;
			expected[key] = 0;
			map_remove(&map, key);
		}
	}
	ck_assert_uint_eq(map.count, count);
	for (uint64_t key = 1; key < KEYS; key++)
	{
		ck_assert_uint_eq(map_get(&map, key), expected[key]);
		ck_assert(map_has(&map, key) == (expected[key] != 0));
	}
	map_release(&map);
}

END_TEST

int
main(void)
{
	Suite	   *suite = suite_create("bridge/map");
	TCase	   *tcase = tcase_create("map");
	SRunner    *runner;
	int			failed;

	tcase_add_test(tcase, empty_map_knows_nothing);
	tcase_add_test(tcase, random_changes_match_an_array);
	suite_add_tcase(suite, tcase);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed != 0;
}
