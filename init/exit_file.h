/*
 * exit_file.h
 *	  The exit record, and the kernel's count of OOM kills that goes into it.
 */
#ifndef INIT_EXIT_FILE_H
#define INIT_EXIT_FILE_H

#include <stdint.h>

#include "common/error.h"
#include "common/run_files.h"

/*
 * Prepare writing: refuses (UD_EEXIST) when a record is there already and
 * takes the disk space now, so that a full disk cannot lose the record later.
 * Returns a descriptor.
 */
extern int	exit_file_prepare(int dir_fd, UdError *err) UD_MUSTCHECK;

/* Write, sync, rename, and close fd. */
extern int	exit_file_write(int dir_fd, int fd, const UdExitRecord *record, UdError *err) UD_MUSTCHECK;

/* OOM kills counted in our cgroup since it was made, -1 when unreadable. */
extern int64_t oom_kills_read(void);

#endif							/* INIT_EXIT_FILE_H */
