/*
 * orders.h
 *	  What nodes ought to be doing, as desired messages.
 */
#ifndef UNIDESK_ORDERS_H
#define UNIDESK_ORDERS_H

#include "message.h"

/*
 * Send the whole desired state of a node to a new session: desired_full and
 * its desired messages.  rev is the revision of it all, count how many attempts there are.
 */
extern void unidesk_send_desired_full(ReturnSetInfo *result, const UnideskMessage *hello, int64 session, int64 rev, int count);

/* Revision of a node's desired state now, and how many attempts it has. */
extern int64 unidesk_desired_revision(int32 node_id, int *count);

/*
 * Tell the node to stop or remove an attempt that is not live here.  No order
 * of the worker's: it has no revision.
 */
extern void unidesk_send_unwanted(ReturnSetInfo *result, const UnideskMessage *to, int64 session,
								  int64 incarnation, int64 task, int32 attempt, int want);

#endif							/* UNIDESK_ORDERS_H */
