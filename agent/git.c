/*
 * git.c
 *	  The parent's side of unidesk-git.
 */
#include "agent/git.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/git_child.h"
#include "agent/git_present.h"
#include "common/buf.h"
#include "common/cleanup.h"
#include "common/log.h"
#include "common/reasons.h"

/* A context child whose reader is done has nothing left to do. */
#define CONTEXT_END_S 60
#define SWEEP_S 10
/* More than unidesk-git writes: what is deeper was not written by it. */
#define TREE_DEPTH_MAX 260

#define FAILED(...) ud_error(err, UD_EIO, UD_REASON_PREP_FETCH_FAILED, __VA_ARGS__)

/* The SHA-256 of trust, NUL, url: a name that nobody chooses. */
int
git_mirror_name(const char *trust, const char *url, char name[GIT_MIRROR_NAME_BYTES], UdError *err)
{
	ud_auto_buf UdBuf key = {0};
	unsigned char digest[EVP_MAX_MD_SIZE];
	unsigned	digest_len = 0;

	ud_buf_append(&key, trust, strlen(trust) + 1);
	ud_buf_append(&key, url, strlen(url));
	if (EVP_Digest(key.data, key.len, digest, &digest_len, EVP_sha256(), NULL) != 1 || digest_len != 32)
		return FAILED("could not hash the repository's URL");
	for (unsigned i = 0; i < digest_len; i++)
		snprintf(name + (size_t) 2 * i, 3, "%02x", digest[i]);
	return 0;
}

static int
mirror_path(const GitSetup *setup, const char *trust, const char *url, char mirror[4096], UdError *err)
{
	char		name[GIT_MIRROR_NAME_BYTES];

	if (git_mirror_name(trust, url, name, err) != 0)
		return err->code;
	if (snprintf(mirror, 4096, "%s/%s", setup->mirrors, name) >= 4096)
		return FAILED("path of the mirrors is too long");
	return 0;
}

static uint64_t
verdict_number(const char *verdict, const char *key)
{
	const char *at = strstr(verdict, key);

	return at == NULL ? 0 : strtoull(at + strlen(key), NULL, 10);
}

/* A fetch that was killed cannot clean up after itself. */
static void
sweep(const GitSetup *setup, const char *mirror)
{
	const char *arguments[] = {"sweep", "--mirror", mirror, NULL};
	GitWatch	watch = {
		.timeout_s = SWEEP_S,
	};
	GitChild	child;
	char		verdict[GIT_VERDICT_MAX];
	UdError		err;

	if (git_child_start(setup, arguments, false, &child, &err) < 0
		|| git_child_wait(&child, &watch, verdict, &err) < 0)
		ud_warning("could not sweep the mirror \"%s\": %s", mirror, err.message);
}

int
git_fetch(const GitSetup *setup, const char *trust, const char *url, const char *commit, int timeout_s,
		  const atomic_bool *cancel, void (*on_progress) (void *arg, const char *text), void *arg,
		  char mirror[4096], GitFetchResult *result, UdError *err)
{
	char		bytes_max[24];
	const char *arguments[] = {
		"fetch", "--mirror", mirror, "--url", url, "--commit", commit,
		"--allowed-hosts", setup->allowed_hosts, "--max-bytes", bytes_max, NULL
	};
	GitWatch	watch = {
		.timeout_s = timeout_s,
		.cancel = cancel,
		.on_progress = on_progress,
		.arg = arg,
	};
	GitChild	child;
	char		verdict[GIT_VERDICT_MAX];
	int			rc;

	snprintf(bytes_max, sizeof(bytes_max), "%" PRId64, setup->fetch_bytes_max);
	memset(result, 0, sizeof(*result));
	rc = mirror_path(setup, trust, url, mirror, err);
	if (rc == 0 && git_present(setup, mirror, commit))
	{
		result->was_present = true;
		return 0;
	}
	if (rc == 0)
		rc = git_child_start(setup, arguments, false, &child, err);
	if (rc != 0)
		return rc;
	rc = git_child_wait(&child, &watch, verdict, err);
	if (rc != 0)
	{
		sweep(setup, mirror);
		return rc;
	}
	git_present_allow(setup, mirror);
	result->was_present = verdict_number(verdict, "present=") != 0;
	result->used_fallback = verdict_number(verdict, "fallback=") != 0;
	result->received_bytes = verdict_number(verdict, "bytes=");
	result->received_objects = (uint32_t) verdict_number(verdict, "objects=");
	return 0;
}

int
git_context_start(const GitSetup *setup, const char *mirror, const char *commit, const char *dockerfile,
				  GitContext *context, UdError *err)
{
	const char *arguments[] = {
		"context", "--mirror", mirror, "--commit", commit, "--dockerfile", dockerfile, NULL
	};
	GitChild	child;
	int			rc = git_child_start(setup, arguments, true, &child, err);

	if (rc != 0)
		return rc;
	context->pid = child.pid;
	context->fd = child.output_fd;
	context->status_fd = child.status_fd;
	return 0;
}

int
git_context_finish(GitContext *context, bool kill_it, UdError *err)
{
	GitWatch	watch = {
		.timeout_s = CONTEXT_END_S,
	};
	GitChild	child = {
		.pid = context->pid,
		.status_fd = context->status_fd,
		.output_fd = -1,
	};
	char		verdict[GIT_VERDICT_MAX];
	int			rc;

	if (kill_it)
		git_child_kill(&child);
	/* A child that still writes now fails instead of waiting for a reader. */
	close(context->fd);
	rc = git_child_wait(&child, &watch, verdict, err);
	context->pid = -1;
	context->fd = -1;
	context->status_fd = -1;
	return rc;
}

static int	hand_over_entries(int directory, uid_t from, uid_t owner, gid_t group, int depth, UdError *err);

/*
 * Hand one entry over.  Only what the child made: a hard link could lead to
 * another file of its user, a device could have been made by nobody but a
 * broken kernel.
 */
static int
hand_over(int directory, const char *name, uid_t from, uid_t owner, gid_t group, int depth, UdError *err)
{
	struct stat info;
	ud_auto_fd int below = -1;

	if (fstatat(directory, name, &info, AT_SYMLINK_NOFOLLOW) != 0)
		return FAILED("could not read the tree written: %s", strerror(errno));
	if (info.st_uid != from || (!S_ISDIR(info.st_mode) && !S_ISREG(info.st_mode) && !S_ISLNK(info.st_mode))
		|| (!S_ISDIR(info.st_mode) && info.st_nlink != 1))
		return FAILED("tree written has an entry that unidesk-git cannot have made");
	if (S_ISDIR(info.st_mode))
	{
		int			rc;

		below = openat(directory, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
		if (below < 0 || depth >= TREE_DEPTH_MAX)
			return FAILED("could not enter a directory of the tree written");
		rc = hand_over_entries(below, from, owner, group, depth + 1, err);
		if (rc != 0)
			return rc;
	}
	if (fchownat(directory, name, owner, group, AT_SYMLINK_NOFOLLOW) != 0)
		return FAILED("could not change the owner of the tree written: %s", strerror(errno));
	return 0;
}

static int
hand_over_entries(int directory, uid_t from, uid_t owner, gid_t group, int depth, UdError *err)
{
	int			copy = fcntl(directory, F_DUPFD_CLOEXEC, 0);
	DIR		   *entries = copy < 0 ? NULL : fdopendir(copy);
	struct dirent *entry;
	int			rc = 0;

	if (entries == NULL)
	{
		if (copy >= 0)
			close(copy);
		return FAILED("could not list the tree written: %s", strerror(errno));
	}
	while (rc == 0 && (entry = readdir(entries)) != NULL)
		if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
			rc = hand_over(directory, entry->d_name, from, owner, group, depth, err);
	closedir(entries);
	return rc;
}

int
git_write_tree(const GitSetup *setup, const char *mirror, const char *commit, const char *into, uid_t owner,
			   gid_t group, int timeout_s, const atomic_bool *cancel, UdError *err)
{
	const char *arguments[] = {
		"tree", "--mirror", mirror, "--commit", commit, "--into", into, NULL
	};
	GitWatch	watch = {
		.timeout_s = timeout_s,
		.cancel = cancel,
	};
	uid_t		writer = setup->uid != 0 ? setup->uid : geteuid();
	gid_t		writer_group = setup->uid != 0 ? setup->gid : getegid();
	GitChild	child;
	char		verdict[GIT_VERDICT_MAX];
	ud_auto_fd int root = open(into, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	int			rc;

	if (root < 0)
		return FAILED("could not open \"%.300s\": %s", into, strerror(errno));
	if (fchown(root, writer, writer_group) != 0 || fchmod(root, 0700) != 0)
		return FAILED("could not give \"%.300s\" to unidesk-git: %s", into, strerror(errno));
	rc = git_child_start(setup, arguments, false, &child, err);
	if (rc == 0)
		rc = git_child_wait(&child, &watch, verdict, err);
	if (rc != 0)
		return rc;

	/* Ours first, so that nothing else of that user comes in meanwhile. */
	if (fchown(root, geteuid(), getegid()) != 0)
		return FAILED("could not take \"%.300s\" back: %s", into, strerror(errno));
	rc = hand_over_entries(root, writer, owner, group, 0, err);
	if (rc == 0 && (fchown(root, owner, group) != 0 || fchmod(root, 0755) != 0))
		rc = FAILED("could not change the owner of \"%.300s\": %s", into, strerror(errno));
	return rc;
}
