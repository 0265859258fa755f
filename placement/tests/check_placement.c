/*
 * check_placement.c
 *	  Reasons, best fit, GPU masks, the planner against the plain loop it
 *	  stands for, and the class hash against published vectors.
 */
#include "placement/placement.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define GIB ((int64_t) 1 << 30)

static PlacementNode
make_node(int32_t id, int32_t cpus_milli, int64_t memory, int32_t gpus, const char *labels)
{
	PlacementNode node;

	memset(&node, 0, sizeof(node));
	node.node_id = id;
	node.online = true;
	node.open = true;
	node.cpus_milli = cpus_milli;
	node.memory = memory;
	node.gpu_count = gpus;
	node.gpu_free_mask = gpus >= 64 ? UINT64_MAX : ((uint64_t) 1 << gpus) - 1;
	node.labels = labels;
	return node;
}

static PlacementDemand
make_demand(int32_t cpus_milli, int64_t memory, int32_t gpus, const char *labels)
{
	PlacementDemand demand;

	memset(&demand, 0, sizeof(demand));
	demand.cpus_milli = cpus_milli;
	demand.memory = memory;
	demand.gpus = gpus;
	demand.labels = labels;
	return demand;
}

START_TEST(fits)
{
	PlacementNode node = make_node(1, 4000, 8 * GIB, 2, "a=1\nb=2\nc=3");
	PlacementDemand all = make_demand(4000, 8 * GIB, 2, "a=1\nc=3");
	PlacementDemand nothing = make_demand(0, 0, 0, NULL);

	ck_assert_int_eq(placement_check(&node, &all), UD_REASON_NONE);
	/* Overcommitted: what asks for nothing still fits, and only that. */
	node.cpus_milli_used = 5000;
	node.memory_used = 9 * GIB;
	ck_assert_int_eq(placement_check(&node, &nothing), UD_REASON_NONE);
	ck_assert_int_eq(placement_check(&node, &all), UD_REASON_CAPACITY_CPUS);
}

END_TEST

START_TEST(every_reason_alone)
{
	const PlacementNode good = make_node(1, 4000, 8 * GIB, 2, "a=1");
	const PlacementDemand demand = make_demand(2000, 4 * GIB, 1, "a=1");
	PlacementNode node;
	PlacementDemand wanted;

#define EXPECT_NODE(change, reason) \
	do { \
		node = good; \
		change; \
		ck_assert_int_eq(placement_check(&node, &demand), UD_REASON_##reason); \
		ck_assert_uint_eq(placement_score(&node, &demand), UINT64_MAX); \
	} while (0)

	ck_assert_int_eq(placement_check(&good, &demand), UD_REASON_NONE);
	EXPECT_NODE(node.labels = "a=2", NOMATCH_LABELS);
	EXPECT_NODE(node.labels = NULL, NOMATCH_LABELS);
	EXPECT_NODE(node.cpus_milli = 1999, NOMATCH_CPUS);
	EXPECT_NODE(node.memory = 4 * GIB - 1, NOMATCH_MEMORY);
	EXPECT_NODE(node.gpu_count = 0, NOMATCH_GPUS);
	EXPECT_NODE(node.online = false, NODE_NOT_ONLINE);
	EXPECT_NODE(node.open = false, NODE_NOT_OPEN);
	EXPECT_NODE(node.engine_down = true, NODE_ENGINE_DOWN);
	EXPECT_NODE(node.cpus_milli_used = 2001, CAPACITY_CPUS);
	EXPECT_NODE(node.memory_used = 4 * GIB + 1, CAPACITY_MEMORY);
	EXPECT_NODE(node.gpu_used = 2, CAPACITY_GPUS);
	/* Declared and not taken, but out of order. */
	EXPECT_NODE(node.gpu_free_mask = 0, CAPACITY_GPUS);

	wanted = demand;
	wanted.excluded_node = 1;
	ck_assert_int_eq(placement_check(&good, &wanted), UD_REASON_NODE_EXCLUDED);
	ck_assert_uint_eq(placement_score(&good, &wanted), UINT64_MAX);
	wanted.excluded_node = 2;
	ck_assert_int_eq(placement_check(&good, &wanted), UD_REASON_NONE);
	wanted.only_node = 2;
	ck_assert_int_eq(placement_check(&good, &wanted), UD_REASON_NOMATCH_CHECKPOINT_NODE);
	ck_assert_uint_eq(placement_score(&good, &wanted), UINT64_MAX);
	wanted.only_node = 1;
	ck_assert_int_eq(placement_check(&good, &wanted), UD_REASON_NONE);

	/* Exactly full is fine. */
	node = good;
	node.cpus_milli_used = 2000;
	node.memory_used = 4 * GIB;
	node.gpu_used = 1;
	node.gpu_free_mask = 2;
	ck_assert_int_eq(placement_check(&node, &demand), UD_REASON_NONE);
}

END_TEST

START_TEST(all_reasons_in_order)
{
	static const int totals[] = {
		UD_REASON_NOMATCH_CHECKPOINT_NODE,
		UD_REASON_NOMATCH_LABELS, UD_REASON_NOMATCH_CPUS, UD_REASON_NOMATCH_MEMORY,
		UD_REASON_NOMATCH_GPUS, UD_REASON_NODE_EXCLUDED, UD_REASON_NODE_NOT_ONLINE,
		UD_REASON_NODE_NOT_OPEN, UD_REASON_NODE_ENGINE_DOWN,
	};
	static const int amounts[] = {
		UD_REASON_NODE_NOT_OPEN, UD_REASON_NODE_ENGINE_DOWN, UD_REASON_CAPACITY_CPUS,
		UD_REASON_CAPACITY_MEMORY, UD_REASON_CAPACITY_GPUS,
	};
	PlacementNode node = make_node(7, 1000, GIB, 1, "a=1");
	PlacementDemand demand = make_demand(2000, 2 * GIB, 2, "b=1");
	int			reasons[PLACEMENT_REASONS_MAX];

	demand.excluded_node = 7;
	demand.only_node = 8;
	node.online = false;
	node.open = false;
	node.engine_down = true;
	ck_assert_int_eq(placement_check_all(&node, &demand, reasons), PLACEMENT_REASONS_MAX);
	ck_assert_mem_eq(reasons, totals, sizeof(totals));

	node = make_node(7, 4000, 4 * GIB, 4, "b=1");
	demand.excluded_node = 0;
	demand.only_node = 7;
	node.open = false;
	node.engine_down = true;
	node.cpus_milli_used = 3000;
	node.memory_used = 3 * GIB;
	node.gpu_used = 3;
	ck_assert_int_eq(placement_check_all(&node, &demand, reasons), 5);
	ck_assert_mem_eq(reasons, amounts, sizeof(amounts));
	ck_assert_int_eq(placement_check(&node, &demand), amounts[0]);
}

END_TEST

START_TEST(labels)
{
	ck_assert(placement_labels_match("", ""));
	ck_assert(placement_labels_match(NULL, NULL));
	ck_assert(placement_labels_match("a=1", ""));
	ck_assert(!placement_labels_match("", "a=1"));
	ck_assert(placement_labels_match("a=1\nb=2\nc=3", "a=1\nb=2\nc=3"));
	ck_assert(placement_labels_match("a=1\nb=2\nc=3", "c=3"));
	ck_assert(placement_labels_match("a=1\nb=2\nc=3", "b=2"));
	ck_assert(!placement_labels_match("a=1\nb=2\nc=3", "b=22"));
	ck_assert(!placement_labels_match("a=1\nb=22\nc=3", "b=2"));
	ck_assert(!placement_labels_match("a=1\nb=2", "a=1\nb=2\nc=3"));
	ck_assert(!placement_labels_match("b=2", "a=1\nb=2"));
	/* '.' sorts before '=': whole entries are compared, not their keys. */
	ck_assert(placement_labels_match("a.b=1\na=1", "a=1"));
	/* Bytes above 127 are positive. */
	ck_assert(placement_labels_match("a=1\n\xc3\xa4=1", "\xc3\xa4=1"));

	ck_assert(placement_labels_are_canonical(NULL));
	ck_assert(placement_labels_are_canonical(""));
	ck_assert(placement_labels_are_canonical("a="));
	ck_assert(placement_labels_are_canonical("a.b=1\na=1\nb=2"));
	ck_assert(placement_labels_are_canonical("a=1\n\xc3\xa4=1"));
	ck_assert(!placement_labels_are_canonical("a"));
	ck_assert(!placement_labels_are_canonical("=a"));
	ck_assert(!placement_labels_are_canonical("b=1\na=1"));
	ck_assert(!placement_labels_are_canonical("a=1\na=1"));
	ck_assert(!placement_labels_are_canonical("a=1\n"));
	ck_assert(!placement_labels_are_canonical("\na=1"));
}

END_TEST

START_TEST(choose_keeps_gpus_free)
{
	PlacementNode nodes[3];
	PlacementDemand cpu = make_demand(1000, GIB, 0, "");
	PlacementDemand gpu = make_demand(1000, GIB, 1, "");

	/* By CPU and memory alone node 1 would be the tightest. */
	nodes[0] = make_node(1, 1000, GIB, 4, "");
	nodes[1] = make_node(2, 64000, 256 * GIB, 0, "");
	nodes[2] = make_node(3, 32000, 64 * GIB, 2, "");
	ck_assert_int_eq(placement_choose(nodes, 3, &cpu), 1);
	nodes[1].open = false;
	/* Then where the fewest GPUs are free. */
	ck_assert_int_eq(placement_choose(nodes, 3, &cpu), 2);
	nodes[2].online = false;
	ck_assert_int_eq(placement_choose(nodes, 3, &cpu), 0);
	nodes[2].online = true;
	/* GPUs are packed. */
	ck_assert_int_eq(placement_choose(nodes, 3, &gpu), 2);
	nodes[0].gpu_used = 3;
	nodes[0].gpu_free_mask = 8;
	ck_assert_int_eq(placement_choose(nodes, 3, &gpu), 0);
}

END_TEST

START_TEST(choose_fits_tightly)
{
	PlacementNode nodes[3];
	PlacementDemand demand = make_demand(1000, GIB, 0, "");

	nodes[0] = make_node(5, 8000, 8 * GIB, 0, "");
	nodes[1] = make_node(4, 8000, 8 * GIB, 0, "");
	nodes[2] = make_node(9, 8000, 8 * GIB, 0, "");
	/* Equal: the lowest id, wherever it stands. */
	ck_assert_int_eq(placement_choose(nodes, 3, &demand), 1);
	nodes[2].memory_used = GIB;
	ck_assert_int_eq(placement_choose(nodes, 3, &demand), 2);
	nodes[0].cpus_milli_used = 2000;
	ck_assert_int_eq(placement_choose(nodes, 3, &demand), 0);
	/* One byte of a large memory is still seen, beyond 2^33 too little is. */
	nodes[0] = make_node(1, 8000, 4 * GIB, 0, "");
	nodes[1] = make_node(2, 8000, 4 * GIB, 0, "");
	nodes[1].memory_used = 8;
	ck_assert_int_eq(placement_choose(nodes, 2, &demand), 1);
	/* Petabytes do not overflow. */
	nodes[0] = make_node(1, INT32_MAX, INT64_MAX, 0, "");
	nodes[1] = make_node(2, INT32_MAX, INT64_MAX, 0, "");
	nodes[1].memory_used = INT64_MAX / 2;
	ck_assert_int_eq(placement_choose(nodes, 2, &demand), 1);
	ck_assert_int_eq(placement_choose(nodes, 0, &demand), -1);
	demand.cpus_milli = INT32_MAX;
	nodes[0].cpus_milli_used = 1;
	nodes[1].cpus_milli_used = 1;
	ck_assert_int_eq(placement_choose(nodes, 2, &demand), -1);
}

END_TEST

START_TEST(gpu_masks)
{
	PlacementNode node = make_node(1, 8000, 8 * GIB, 64, "");
	PlacementNode before;
	PlacementDemand two = make_demand(1000, GIB, 2, "");
	PlacementDemand rest = make_demand(0, 0, 61, "");
	uint64_t	first;
	uint64_t	second;
	uint64_t	mask = 42;

	node.gpu_free_mask &= ~(uint64_t) 2;	/* index 1 is out of order */
	before = node;
	ck_assert(placement_take(&node, &two, &first));
	ck_assert_uint_eq(first, 5);
	ck_assert_int_eq(node.gpu_used, 2);
	ck_assert_int_eq(node.cpus_milli_used, 1000);
	ck_assert_int_eq(node.memory_used, GIB);
	ck_assert(placement_take(&node, &rest, &second));
	ck_assert_uint_eq(second, UINT64_MAX & ~(uint64_t) 7);
	ck_assert_uint_eq(node.gpu_free_mask, 0);
	/* Index 1 counts as not taken, yet it cannot be had. */
	ck_assert_int_eq(node.gpu_used, 63);
	rest.gpus = 1;
	ck_assert(!placement_take(&node, &rest, &mask));
	ck_assert_uint_eq(mask, 42);
	ck_assert_int_eq(node.gpu_used, 63);

	rest.gpus = 61;
	placement_give(&node, &two, first);
	ck_assert_uint_eq(node.gpu_free_mask, 5);
	placement_give(&node, &rest, second);
	ck_assert_mem_eq(&node, &before, sizeof(node));

	/* The node came back with one GPU: the others do not return. */
	placement_add(&node, &two, 5);
	node.gpu_count = 1;
	node.gpu_free_mask = 0;
	placement_give(&node, &two, 5);
	ck_assert_uint_eq(node.gpu_free_mask, 1);
}

END_TEST

/* A small generator of its own, so that cases are the same everywhere. */
static uint64_t
next_random(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state;
}

static int
below(uint64_t *state, int limit)
{
	return (int) (next_random(state) % (uint64_t) limit);
}

#define NODES_MAX 90
#define CLASSES_MAX 9
#define ITEMS_MAX 400

static const char *const label_sets[] = {"", "a=1", "a=1\nb=1", "b=1", NULL};

typedef struct Case
{
	PlacementNode nodes[NODES_MAX];
	int			node_count;
	PlacementDemand classes[CLASSES_MAX];
	int			class_count;
	PlacementItem items[ITEMS_MAX];
	int			item_count;
} Case;

static void
fill_case(Case *c, uint64_t *seed)
{
	c->node_count = 1 + below(seed, NODES_MAX);
	c->class_count = 1 + below(seed, CLASSES_MAX);
	c->item_count = 1 + below(seed, ITEMS_MAX);
	for (int i = 0; i < c->node_count; i++)
	{
		PlacementNode *node = &c->nodes[i];

		/* Ids in an order of their own, so that ties are decided by them. */
		*node = make_node(1 + (i * 37) % 97, 1000 * (1 + below(seed, 6)), GIB * (1 + below(seed, 6)),
						  below(seed, 3) == 0 ? below(seed, 5) : 0, label_sets[below(seed, 5)]);
		node->online = below(seed, 10) != 0;
		node->open = below(seed, 10) != 0;
		if (below(seed, 4) == 0)
			node->memory_used = GIB * below(seed, 8);
		if (node->gpu_count > 0 && below(seed, 4) == 0)
			node->gpu_free_mask &= next_random(seed);
	}
	for (int i = 0; i < c->class_count; i++)
	{
		c->classes[i] = make_demand(500 * below(seed, 6), GIB / 2 * below(seed, 6),
									below(seed, 3) == 0 ? below(seed, 4) : 0,
									label_sets[below(seed, 5)]);
		if (below(seed, 3) == 0)
			c->classes[i].excluded_node = 1 + below(seed, 97);
		if (below(seed, 5) == 0)
			c->classes[i].only_node = 1 + below(seed, 97);
	}
	for (int i = 0; i < c->item_count; i++)
		c->items[i].class_index = below(seed, c->class_count);
}

/* What placement_plan stands for. */
static int
plain_plan(Case *c, PlacementAssignment *out, int out_max, int *items_seen)
{
	int			count = 0;
	int			item;

	for (item = 0; item < c->item_count && count < out_max; item++)
	{
		const PlacementDemand *demand = &c->classes[c->items[item].class_index];
		int			node = placement_choose(c->nodes, c->node_count, demand);

		if (node < 0)
			continue;
		ck_assert_int_eq(placement_check(&c->nodes[node], demand), UD_REASON_NONE);
		out[count].item = item;
		out[count].node = node;
		ck_assert(placement_take(&c->nodes[node], demand, &out[count].gpus));
		count++;
	}
	*items_seen = item;
	return count;
}

static void
compare_plans(Case *c, int out_max)
{
	static Case copy;
	static PlacementAssignment expected[ITEMS_MAX];
	static PlacementAssignment planned[ITEMS_MAX];
	PlacementPlanStats stats;
	void	   *scratch = malloc(placement_plan_scratch_bytes(c->class_count));
	int			expected_seen;
	int			expected_count;
	int			count;

	ck_assert_ptr_nonnull(scratch);
	/* It must not depend on what lies there. */
	memset(scratch, 0xa5, placement_plan_scratch_bytes(c->class_count));
	copy = *c;
	expected_count = plain_plan(&copy, expected, out_max, &expected_seen);
	count = placement_plan(c->nodes, c->node_count, c->classes, c->class_count,
						   c->items, c->item_count, planned, out_max, 0, scratch, &stats);
	ck_assert_int_eq(count, expected_count);
	ck_assert_int_eq(stats.items_seen, expected_seen);
	for (int i = 0; i < count; i++)
	{
		ck_assert_int_eq(planned[i].item, expected[i].item);
		ck_assert_int_eq(planned[i].node, expected[i].node);
		ck_assert_uint_eq(planned[i].gpus, expected[i].gpus);
	}
	ck_assert_mem_eq(c->nodes, copy.nodes, sizeof(c->nodes));
	free(scratch);
}

/* Each of these runs 400 cases of a seed of its own. */
START_TEST(plan_equals_plain_loop)
{
	static Case c;
	uint64_t	seed = 0x9e3779b97f4a7c15 + (uint64_t) _i * 0x1234567;

	for (int run = 0; run < 400; run++)
	{
		fill_case(&c, &seed);
		compare_plans(&c, below(&seed, 3) == 0 ? 1 + below(&seed, 50) : ITEMS_MAX);
	}
}

END_TEST

/* No choice of the plan oversubscribes, and no GPU is handed out twice. */
START_TEST(plan_never_oversubscribes)
{
	static Case c;
	static PlacementAssignment out[ITEMS_MAX];
	uint64_t	seed = 42;
	void	   *scratch = malloc(placement_plan_scratch_bytes(CLASSES_MAX));

	for (int run = 0; run < 200; run++)
	{
		uint64_t	free_before[NODES_MAX];
		int			count;

		fill_case(&c, &seed);
		for (int i = 0; i < c.node_count; i++)
			free_before[i] = c.nodes[i].gpu_free_mask;
		count = placement_plan(c.nodes, c.node_count, c.classes, c.class_count,
							   c.items, c.item_count, out, ITEMS_MAX, 0, scratch, NULL);
		for (int i = 0; i < count; i++)
		{
			const PlacementDemand *demand = &c.classes[c.items[out[i].item].class_index];
			PlacementNode *node = &c.nodes[out[i].node];

			ck_assert_int_eq(__builtin_popcountll(out[i].gpus), demand->gpus);
			ck_assert_uint_eq(out[i].gpus & ~free_before[out[i].node], 0);
			free_before[out[i].node] &= ~out[i].gpus;
			ck_assert(demand->cpus_milli == 0 || node->cpus_milli_used <= node->cpus_milli);
			ck_assert(demand->memory == 0 || node->memory_used <= node->memory);
			ck_assert(node->gpu_used <= node->gpu_count);
			ck_assert(node->online && node->open);
		}
	}
	free(scratch);
}

END_TEST

/* Taking must never worsen the score of what still fits: plan.c rests on it. */
START_TEST(score_only_improves)
{
	static Case c;
	uint64_t	seed = 7;

	for (int run = 0; run < 300; run++)
	{
		fill_case(&c, &seed);
		for (int i = 0; i < c.node_count; i++)
		{
			PlacementNode *node = &c.nodes[i];
			const PlacementDemand *a = &c.classes[below(&seed, c.class_count)];
			const PlacementDemand *b = &c.classes[below(&seed, c.class_count)];
			uint64_t	before = placement_score(node, a);
			uint64_t	gpus;
			uint64_t	after;

			ck_assert_int_eq(before == UINT64_MAX, placement_check(node, a) != UD_REASON_NONE);
			if (!placement_take(node, b, &gpus))
				continue;
			after = placement_score(node, a);
			if (before == UINT64_MAX)
				ck_assert_uint_eq(after, UINT64_MAX);
			else
				ck_assert(after <= before || after == UINT64_MAX);
		}
	}
}

END_TEST

/* A million queued tasks of few classes must not cost a million scans. */
START_TEST(plan_cost_follows_classes)
{
	static PlacementNode nodes[10000];
	static PlacementDemand classes[10];
	static PlacementItem items[1000000];
	static PlacementAssignment out[1000];
	PlacementPlanStats stats;
	void	   *scratch = malloc(placement_plan_scratch_bytes(10));

	for (int i = 0; i < 10000; i++)
		nodes[i] = make_node(i + 1, 1000, GIB, 0, "zone=a");
	for (int i = 0; i < 10; i++)
		/* Every other class fits nowhere; a task fills its node. */
		classes[i] = make_demand(900 + i, GIB, i % 2, "zone=a");
	for (int i = 0; i < 1000000; i++)
		items[i].class_index = (i * 7) % 10;

	ck_assert_int_eq(placement_plan(nodes, 10000, classes, 10, items, 1000000, out, 1000, 0,
									scratch, &stats), 1000);
	ck_assert_int_eq(stats.classes_closed, 5);
	/* 5 closed scans, 5 classes that rescan about once in 64 placements. */
	ck_assert_uint_lt(stats.checks, 1000000);

	/* Nothing free: one scan each, then the queue is only walked. */
	for (int i = 0; i < 10000; i++)
		nodes[i].open = false;
	ck_assert_int_eq(placement_plan(nodes, 10000, classes, 10, items, 1000000, out, 1000, 0,
									scratch, &stats), 0);
	ck_assert_int_eq(stats.items_seen, 1000000);
	ck_assert_int_eq(stats.classes_closed, 10);
	ck_assert_uint_eq(stats.checks, 100000);

	/* A budget stops between two items and says where. */
	ck_assert_int_eq(placement_plan(nodes, 10000, classes, 10, items, 1000000, out, 1000, 20000,
									scratch, &stats), 0);
	ck_assert_int_eq(stats.items_seen, 2);
	ck_assert_uint_eq(stats.checks, 20000);
	free(scratch);
}

END_TEST

static void
expect_hash(PlacementClass got, const char *hex)
{
	char		text[33];

	for (int i = 0; i < 16; i++)
	{
		uint64_t	half = i < 8 ? got.low : got.high;

		snprintf(text + 2 * i, 3, "%02x", (unsigned) (half >> (8 * (i % 8)) & 0xff));
	}
	ck_assert_str_eq(text, hex);
}

/* From the reference implementation's table (key and data 00 01 02 ...). */
START_TEST(siphash_vectors)
{
	uint8_t		key[16];
	uint8_t		data[64];

	for (int i = 0; i < 64; i++)
		data[i] = (uint8_t) i;
	memcpy(key, data, 16);
	expect_hash(placement_siphash(key, data, 0), "a3817f04ba25a8e66df67214c7550293");
	expect_hash(placement_siphash(key, data, 1), "da87c1d86b99af44347659119b22fc45");
	expect_hash(placement_siphash(key, data, 2), "8177228da4a45dc7fca38bdef60affe4");
	expect_hash(placement_siphash(key, data, 15), "5493e99933b0a8117e08ec0f97cfc3d9");
	expect_hash(placement_siphash(key, data, 63), "5150d1772f50834a503e069a973fbd7c");
}

END_TEST

/* Stored in rows: these must never change.  Made with OpenSSL's SipHash. */
START_TEST(class_is_stable)
{
	PlacementDemand plain = make_demand(1000, GIB, 0, "");
	PlacementDemand full = make_demand(2500, 3 * GIB, 2, "gpu=a100\nzone=b");

	full.excluded_node = 7;
	expect_hash(placement_class(&plain), "776513d784b37b7446b39644fc80dc53");
	expect_hash(placement_class(&full), "7ca9e735077ab17aa263f80f5cc2b48b");
	plain.labels = NULL;
	expect_hash(placement_class(&plain), "776513d784b37b7446b39644fc80dc53");
}

END_TEST

/* Every field takes part. */
START_TEST(class_tells_demands_apart)
{
	PlacementDemand demands[7];
	PlacementClass a;
	PlacementClass b;

	for (int i = 0; i < 7; i++)
		demands[i] = make_demand(1, 1, 1, "a=1");
	demands[1].cpus_milli = 2;
	demands[2].memory = 2;
	demands[3].gpus = 2;
	demands[4].excluded_node = 2;
	demands[5].labels = "a=2";
	demands[6].only_node = 2;
	for (int i = 0; i < 7; i++)
		for (int j = 0; j < 7; j++)
		{
			a = placement_class(&demands[i]);
			b = placement_class(&demands[j]);
			ck_assert_int_eq(a.low == b.low, i == j);
			ck_assert_int_eq(a.high == b.high, i == j);
		}
}

END_TEST

int
main(void)
{
	Suite	   *suite = suite_create("placement");
	TCase	   *fit = tcase_create("fit");
	TCase	   *plan = tcase_create("plan");
	TCase	   *class = tcase_create("class");
	SRunner    *runner;
	int			failed;

	tcase_add_test(fit, fits);
	tcase_add_test(fit, every_reason_alone);
	tcase_add_test(fit, all_reasons_in_order);
	tcase_add_test(fit, labels);
	tcase_add_test(fit, choose_keeps_gpus_free);
	tcase_add_test(fit, choose_fits_tightly);
	tcase_add_test(fit, gpu_masks);
	suite_add_tcase(suite, fit);

	tcase_set_timeout(plan, 60);
	tcase_add_loop_test(plan, plan_equals_plain_loop, 0, 4);
	tcase_add_test(plan, plan_never_oversubscribes);
	tcase_add_test(plan, score_only_improves);
	tcase_add_test(plan, plan_cost_follows_classes);
	suite_add_tcase(suite, plan);

	tcase_add_test(class, siphash_vectors);
	tcase_add_test(class, class_is_stable);
	tcase_add_test(class, class_tells_demands_apart);
	suite_add_tcase(suite, class);

	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
