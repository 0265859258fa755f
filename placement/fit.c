/*
 * fit.c
 *	  Does a demand fit on a node, how well, and the sums of what is taken.
 *
 * There is one walk over the conditions, walk_reasons; the short answer, the
 * long answer and the score all come from it or from the same comparisons.
 */
#include "placement/placement.h"

#include <string.h>

/* Fractions are counted in 1/2^30. */
#define FRACTION_ONE ((uint64_t) 1 << 30)
/* Room for the sum of two fractions below the GPU part of a score. */
#define SCORE_GPU_SHIFT 40

/* What is left of one kind; negative when more is used than there is. */
static int64_t
cpus_left(const PlacementNode *node)
{
	return (int64_t) node->cpus_milli - node->cpus_milli_used;
}

static int64_t
memory_left(const PlacementNode *node)
{
	return node->memory - node->memory_used;
}

static int
mask_count(uint64_t mask)
{
	return __builtin_popcountll(mask);
}

/* A GPU that is neither used nor in the mask is out of order. */
static int64_t
gpus_left(const PlacementNode *node)
{
	int64_t		by_count = (int64_t) node->gpu_count - node->gpu_used;
	int64_t		by_mask = mask_count(node->gpu_free_mask);

	return by_count < by_mask ? by_count : by_mask;
}

/* Nothing asked for is always there, even on an overcommitted node. */
static bool
exceeds(int64_t wanted, int64_t available)
{
	return wanted > 0 && wanted > available;
}

static bool
is_empty(const char *text)
{
	return text == NULL || text[0] == '\0';
}

/* Length of the label that text starts with. */
static size_t
label_length(const char *text)
{
	const char *end = strchr(text, '\n');

	return end ? (size_t) (end - text) : strlen(text);
}

/* The label after one of this length, NULL at the end. */
static const char *
label_next(const char *text, size_t length)
{
	return text[length] == '\n' ? text + length + 1 : NULL;
}

static int
label_compare(const char *a, size_t a_length, const char *b, size_t b_length)
{
	int			order = memcmp(a, b, a_length < b_length ? a_length : b_length);

	if (order != 0)
		return order;
	return (a_length > b_length) - (a_length < b_length);
}

bool
placement_labels_match(const char *present, const char *wanted)
{
	const char *have = is_empty(present) ? NULL : present;
	const char *want = is_empty(wanted) ? NULL : wanted;

	while (want != NULL)
	{
		size_t		want_length = label_length(want);
		size_t		have_length;
		int			order;

		if (have == NULL)
			return false;
		have_length = label_length(have);
		order = label_compare(have, have_length, want, want_length);
		if (order > 0)
			return false;
		if (order == 0)
			want = label_next(want, want_length);
		have = label_next(have, have_length);
	}
	return true;
}

bool
placement_labels_are_canonical(const char *labels)
{
	const char *label = is_empty(labels) ? NULL : labels;
	const char *before = NULL;
	size_t		before_length = 0;

	while (label != NULL)
	{
		size_t		length = label_length(label);
		const char *equals = memchr(label, '=', length);

		if (equals == NULL || equals == label)
			return false;
		if (before != NULL && label_compare(before, before_length, label, length) >= 0)
			return false;
		before = label;
		before_length = length;
		label = label_next(label, length);
	}
	return true;
}

/* Up to max reasons, the most lasting first. */
static int
walk_reasons(const PlacementNode *node, const PlacementDemand *demand, int *reasons, int max)
{
	bool		never_cpus = exceeds(demand->cpus_milli, node->cpus_milli);
	bool		never_memory = exceeds(demand->memory, node->memory);
	bool		never_gpus = exceeds(demand->gpus, node->gpu_count);
	int			count = 0;

#define REASON(condition, reason) \
	do { \
		if (count < max && (condition)) \
			reasons[count++] = UD_REASON_##reason; \
	} while (0)

	REASON(demand->only_node != 0 && demand->only_node != node->node_id, NOMATCH_CHECKPOINT_NODE);
	REASON(!placement_labels_match(node->labels, demand->labels), NOMATCH_LABELS);
	REASON(never_cpus, NOMATCH_CPUS);
	REASON(never_memory, NOMATCH_MEMORY);
	REASON(never_gpus, NOMATCH_GPUS);
	REASON(demand->excluded_node != 0 && demand->excluded_node == node->node_id, NODE_EXCLUDED);
	REASON(!node->online, NODE_NOT_ONLINE);
	REASON(!node->open, NODE_NOT_OPEN);
	REASON(node->engine_down, NODE_ENGINE_DOWN);
	REASON(!never_cpus && exceeds(demand->cpus_milli, cpus_left(node)), CAPACITY_CPUS);
	REASON(!never_memory && exceeds(demand->memory, memory_left(node)), CAPACITY_MEMORY);
	REASON(!never_gpus && exceeds(demand->gpus, gpus_left(node)), CAPACITY_GPUS);
#undef REASON
	return count;
}

int
placement_check(const PlacementNode *node, const PlacementDemand *demand)
{
	int			reason = UD_REASON_NONE;

	walk_reasons(node, demand, &reason, 1);
	return reason;
}

int
placement_check_all(const PlacementNode *node, const PlacementDemand *demand,
					int reasons[PLACEMENT_REASONS_MAX])
{
	return walk_reasons(node, demand, reasons, PLACEMENT_REASONS_MAX);
}

/* Do the amounts fit, without a look at labels and state? */
static bool
amounts_fit(const PlacementNode *node, const PlacementDemand *demand)
{
	/* A total that is too small is also too small now: used is never < 0. */
	return !exceeds(demand->cpus_milli, cpus_left(node)) &&
		!exceeds(demand->memory, memory_left(node)) &&
		!exceeds(demand->gpus, gpus_left(node));
}

/* left / total in 1/2^30, between 0 and 1. */
static uint64_t
fraction(int64_t left, int64_t total)
{
	if (left <= 0 || total <= 0)
		return 0;
	if (left >= total)
		return FRACTION_ONE;
	/* Both below 2^33, so that the product stays in 64 bits. */
	while (total >= (int64_t) 1 << 33)
	{
		total >>= 1;
		left >>= 1;
	}
	return (uint64_t) left * FRACTION_ONE / (uint64_t) total;
}

uint64_t
placement_score(const PlacementNode *node, const PlacementDemand *demand)
{
	uint64_t	gpu_part = 0;

	/* The comparisons of placement_check, the cheapest and likeliest first. */
	if (!node->online || !node->open || node->engine_down || !amounts_fit(node, demand))
		return UINT64_MAX;
	if (demand->excluded_node != 0 && demand->excluded_node == node->node_id)
		return UINT64_MAX;
	if (demand->only_node != 0 && demand->only_node != node->node_id)
		return UINT64_MAX;
	if (!placement_labels_match(node->labels, demand->labels))
		return UINT64_MAX;

	if (demand->gpus > 0)
		gpu_part = (uint64_t) (gpus_left(node) - demand->gpus);
	else if (node->gpu_count > 0)
	{
		int64_t		left = gpus_left(node);

		gpu_part = 1 + (uint64_t) (left > 0 ? left : 0);
	}
	return gpu_part << SCORE_GPU_SHIFT |
		(fraction(cpus_left(node) - demand->cpus_milli, node->cpus_milli) +
		 fraction(memory_left(node) - demand->memory, node->memory));
}

int
placement_choose(const PlacementNode *nodes, int count, const PlacementDemand *demand)
{
	uint64_t	best_score = UINT64_MAX;
	int			best = -1;

	for (int i = 0; i < count; i++)
	{
		uint64_t	score = placement_score(&nodes[i], demand);

		if (score == UINT64_MAX)
			continue;
		if (score < best_score ||
			(score == best_score && nodes[i].node_id < nodes[best].node_id))
		{
			best_score = score;
			best = i;
		}
	}
	return best;
}

bool
placement_take(PlacementNode *node, const PlacementDemand *demand, uint64_t *gpus)
{
	uint64_t	picked = 0;
	uint64_t	free_mask = node->gpu_free_mask;

	if (!amounts_fit(node, demand))
		return false;
	for (int i = 0; i < demand->gpus; i++)
	{
		uint64_t	lowest = free_mask & -free_mask;

		picked |= lowest;
		free_mask &= ~lowest;
	}
	placement_add(node, demand, picked);
	*gpus = picked;
	return true;
}

void
placement_add(PlacementNode *node, const PlacementDemand *demand, uint64_t gpus)
{
	node->cpus_milli_used += demand->cpus_milli;
	node->memory_used += demand->memory;
	node->gpu_used += demand->gpus;
	node->gpu_free_mask &= ~gpus;
}

void
placement_give(PlacementNode *node, const PlacementDemand *demand, uint64_t gpus)
{
	uint64_t	existing = UINT64_MAX;

	if (node->gpu_count < PLACEMENT_GPUS_MAX)
		existing = ((uint64_t) 1 << node->gpu_count) - 1;
	node->cpus_milli_used -= demand->cpus_milli;
	node->memory_used -= demand->memory;
	node->gpu_used -= demand->gpus;
	/* A GPU that is no longer declared does not come back. */
	node->gpu_free_mask |= gpus & existing;
}
