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
/* Behind the name of what a task put in the way of the record. */
#define EXIT_PLANTED ".planted"

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

/*
 * The task can do to these names what it likes: what it put there instead is
 * moved out of the way.
 */
static int
rename_into_place(int dir_fd)
{
	if (renameat(dir_fd, EXIT_ASIDE, dir_fd, UD_RUN_EXIT) == 0)
		return 0;
	renameat(dir_fd, UD_RUN_EXIT, dir_fd, UD_RUN_EXIT EXIT_PLANTED);
	return renameat(dir_fd, EXIT_ASIDE, dir_fd, UD_RUN_EXIT);
}

/* Is the file behind fd still the one of that name? */
static int
is_in_place(int dir_fd, int fd)
{
	struct stat ours;
	struct stat named;

	return fstat(fd, &ours) == 0 && fstatat(dir_fd, EXIT_ASIDE, &named, AT_SYMLINK_NOFOLLOW) == 0
		&& ours.st_ino == named.st_ino && ours.st_dev == named.st_dev;
}

int
exit_file_write(int dir_fd, int fd, const UdExitRecord *record, UdError *err)
{
	int			failed;

	if (!is_in_place(dir_fd, fd))
	{
		close(fd);
		if (unlinkat(dir_fd, EXIT_ASIDE, 0) != 0 && errno != ENOENT)
			renameat(dir_fd, EXIT_ASIDE, dir_fd, EXIT_ASIDE EXIT_PLANTED);
		fd = openat(dir_fd, EXIT_ASIDE, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0644);
	}
	failed = fd < 0
		|| pwrite(fd, record, sizeof(*record), 0) != (ssize_t) sizeof(*record)
		|| fsync(fd) != 0
		|| rename_into_place(dir_fd) != 0;
	if (failed)
		ud_error(err, UD_EIO, 0, "could not write the exit record: %s", strerror(errno));
	if (fd >= 0)
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
