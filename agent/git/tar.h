/*
 * tar.h
 *	  A tar stream in GNU's format, as Docker's builders read it.
 *
 * Every entry belongs to uid 0 and gid 0 and carries the same time, so that
 * equal trees give equal bytes.
 */
#ifndef GIT_TAR_H
#define GIT_TAR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/error.h"

typedef struct TarWriter
{
	int			fd;				/* borrowed */
	int64_t		mtime;
	size_t		used;
	uint8_t		buffer[64 * 1024];
} TarWriter;

extern void tar_init(TarWriter *tar, int fd, int64_t mtime);
extern int	tar_directory(TarWriter *tar, const char *path, UdError *err) UD_MUSTCHECK;
extern int	tar_file(TarWriter *tar, const char *path, bool executable, const void *data, size_t size, UdError *err) UD_MUSTCHECK;
extern int	tar_symlink(TarWriter *tar, const char *path, const char *target, UdError *err) UD_MUSTCHECK;

/* The two empty blocks; everything is written out. */
extern int	tar_end(TarWriter *tar, UdError *err) UD_MUSTCHECK;

#endif							/* GIT_TAR_H */
