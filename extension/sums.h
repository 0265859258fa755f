/*
 * sums.h
 *	  Sums and holders of nodes, after the orders of a pass.
 */
#ifndef UNIDESK_SUMS_H
#define UNIDESK_SUMS_H

#include "unidesk.h"

/* A placement that the rows confirmed, or a stop that got its order. */
typedef struct UnideskOrder
{
	int64		task_id;
	int32		node_id;
	uint64		gpus;
	int			attempt;		/* 0: a stop */
	int64		order_no;
} UnideskOrder;

/*
 * Write the sums of all nodes whose memory is dirty, the orders counted in.
 * Returns the nodes that were written, in context; the others' rows are held
 * by somebody and stay dirty.
 */
extern int32 *unidesk_write_sums(MemoryContext context, const UnideskOrder *orders, int order_count, int *written);

/* The same for who holds which GPU. */
extern void unidesk_write_holders(const UnideskOrder *orders, int order_count);

#endif							/* UNIDESK_SUMS_H */
