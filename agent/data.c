/*
 * data.c
 *	  The agent's data directory.
 */
#include "agent/data.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/log.h"
#include "common/reasons.h"
#include "agent/remove_tree.h"

#define STATE_BYTES_MAX (64 * 1024)
/* A mirror's name is a SHA-256; one that is being removed has this behind it. */
#define MIRROR_DIGITS 64
#define MIRROR_GONE ".gone"

/* Which of the directories below the data directory. */
static const struct
{
	const char *name;
	mode_t		mode;
	size_t		fd;				/* offset of the descriptor in DataDir, or 0 */
}			data_parts[] =

{
	{"mirrors", 0700, offsetof(DataDir, mirrors_fd)},
	{"probe", 0700, offsetof(DataDir, probe_fd)},
	{"bin", 0755, 0},
	{"tree", 0711, offsetof(DataDir, tree_fd)},
	{"out", 0700, offsetof(DataDir, out_fd)},
	{"checkpoint", 0700, offsetof(DataDir, checkpoint_fd)},
	{"run", 0700, offsetof(DataDir, run_fd)},
	{"state", 0700, offsetof(DataDir, state_fd)},
};

static int
data_error(UdError *err, const char *what, const char *name)
{
	/* A symbolic link where a file should be is the content's fault. */
	int			code = errno == ENOENT ? UD_ENOENT : errno == ELOOP ? UD_EINVAL : UD_EIO;
	int			reason = errno == ENOSPC || errno == EDQUOT ? UD_REASON_NODE_DISK_FULL : UD_REASON_NODE_AGENT_ERROR;

	return ud_error(err, code, reason, "could not %s \"%s\": %s", what, name, strerror(errno));
}

static int
data_write_all(int fd, const uint8_t *bytes, size_t len)
{
	while (len > 0)
	{
		ssize_t		done = write(fd, bytes, len);

		if (done < 0 && errno == EINTR)
			continue;
		if (done <= 0)
			return -1;
		bytes += done;
		len -= (size_t) done;
	}
	return 0;
}

/* A new file in place of whatever has that name. */
static int
data_create(int dir, const char *aside, mode_t mode, const void *bytes, size_t len, UdError *err)
{
	int			fd;

	unlinkat(dir, aside, 0);
	fd = openat(dir, aside, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, mode);
	if (fd < 0)
		return data_error(err, "create", aside);
	if (data_write_all(fd, bytes, len) < 0 || fchmod(fd, mode) < 0)
	{
		data_error(err, "write", aside);
		close(fd);
		unlinkat(dir, aside, 0);
		return err->code;
	}
	close(fd);
	return 0;
}

/* Write name in dir aside and rename it into place. */
static int
data_replace(int dir, const char *name, mode_t mode, const void *bytes, size_t len, UdError *err)
{
	char		aside[80];

	snprintf(aside, sizeof(aside), ".%s.new", name);
	if (data_create(dir, aside, mode, bytes, len, err) < 0)
		return err->code;
	if (renameat(dir, aside, dir, name) < 0)
	{
		data_error(err, "rename into place", name);
		unlinkat(dir, aside, 0);
		return err->code;
	}
	return 0;
}

/*
 * Write over the spare, when it is a file of ours and of that length and
 * nothing else: the task may have put anything there.
 */
static bool
data_fill_spare(int dir, const char *spare, const void *bytes, size_t len)
{
	ud_auto_fd int fd = openat(dir, spare, O_WRONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	struct stat info;

	return fd >= 0 && fstat(fd, &info) == 0 &&
		S_ISREG(info.st_mode) && info.st_nlink == 1 && info.st_uid == geteuid() &&
		info.st_size == (off_t) len && data_write_all(fd, bytes, len) == 0;
}

/* Like data_replace, but without a new block where there is a spare file. */
static int
data_exchange(int dir, const char *name, mode_t mode, const void *bytes, size_t len, UdError *err)
{
	char		spare[80];
	UdError		ignored;

	snprintf(spare, sizeof(spare), ".%s.spare", name);
	if (data_fill_spare(dir, spare, bytes, len))
	{
		if (renameat2(dir, spare, dir, name, RENAME_EXCHANGE) == 0)
			return 0;
		/* Not there yet, or a file system that cannot: the spare is used up. */
		if (renameat(dir, spare, dir, name) < 0)
			return data_error(err, "rename into place", name);
	}
	else if (data_replace(dir, name, mode, bytes, len, err) < 0)
		return err->code;
	if (data_create(dir, spare, mode, bytes, len, &ignored) < 0)
		ud_debug("no spare for \"%s\": %s", name, ignored.message);
	return 0;
}

/* A regular file, opened without following links or waiting for a FIFO. */
static int
data_open_regular(int dir, const char *name, int *out, UdError *err)
{
	struct stat info;
	int			fd = openat(dir, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);

	if (fd < 0)
		return data_error(err, "open", name);
	if (fstat(fd, &info) < 0 || !S_ISREG(info.st_mode))
	{
		close(fd);
		return ud_error(err, UD_EINVAL, UD_REASON_NODE_AGENT_ERROR, "\"%s\" is not a regular file", name);
	}
	*out = fd;
	return 0;
}

static int
data_read_regular(int dir, const char *name, size_t size_max, UdBuf *out, UdError *err)
{
	ud_auto_fd int fd = -1;

	if (data_open_regular(dir, name, &fd, err) < 0)
		return err->code;
	while (out->len <= size_max)
	{
		ssize_t		got;

		ud_buf_reserve(out, 4096);
		got = read(fd, out->data + out->len, 4096);
		if (got < 0)
			return data_error(err, "read", name);
		if (got == 0)
			return 0;
		out->len += (size_t) got;
	}
	return ud_error(err, UD_EINVAL, UD_REASON_NODE_AGENT_ERROR, "\"%s\" is too long", name);
}

/* Copy unidesk-init into bin/, so that the engine can mount it. */
static int
data_copy_init(DataDir *data, const char *program, UdError *err)
{
	ud_auto_fd int bin = openat(data->root_fd, "bin", O_DIRECTORY | O_CLOEXEC);
	ud_auto_buf UdBuf bytes = {0};
	ud_auto_fd int fd = open(program, O_RDONLY | O_CLOEXEC);
	ssize_t		got;

	if (bin < 0)
		return data_error(err, "open", "bin");
	if (fd < 0)
		return data_error(err, "open", program);
	do
	{
		ud_buf_reserve(&bytes, 65536);
		got = read(fd, bytes.data + bytes.len, 65536);
		if (got < 0)
			return data_error(err, "read", program);
		bytes.len += (size_t) got;
	} while (got > 0 && bytes.len < 64 * 1024 * 1024);
	return data_replace(bin, "unidesk-init", 0755, bytes.data, bytes.len, err);
}

static int
data_lock(DataDir *data, UdError *err)
{
	data->lock_fd = openat(data->root_fd, "agent.lock", O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (data->lock_fd < 0)
		return data_error(err, "open", "agent.lock");
	if (flock(data->lock_fd, LOCK_EX | LOCK_NB) < 0)
		return ud_error(err, UD_EEXIST, 0, "another agent uses the data directory \"%s\": stop it, or set UNIDESK_DATA to another one", data->path);
	return 0;
}

int
data_open(DataDir *data, const char *path, char *host, uid_t git_uid, const char *init_program, UdError *err)
{
	struct stat info;

	memset(data, 0, sizeof(*data));
	data->path = path;
	data->host = host;
	data->mirrors_fd = data->probe_fd = data->tree_fd = data->out_fd = data->checkpoint_fd = data->run_fd = data->state_fd = data->lock_fd = -1;
	data->root_fd = open(path, O_DIRECTORY | O_CLOEXEC);
	if (data->root_fd < 0 || fstat(data->root_fd, &info) < 0)
		return data_error(err, "open directory", path);
	if (data_lock(data, err) < 0)
		return err->code;
	for (size_t i = 0; i < sizeof(data_parts) / sizeof(data_parts[0]); i++)
	{
		const char *name = data_parts[i].name;
		int			fd;

		if (mkdirat(data->root_fd, name, 0700) < 0 && errno != EEXIST)
			return data_error(err, "make directory", name);
		fd = openat(data->root_fd, name, O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
		if (fd < 0 || fchmod(fd, data_parts[i].mode) < 0)
			return data_error(err, "open directory", name);
		if (data_parts[i].fd != 0)
			*(int *) ((char *) data + data_parts[i].fd) = fd;
		else
			close(fd);
	}
	/* The other uid must be able to pass through to its mirrors. */
	if (git_uid != 0 &&
		(fchownat(data->root_fd, "mirrors", git_uid, (gid_t) git_uid, AT_SYMLINK_NOFOLLOW) < 0 ||
		 fchmod(data->root_fd, (info.st_mode & 07777) | 0011) < 0))
		return data_error(err, "hand over", "mirrors");
	return data_copy_init(data, init_program, err);
}

void
data_close(DataDir *data)
{
	int			fds[] = {data->mirrors_fd, data->probe_fd, data->tree_fd, data->out_fd, data->checkpoint_fd, data->run_fd, data->state_fd,
	data->lock_fd, data->root_fd};

	for (size_t i = 0; i < sizeof(fds) / sizeof(fds[0]); i++)
		if (fds[i] >= 0)
			close(fds[i]);
	free(data->host);
}

static int
data_remove_dirs(const DataDir *data, const char *name, UdError *err)
{
	if (remove_tree(data->tree_fd, name) < 0 ||
		remove_tree(data->out_fd, name) < 0 ||
		remove_tree(data->run_fd, name) < 0)
		return data_error(err, "remove directories of", name);
	return 0;
}

int
data_make_attempt(const DataDir *data, const char *name, UdError *err)
{
	ud_auto_fd int out = -1;

	if (data_remove_dirs(data, name, err) < 0)
		return err->code;
	if (mkdirat(data->tree_fd, name, 0755) < 0 ||
		mkdirat(data->run_fd, name, 0755) < 0 ||
		mkdirat(data->out_fd, name, 0755) < 0)
		return data_error(err, "make directories of", name);
	out = openat(data->out_fd, name, O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (out < 0 || mkdirat(out, "output", 0755) < 0)
		return data_error(err, "make directories of", name);
	return 0;
}

int
data_chown_attempt(const DataDir *data, const char *name, uid_t uid, gid_t gid, UdError *err)
{
	ud_auto_fd int out = openat(data->out_fd, name, O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

	if (out < 0 ||
		fchownat(out, "output", uid, gid, AT_SYMLINK_NOFOLLOW) < 0 ||
		fchownat(data->tree_fd, name, uid, gid, AT_SYMLINK_NOFOLLOW) < 0 ||
		fchownat(data->run_fd, name, uid, gid, AT_SYMLINK_NOFOLLOW) < 0)
		return data_error(err, "hand to the image's user the directories of", name);
	return 0;
}

int
data_remove_attempt(const DataDir *data, const char *name, UdError *err)
{
	if (data_remove_dirs(data, name, err) < 0)
		return err->code;
	if (unlinkat(data->state_fd, name, 0) < 0 && errno != ENOENT)
		return data_error(err, "remove state of", name);
	return 0;
}

static int
data_run_dir(const DataDir *data, const char *name, int *dir, UdError *err)
{
	*dir = openat(data->run_fd, name, O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	return *dir < 0 ? data_error(err, "open run directory", name) : 0;
}

int
data_open_run(const DataDir *data, const char *name, const char *file, int *fd, UdError *err)
{
	ud_auto_fd int dir = -1;

	if (data_run_dir(data, name, &dir, err) < 0)
		return err->code;
	return data_open_regular(dir, file, fd, err);
}

int
data_read_run(const DataDir *data, const char *name, const char *file, size_t size_max, UdBuf *out, UdError *err)
{
	ud_auto_fd int dir = -1;

	if (data_run_dir(data, name, &dir, err) < 0)
		return err->code;
	return data_read_regular(dir, file, size_max, out, err);
}

int
data_write_run(const DataDir *data, const char *name, const char *file, const void *bytes, size_t len, UdError *err)
{
	ud_auto_fd int dir = -1;

	if (data_run_dir(data, name, &dir, err) < 0)
		return err->code;
	return data_replace(dir, file, 0644, bytes, len, err);
}

int
data_update_run(const DataDir *data, const char *name, const char *file, const void *bytes, size_t len, UdError *err)
{
	ud_auto_fd int dir = -1;

	if (data_run_dir(data, name, &dir, err) < 0)
		return err->code;
	return data_exchange(dir, file, 0644, bytes, len, err);
}

int
data_read_state(const DataDir *data, const char *name, UdBuf *out, UdError *err)
{
	return data_read_regular(data->state_fd, name, STATE_BYTES_MAX, out, err);
}

int
data_write_state(const DataDir *data, const char *name, const void *bytes, size_t len, UdError *err)
{
	return data_replace(data->state_fd, name, 0600, bytes, len, err);
}

int
data_read_file(const DataDir *data, const char *file, size_t size_max, UdBuf *out, UdError *err)
{
	return data_read_regular(data->root_fd, file, size_max, out, err);
}

int
data_write_file(const DataDir *data, const char *file, const void *bytes, size_t len, UdError *err)
{
	return data_replace(data->root_fd, file, 0600, bytes, len, err);
}

int
data_store_file(const DataDir *data, const char *file, const void *bytes, size_t len, UdError *err)
{
	ud_auto_fd int fd = openat(data->root_fd, file, O_WRONLY | O_NOFOLLOW | O_CLOEXEC);
	struct stat info;

	if (fd < 0 || fstat(fd, &info) < 0 || !S_ISREG(info.st_mode) || info.st_size != (off_t) len)
	{
		ud_auto_free char *aside = ud_asprintf(".%s.new", file);
		ud_auto_fd int fresh = -1;

		if (data_create(data->root_fd, aside, 0600, bytes, len, err) < 0)
			return err->code;
		fresh = openat(data->root_fd, aside, O_WRONLY | O_NOFOLLOW | O_CLOEXEC);
		if (fresh < 0 || fsync(fresh) < 0 || renameat(data->root_fd, aside, data->root_fd, file) < 0 ||
			fsync(data->root_fd) < 0)
			return data_error(err, "store", file);
	}
	else if (data_write_all(fd, bytes, len) < 0 || fdatasync(fd) < 0)
		return data_error(err, "store", file);
	return 0;
}

int
data_append_file(const DataDir *data, const char *file, const void *bytes, size_t len, UdError *err)
{
	ud_auto_fd int fd = openat(data->root_fd, file, O_WRONLY | O_CREAT | O_APPEND | O_NOFOLLOW | O_CLOEXEC, 0600);

	if (fd < 0 || data_write_all(fd, bytes, len) < 0)
		return data_error(err, "write", file);
	return 0;
}

int
data_write_probe(const DataDir *data, const char *file, const void *bytes, size_t len, UdError *err)
{
	return data_replace(data->probe_fd, file, 0600, bytes, len, err);
}

void
data_each(int dir, void (*each) (void *arg, const char *name), void *arg)
{
	int			copy = openat(dir, ".", O_DIRECTORY | O_CLOEXEC);
	DIR		   *stream = copy >= 0 ? fdopendir(copy) : NULL;
	struct dirent *entry;

	if (stream == NULL)
	{
		if (copy >= 0)
			close(copy);
		return;
	}
	while ((entry = readdir(stream)) != NULL)
		if (entry->d_name[0] != '.')
			each(arg, entry->d_name);
	closedir(stream);
}

void
data_each_state(const DataDir *data, void (*each) (void *arg, const char *name), void *arg)
{
	data_each(data->state_fd, each, arg);
}

typedef struct EachMirror
{
	void		(*each) (void *arg, const char *name);
	void	   *arg;
} EachMirror;

static void
data_call_mirror(void *arg, const char *name)
{
	const EachMirror *call = arg;

	if (strlen(name) == MIRROR_DIGITS && strspn(name, "0123456789abcdef") == MIRROR_DIGITS)
		call->each(call->arg, name);
}

void
data_each_mirror(const DataDir *data, void (*each) (void *arg, const char *name), void *arg)
{
	EachMirror	call = {
		.each = each,
		.arg = arg,
	};

	data_each(data->mirrors_fd, data_call_mirror, &call);
}

int
data_remove_mirror(const DataDir *data, const char *name, UdError *err)
{
	ud_auto_free char *gone = ud_asprintf("%s" MIRROR_GONE, name);
	ud_auto_free char *lock = ud_asprintf("%s.lock", name);

	if (remove_tree(data->mirrors_fd, gone) < 0 ||
		(renameat(data->mirrors_fd, name, data->mirrors_fd, gone) < 0 && errno != ENOENT) ||
		(unlinkat(data->mirrors_fd, lock, 0) < 0 && errno != ENOENT) ||
		remove_tree(data->mirrors_fd, gone) < 0)
		return data_error(err, "remove mirror", name);
	return 0;
}

typedef struct DataSweep
{
	int			dir;
	int			(*keep) (void *arg, const char *name);
	void	   *arg;
} DataSweep;

static void
data_sweep_one(void *arg, const char *name)
{
	DataSweep  *sweep = arg;

	if (sweep->keep(sweep->arg, name))
		return;
	ud_info("removing what an earlier run left of \"%s\"", name);
	if (remove_tree(sweep->dir, name) < 0)
		ud_warning("could not remove \"%s\": %s", name, strerror(errno));
}

/* A mirror goes by a name that says so. */
static int
data_keep_mirror(void *arg, const char *name)
{
	size_t		len = strlen(name);

	(void) arg;
	return len < strlen(MIRROR_GONE) || strcmp(name + len - strlen(MIRROR_GONE), MIRROR_GONE) != 0;
}

void
data_sweep(const DataDir *data, int (*keep) (void *arg, const char *name), void *arg)
{
	int			dirs[] = {data->tree_fd, data->out_fd, data->run_fd};
	DataSweep	sweep = {
		.keep = keep,
		.arg = arg,
	};

	for (size_t i = 0; i < sizeof(dirs) / sizeof(dirs[0]); i++)
	{
		sweep.dir = dirs[i];
		data_each(dirs[i], data_sweep_one, &sweep);
	}
	sweep.dir = data->mirrors_fd;
	sweep.keep = data_keep_mirror;
	data_each(data->mirrors_fd, data_sweep_one, &sweep);
}

int
data_space(const DataDir *data, int64_t *free_bytes, int64_t *total_bytes, UdError *err)
{
	struct statvfs info;

	if (fstatvfs(data->root_fd, &info) < 0)
		return data_error(err, "measure", data->path);
	*free_bytes = (int64_t) info.f_bavail * (int64_t) info.f_frsize;
	*total_bytes = (int64_t) info.f_blocks * (int64_t) info.f_frsize;
	return 0;
}

void
data_touch_alive(const DataDir *data, int64_t limit_s)
{
	ud_auto_fd int fd = openat(data->root_fd, DATA_ALIVE, O_WRONLY | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0644);
	char		text[24];

	if (fd < 0)
		return;
	/* Always the same length: what was written once needs no room again. */
	snprintf(text, sizeof(text), "%10lld\n", (long long) limit_s);
	if (data_write_all(fd, (const uint8_t *) text, strlen(text)) < 0 || futimens(fd, NULL) < 0)
		ud_debug("could not touch %s: %s", DATA_ALIVE, strerror(errno));
}

int64_t
data_alive_age_s(const char *path, int64_t *limit_s)
{
	ud_auto_free char *file = ud_asprintf("%s/%s", path, DATA_ALIVE);
	ud_auto_fd int fd = open(file, O_RDONLY | O_CLOEXEC);
	char		text[24] = "";
	struct stat info;
	int64_t		age;

	*limit_s = 0;
	if (fd < 0 || fstat(fd, &info) < 0)
		return -1;
	if (read(fd, text, sizeof(text) - 1) > 0)
		*limit_s = strtoll(text, NULL, 10);
	age = (int64_t) (time(NULL) - info.st_mtime);
	return age < 0 ? 0 : age;
}
