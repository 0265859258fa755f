/*
 * loop.c
 *	  File descriptors and timers in libwebsockets' event loop.
 */
#include "loop.h"

#include <errno.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

#include "common/log.h"

#define EVENTS_PER_WAIT 16

int
loop_init(Loop *loop, UdError *err)
{
	loop->context = NULL;
	loop->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (loop->epoll_fd < 0)
		return ud_error(err, UD_EIO, 0, "could not create an epoll instance: %s", strerror(errno));
	return 0;
}

int
loop_adopt(Loop *loop, struct lws_context *context, struct lws_vhost *vhost,
		   const char *protocol, UdError *err)
{
	lws_sock_file_fd_type fd;

	fd.filefd = loop->epoll_fd;
	loop->context = context;
	if (lws_adopt_descriptor_vhost(vhost, LWS_ADOPT_RAW_FILE_DESC, fd, protocol, NULL) == NULL)
		return ud_error(err, UD_EIO, 0, "could not add the epoll instance to the event loop");
	return 0;
}

void
loop_dispatch(Loop *loop)
{
	struct epoll_event events[EVENTS_PER_WAIT];
	int			count = epoll_wait(loop->epoll_fd, events, EVENTS_PER_WAIT, 0);

	for (int i = 0; i < count; i++)
	{
		LoopSource *source = events[i].data.ptr;

		/* An earlier event of this round may have ended it. */
		if (source->fd >= 0)
			source->ready(source->arg, events[i].events);
	}
}

void
loop_watch(Loop *loop, LoopSource *source, int fd, uint32_t events)
{
	struct epoll_event event = {0};

	event.events = events;
	event.data.ptr = source;
	/* The old one is usually closed by now, and then already forgotten. */
	if (source->fd >= 0 && source->fd != fd)
		epoll_ctl(loop->epoll_fd, EPOLL_CTL_DEL, source->fd, NULL);
	source->fd = fd;
	if (epoll_ctl(loop->epoll_fd, EPOLL_CTL_MOD, fd, &event) == 0)
		return;
	if (errno != ENOENT || epoll_ctl(loop->epoll_fd, EPOLL_CTL_ADD, fd, &event) != 0)
		ud_err("could not watch a descriptor: %s", strerror(errno));
}

void
loop_unwatch(Loop *loop, LoopSource *source)
{
	if (source->fd < 0)
		return;
	epoll_ctl(loop->epoll_fd, EPOLL_CTL_DEL, source->fd, NULL);
	source->fd = -1;
}

static void
timer_fired(lws_sorted_usec_list_t *sul)
{
	LoopTimer  *timer = lws_container_of(sul, LoopTimer, sul);

	timer->fire(timer->arg);
}

void
loop_timer_set(Loop *loop, LoopTimer *timer, int64_t delay_us)
{
	if (loop->context != NULL)
		lws_sul_schedule(loop->context, 0, &timer->sul, timer_fired,
						 delay_us > 0 ? delay_us : 1);
}

void
loop_timer_cancel(Loop *loop, LoopTimer *timer)
{
	if (loop->context != NULL)
		lws_sul_cancel(&timer->sul);
}

int64_t
loop_now(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * INT64_C(1000000) + now.tv_nsec / 1000;
}

int64_t
loop_random(int64_t limit)
{
	uint64_t	random = 0;

	if (limit <= 0)
		return 0;
	/* Jitter only: without entropy the current time will do. */
	if (getrandom(&random, sizeof(random), GRND_NONBLOCK) != sizeof(random))
		random = (uint64_t) loop_now();
	return (int64_t) (random % (uint64_t) limit);
}
