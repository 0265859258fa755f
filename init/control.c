/*
 * control.c
 *	  Reading and judging the control file.
 *
 * The file lies in a directory that the task can write as well: everything in
 * it is checked, and the worst a task can do is to keep or end itself.
 */
#include "init/control.h"

#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/clock.h"

/* Sums and differences of two times below this cannot overflow. */
#define TIME_NS_MAX (INT64_MAX / 4)

void
control_clocks_read(ControlClocks *clocks)
{
	clocks->boot_ns = clock_ns(CLOCK_BOOTTIME);
	clocks->realtime_ns = clock_ns(CLOCK_REALTIME);
	if (clocks->boot_id[0] == '\0')
	{
		ud_auto_fd int fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
		ssize_t		len = fd < 0 ? -1 : read(fd, clocks->boot_id, sizeof(clocks->boot_id) - 1);

		clocks->boot_id[len > 0 ? len : 0] = '\0';
		clocks->boot_id[strcspn(clocks->boot_id, "\n")] = '\0';
	}
}

static bool
time_is_valid(int64_t time_ns)
{
	return time_ns >= 0 && time_ns <= TIME_NS_MAX;
}

bool
control_read(int dir_fd, UdControl *control)
{
	UdControl	found;
	char		more;
	ud_auto_fd int fd = openat(dir_fd, UD_RUN_CONTROL, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);

	if (fd < 0
		|| read(fd, &found, sizeof(found)) != (ssize_t) sizeof(found)
		|| read(fd, &more, 1) != 0)
		return false;
	if (found.magic != UD_CONTROL_MAGIC
		|| found.has_lease > 1
		|| found.stop_announced > 1
		|| memchr(found.boot_id, '\0', sizeof(found.boot_id)) == NULL
		|| !time_is_valid(found.deadline_boot_ns)
		|| !time_is_valid(found.written_boot_ns)
		|| !time_is_valid(found.written_realtime_ns))
		return false;
	*control = found;
	return true;
}

ControlVerdict
control_judge(const UdControl *control, const ControlClocks *clocks, int64_t *left_ns)
{
	bool		boot_is_known = clocks->boot_id[0] != '\0';
	bool		same_boot = !boot_is_known || strcmp(control->boot_id, clocks->boot_id) == 0;
	int64_t		by_wall = clocks->realtime_ns - control->written_realtime_ns;
	int64_t		by_boot = clocks->boot_ns - control->written_boot_ns;
	int64_t		elapsed = same_boot && by_boot > by_wall ? by_boot : by_wall;

	*left_ns = INT64_MAX;
	if (!control->has_lease)
		return CONTROL_GO;
	*left_ns = control->deadline_boot_ns - control->written_boot_ns - elapsed;
	if (*left_ns <= 0)
		return CONTROL_OVER;
	if (!same_boot || by_wall - by_boot > CONTROL_PAUSE_NS_MAX)
		return CONTROL_FREEZE;
	return CONTROL_GO;
}
