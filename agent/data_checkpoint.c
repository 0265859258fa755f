/*
 * data_checkpoint.c
 *	  What tasks save: one directory per task, which outlives its attempts.
 *
 * The content is the task's and hostile; the directory itself lies where no
 * task can reach it, so its name can be trusted.
 */
#include "agent/data.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/log.h"
#include "common/reasons.h"
#include "agent/desired.h"
#include "agent/remove_tree.h"

/* One that is being removed has this behind its name. */
#define GONE ".gone"

static int
checkpoint_error(UdError *err, const char *what, const char *name)
{
	int			reason = errno == ENOSPC || errno == EDQUOT ? UD_REASON_NODE_DISK_FULL : UD_REASON_NODE_AGENT_ERROR;

	return ud_error(err, UD_EIO, reason, "could not %s checkpoint \"%s\": %s", what, name, strerror(errno));
}

void
data_write_checkpoint_name(int64_t incarnation, int64_t task, char out[DATA_NAME_BYTES])
{
	snprintf(out, DATA_NAME_BYTES, "%016" PRIx64 "-%" PRId64, (uint64_t) incarnation, task);
}

/* False: no name of ours. */
static bool
read_name(const char *name, int64_t *incarnation, int64_t *task)
{
	char		hex[DESIRED_HEX_BYTES];
	char		again[DATA_NAME_BYTES];

	if (strlen(name) < 18 || strlen(name) >= DATA_NAME_BYTES)
		return false;
	memcpy(hex, name, 16);
	hex[16] = '\0';
	if (!incarnation_read(hex, incarnation))
		return false;
	*task = strtoll(name + 17, NULL, 10);
	data_write_checkpoint_name(*incarnation, *task, again);
	return *task > 0 && strcmp(name, again) == 0;
}

int
data_make_checkpoint(const DataDir *data, const char *name, UdError *err)
{
	if (mkdirat(data->checkpoint_fd, name, 0755) < 0 && errno != EEXIST)
		return checkpoint_error(err, "make", name);
	return 0;
}

int
data_chown_checkpoint(const DataDir *data, const char *name, uid_t uid, gid_t gid, UdError *err)
{
	if (fchownat(data->checkpoint_fd, name, uid, gid, AT_SYMLINK_NOFOLLOW) < 0)
		return checkpoint_error(err, "hand to the image's user", name);
	return 0;
}

bool
data_checkpoint_is_used(const DataDir *data, const char *name)
{
	int			fd = openat(data->checkpoint_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	DIR		   *stream = fd >= 0 ? fdopendir(fd) : NULL;
	struct dirent *entry;
	bool		used = false;

	if (stream == NULL)
	{
		if (fd >= 0)
			close(fd);
		return false;
	}
	while (!used && (entry = readdir(stream)) != NULL)
		used = strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0;
	closedir(stream);
	return used;
}

void
data_leave_checkpoint(const DataDir *data, const char *name)
{
	/* Only one with nothing in it goes. */
	if (unlinkat(data->checkpoint_fd, name, AT_REMOVEDIR) < 0 && errno != ENOENT &&
		utimensat(data->checkpoint_fd, name, NULL, AT_SYMLINK_NOFOLLOW) < 0)
		ud_warning("could not touch checkpoint \"%s\": %s", name, strerror(errno));
}

int
data_drop_checkpoint(const DataDir *data, const char *name, UdError *err)
{
	ud_auto_free char *gone = ud_asprintf("%s" GONE, name);

	if (renameat(data->checkpoint_fd, name, data->checkpoint_fd, gone) < 0 && errno != ENOENT)
		return checkpoint_error(err, "drop", name);
	return 0;
}

static void
remove_dropped(void *arg, const char *name)
{
	const DataDir *data = arg;
	size_t		len = strlen(name);

	if (len < strlen(GONE) || strcmp(name + len - strlen(GONE), GONE) != 0)
		return;
	if (remove_tree(data->checkpoint_fd, name) < 0)
		ud_warning("could not remove checkpoint \"%s\": %s", name, strerror(errno));
}

void
data_remove_dropped(const DataDir *data)
{
	data_each(data->checkpoint_fd, remove_dropped, (void *) data);
}

typedef struct EachCheckpoint
{
	const DataDir *data;
	void		(*each) (void *arg, int64_t incarnation, int64_t task, int64_t age_s);
	void	   *arg;
} EachCheckpoint;

static void
call_checkpoint(void *arg, const char *name)
{
	const EachCheckpoint *call = arg;
	struct stat info;
	int64_t		incarnation;
	int64_t		task;
	int64_t		age_s;

	if (!read_name(name, &incarnation, &task) || fstatat(call->data->checkpoint_fd, name, &info, AT_SYMLINK_NOFOLLOW) < 0)
		return;
	age_s = (int64_t) time(NULL) - info.st_mtime;
	call->each(call->arg, incarnation, task, age_s < 0 ? 0 : age_s);
}

void
data_each_checkpoint(const DataDir *data, void (*each) (void *arg, int64_t incarnation, int64_t task, int64_t age_s), void *arg)
{
	EachCheckpoint call = {
		.data = data,
		.each = each,
		.arg = arg,
	};

	data_each(data->checkpoint_fd, call_checkpoint, &call);
}

static void
note_checkpoint(void *arg, int64_t incarnation, int64_t task, int64_t age_s)
{
	(void) incarnation;
	(void) task;
	(void) age_s;
	*(bool *) arg = true;
}

bool
data_has_checkpoints(const DataDir *data)
{
	bool		found = false;

	data_each_checkpoint(data, note_checkpoint, &found);
	return found;
}
