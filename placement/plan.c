/*
 * plan.c
 *	  A pass over the queue: many placements at the cost of few scans.
 *
 * Exactness rests on two facts: during a pass things are only taken, and
 * taking from a node never makes its score worse for a demand that still fits
 * (placement_score).  So a class keeps its best few nodes and a bound, which
 * no node outside them beats.  The list of placements made so far doubles as
 * the log of nodes that changed: a class reads what it has not seen yet
 * before it chooses.  Only when the best remembered node is not below the
 * bound does the class look at all nodes again.
 */
#include "placement/placement.h"

/* Enough that a class which fills a node with each task rescans rarely. */
#define CANDIDATES_MAX 64

typedef struct Candidate
{
	uint64_t	score;
	int			node;			/* index */
} Candidate;

typedef struct PlanClass
{
	Candidate	candidates[CANDIDATES_MAX]; /* in no order */
	int			candidate_count;
	int			log_seen;		/* placements this class has taken note of */
	bool		scanned;
	bool		closed;
	bool		bounded;		/* some fitting node is not a candidate */
	Candidate	bound;			/* the best such node, or better */
} PlanClass;

typedef struct Plan
{
	PlacementNode *nodes;
	int			node_count;
	const PlacementAssignment *log;
	int			log_count;
	uint64_t	checks;
} Plan;

size_t
placement_plan_scratch_bytes(int class_count)
{
	return (size_t) class_count * sizeof(PlanClass);
}

/* The one order of nodes: score, then id. */
static bool
is_better(const Plan *plan, const Candidate *a, const Candidate *b)
{
	if (a->score != b->score)
		return a->score < b->score;
	return plan->nodes[a->node].node_id < plan->nodes[b->node].node_id;
}

static void
lower_bound(const Plan *plan, PlanClass *class, const Candidate *outside)
{
	if (!class->bounded || is_better(plan, outside, &class->bound))
		class->bound = *outside;
	class->bounded = true;
}

/* Keep the candidate; when there is no room the worst of all becomes bound. */
static void
add_candidate(const Plan *plan, PlanClass *class, const Candidate *candidate)
{
	int			worst = 0;

	if (class->candidate_count < CANDIDATES_MAX)
	{
		class->candidates[class->candidate_count++] = *candidate;
		return;
	}
	/* Most nodes of a scan end here: they are not better than the bound. */
	if (class->bounded && is_better(plan, &class->bound, candidate))
		return;
	for (int i = 1; i < CANDIDATES_MAX; i++)
		if (is_better(plan, &class->candidates[worst], &class->candidates[i]))
			worst = i;
	if (is_better(plan, candidate, &class->candidates[worst]))
	{
		lower_bound(plan, class, &class->candidates[worst]);
		class->candidates[worst] = *candidate;
	}
	else
		lower_bound(plan, class, candidate);
}

static void
scan(Plan *plan, PlanClass *class, const PlacementDemand *demand)
{
	class->candidate_count = 0;
	class->bounded = false;
	for (int i = 0; i < plan->node_count; i++)
	{
		Candidate	candidate;

		candidate.node = i;
		candidate.score = placement_score(&plan->nodes[i], demand);
		if (candidate.score != UINT64_MAX)
			add_candidate(plan, class, &candidate);
	}
	plan->checks += (uint64_t) plan->node_count;
	class->log_seen = plan->log_count;
	class->scanned = true;
}

/* The node has less than when it was last looked at. */
static void
note_change(Plan *plan, PlanClass *class, const PlacementDemand *demand, int node)
{
	Candidate	now;

	now.node = node;
	now.score = placement_score(&plan->nodes[node], demand);
	plan->checks++;
	for (int i = 0; i < class->candidate_count; i++)
	{
		if (class->candidates[i].node != node)
			continue;
		if (now.score == UINT64_MAX)
			class->candidates[i] = class->candidates[--class->candidate_count];
		else
			class->candidates[i] = now;
		return;
	}
	if (now.score != UINT64_MAX)
		add_candidate(plan, class, &now);
}

/* Index of the best candidate, if it is known to be the best of all nodes. */
static int
best_candidate(const Plan *plan, const PlanClass *class)
{
	int			best = -1;

	for (int i = 0; i < class->candidate_count; i++)
		if (best < 0 || is_better(plan, &class->candidates[i], &class->candidates[best]))
			best = i;
	if (best >= 0 && class->bounded &&
		!is_better(plan, &class->candidates[best], &class->bound))
		return -1;
	return best;
}

/* The node for the class's next item, -1 (and the class closed) when none. */
static int
choose(Plan *plan, PlanClass *class, const PlacementDemand *demand)
{
	int			best;

	/* Reading a long log costs more than looking at everything. */
	if (!class->scanned || plan->log_count - class->log_seen >= plan->node_count)
		scan(plan, class, demand);
	for (; class->log_seen < plan->log_count; class->log_seen++)
		note_change(plan, class, demand, plan->log[class->log_seen].node);

	best = best_candidate(plan, class);
	if (best < 0 && class->bounded)
	{
		scan(plan, class, demand);
		best = best_candidate(plan, class);
	}
	if (best < 0)
	{
		class->closed = true;
		return -1;
	}
	return class->candidates[best].node;
}

int
placement_plan(PlacementNode *nodes, int node_count,
			   const PlacementDemand *classes, int class_count,
			   const PlacementItem *items, int item_count,
			   PlacementAssignment *out, int out_max, uint64_t checks_max,
			   void *scratch, PlacementPlanStats *stats)
{
	PlanClass  *states = scratch;
	Plan		plan;
	int			closed_count = 0;
	int			item;

	plan.nodes = nodes;
	plan.node_count = node_count;
	plan.log = out;
	plan.log_count = 0;
	plan.checks = 0;
	for (int i = 0; i < class_count; i++)
	{
		states[i].candidate_count = 0;
		states[i].log_seen = 0;
		states[i].scanned = false;
		states[i].closed = false;
		states[i].bounded = false;
	}

	for (item = 0; item < item_count && plan.log_count < out_max; item++)
	{
		int32_t		index = items[item].class_index;
		PlacementAssignment *made = &out[plan.log_count];
		int			node;

		if (states[index].closed)
			continue;
		if (checks_max > 0 && plan.checks >= checks_max)
			break;
		node = choose(&plan, &states[index], &classes[index]);
		if (node < 0)
		{
			closed_count++;
			continue;
		}
		made->item = item;
		made->node = node;
		/* choose found that it fits, so this cannot fail. */
		if (placement_take(&nodes[node], &classes[index], &made->gpus))
			plan.log_count++;
	}

	if (stats != NULL)
	{
		stats->items_seen = item;
		stats->classes_closed = closed_count;
		stats->checks = plan.checks;
	}
	return plan.log_count;
}
