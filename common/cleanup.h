/*
 * cleanup.h
 *	  Locals that release themselves at the end of their scope.
 */
#ifndef UD_CLEANUP_H
#define UD_CLEANUP_H

#include <stdlib.h>
#include <unistd.h>

#include "common/buf.h"

static inline void
ud_cleanup_free(void *pointer)
{
	free(*(void **) pointer);
}

static inline void
ud_cleanup_fd(int *fd)
{
	if (*fd >= 0)
		close(*fd);
}

#define ud_auto_free __attribute__((cleanup(ud_cleanup_free)))
#define ud_auto_fd __attribute__((cleanup(ud_cleanup_fd)))
#define ud_auto_buf __attribute__((cleanup(ud_buf_release)))

#endif							/* UD_CLEANUP_H */
