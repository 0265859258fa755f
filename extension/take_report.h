/*
 * take_report.h
 *	  Between take_report.c (the live attempt) and take_late.c (any other).
 */
#ifndef UNIDESK_TAKE_REPORT_H
#define UNIDESK_TAKE_REPORT_H

#include "unidesk.h"

#include "door.h"
#include "message.h"

extern void unidesk_acknowledge(ReturnSetInfo *result, const UnideskMessage *message, int state, int flags);

/*
 * Tell of what a node says of an attempt that was ended without it, once for
 * each state.  live as below.  False: another transaction tells of the same
 * task.
 */
extern bool unidesk_tell_late(UnideskDoor *door, const UnideskMessage *message, const UnideskReport *report, UnideskLive *live);

/*
 * A report about an attempt that is not the live one of its task.  live: the
 * task's locked row, NULL when it has none.  Everything that went through the
 * door has been written.
 */
extern void unidesk_take_late(ReturnSetInfo *result, UnideskDoor *door, const UnideskMessage *message,
							  const UnideskReport *report, UnideskLive *live);

#endif							/* UNIDESK_TAKE_REPORT_H */
