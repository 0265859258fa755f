/*
 * alive.c
 *	  Knowing the end of an attempt's unidesk-init before the engine does.
 */
#include "agent/alive.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/log.h"
#include "common/run_files.h"

int
alive_make(const DataDir *data, const char *name, uid_t uid, gid_t gid)
{
	ud_auto_fd int dir = openat(data->run_fd, name, O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	int			fd = -1;

	if (dir >= 0 && mkfifoat(dir, UD_RUN_ALIVE, 0600) == 0)
		fd = openat(dir, UD_RUN_ALIVE, O_RDONLY | O_NONBLOCK | O_NOFOLLOW | O_CLOEXEC);
	if (fd >= 0 && fchown(fd, uid, gid) == 0)
		return fd;
	ud_debug("no FIFO for attempt %s: %s", name, strerror(errno));
	if (fd >= 0)
		close(fd);
	return -1;
}

Alive
alive_look(int fd)
{
	struct pollfd look = {
		.fd = fd,
		.events = POLLIN,
	};

	if (fd < 0)
		return ALIVE_UNKNOWN;
	if (poll(&look, 1, 0) <= 0)
		return ALIVE_YES;
	/* Nobody but a task writes, or unidesk-init that leaves somebody behind. */
	return look.revents == POLLHUP ? ALIVE_ENDED : ALIVE_UNKNOWN;
}
