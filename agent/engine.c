/*
 * engine.c
 *	  Whether the Docker Engine answers, and what it is after an upgrade.
 *
 * The server places nothing here while it does not, so each change wakes the
 * link, which says so at once.
 */
#include "agent/engine.h"

#include <string.h>

#include "agent/lease.h"
#include "common/log.h"

#define PING_MS 10000
#define PING_DOWN_MS 2000
/* Between two pings it may have been replaced by another version. */
#define INFO_NS (60 * NS_PER_S)

static void
engine_set(Agent *agent, bool ok, const char *why)
{
	if (atomic_exchange(&agent->engine_ok, ok) == ok)
		return;
	if (ok)
		ud_info("the engine answers again");
	else
		ud_err("the engine does not answer: %s", why);
	if (agent->wake != NULL)
		agent->wake();
}

int
engine_check(Agent *agent, UdError *err)
{
	if (docker_ping(agent->docker, err) == 0)
		return 0;
	engine_set(agent, false, err->message);
	return err->code;
}

void
engine_suspect(Agent *agent)
{
	if (!atomic_load(&agent->engine_ok))
		return;
	agent_lock(agent);
	agent->engine_suspect = true;
	pthread_cond_broadcast(&agent->changed);
	agent_unlock(agent);
}

/* What the engine is; the session tells the server what is new of it. */
static void
engine_look(Agent *agent)
{
	UdError		err;
	DockerInfo	info;

	if (docker_info(agent->docker, &info, &err) < 0)
	{
		ud_warning("what the engine is, is not known: %s", err.message);
		return;
	}
	agent_lock(agent);
	if (memcmp(&agent->info, &info, sizeof(info)) != 0)
	{
		ud_info("the engine is %s now, id %s, live-restore %s", info.version, info.engine_id, info.live_restore ? "on" : "off");
		memcpy(&agent->info, &info, sizeof(info));
		agent->info_changes++;
	}
	agent_unlock(agent);
}

/* Until the next ping is due, or somebody has a reason for one. */
static void
engine_wait(Agent *agent, bool ok)
{
	int64_t		until = clock_boot_ns() + (ok ? PING_MS : PING_DOWN_MS) * NS_PER_MS;

	agent_lock(agent);
	while (clock_boot_ns() < until && !atomic_load(&agent->exiting) && !agent->engine_suspect)
		agent_wait_changed(agent, PING_DOWN_MS);
	agent->engine_suspect = false;
	agent_unlock(agent);
}

void *
engine_main(void *arg)
{
	Agent	   *agent = arg;
	int64_t		look_at_ns = clock_boot_ns() + INFO_NS;

	while (!atomic_load(&agent->exiting))
	{
		UdError		err;
		bool		ok = engine_check(agent, &err) == 0;

		if (ok && (!atomic_load(&agent->engine_ok) || clock_boot_ns() >= look_at_ns))
		{
			engine_look(agent);
			look_at_ns = clock_boot_ns() + INFO_NS;
		}
		if (ok)
			engine_set(agent, true, "");
		engine_wait(agent, ok);
	}
	return NULL;
}
