/*
 * report.h
 *	  The bodies of reports and beats, parsed and checked.
 */
#ifndef UNIDESK_REPORT_H
#define UNIDESK_REPORT_H

#include "postgres.h"

#include "shared.h"

#define UNIDESK_STAGES 4		/* fetch, build, stage_in, run */

/* Is there anything in the task's /checkpoint at the attempt's end? */
typedef enum UnideskCheckpoint
{
	UNIDESK_CHECKPOINT_UNSAID = 0,
	UNIDESK_CHECKPOINT_NONE,
	UNIDESK_CHECKPOINT_THERE
} UnideskCheckpoint;

typedef struct UnideskReport
{
	int			phase;			/* 0 when absent */
	bool		has_exit_code;
	int32		exit_code;
	bool		oom;
	int			reason;			/* UdReason, 0 when absent */
	int32		stage_ms[UNIDESK_STAGES];	/* -1 for a stage not passed */
	int64		log_end;		/* -1 when absent */
	int32		retry_after_s;	/* 0 when absent */
	UnideskCheckpoint checkpoint;
	bytea	   *image_id;		/* the hash's bytes, NULL when absent */
	char	   *message;		/* NULL when absent */
} UnideskReport;

extern void unidesk_report_init(UnideskReport *report);

/*
 * Parse a body; returns NULL, or what is wrong with it.  Never raises for
 * bad data.  An empty body is a report without details.
 */
extern const char *unidesk_report_parse(const char *body, int length, UnideskReport *report);

/* What the body of a beat says of the engine; it never raises either. */
extern UnideskEngine unidesk_beat_parse(const char *body, int length);

#endif							/* UNIDESK_REPORT_H */
