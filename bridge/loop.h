/*
 * loop.h
 *	  File descriptors and timers in the event loop, which is libev's.
 *
 * libwebsockets runs in it too, through its libev plugin: its own loop asks
 * poll() about every connection whenever anything happens on one, which for
 * 10 000 idle agents is most of what a bridge would do.
 */
#ifndef LOOP_H
#define LOOP_H

#include <stdint.h>
#include <sys/epoll.h>

#include <ev.h>

#include "common/error.h"

typedef struct Loop
{
	struct ev_loop *ev;			/* owned; NULL in unit tests: nothing happens */
} Loop;

typedef struct LoopSource
{
	ev_io		io;
	void		(*ready) (void *arg, uint32_t events);	/* EPOLLIN, EPOLLOUT */
	void	   *arg;
	int			fd;				/* -1: not watched */
} LoopSource;

typedef struct LoopTimer
{
	ev_timer	timer;
	void		(*fire) (void *arg);
	void	   *arg;
} LoopTimer;

extern int	loop_init(Loop *loop, UdError *err) UD_MUSTCHECK;
extern void loop_release(Loop *loop);

/* Wait until something is ready, and handle it. */
extern void loop_step(Loop *loop);

/*
 * Watch fd for EPOLLIN, EPOLLOUT or both, or change what is watched; fd may
 * differ from the last one.  Errors are told as both.
 */
extern void loop_watch(Loop *loop, LoopSource *source, int fd, uint32_t events);

/* Before the descriptor is closed. */
extern void loop_unwatch(Loop *loop, LoopSource *source);

/* (Re)start a timer. */
extern void loop_timer_set(Loop *loop, LoopTimer *timer, int64_t delay_us);
extern void loop_timer_cancel(Loop *loop, LoopTimer *timer);

/* Monotonic time in microseconds. */
extern int64_t loop_now(void);

/* Uniform in [0, limit); 0 when limit is 0. */
extern int64_t loop_random(int64_t limit);

#endif							/* LOOP_H */
