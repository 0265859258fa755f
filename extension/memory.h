/*
 * memory.h
 *	  The worker's memory: nodes, queued and active tasks, kept by change.
 *
 * Read whole once, then again only the rows that hints name.  It can be thrown
 * away at any time and is, after any ERROR.  Nothing here writes rows.
 */
#ifndef UNIDESK_MEMORY_H
#define UNIDESK_MEMORY_H

#include "unidesk.h"

#include "lib/ilist.h"
#include "lib/pairingheap.h"
#include "lib/rbtree.h"

#include "placement/placement.h"
#include "shared.h"

/* Slack after an agent's own end of a run that is over its limit, seconds. */
#define UNIDESK_RUN_SLACK_S 30

typedef struct MemoryClass MemoryClass;
typedef struct MemoryNode MemoryNode;
typedef struct MemoryOwner MemoryOwner;

/* One row of live. */
typedef struct MemoryTask
{
	int64		task_id;		/* key */
	int32		owner_id;
	int			state;			/* UnideskTaskState */
	int			priority;
	PlacementDemand demand;		/* labels owned by the class, or by the task
								 * while it is in no class */
	int32		excluded_node;	/* as in the row; demand has it while it holds */
	TimestampTz queued_at;
	TimestampTz not_before;		/* 0: none */
	TimestampTz deadline;		/* of all its attempts and waits; 0: none */
	int32		checkpoint_node;	/* 0: none */
	int32		queue_s;		/* 0: none */
	int32		prepare_s;
	int32		run_s;
	int32		grace_s;
	int32		lease_s;		/* -1: none */
	/* the attempt, when active */
	int			attempt;
	int64		incarnation;
	int			attempt_state;
	int			want;
	bool		ordered;		/* has an order_no */
	uint64		gpus;			/* mask */
	TimestampTz placed_at;
	TimestampTz started_at;
	TimestampTz state_at;
	TimestampTz left_at;		/* last contact with the machine that has it,
								 * when another one took that one's place; 0:
								 * it is on the present one */

	MemoryClass *class;			/* in whose queue it stands, or NULL */
	MemoryNode *node;			/* on which it is active, or NULL */
	dlist_node	on_node;		/* in node->tasks */
	bool		allocated;		/* counted in the node's sums */
	bool		returned;		/* by the statement that places, in this pass */
	bool		listed;			/* in memory's list of unordered */
	dlist_node	unordered;
	bool		waiting;		/* its owner has too many demands (demands.c) */
	dlist_node	wait;			/* in owner->waiting */
	bool		told;			/* its row says so */
	bool		untold;			/* in memory's list of those whose row is
								 * wrong */
	dlist_node	tell;
	TimestampTz due;			/* when time alone changes something; 0: never */
	pairingheap_node timer;
} MemoryTask;

/* What an ended attempt holds. */
typedef struct MemoryHeld
{
	int64		task_id;
	int32		attempt;
	PlacementDemand demand;
	uint64		gpus;
} MemoryHeld;

struct MemoryNode
{
	int32		node_id;		/* key */
	int			index;			/* into memory's array of placement nodes */
	int			status;			/* UnideskNodeStatus */
	int			scheduling;		/* UnideskNodeScheduling */
	TimestampTz drain_deadline; /* 0: none */
	int32		bridge_id;		/* 0: no session */
	uint64		gpu_present;	/* mask */
	MemoryHeld *held;
	int			held_count;
	dlist_head	tasks;			/* MemoryTask.on_node */
	int			extra_lease_s;	/* leases are this much longer: downtime.c */
	bool		has_downtime;	/* there is a row of one, announced or not
								 * over for the node yet */
	bool		has_use;		/* it has said hello once: there is a row */
	bool		use_dirty;		/* node_use differs from the sums */
	dlist_node	dirty;			/* in memory's list of dirty nodes */
	dlist_node	draining;		/* in memory's list while it drains */
};

/* Queued tasks with one demand, in the order in which they are served. */
struct MemoryClass
{
	PlacementClass key;
	PlacementDemand demand;		/* labels owned */
	MemoryOwner *owner;			/* for whom it was made, and counts */
	RBTree	   *queue;
	int			count;
	bool		closed;			/* fits nowhere until a node changes */
	MemoryContext context;		/* holds the queue */
};

/* A person with queued tasks. */
struct MemoryOwner
{
	int32		owner_id;		/* key */
	int			class_count;
	dlist_head	waiting;		/* MemoryTask.wait */
};

typedef struct MemoryQueueEntry
{
	RBTNode		links;
	int			priority;
	int64		task_id;
	MemoryTask *task;
} MemoryQueueEntry;

/* Everything; NULL while nothing is loaded. */
typedef struct Memory
{
	MemoryContext context;
	HTAB	   *tasks;			/* MemoryTask */
	HTAB	   *nodes;			/* MemoryNode */
	HTAB	   *classes;		/* MemoryClass */
	HTAB	   *owners;			/* MemoryOwner */
	PlacementNode *placement;	/* by MemoryNode.index */
	int			node_count;
	int			downtimes;		/* nodes that have one */
	int			node_room;
	pairingheap *timers;		/* MemoryTask.timer, earliest first */
	dlist_head	unordered;		/* MemoryTask: stops without an order */
	dlist_head	untold;			/* MemoryTask: the row's reason is to be
								 * written */
	dlist_head	dirty;			/* MemoryNode: node_use is to be written */
	dlist_head	draining;		/* MemoryNode */
	TimestampTz drain_due;		/* when one of those is looked at again; 0:
								 * after a change */
	bool		capacity_changed;	/* classes that were closed may fit now */
	bool		queue_changed;	/* somebody entered a queue */
} Memory;

extern Memory *unidesk_memory;

/* Last contact with a node, at the earliest the worker's start: nobody is
 * called silent before a full grace. */
extern TimestampTz unidesk_last_contact(int32 node_id);

/* How long an attempt that was left on a machine of before is waited for. */
static inline int
unidesk_left_lease(const MemoryTask *task)
{
	return task->lease_s >= 0 ? task->lease_s : unidesk_left_limit;
}

/* Bring the memory up to date: all rows when there is none, else those that
 * hints name.  Needs SPI. */
extern void unidesk_memory_refresh(void);

/* A new memory from all rows; the old one is not touched. */
extern void unidesk_memory_load(void);
extern void unidesk_memory_discard(void);

/* Read these rows of live again; what is gone from there is forgotten. */
extern void unidesk_memory_read_tasks(int64 first, int64 last);
extern void unidesk_memory_read_listed(Datum *ids, int count);

/* Compare with what a rebuild would be; a difference is a WARNING. */
extern bool unidesk_memory_verify(void);

extern MemoryTask *unidesk_memory_task(int64 task_id);
extern MemoryNode *unidesk_memory_node(int32 node_id);

/* A placement that was committed. */
extern void unidesk_memory_placed(MemoryTask *task, MemoryNode *node, uint64 gpus, int attempt, TimestampTz at);

/* Its stop has an order now. */
extern void unidesk_memory_ordered(MemoryTask *task);

/* The sums of the node are to be written. */
extern void unidesk_memory_dirty(MemoryNode *node);

/* They were written. */
extern void unidesk_memory_clean(MemoryNode *node);

/* Somebody else holds its row: out of the queue for a moment. */
extern void unidesk_memory_postpone(MemoryTask *task);

/* Is there anything for a pass to do? */
extern bool unidesk_memory_has_work(TimestampTz now);

/* Tasks whose time has come: fills ids, returns their number.  Each is given
 * a new due time, so that what cannot be dealt with comes again. */
extern int	unidesk_memory_due(TimestampTz now, int64 *ids, int max);

/* The same for one node's tasks, when its contact changed. */
extern void unidesk_memory_reschedule_node(MemoryNode *node);

/* When the next timer is due, or a node that drains; 0: none. */
extern TimestampTz unidesk_memory_next_due(void);

#endif							/* UNIDESK_MEMORY_H */
