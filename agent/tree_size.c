/*
 * tree_size.c
 *	  How much of the disk a directory takes.
 *
 * A task may have filled it: depth and number of entries are bounded, because
 * a figure that is too low does less harm than an agent that counts for hours.
 */
#include "agent/tree_size.h"

#include <dirent.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define DEPTH_MAX 64
#define ENTRIES_MAX 1000000

typedef struct TreeSize
{
	int64_t		bytes;
	int			entries;
} TreeSize;

static void
count_entry(TreeSize *run, int dir, const char *name, int depth)
{
	struct stat info;
	struct dirent *entry;
	DIR		   *stream;
	int			below;

	if (++run->entries > ENTRIES_MAX || fstatat(dir, name, &info, AT_SYMLINK_NOFOLLOW) < 0)
		return;
	run->bytes += (int64_t) info.st_blocks * 512;
	if (!S_ISDIR(info.st_mode) || depth >= DEPTH_MAX)
		return;
	below = openat(dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	stream = below < 0 ? NULL : fdopendir(below);
	if (stream == NULL)
	{
		if (below >= 0)
			close(below);
		return;
	}
	while (run->entries <= ENTRIES_MAX && (entry = readdir(stream)) != NULL)
		if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
			count_entry(run, dirfd(stream), entry->d_name, depth + 1);
	closedir(stream);
}

int64_t
tree_size(int dir, const char *name)
{
	TreeSize	run = {0};

	count_entry(&run, dir, name, 0);
	return run.bytes;
}
