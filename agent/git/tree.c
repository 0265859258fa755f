/*
 * tree.c
 *	  Write a commit's tree below a directory.
 *
 * Each directory is entered by descriptor and each name is made anew
 * (O_EXCL, O_NOFOLLOW), so no symlink of the tree is ever followed.  Symlinks
 * are judged twice: by their text before anything is written, and, since a
 * link may lead through other links, by the kernel when all of them exist.
 */
#include "agent/git/tree.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "agent/git/mirror.h"
#include "common/buf.h"
#include "common/cleanup.h"
#include "common/reasons.h"

#define INVALID(...) ud_error(err, UD_EINVAL, UD_REASON_PREP_TREE_INVALID, __VA_ARGS__)

typedef struct TreeWriter
{
	Walk		walk;
	int		   *directories;	/* descriptors, one per depth, the root's
								 * first */
	char	  **links;			/* paths of all symlinks, owned */
	size_t		link_count;
	size_t		link_size;
} TreeWriter;

bool
tree_link_stays(unsigned depth, const char *target)
{
	int64_t		level = depth;

	if (*target == '/')
		return false;
	while (*target != '\0')
	{
		size_t		len = strcspn(target, "/");

		if (len == 2 && strncmp(target, "..", 2) == 0)
			level--;
		else if (len > 0 && !(len == 1 && *target == '.'))
			level++;
		if (level < 0)
			return false;
		target += len;
		target += strspn(target, "/");
	}
	return true;
}

static int
io_error(UdError *err, const char *what, const char *path)
{
	int			reason = errno == ENOSPC || errno == EDQUOT ? UD_REASON_NODE_DISK_FULL : UD_REASON_PREP_FETCH_FAILED;

	return ud_error(err, UD_EIO, reason, "could not %s \"%.200s\": %s", what, path, strerror(errno));
}

/* A symlink's text, freed by the caller. */
static int
read_target(git_repository *repo, const WalkEntry *entry, char **target, UdError *err)
{
	git_odb_object *blob = NULL;
	int			rc = walk_read_blob(repo, entry, &blob, err);

	if (rc != 0)
		return rc;
	*target = strndup(git_odb_object_data(blob), git_odb_object_size(blob));
	if (strlen(*target) != git_odb_object_size(blob))
		rc = INVALID("symlink \"%.300s\" has a NUL byte in its target", entry->path);
	git_odb_object_free(blob);
	return rc;
}

static int
judge(void *arg, const WalkEntry *entry, UdError *err)
{
	TreeWriter *writer = arg;
	ud_auto_free char *target = NULL;
	int			rc = walk_check_content(&writer->walk, entry, err);

	if (rc != 0 || entry->mode != GIT_FILEMODE_LINK)
		return rc;
	rc = read_target(writer->walk.repo, entry, &target, err);
	if (rc == 0 && !tree_link_stays(entry->depth, target))
		rc = INVALID("symlink \"%.200s\" leads out of the tree to \"%.200s\"", entry->path, target);
	return rc;
}

static int
enter_directory(void *arg, const WalkEntry *entry, bool *skip, UdError *err)
{
	TreeWriter *writer = arg;
	int			parent = writer->directories[entry->depth];

	(void) skip;
	if (mkdirat(parent, entry->name, 0755) != 0)
		return io_error(err, "make directory", entry->path);
	writer->directories[entry->depth + 1] =
		openat(parent, entry->name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (writer->directories[entry->depth + 1] < 0)
		return io_error(err, "open directory", entry->path);
	return 0;
}

static int
leave_directory(void *arg, const WalkEntry *entry, UdError *err)
{
	TreeWriter *writer = arg;

	(void) err;
	close(writer->directories[entry->depth + 1]);
	writer->directories[entry->depth + 1] = -1;
	return 0;
}

static void
remember_link(TreeWriter *writer, const char *path)
{
	if (writer->link_count == writer->link_size)
	{
		writer->link_size = writer->link_size * 2 + 64;
		writer->links = ud_realloc(writer->links, writer->link_size * sizeof(char *));
	}
	writer->links[writer->link_count++] = ud_strdup(path);
}

static int
write_link(TreeWriter *writer, const WalkEntry *entry, UdError *err)
{
	ud_auto_free char *target = NULL;
	int			rc = read_target(writer->walk.repo, entry, &target, err);

	if (rc != 0)
		return rc;
	if (symlinkat(target, writer->directories[entry->depth], entry->name) != 0)
		return io_error(err, "make symlink", entry->path);
	remember_link(writer, entry->path);
	return 0;
}

static int
write_content(int fd, git_odb_object *blob, const char *path, UdError *err)
{
	const char *data = git_odb_object_data(blob);
	size_t		left = git_odb_object_size(blob);

	while (left > 0)
	{
		ssize_t		done = write(fd, data, left);

		if (done < 0 && errno == EINTR)
			continue;
		if (done < 0)
			return io_error(err, "write", path);
		data += done;
		left -= (size_t) done;
	}
	return 0;
}

static int
write_file(void *arg, const WalkEntry *entry, UdError *err)
{
	TreeWriter *writer = arg;
	git_odb_object *blob = NULL;
	mode_t		mode = entry->mode == GIT_FILEMODE_BLOB_EXECUTABLE ? 0755 : 0644;
	int			fd;
	int			rc;

	if (entry->mode == GIT_FILEMODE_LINK)
		return write_link(writer, entry, err);
	rc = walk_read_blob(writer->walk.repo, entry, &blob, err);
	if (rc != 0)
		return rc;
	fd = openat(writer->directories[entry->depth], entry->name,
				O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, mode);
	if (fd < 0)
		rc = io_error(err, "make file", entry->path);
	else
		rc = write_content(fd, blob, entry->path, err);
	if (fd >= 0 && close(fd) != 0 && rc == 0)
		rc = io_error(err, "write", entry->path);
	git_odb_object_free(blob);
	return rc;
}

/* The kernel's judgement; kernels without openat2 leave it at the text's. */
static int
check_links(const TreeWriter *writer, UdError *err)
{
	struct open_how how = {
		.flags = O_PATH | O_CLOEXEC,
		.resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS,
	};

	for (size_t i = 0; i < writer->link_count; i++)
	{
		long		fd = syscall(SYS_openat2, writer->directories[0], writer->links[i], &how, sizeof(how));

		if (fd >= 0)
			close((int) fd);
		else if (errno == EXDEV)
			return INVALID("symlink \"%.300s\" leads out of the tree", writer->links[i]);
	}
	return 0;
}

static int
write_judged(TreeWriter *writer, const git_oid *commit, int root, UdError *err)
{
	unsigned	levels = writer->walk.limits.depth_max + 2;
	int			rc;

	writer->directories = ud_malloc(levels * sizeof(int));
	for (unsigned i = 0; i < levels; i++)
		writer->directories[i] = -1;
	writer->directories[0] = root;
	writer->walk.visit = write_file;
	writer->walk.enter = enter_directory;
	writer->walk.leave = leave_directory;
	rc = walk_commit(&writer->walk, commit, err);
	if (rc == 0)
		rc = check_links(writer, err);
	for (unsigned i = 1; i < levels; i++)
		if (writer->directories[i] >= 0)
			close(writer->directories[i]);
	for (size_t i = 0; i < writer->link_count; i++)
		free(writer->links[i]);
	free(writer->links);
	free(writer->directories);
	return rc;
}

int
tree_write(git_repository *repo, const char *commit, const char *into, const WalkLimits *limits, UdError *err)
{
	TreeWriter	writer = {0};
	git_oid		oid;
	ud_auto_fd int root = -1;
	int			rc = mirror_parse_commit(commit, &oid, err);

	if (rc != 0)
		return rc;
	writer.walk.repo = repo;
	writer.walk.limits = *limits;
	writer.walk.visit = judge;
	writer.walk.arg = &writer;
	rc = walk_commit(&writer.walk, &oid, err);
	if (rc != 0)
		return rc;
	root = open(into, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (root < 0)
		return io_error(err, "open directory", into);
	writer.walk.entries = 0;
	return write_judged(&writer, &oid, root, err);
}
