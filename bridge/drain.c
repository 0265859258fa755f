/*
 * drain.c
 *	  The orderly end after SIGTERM.
 *
 * Each phase has a limit, so that neither an agent nor the database can hold
 * up the end: at most 5 + 2 + 2 seconds.
 */
#include "drain.h"

#include <string.h>

#include "bridge.h"
#include "common/log.h"

#define MS INT64_C(1000)
#define FLUSH_MIN_US (250 * MS)
#define FLUSH_MAX_US (5000 * MS)
#define CLOSE_MAX_US (2000 * MS)
#define LEAVE_MAX_US (2000 * MS)
#define STEP_US (20 * MS)
/* Agents come back spread over this time, longer when they are many. */
#define RETRY_SPREAD_MS 1000
#define RETRY_PER_AGENT_MS 2

static void
drain_enter(Drain *drain, DrainPhase phase, int64_t min_us, int64_t max_us)
{
	int64_t		now = loop_now();

	drain->phase = phase;
	drain->not_before = now + min_us;
	drain->not_after = now + max_us;
}

static void
tell_agents(Bridge *bridge)
{
	int64_t		spread = RETRY_SPREAD_MS + RETRY_PER_AGENT_MS * (int64_t) bridge->conns.count;
	Conn	   *conn;

	TAILQ_FOREACH(conn, &bridge->conns.all, entry)
	{
		UdEnvelope	envelope = {0};
		char		body[48];

		snprintf(body, sizeof(body), "{\"retry_after_ms\":%d}", (int) loop_random(spread));
		envelope.type = UD_MSG_DRAIN;
		envelope.body_bytes = (uint32_t) strlen(body);
		conn_send(conn, &envelope, body);
	}
}

void
drain_begin(Drain *drain)
{
	Bridge	   *bridge = drain->bridge;

	if (drain->phase != DRAIN_NONE)
	{
		drain->phase = DRAIN_DONE;
		return;
	}
	ud_info("draining: %zu connections", bridge->conns.count);
	server_stop_listening(&bridge->server);
	drain_enter(drain, DRAIN_FLUSHING, FLUSH_MIN_US, FLUSH_MAX_US);
	tell_agents(bridge);
	loop_timer_set(&bridge->loop, &drain->timer, STEP_US);
}

static void
drain_leave(Drain *drain)
{
	drain_enter(drain, DRAIN_LEAVING, 0, LEAVE_MAX_US);
	if (drain->bridge->control.registered)
		control_deregister(&drain->bridge->control);
	else
		drain->phase = DRAIN_DONE;
}

void
drain_step(Drain *drain)
{
	Bridge	   *bridge = drain->bridge;
	int64_t		now = loop_now();
	bool		late = now > drain->not_after;

	if (now < drain->not_before)
		return;
	if (drain->phase == DRAIN_FLUSHING && (late || relay_is_empty(&bridge->relay)))
	{
		if (late)
			ud_warning("draining: the database did not take everything in time");
		drain_enter(drain, DRAIN_CLOSING, 0, CLOSE_MAX_US);
		conn_close_all(&bridge->conns, CLOSE_GOING_AWAY, "shutting down");
	}
	else if (drain->phase == DRAIN_CLOSING && (late || bridge->conns.count == 0))
		drain_leave(drain);
	else if (drain->phase == DRAIN_LEAVING &&
			 (late || bridge->control.deregistered || !bridge->control.registered))
		drain->phase = DRAIN_DONE;
}

static void
drain_timer_fired(void *arg)
{
	Drain	   *drain = arg;

	drain_step(drain);
	loop_timer_set(&drain->bridge->loop, &drain->timer, STEP_US);
}

void
drain_init(Drain *drain, Bridge *bridge)
{
	memset(drain, 0, sizeof(*drain));
	drain->bridge = bridge;
	drain->timer.fire = drain_timer_fired;
	drain->timer.arg = drain;
}
