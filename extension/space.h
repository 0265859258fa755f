/*
 * space.h
 *	  Room on the database's volume, and what is refused when there is little.
 *
 * The keeper measures; in between, writers add what they are about to write,
 * so that a burst cannot pass a threshold unseen.
 */
#ifndef UNIDESK_SPACE_H
#define UNIDESK_SPACE_H

#include "unidesk.h"

/* Names are part of the view unidesk.storage. */
#define UNIDESK_SPACE_LEVELS(X) \
	X(FINE, 0, "fine") \
	X(WARN, 1, "warn") \
	X(NO_LOGS, 2, "no logs") \
	X(NO_SUBMITS, 3, "no submits")

typedef enum UnideskSpaceLevel
{
#define X(name, number, text) UNIDESK_SPACE_##name = number,
	UNIDESK_SPACE_LEVELS(X)
#undef X
} UnideskSpaceLevel;

extern Size unidesk_space_bytes(void);
extern void unidesk_space_startup(void);

/* Measure again and say so when the level changed; true when it did. */
extern bool unidesk_space_measure(void);

extern UnideskSpaceLevel unidesk_space_level(void);

/* Bytes used and in all, of the volume that is fullest; 0 and 0 before the
 * first measurement. */
extern void unidesk_space_get(uint64 *used, uint64 *size);

/* Bytes that what is done by pieces may take for one: a small part of the
 * volume. */
extern int64 unidesk_space_share(void);

/* May this many bytes of log be written?  If so they are counted. */
extern bool unidesk_space_take_logs(uint64 bytes);

/* Another segment takes logs in. */
extern void unidesk_space_intake_begins(void);

/* May so many bytes of log be merged? */
extern bool unidesk_space_take_merge(uint64 bytes);

/* Raises disk_full when no tasks may be submitted; else counts them. */
extern void unidesk_space_take_tasks(int count);

/* May tasks be placed? */
extern bool unidesk_space_may_place(void);

#endif							/* UNIDESK_SPACE_H */
