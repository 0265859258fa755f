/*
 * fetch.h
 *	  Bring one commit into a mirror.
 */
#ifndef GIT_FETCH_H
#define GIT_FETCH_H

#include <stdbool.h>
#include <stdint.h>

#include "common/error.h"

typedef struct FetchRequest
{
	const char *mirror;			/* path of the bare repository */
	const char *url;
	const char *commit;
	const char *allowed_hosts;	/* list of common/hostlist.h */
	uint64_t	bytes_max;		/* what may be received */
} FetchRequest;

typedef struct FetchResult
{
	bool		was_present;
	bool		used_fallback;
	uint64_t	received_bytes;
	uint32_t	received_objects;
} FetchResult;

extern int	fetch_run(const FetchRequest *request, FetchResult *result, UdError *err) UD_MUSTCHECK;

#endif							/* GIT_FETCH_H */
