/*
 * keeper.h
 *	  The keeper's parts.
 */
#ifndef UNIDESK_KEEPER_H
#define UNIDESK_KEEPER_H

#include "unidesk.h"

/* Partitions of log_chunk, by turns; as many as 02_tables.sql makes. */
#define UNIDESK_LOG_SEGMENTS 4

/*
 * segment.c: small chunks of log become compressed blocks.  Each part is one
 * transaction.
 *
 * begin	if the intake's segment is large or old enough, let the next one take
 *			in; hurry: whatever its size
 * step		merge some chunks of the segments that take nothing in any more;
 *			true while there are more
 * empty	empty one segment that is merged and that no snapshot needs; true
 *			when it did
 */
extern bool unidesk_segment_begin(void);
extern bool unidesk_segment_step(void);
extern bool unidesk_segment_empty(void);
extern void unidesk_segment_hurry(void);

/* An ERROR in a step: look at everything again. */
extern void unidesk_segment_failed(void);

#endif							/* UNIDESK_KEEPER_H */
