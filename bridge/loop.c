/*
 * loop.c
 *	  File descriptors and timers in libev's event loop.
 */
#include "loop.h"

#include <errno.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

int
loop_init(Loop *loop, UdError *err)
{
	loop->ev = ev_loop_new(EVBACKEND_EPOLL);
	if (loop->ev == NULL)
		return ud_error(err, UD_EIO, 0, "could not create an event loop: %s", strerror(errno));
	return 0;
}

void
loop_release(Loop *loop)
{
	if (loop->ev != NULL)
		ev_loop_destroy(loop->ev);
	loop->ev = NULL;
}

void
loop_step(Loop *loop)
{
	ev_run(loop->ev, EVRUN_ONCE);
}

static void
source_ready(struct ev_loop *ev, struct ev_io *io, int events)
{
	LoopSource *source = io->data;

	(void) ev;
	source->ready(source->arg, (events & EV_READ ? EPOLLIN : 0u) | (events & EV_WRITE ? EPOLLOUT : 0u));
}

void
loop_watch(Loop *loop, LoopSource *source, int fd, uint32_t events)
{
	if (loop->ev == NULL)
		return;
	/* Always anew: the same number may be another socket by now. */
	loop_unwatch(loop, source);
	ev_io_init(&source->io, source_ready, fd,
			   (events & EPOLLIN ? EV_READ : 0) | (events & EPOLLOUT ? EV_WRITE : 0));
	source->io.data = source;
	source->fd = fd;
	ev_io_start(loop->ev, &source->io);
}

void
loop_unwatch(Loop *loop, LoopSource *source)
{
	if (loop->ev == NULL || source->fd < 0)
		return;
	ev_io_stop(loop->ev, &source->io);
	source->fd = -1;
}

static void
timer_fired(struct ev_loop *ev, struct ev_timer *timer, int events)
{
	LoopTimer  *own = timer->data;

	(void) ev;
	(void) events;
	own->fire(own->arg);
}

/* Counted from now, not from when the loop last woke. */
void
loop_timer_set(Loop *loop, LoopTimer *timer, int64_t delay_us)
{
	if (loop->ev == NULL)
		return;
	loop_timer_cancel(loop, timer);
	ev_now_update(loop->ev);
	ev_timer_init(&timer->timer, timer_fired, (double) (delay_us > 0 ? delay_us : 0) / 1e6, 0.0);
	timer->timer.data = timer;
	ev_timer_start(loop->ev, &timer->timer);
}

void
loop_timer_cancel(Loop *loop, LoopTimer *timer)
{
	if (loop->ev != NULL)
		ev_timer_stop(loop->ev, &timer->timer);
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
