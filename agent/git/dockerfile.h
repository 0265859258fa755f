/*
 * dockerfile.h
 *	  The policy on what a Dockerfile may build upon.
 *
 * Images of other projects lie in the same engine, under our tag namespace
 * and under their ids, so a FROM, COPY --from or RUN --mount=from that could
 * reach them is refused (prep.from_refused), as is a remote frontend
 * (# syntax=), which would read the Dockerfile in a way of its own.
 */
#ifndef GIT_DOCKERFILE_H
#define GIT_DOCKERFILE_H

#include <stddef.h>

#include "common/error.h"

#define DOCKERFILE_BYTES_MAX (1024 * 1024)
/* The namespaces of the images that agents build and of the platform's own. */
#define DOCKERFILE_CACHE_NAMESPACE "unidesk-cache"
#define DOCKERFILE_OWN_NAMESPACE "unidesk"

extern int	dockerfile_check(const char *text, size_t len, UdError *err) UD_MUSTCHECK;

#endif							/* GIT_DOCKERFILE_H */
