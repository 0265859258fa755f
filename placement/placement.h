/*
 * placement.h
 *	  Which task goes on which node: predicates, scores and a planner.
 *
 * Plain C over arrays the caller owns: no allocation, no globals, no output,
 * nothing of PostgreSQL.  The scheduler, explain_task, the simulator and the
 * unit tests all call these functions, so a reason that is shown is always
 * the reason that was applied.
 *
 * All numbers are integers and every choice ends in a tie broken by node id:
 * the same input gives the same plan on every machine.
 */
#ifndef UD_PLACEMENT_H
#define UD_PLACEMENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/reasons.h"

/* GPUs of a node are numbered 0..63: one bit each in a mask. */
#define PLACEMENT_GPUS_MAX 64

/*
 * What a node has and what of it is taken.  used may exceed the total (a node
 * came back smaller): then nothing more of that kind fits.
 *
 * labels, here and in a demand, are canonical: "key=value" strings, sorted by
 * bytes (strcmp, collation "C"), without duplicates, separated by '\n', no
 * '\n' at the end; "" or NULL for none.  Borrowed.
 */
typedef struct PlacementNode
{
	int32_t		node_id;
	bool		online;			/* has a session, and it is reconciled */
	bool		open;			/* takes new work: not cordoned, not draining */
	bool		engine_down;	/* its Docker Engine does not answer */
	int32_t		cpus_milli;
	int32_t		cpus_milli_used;
	int64_t		memory;			/* bytes */
	int64_t		memory_used;
	int32_t		gpu_count;		/* declared, 0..PLACEMENT_GPUS_MAX */
	int32_t		gpu_used;		/* how many are taken */
	uint64_t	gpu_free_mask;	/* bit i: GPU index i is free and usable */
	const char *labels;
} PlacementNode;

/* What a task asks for; every label must be present on the node. */
typedef struct PlacementDemand
{
	int32_t		cpus_milli;
	int64_t		memory;			/* bytes */
	int32_t		gpus;
	const char *labels;
	int32_t		excluded_node;	/* never this one; 0 for none */
	int32_t		only_node;		/* no other than this one; 0 for any */
} PlacementDemand;

/*
 * Why the demand does not go on the node now, as UdReason; 0 when it fits.
 * Of several reasons the most lasting one is returned, in this order:
 * nomatch.checkpoint_node (only another one may have it), nomatch.labels,
 * .cpus, .memory, .gpus (could never, by labels and totals),
 * node.excluded, node.not_online, node.not_open, node.engine_down, then
 * capacity.cpus, .memory, .gpus (not now).
 */
extern int	placement_check(const PlacementNode *node, const PlacementDemand *demand);

/* At most this many reasons hold at once. */
#define PLACEMENT_REASONS_MAX 9

/* All of them in the order above; returns their number, 0 when it fits. */
extern int	placement_check_all(const PlacementNode *node, const PlacementDemand *demand,
								int reasons[PLACEMENT_REASONS_MAX]);

/* Is every label of wanted in present?  Both canonical; one merge, O(bytes). */
extern bool placement_labels_match(const char *present, const char *wanted);

/* Is this text canonical as described at PlacementNode? */
extern bool placement_labels_are_canonical(const char *labels);

/*
 * How well a fitting demand fits; less is better, UINT64_MAX when it does not
 * fit.  First the GPUs: work without GPUs goes to nodes without GPUs, then to
 * those with the fewest free; work with GPUs goes where the fewest stay free.
 * Then the least sum of the fractions of CPU and memory left over.
 *
 * Taking anything from a node never makes its score worse for a demand that
 * still fits: the planner depends on it.
 */
extern uint64_t placement_score(const PlacementNode *node, const PlacementDemand *demand);

/* Index of the best node, -1 when none fits.  O(count). */
extern int	placement_choose(const PlacementNode *nodes, int count, const PlacementDemand *demand);

/*
 * Take the demand from the node, choosing the lowest free GPU indices; their
 * mask goes to *gpus.  False, and nothing changed, when it does not fit by
 * the amounts (online, open, labels and exclusion are not looked at).
 */
extern bool placement_take(PlacementNode *node, const PlacementDemand *demand, uint64_t *gpus);

/* Account for an allocation that exists already, also beyond the totals. */
extern void placement_add(PlacementNode *node, const PlacementDemand *demand, uint64_t gpus);

/* Undo either; gpus as it was taken. */
extern void placement_give(PlacementNode *node, const PlacementDemand *demand, uint64_t gpus);

/*
 * Identity of a demand: tasks with the same one form a class.  SipHash-2-4
 * with 128 bits of output and the fixed key "unidesk.demand.1" over, little-
 * endian: u32 cpus_milli, u64 memory, u32 gpus, u32 excluded_node, and the
 * bytes of labels; with an only_node a zero byte and u32 only_node more.
 * Stored in rows: it must not change between versions.
 */
typedef struct PlacementClass
{
	uint64_t	low;			/* output bytes 0..7 */
	uint64_t	high;			/* output bytes 8..15 */
} PlacementClass;

extern PlacementClass placement_class(const PlacementDemand *demand);

/* The hash itself, for the test against its published vectors. */
extern PlacementClass placement_siphash(const uint8_t key[16], const void *data, size_t size);

/* One queued task.  The caller lists them in the order they are to be served. */
typedef struct PlacementItem
{
	int32_t		class_index;	/* into classes[] */
} PlacementItem;

typedef struct PlacementAssignment
{
	int32_t		item;			/* index into items[], ascending */
	int32_t		node;			/* index into nodes[] */
	uint64_t	gpus;			/* mask of the GPU indices chosen */
} PlacementAssignment;

/* What a pass did: to go on where it stopped, and to show what it cost. */
typedef struct PlacementPlanStats
{
	int			items_seen;		/* these were placed or cannot be; the pass is
								 * complete when equal to item_count */
	int			classes_closed; /* that fit nowhere any more */
	uint64_t	checks;			/* pairs of demand and node looked at */
} PlacementPlanStats;

/* Bytes placement_plan needs as scratch, aligned as malloc or palloc do. */
extern size_t placement_plan_scratch_bytes(int class_count);

/*
 * Place items in order, each on the node placement_choose would choose at
 * that moment, taking from nodes[] as it goes; returns the number written to
 * out[].  A class that fits nowhere is skipped for the rest of the pass: an
 * item that waits never keeps a smaller one behind it from running.
 *
 * Stops after out_max placements or, between two items, when checks_max (0 =
 * no limit) pairs were looked at.  stats may be NULL.
 *
 * Cost: a class scans the nodes when it is first met and remembers its best
 * few; after that a placement costs it one check, and a new scan comes only
 * when all of the remembered ones are full.  So about (distinct demands x
 * nodes) + (placements x distinct demands), whatever the queue's length;
 * items of closed classes cost one array access.
 */
extern int	placement_plan(PlacementNode *nodes, int node_count,
						   const PlacementDemand *classes, int class_count,
						   const PlacementItem *items, int item_count,
						   PlacementAssignment *out, int out_max, uint64_t checks_max,
						   void *scratch, PlacementPlanStats *stats);

#endif							/* UD_PLACEMENT_H */
