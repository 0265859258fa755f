/*
 * remove_tree.c
 *	  Remove a directory that a task filled.
 *
 * A task may have nested directories deeper than any stack or descriptor
 * table.  What lies deeper than DEPTH_MAX is therefore moved up to the top
 * and met there by the next pass.
 */
#include "agent/remove_tree.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define DEPTH_MAX 32

typedef struct RemoveTree
{
	int			top;			/* descriptor of the directory to remove */
	uint64_t	moved;			/* names given to what was moved up */
	bool		again;			/* something was moved: another pass is needed */
} RemoveTree;

static int	remove_contents(RemoveTree *run, int dir, int depth);

/* A directory called name in dir: empty it and remove it, or move it up. */
static int
remove_directory(RemoveTree *run, int dir, const char *name, int depth)
{
	int			child;
	int			result;

	if (depth >= DEPTH_MAX)
	{
		char		up[48];
		int			tries = 0;

		run->again = true;
		/* The task may have used the name itself: try some. */
		do
		{
			snprintf(up, sizeof(up), ".unidesk-remove-%llu", (unsigned long long) run->moved++);
			if (renameat(dir, name, run->top, up) == 0)
				return 0;
		} while ((errno == EEXIST || errno == ENOTEMPTY || errno == ENOTDIR) && tries++ < 10000);
		return -1;
	}
	child = openat(dir, name, O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (child < 0)
		return -1;
	result = remove_contents(run, child, depth + 1);
	close(child);
	if (result == 0 && unlinkat(dir, name, AT_REMOVEDIR) < 0 && errno != ENOENT)
		result = -1;
	return result;
}

static int
remove_contents(RemoveTree *run, int dir, int depth)
{
	int			copy = openat(dir, ".", O_DIRECTORY | O_CLOEXEC);
	DIR		   *stream = copy >= 0 ? fdopendir(copy) : NULL;
	struct dirent *entry;
	int			result = 0;

	if (stream == NULL)
	{
		if (copy >= 0)
			close(copy);
		return -1;
	}
	while (result == 0 && (entry = readdir(stream)) != NULL)
	{
		if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
			continue;
		if (unlinkat(dir, entry->d_name, 0) == 0 || errno == ENOENT)
			continue;
		if (errno != EISDIR && errno != EPERM)
			result = -1;
		else
			result = remove_directory(run, dir, entry->d_name, depth);
	}
	closedir(stream);
	return result;
}

int
remove_tree(int dir, const char *name)
{
	RemoveTree	run = {
		.top = openat(dir, name, O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC),
	};
	int			result;

	if (run.top < 0)
	{
		if (errno == ENOENT)
			return 0;
		/* Not a directory: a link or a file of that name. */
		return errno == ENOTDIR || errno == ELOOP ? unlinkat(dir, name, 0) : -1;
	}
	do
	{
		run.again = false;
		result = remove_contents(&run, run.top, 0);
	} while (result == 0 && run.again);
	close(run.top);
	if (result == 0 && unlinkat(dir, name, AT_REMOVEDIR) < 0)
		result = -1;
	return result;
}
