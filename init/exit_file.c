/*
 * exit_file.c
 *	  Writing the exit record.
 */
#include "init/exit_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/cleanup.h"

#define EXIT_ASIDE UD_RUN_EXIT ".new"

int
exit_file_prepare(int dir_fd, UdError *err)
{
	static const UdExitRecord zeroes;
	struct stat st;
	int			fd;

	if (fstatat(dir_fd, UD_RUN_EXIT, &st, AT_SYMLINK_NOFOLLOW) == 0)
		return ud_error(err, UD_EEXIST, 0, "an exit record exists: this attempt ran before");
	fd = openat(dir_fd, EXIT_ASIDE, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0644);
	if (fd < 0 || write(fd, &zeroes, sizeof(zeroes)) != (ssize_t) sizeof(zeroes))
	{
		ud_error(err, UD_EIO, 0, "could not write \"%s\": %s", EXIT_ASIDE, strerror(errno));
		if (fd >= 0)
			close(fd);
		return UD_EIO;
	}
	return fd;
}

int
exit_file_write(int dir_fd, int fd, const UdExitRecord *record, UdError *err)
{
	int			failed;

	failed = pwrite(fd, record, sizeof(*record), 0) != (ssize_t) sizeof(*record)
		|| fsync(fd) != 0
		|| renameat(dir_fd, EXIT_ASIDE, dir_fd, UD_RUN_EXIT) != 0;
	if (failed)
		ud_error(err, UD_EIO, 0, "could not write the exit record: %s", strerror(errno));
	close(fd);
	return failed ? UD_EIO : 0;
}

/* The number after the line that starts with "oom_kill ". */
static int64_t
oom_kills_in(const char *path)
{
	char		text[4096];
	const char *line = text;
	ssize_t		len;
	ud_auto_fd int fd = open(path, O_RDONLY | O_CLOEXEC);

	len = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);
	if (len <= 0)
		return -1;
	text[len] = '\0';
	while (line != NULL && *line != '\0')
	{
		if (strncmp(line, "oom_kill ", 9) == 0)
			return strtoll(line + 9, NULL, 10);
		line = strchr(line, '\n');
		line = line == NULL ? NULL : line + 1;
	}
	return -1;
}

int64_t
oom_kills_read(void)
{
	int64_t		kills = oom_kills_in("/sys/fs/cgroup/memory.events");

	if (kills < 0)
		kills = oom_kills_in("/sys/fs/cgroup/memory/memory.oom_control");
	return kills;
}
