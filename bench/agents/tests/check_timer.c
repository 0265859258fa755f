/*
 * check_timer.c
 *	  Nodes come out of the heap in the order in which they are due.
 */
#include "../sim.h"

#include <check.h>
#include <stdlib.h>

#define NODES 200
#define STEPS 20000

static Sim	sim;
static SimNode nodes[NODES];
static SimNode *heap[NODES];
static int64_t due[NODES];		/* what the heap has to know; 0: nothing */

static void
prepare(void)
{
	sim.heap = heap;
	sim.heap_count = 0;
	for (int i = 0; i < NODES; i++)
	{
		nodes[i].sim = &sim;
		nodes[i].index = i;
		nodes[i].heap_index = -1;
		due[i] = 0;
	}
}

static int64_t
earliest(void)
{
	int64_t		first = INT64_MAX;

	for (int i = 0; i < NODES; i++)
		if (due[i] != 0 && due[i] < first)
			first = due[i];
	return first;
}

START_TEST(like_a_list)
{
	prepare();
	srandom(1);
	for (int step = 0; step < STEPS; step++)
	{
		int			i = (int) (random() % NODES);
		SimNode    *node;

		due[i] = random() % 3 == 0 ? 0 : 1 + random() % 1000;
		timer_set(&nodes[i], due[i]);
		ck_assert_int_eq(timer_next_ns(&sim), earliest());
		if (random() % 4 != 0)
			continue;
		node = timer_take(&sim, 500);
		ck_assert((node != NULL) == (earliest() <= 500));
		if (node == NULL)
			continue;
		ck_assert_int_eq(due[node->index], earliest());
		due[node->index] = 0;
	}
}

END_TEST

int
main(void)
{
	Suite	   *suite = suite_create("timer");
	TCase	   *tcase = tcase_create("timer");
	SRunner    *runner = srunner_create(suite);
	int			failed;

	tcase_add_test(tcase, like_a_list);
	suite_add_tcase(suite, tcase);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed != 0;
}
