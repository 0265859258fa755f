/*
 * walk.c
 *	  Walk over a commit's tree.
 *
 * A few kilobytes of tree objects can describe 10^10 files (each level naming
 * the level below ten times), so the limits are counted while walking and not
 * taken from any size in the repository.
 */
#include "agent/git/walk.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "agent/git/mirror.h"
#include "common/buf.h"
#include "common/cleanup.h"
#include "common/reasons.h"

#define LFS_PREFIX "version https://git-lfs.github.com/spec/"
#define LFS_BYTES_MAX 1024

#define INVALID(...) ud_error(err, UD_EINVAL, UD_REASON_PREP_TREE_INVALID, __VA_ARGS__)

const WalkLimits walk_default_limits = {
	.entries_max = 1000 * 1000,
	.bytes_max = UINT64_C(20) * 1000 * 1000 * 1000,
	.file_bytes_max = UINT64_C(1) << 30,	/* libgit2 holds a blob in memory */
	.depth_max = 256,
	.path_max = 4096,
};

bool
walk_name_is_valid(const char *name)
{
	size_t		len = strlen(name);

	if (len == 0 || len > NAME_MAX || strchr(name, '/') != NULL
		|| strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
		return false;
	/* What other file systems would make of it is refused here as well. */
	if (strncasecmp(name, ".git", 4) == 0 && strspn(name + 4, " .") == len - 4)
		return false;
	if (strncasecmp(name, ".git:", 5) == 0)
		return false;
	return strncasecmp(name, "git~", 4) != 0 || len == 4 || strspn(name + 4, "0123456789") != len - 4;
}

static int
compare_names(const void *a, const void *b)
{
	return strcmp(*(const char *const *) a, *(const char *const *) b);
}

/* Git's order puts "a" and "a/" apart, so neighbours do not show duplicates. */
static int
check_names(const git_tree *tree, const char *path, UdError *err)
{
	size_t		count = git_tree_entrycount(tree);
	ud_auto_free const char **names = ud_calloc(count, sizeof(char *));

	for (size_t i = 0; i < count; i++)
	{
		names[i] = git_tree_entry_name(git_tree_entry_byindex(tree, i));
		if (!walk_name_is_valid(names[i]))
			return INVALID("tree has a forbidden name \"%.200s\" in \"%.100s\"", names[i], path);
	}
	qsort(names, count, sizeof(char *), compare_names);
	for (size_t i = 1; i < count; i++)
		if (strcmp(names[i - 1], names[i]) == 0)
			return INVALID("tree has \"%.200s\" twice in \"%.100s\"", names[i], path);
	return 0;
}

/* Is the object missing, or there but no good tree?  The latter is the author's. */
static int
tree_error(Walk *walk, const git_oid *oid, UdError *err)
{
	git_odb    *odb = NULL;
	size_t		size;
	git_object_t type;
	int			code = UD_EPROTO;

	mirror_git_error(err, code, UD_REASON_PREP_FETCH_FAILED, "could not read a tree");
	if (git_repository_odb(&odb, walk->repo) == 0 && git_odb_read_header(&size, &type, odb, oid) == 0)
		code = INVALID("directory \"%.300s\" is no valid tree", walk->path);
	git_odb_free(odb);
	return code;
}

static int	walk_tree(Walk *walk, const git_oid *oid, size_t path_len, unsigned depth, UdError *err);

static int
walk_directory(Walk *walk, const WalkEntry *entry, size_t path_len, UdError *err)
{
	bool		skip = false;
	int			rc = 0;

	if (entry->depth + 1 > walk->limits.depth_max)
		return INVALID("tree is deeper than %u directories", walk->limits.depth_max);
	if (walk->enter != NULL)
		rc = walk->enter(walk->arg, entry, &skip, err);
	if (rc == 0 && !skip)
	{
		walk->path[path_len] = '/';
		rc = walk_tree(walk, entry->oid, path_len + 1, entry->depth + 1, err);
		walk->path[path_len] = '\0';
	}
	if (rc == 0 && walk->leave != NULL)
		rc = walk->leave(walk->arg, entry, err);
	return rc;
}

static int
walk_entry(Walk *walk, const git_tree_entry *item, size_t path_len, unsigned depth, UdError *err)
{
	const char *name = git_tree_entry_name(item);
	size_t		len = strlen(name);
	WalkEntry	entry = {
		.path = walk->path,
		.name = walk->path + path_len,
		.depth = depth,
		.mode = git_tree_entry_filemode(item),
		.oid = git_tree_entry_id(item),
	};

	if (++walk->entries > walk->limits.entries_max)
		return INVALID("tree has more than %llu entries", (unsigned long long) walk->limits.entries_max);
	/* One byte for the slash of a directory, one for the end. */
	if (path_len + len + 2 > walk->limits.path_max)
		return INVALID("tree has a path longer than %zu bytes", walk->limits.path_max - 2);
	memcpy(walk->path + path_len, name, len + 1);
	if (entry.mode == GIT_FILEMODE_TREE)
		return walk_directory(walk, &entry, path_len + len, err);
	return walk->visit(walk->arg, &entry, err);
}

static int
walk_tree(Walk *walk, const git_oid *oid, size_t path_len, unsigned depth, UdError *err)
{
	git_tree   *tree = NULL;
	int			rc;

	walk->path[path_len] = '\0';
	if (git_tree_lookup(&tree, walk->repo, oid) != 0)
		return tree_error(walk, oid, err);
	rc = check_names(tree, walk->path, err);
	for (size_t i = 0; rc == 0 && i < git_tree_entrycount(tree); i++)
		rc = walk_entry(walk, git_tree_entry_byindex(tree, i), path_len, depth, err);
	git_tree_free(tree);
	return rc;
}

int
walk_commit(Walk *walk, const git_oid *commit_oid, UdError *err)
{
	git_commit *commit = NULL;
	int			rc = mirror_commit(walk->repo, commit_oid, &commit, err);

	if (rc != 0)
		return rc;
	walk->path = ud_malloc(walk->limits.path_max + 2);
	rc = walk_tree(walk, git_commit_tree_id(commit), 0, 0, err);
	free(walk->path);
	walk->path = NULL;
	git_commit_free(commit);
	return rc;
}

int
walk_read_blob(git_repository *repo, const WalkEntry *entry, git_odb_object **out, UdError *err)
{
	git_odb    *odb = NULL;
	int			rc = git_repository_odb(&odb, repo);

	if (rc == 0)
		rc = git_odb_read(out, odb, entry->oid);
	git_odb_free(odb);
	if (rc != 0)
		return mirror_git_error(err, UD_EPROTO, UD_REASON_PREP_FETCH_FAILED, "could not read a file");
	if (git_odb_object_type(*out) == GIT_OBJECT_BLOB)
		return 0;
	git_odb_object_free(*out);
	*out = NULL;
	return INVALID("entry \"%.300s\" is no file", entry->path);
}

static int
check_not_lfs(Walk *walk, const WalkEntry *entry, UdError *err)
{
	git_odb_object *blob = NULL;
	bool		is_pointer;
	int			rc = walk_read_blob(walk->repo, entry, &blob, err);

	if (rc != 0)
		return rc;
	is_pointer = git_odb_object_size(blob) >= strlen(LFS_PREFIX)
		&& memcmp(git_odb_object_data(blob), LFS_PREFIX, strlen(LFS_PREFIX)) == 0;
	git_odb_object_free(blob);
	if (is_pointer)
		return INVALID("file \"%.300s\" is a Git LFS pointer, LFS is not supported", entry->path);
	return 0;
}

int
walk_check_content(Walk *walk, const WalkEntry *entry, UdError *err)
{
	git_odb    *odb = NULL;
	size_t		size = 0;
	git_object_t type = GIT_OBJECT_INVALID;
	int			rc;

	if (entry->mode == GIT_FILEMODE_COMMIT)
		return INVALID("\"%.300s\" is a submodule, submodules are not supported", entry->path);
	rc = git_repository_odb(&odb, walk->repo);
	if (rc == 0)
		rc = git_odb_read_header(&size, &type, odb, entry->oid);
	git_odb_free(odb);
	if (rc != 0)
		return mirror_git_error(err, UD_EPROTO, UD_REASON_PREP_FETCH_FAILED, "could not read a file");
	if (type != GIT_OBJECT_BLOB)
		return INVALID("entry \"%.300s\" is no file", entry->path);
	if (entry->mode == GIT_FILEMODE_LINK && (size == 0 || size >= PATH_MAX))
		return INVALID("symlink \"%.300s\" has a target of %zu bytes", entry->path, size);
	if (size > walk->limits.file_bytes_max)
		return INVALID("file \"%.300s\" is larger than %llu bytes", entry->path,
					   (unsigned long long) walk->limits.file_bytes_max);
	walk->bytes += size;
	if (walk->bytes > walk->limits.bytes_max)
		return INVALID("tree holds more than %llu bytes", (unsigned long long) walk->limits.bytes_max);
	if (entry->mode == GIT_FILEMODE_LINK || size > LFS_BYTES_MAX)
		return 0;
	return check_not_lfs(walk, entry, err);
}
