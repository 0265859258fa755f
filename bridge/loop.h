/*
 * loop.h
 *	  File descriptors and timers in libwebsockets' event loop.
 *
 * libpq's sockets change and close under libpq's hands, while libwebsockets
 * owns and closes what it has adopted, cannot give it back, and (4.1) loses a
 * wish for "writable" made inside its writable callback.  So libwebsockets is
 * given one descriptor only, an epoll instance, which becomes readable when
 * anything watched here is ready.
 */
#ifndef LOOP_H
#define LOOP_H

#include <stdint.h>
#include <sys/epoll.h>

#include <libwebsockets.h>

#include "common/error.h"

typedef struct Loop
{
	int			epoll_fd;		/* owned by libwebsockets once adopted */
	struct lws_context *context;	/* borrowed; NULL in unit tests: no timers */
} Loop;

/* Lives as long as the loop: it may be named by an event not yet handled. */
typedef struct LoopSource
{
	void		(*ready) (void *arg, uint32_t events);
	void	   *arg;
	int			fd;				/* -1: not watched */
} LoopSource;

typedef struct LoopTimer
{
	lws_sorted_usec_list_t sul;
	void		(*fire) (void *arg);
	void	   *arg;
} LoopTimer;

extern int	loop_init(Loop *loop, UdError *err) UD_MUSTCHECK;

/* Hand the epoll instance to the vhost's protocol of that name. */
extern int	loop_adopt(Loop *loop, struct lws_context *context, struct lws_vhost *vhost,
					   const char *protocol, UdError *err) UD_MUSTCHECK;

/* Handle what is ready; called by the protocol's LWS_CALLBACK_RAW_RX_FILE. */
extern void loop_dispatch(Loop *loop);

/* Watch fd, or change what is watched; fd may differ from the last one. */
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
