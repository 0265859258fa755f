/*
 * mirror.c
 *	  A bare mirror on disk.
 *
 * A mirror keeps full history: fetching with depth 1 saves bytes on the first
 * fetch, but a shallow mirror can neither answer "is this older commit here"
 * without dialling nor take the heads-and-tags fallback without becoming deep
 * again, and libgit2 before 1.7 has no depth at all.  One behaviour
 * everywhere was worth more.
 */
#include "agent/git/mirror.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/git/status.h"
#include "agent/git/walk.h"
#include "common/buf.h"
#include "common/cleanup.h"
#include "common/reasons.h"

#define REF_NAME_MAX 128
/* Twice what the largest known repositories hold. */
#define PACK_OBJECTS_MAX ((size_t) 20 * 1000 * 1000)

int
mirror_git_error(UdError *err, int code, int reason, const char *what)
{
	const git_error *last = git_error_last();
	const char *why = last != NULL && last->message != NULL ? last->message : "unknown error";

	if (strstr(why, strerror(ENOSPC)) != NULL || strstr(why, strerror(EDQUOT)) != NULL)
		reason = UD_REASON_NODE_DISK_FULL;
	return ud_error(err, code, reason, "%s: %s", what, why);
}

int
mirror_setup(bool dials, UdError *err)
{
	static const git_config_level_t levels[] = {
		GIT_CONFIG_LEVEL_PROGRAMDATA, GIT_CONFIG_LEVEL_SYSTEM, GIT_CONFIG_LEVEL_XDG, GIT_CONFIG_LEVEL_GLOBAL
	};
	const char *cert_file = getenv("SSL_CERT_FILE");
	const char *cert_dir = getenv("SSL_CERT_DIR");
	int			rc;

	if (git_libgit2_init() < 0)
		return ud_error(err, UD_EIO, UD_REASON_PREP_FETCH_FAILED, "could not start libgit2");
	rc = git_libgit2_opts(GIT_OPT_SET_OWNER_VALIDATION, 0);
	for (size_t i = 0; rc == 0 && i < sizeof(levels) / sizeof(levels[0]); i++)
		rc = git_libgit2_opts(GIT_OPT_SET_SEARCH_PATH, levels[i], "");
	if (rc == 0)
		rc = git_libgit2_opts(GIT_OPT_SET_TEMPLATE_PATH, "");
	if (rc == 0)
		rc = git_libgit2_opts(GIT_OPT_ENABLE_FSYNC_GITDIR, 1);
	if (rc == 0)
		rc = git_libgit2_opts(GIT_OPT_SET_PACK_MAX_OBJECTS, PACK_OBJECTS_MAX);
	if (rc == 0 && dials && (cert_file != NULL || cert_dir != NULL))
		rc = git_libgit2_opts(GIT_OPT_SET_SSL_CERT_LOCATIONS, cert_file, cert_dir);
	if (rc != 0)
		return mirror_git_error(err, UD_EIO, UD_REASON_PREP_FETCH_FAILED, "could not set up libgit2");
	return 0;
}

static int
open_lock(const char *path)
{
	ud_auto_free char *lock = ud_asprintf("%s.lock", path);

	return open(lock, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
}

/* A lock file that was removed while we waited for it locks nothing. */
static bool
lock_is_removed(int fd)
{
	struct stat info;

	return fstat(fd, &info) == 0 && info.st_nlink == 0;
}

int
mirror_lock(const char *path, UdError *err)
{
	for (;;)
	{
		int			fd = open_lock(path);
		int			rc;

		if (fd < 0)
			return ud_error(err, UD_EIO, errno == ENOSPC ? UD_REASON_NODE_DISK_FULL : UD_REASON_PREP_FETCH_FAILED,
							"could not open the mirror's lock: %s", strerror(errno));
		rc = flock(fd, LOCK_EX | LOCK_NB);
		if (rc != 0 && errno == EWOULDBLOCK)
		{
			status_progress("waiting for another fetch of this repository");
			while ((rc = flock(fd, LOCK_EX)) != 0 && errno == EINTR)
				;
		}
		if (rc == 0 && !lock_is_removed(fd))
			return fd;
		if (rc != 0)
			(void) ud_error(err, UD_EIO, UD_REASON_PREP_FETCH_FAILED, "could not lock the mirror: %s", strerror(errno));
		close(fd);
		if (rc != 0)
			return err->code;
	}
}

/* A fetch that was killed leaves lock files and half packs. */
static int
sweep_entry(const char *path, const struct stat *info, int type, struct FTW *at)
{
	const char *name = path + at->base;
	size_t		len = strlen(name);

	(void) info;
	if (type != FTW_F)
		return 0;
	if (strncmp(name, "pack_git2_", 10) == 0 || (len > 5 && strcmp(name + len - 5, ".lock") == 0))
		unlink(path);
	return 0;
}

static int
remove_entry(const char *path, const struct stat *info, int type, struct FTW *at)
{
	(void) info;
	(void) type;
	(void) at;
	remove(path);
	return 0;
}

void
mirror_remove(const char *path)
{
	nftw(path, remove_entry, 32, FTW_DEPTH | FTW_PHYS);
}

int
mirror_open(const char *path, git_repository **out, UdError *err)
{
	int			rc = git_repository_open_ext(out, path,
											 GIT_REPOSITORY_OPEN_BARE | GIT_REPOSITORY_OPEN_NO_SEARCH, NULL);

	if (rc == GIT_ENOTFOUND)
		return ud_error(err, UD_ENOENT, UD_REASON_PREP_COMMIT_NOT_FOUND, "there is no mirror of this repository");
	if (rc != 0)
		return mirror_git_error(err, UD_EIO, UD_REASON_PREP_FETCH_FAILED, "could not open the mirror");
	return 0;
}

int
mirror_open_for_fetch(const char *path, git_repository **out, UdError *err)
{
	git_repository_init_options options;

	if (nftw(path, sweep_entry, 32, FTW_PHYS) != 0 && errno != ENOENT)
		return ud_error(err, UD_EIO, UD_REASON_PREP_FETCH_FAILED, "could not read the mirror: %s", strerror(errno));
	if (mirror_open(path, out, err) == 0)
		return 0;
	/* Absent, or its making was interrupted: make it anew. */
	mirror_remove(path);
	git_repository_init_options_init(&options, GIT_REPOSITORY_INIT_OPTIONS_VERSION);
	options.flags = GIT_REPOSITORY_INIT_BARE | GIT_REPOSITORY_INIT_MKDIR;
	if (git_repository_init_ext(out, path, &options) != 0)
		return mirror_git_error(err, UD_EIO, UD_REASON_PREP_FETCH_FAILED, "could not make the mirror");
	return 0;
}

/* Does any ref of ours keep a commit?  The fallback's tips come with one. */
static bool
keeps_a_commit(const char *path)
{
	git_repository *repo = NULL;
	git_reference_iterator *refs = NULL;
	const char *name;
	UdError		ignored;
	bool		keeps = false;

	if (mirror_open(path, &repo, &ignored) != 0)
		return false;
	if (git_reference_iterator_glob_new(&refs, repo, "refs/unidesk/*") == 0)
		keeps = git_reference_next_name(&name, refs) == 0;
	git_reference_iterator_free(refs);
	git_repository_free(repo);
	return keeps;
}

void
mirror_sweep(const char *path)
{
	ud_auto_fd int lock = open_lock(path);

	if (lock < 0 || flock(lock, LOCK_EX | LOCK_NB) != 0 || lock_is_removed(lock))
		return;
	nftw(path, sweep_entry, 32, FTW_PHYS);
	if (!keeps_a_commit(path))
	{
		ud_auto_free char *name = ud_asprintf("%s.lock", path);

		mirror_remove(path);
		unlink(name);
	}
}

int
mirror_parse_commit(const char *hex, git_oid *out, UdError *err)
{
	size_t		len = strlen(hex);

	if (strspn(hex, "0123456789abcdef") != len || (len != 40 && len != 64))
		return ud_error(err, UD_EINVAL, UD_REASON_PREP_COMMIT_NOT_FOUND,
						"commit is not 40 or 64 lower-case hexadecimal digits");
	if (len != GIT_OID_HEXSZ || git_oid_fromstr(out, hex) != 0)
		return ud_error(err, UD_EINVAL, UD_REASON_PREP_COMMIT_NOT_FOUND,
						"repositories with SHA-256 object names are not supported by this node");
	return 0;
}

static void
ref_name(const git_oid *commit, char name[REF_NAME_MAX])
{
	char		hex[GIT_OID_HEXSZ + 1];

	snprintf(name, REF_NAME_MAX, "refs/unidesk/%s", git_oid_tostr(hex, sizeof(hex), commit));
}

bool
mirror_has(git_repository *repo, const git_oid *commit)
{
	char		name[REF_NAME_MAX];
	git_oid		found;
	git_commit *object = NULL;

	ref_name(commit, name);
	if (git_reference_name_to_id(&found, repo, name) != 0 || !git_oid_equal(&found, commit)
		|| git_commit_lookup(&object, repo, commit) != 0)
		return false;
	git_commit_free(object);
	return true;
}

int
mirror_keep(git_repository *repo, const git_oid *commit, UdError *err)
{
	char		name[REF_NAME_MAX];
	git_reference *ref = NULL;

	ref_name(commit, name);
	if (git_reference_create(&ref, repo, name, commit, 1, NULL) != 0)
		return mirror_git_error(err, UD_EIO, UD_REASON_PREP_FETCH_FAILED, "could not keep the commit");
	git_reference_free(ref);
	return 0;
}

void
mirror_forget(const char *path, const git_oid *commit)
{
	char		name[REF_NAME_MAX];
	git_repository *repo = NULL;
	UdError		ignored;
	int			lock = mirror_lock(path, &ignored);

	if (lock < 0)
		return;
	ref_name(commit, name);
	if (mirror_open(path, &repo, &ignored) == 0)
		git_reference_remove(repo, name);
	else
	{
		/* The agent looks at the file alone. */
		ud_auto_free char *file = ud_asprintf("%s/%s", path, name);

		unlink(file);
	}
	git_repository_free(repo);
	close(lock);
}

int
mirror_commit(git_repository *repo, const git_oid *oid, git_commit **out, UdError *err)
{
	char		hex[GIT_OID_HEXSZ + 1];

	if (git_commit_lookup(out, repo, oid) == 0)
		return 0;
	git_oid_tostr(hex, sizeof(hex), oid);
	return ud_error(err, UD_ENOENT, UD_REASON_PREP_COMMIT_NOT_FOUND, "commit %s is not in the repository", hex);
}

static int
verify_blob(void *arg, const WalkEntry *entry, UdError *err)
{
	git_odb    *odb = arg;

	if (entry->mode == GIT_FILEMODE_COMMIT || git_odb_exists(odb, entry->oid))
		return 0;
	return ud_error(err, UD_EPROTO, UD_REASON_PREP_FETCH_FAILED, "blob of \"%s\" was not received", entry->path);
}

int
mirror_verify(git_repository *repo, const git_oid *commit, UdError *err)
{
	Walk		walk = {
		.repo = repo,
		.limits = walk_default_limits,
		.visit = verify_blob,
	};
	git_odb    *odb = NULL;
	int			rc;

	if (git_repository_odb(&odb, repo) != 0)
		return mirror_git_error(err, UD_EIO, UD_REASON_PREP_FETCH_FAILED, "could not open the mirror's objects");
	walk.arg = odb;
	rc = walk_commit(&walk, commit, err);
	git_odb_free(odb);
	/* A tree that is complete but bad is for its reader to refuse. */
	return rc == UD_EINVAL ? 0 : rc;
}
