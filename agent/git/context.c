/*
 * context.c
 *	  A commit's tree as a build context.
 *
 * The tree is walked twice, first to judge and then to write: a stream that
 * ends early could be taken for a smaller context.
 */
#include "agent/git/context.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/git/dockerfile.h"
#include "agent/git/dockerignore.h"
#include "agent/git/mirror.h"
#include "agent/git/tar.h"
#include "common/buf.h"
#include "common/cleanup.h"
#include "common/reasons.h"

#define NOT_FOUND(...) ud_error(err, UD_ENOENT, UD_REASON_PREP_DOCKERFILE_NOT_FOUND, __VA_ARGS__)
#define IGNORE_FILE ".dockerignore"

typedef struct Context
{
	Walk		walk;
	Dockerignore *ignore;
	char		dockerfile[4096];	/* as paths of the walk are written */
	TarWriter  *tar;			/* NULL while judging */
	bool	  **scopes;			/* one per depth, the root's first */
	unsigned	written_depth;	/* directories of the current path that are in
								 * the tar */
} Context;

/* "./a/b" becomes "a/b"; anything that is not plainly below the root fails. */
static int
normalise_path(const char *path, char out[4096], UdError *err)
{
	size_t		used = 0;

	if (*path == '\0' || *path == '/' || strlen(path) >= 4096)
		return NOT_FOUND("Dockerfile path \"%.200s\" is not a relative path", path);
	while (*path != '\0')
	{
		size_t		len = strcspn(path, "/");

		if (!(len == 1 && *path == '.'))
		{
			memcpy(out + used, path, len);
			out[used + len] = '\0';
			if (!walk_name_is_valid(out + used))
				return NOT_FOUND("Dockerfile path has a forbidden part \"%.200s\"", out + used);
			used += len;
			out[used++] = '/';
		}
		path += len;
		if (*path == '/' && *++path == '\0')
			return NOT_FOUND("Dockerfile path ends with a slash");
	}
	if (used == 0)
		return NOT_FOUND("Dockerfile path names the root");
	out[used - 1] = '\0';
	return 0;
}

/*
 * A regular file of the tree by path, not through symlinks: 0 and *out, or
 * UD_ENOENT with err about path.
 */
static int
read_file(git_repository *repo, const git_tree *tree, const char *path, size_t size_max, git_odb_object **out, UdError *err)
{
	git_tree_entry *item = NULL;
	WalkEntry	entry = {
		.path = path,
	};
	int			rc;

	if (git_tree_entry_bypath(&item, tree, path) != 0)
		return NOT_FOUND("there is no \"%.300s\" in the commit", path);
	entry.mode = git_tree_entry_filemode(item);
	entry.oid = git_tree_entry_id(item);
	if (entry.mode != GIT_FILEMODE_BLOB && entry.mode != GIT_FILEMODE_BLOB_EXECUTABLE)
		rc = NOT_FOUND("\"%.300s\" is not a regular file", path);
	else
		rc = walk_read_blob(repo, &entry, out, err);
	git_tree_entry_free(item);
	if (rc == 0 && git_odb_object_size(*out) > size_max)
	{
		git_odb_object_free(*out);
		*out = NULL;
		rc = NOT_FOUND("\"%.300s\" is larger than %zu bytes", path, size_max);
	}
	return rc;
}

static int
check_dockerfile(const Context *context, const git_tree *tree, UdError *err)
{
	git_odb_object *text = NULL;
	int			rc = read_file(context->walk.repo, tree, context->dockerfile, DOCKERFILE_BYTES_MAX, &text, err);

	if (rc != 0)
		return rc;
	if (git_odb_object_size(text) == 0)
		rc = NOT_FOUND("\"%.300s\" is empty", context->dockerfile);
	else
		rc = dockerfile_check(git_odb_object_data(text), git_odb_object_size(text), err);
	git_odb_object_free(text);
	return rc;
}

static int
read_ignore(Context *context, const git_tree *tree, UdError *err)
{
	git_odb_object *text = NULL;
	int			rc;

	if (git_tree_entry_byname(tree, IGNORE_FILE) == NULL)
		context->ignore = dockerignore_parse("", 0, err);
	else
	{
		rc = read_file(context->walk.repo, tree, IGNORE_FILE, DOCKERIGNORE_BYTES_MAX, &text, err);
		if (rc == UD_ENOENT)
			return ud_error(err, UD_EINVAL, UD_REASON_PREP_TREE_INVALID, IGNORE_FILE " is no regular file, or too large");
		if (rc != 0)
			return rc;
		context->ignore = dockerignore_parse(git_odb_object_data(text), git_odb_object_size(text), err);
		git_odb_object_free(text);
	}
	return context->ignore == NULL ? err->code : 0;
}

/* Put the directories above a path into the tar that are not in it yet. */
static int
write_parents(Context *context, const char *path, unsigned depth, UdError *err)
{
	ud_auto_free char *copy = ud_strdup(path);
	char	   *slash = copy;

	for (unsigned level = 0; level < depth; level++)
	{
		int			rc = 0;

		slash = strchr(slash, '/');
		if (level >= context->written_depth)
		{
			*slash = '\0';
			rc = tar_directory(context->tar, copy, err);
			*slash = '/';
		}
		if (rc != 0)
			return rc;
		slash++;
	}
	if (depth > context->written_depth)
		context->written_depth = depth;
	return 0;
}

static int
write_entry(Context *context, const WalkEntry *entry, UdError *err)
{
	git_odb_object *blob = NULL;
	int			rc = write_parents(context, entry->path, entry->depth, err);

	if (rc == 0)
		rc = walk_read_blob(context->walk.repo, entry, &blob, err);
	if (rc != 0)
		return rc;
	if (entry->mode == GIT_FILEMODE_LINK)
	{
		ud_auto_free char *target = strndup(git_odb_object_data(blob), git_odb_object_size(blob));

		rc = tar_symlink(context->tar, entry->path, target, err);
	}
	else
		rc = tar_file(context->tar, entry->path, entry->mode == GIT_FILEMODE_BLOB_EXECUTABLE,
					  git_odb_object_data(blob), git_odb_object_size(blob), err);
	git_odb_object_free(blob);
	return rc;
}

static bool
is_always_in(const Context *context, const char *path)
{
	return strcmp(path, context->dockerfile) == 0 || strcmp(path, IGNORE_FILE) == 0;
}

/* Does the Dockerfile lie below this directory? */
static bool
leads_to_dockerfile(const Context *context, const char *path)
{
	size_t		len = strlen(path);

	return strncmp(context->dockerfile, path, len) == 0 && context->dockerfile[len] == '/';
}

static int
on_file(void *arg, const WalkEntry *entry, UdError *err)
{
	Context    *context = arg;

	if (!is_always_in(context, entry->path)
		&& dockerignore_excludes(context->ignore, context->scopes[entry->depth], entry->path, NULL))
		return 0;
	if (context->tar != NULL)
		return write_entry(context, entry, err);
	return walk_check_content(&context->walk, entry, err);
}

static int
on_enter(void *arg, const WalkEntry *entry, bool *skip, UdError *err)
{
	Context    *context = arg;
	bool	  **scope = &context->scopes[entry->depth + 1];
	bool		excluded;
	int			rc;

	if (*scope == NULL)
		*scope = dockerignore_new_scope(context->ignore);
	excluded = dockerignore_excludes(context->ignore, context->scopes[entry->depth], entry->path, *scope);
	*skip = excluded && !dockerignore_has_negation(context->ignore)
		&& !leads_to_dockerfile(context, entry->path);
	if (excluded || context->tar == NULL)
		return 0;
	/* In the context even when all of its files are left out, as in Docker. */
	rc = write_parents(context, entry->path, entry->depth, err);
	if (rc == 0 && context->written_depth == entry->depth)
	{
		rc = tar_directory(context->tar, entry->path, err);
		context->written_depth++;
	}
	return rc;
}

static int
on_leave(void *arg, const WalkEntry *entry, UdError *err)
{
	Context    *context = arg;

	(void) err;
	if (context->written_depth > entry->depth)
		context->written_depth = entry->depth;
	return 0;
}

static int
walk_twice(Context *context, const git_commit *commit, int fd, UdError *err)
{
	ud_auto_free TarWriter *tar = ud_malloc(sizeof(TarWriter));
	Walk		fresh = context->walk;
	int			rc = walk_commit(&context->walk, git_commit_id(commit), err);

	if (rc != 0)
		return rc;
	context->walk = fresh;
	context->tar = tar;
	tar_init(tar, fd, git_commit_time(commit));
	rc = walk_commit(&context->walk, git_commit_id(commit), err);
	return rc == 0 ? tar_end(tar, err) : rc;
}

static int
write_commit(Context *context, const git_commit *commit, int fd, UdError *err)
{
	unsigned	levels = context->walk.limits.depth_max + 2;
	git_tree   *tree = NULL;
	int			rc;

	if (git_commit_tree(&tree, commit) != 0)
		return mirror_git_error(err, UD_EPROTO, UD_REASON_PREP_FETCH_FAILED, "could not read the commit's tree");
	rc = check_dockerfile(context, tree, err);
	if (rc == 0)
		rc = read_ignore(context, tree, err);
	git_tree_free(tree);
	if (rc != 0)
		return rc;
	context->scopes = ud_calloc(levels, sizeof(bool *));
	context->scopes[0] = dockerignore_new_scope(context->ignore);
	rc = walk_twice(context, commit, fd, err);
	for (unsigned i = 0; i < levels; i++)
		free(context->scopes[i]);
	free(context->scopes);
	return rc;
}

int
context_write(git_repository *repo, const ContextRequest *request, UdError *err)
{
	Context		context = {0};
	git_commit *commit = NULL;
	git_oid		oid;
	int			rc;

	context.walk.repo = repo;
	context.walk.limits = request->limits;
	context.walk.visit = on_file;
	context.walk.enter = on_enter;
	context.walk.leave = on_leave;
	context.walk.arg = &context;
	rc = normalise_path(request->dockerfile, context.dockerfile, err);
	if (rc == 0)
		rc = mirror_parse_commit(request->commit, &oid, err);
	if (rc == 0)
		rc = mirror_commit(repo, &oid, &commit, err);
	if (rc == 0)
		rc = write_commit(&context, commit, request->fd, err);
	git_commit_free(commit);
	dockerignore_free(context.ignore);
	return rc;
}
