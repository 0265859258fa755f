/*
 * request.h
 *	  A task as somebody asks for it, checked field by field.
 */
#ifndef UNIDESK_REQUEST_H
#define UNIDESK_REQUEST_H

#include "unidesk.h"

#include "utils/jsonb.h"

/* A hash of 16 bytes, as uuid rows hold it. */
typedef pg_uuid_t UnideskHash;

/* What is added here goes into unidesk_terms_text as well. */
typedef struct UnideskRequest
{
	char	   *project;
	char	   *code_repo_url;
	char	   *code_commit;	/* hex */
	char	   *env_repo_url;
	char	   *env_commit;		/* hex */
	char	   *dockerfile_path;
	Datum	   *command;		/* text */
	int			command_count;
	bool		has_command;
	double		cpus;
	int64		memory;			/* bytes */
	int64		gpus;
	char	   *labels;			/* canonical, see placement.h; "" for none */
	Jsonb	   *environment;	/* NULL for none */
	int64		priority;
	int64		queue_s;		/* 0: none */
	int64		prepare_s;
	int64		run_s;
	int64		max_retries;
	char	   *idempotency_key;	/* NULL: none */
	char	   *on_lost;		/* NULL: requeue */
	int64		lease_s;		/* -1: not given */
	int64		grace_s;		/* -1: not given */
	bool		hold;
	TimestampTz not_before;		/* 0: none */
	bool		has_retry_on;
	uint64		retry_on[4];	/* a bit for each exit code */
	int64		total_s;		/* 0: none */
	int64		idle_s;
	int64		warn_s;
	char	   *warn_signal;	/* NULL: not given */
	bool		has_restart_exit_code;
	int64		restart_exit_code;

	/* filled by unidesk_request_check */
	int32		cpus_milli;
	int			on_lost_code;	/* UnideskOnLost */
	bool		has_lease;
	char	   *terms;			/* see terms.c */
	bytea	   *code_commit_bytes;
	bytea	   *env_commit_bytes;
	UnideskHash demand_hash;
	UnideskHash spec_hash;		/* of what goes into a spec row */
	UnideskHash terms_hash;
	UnideskHash body_hash;		/* of everything */
} UnideskRequest;

/* The values of arguments that are not given. */
extern void unidesk_request_init(UnideskRequest *request);

/* Raise unless every field makes sense; compute what is derived. */
extern void unidesk_request_check(UnideskRequest *request);

/* One more exit code of retry_on; raises unless it can be one of a failure. */
extern void unidesk_request_retry_on(UnideskRequest *request, int64 code);

/* The terms of a request, as rerun_task submits them again. */
extern char *unidesk_terms_text(const UnideskRequest *request);

/* Labels of a json object as canonical text; raises for a bad one. */
extern char *unidesk_labels_canonical(Jsonb *labels, const char *what);

/* Seconds of an interval argument; raises unless 1 s .. 10 years. */
extern int64 unidesk_interval_seconds(Interval *span, const char *what, bool zero_allowed);

#endif							/* UNIDESK_REQUEST_H */
