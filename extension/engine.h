/*
 * engine.h
 *	  Whether the Docker Engines of nodes answer.
 *
 * Agents say so in hellos, inventories and beats.  The row of a node says
 * since when its engine is down (engine_down_since), and when it last came
 * back (engine_up_at); while it is down the node gets nothing new.
 */
#ifndef UNIDESK_ENGINE_H
#define UNIDESK_ENGINE_H

#include "unidesk.h"

#include "shared.h"

/*
 * A session says how its engine is, in the message of that sequence, which was
 * given to unidesk_beat_set() already: an older one than the newest is ignored.
 * Nothing is read or written when it said the same before; a change is a row,
 * an event, and a hint for the worker.
 */
extern void unidesk_take_engine(int32 node_id, int64 session, int64 sequence, UnideskEngine said);

/* Is the node's engine down, or was it at some time since then? */
extern bool unidesk_engine_was_down(int32 node_id, TimestampTz since);

#endif							/* UNIDESK_ENGINE_H */
