/*
 * keeper.c
 *	  One thread that keeps the node's disk usable.
 */
#include "agent/keeper.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "agent/attempt.h"
#include "agent/cache.h"
#include "agent/lease.h"
#include "agent/tree_size.h"
#include "common/cleanup.h"
#include "common/log.h"
#include "common/protocol.h"
#include "common/reasons.h"

#define LOOK_MS 1000
/* Between two tries to remove from caches that had nothing to give. */
#define RETRY_NS (10 * NS_PER_S)

typedef struct Keeper
{
	Agent	   *agent;
	bool		low;			/* below the floor, and said so */
	int64_t		trim_tried_ns;	/* in vain, both */
	int64_t		room_tried_ns;
} Keeper;

static int64_t
keeper_floor(Agent *agent)
{
	int64_t		floor;

	agent_lock(agent);
	floor = agent->limits.disk_floor;
	agent_unlock(agent);
	return floor;
}

static int64_t
keeper_free(Agent *agent)
{
	int64_t		disk_free = INT64_MAX;
	int64_t		disk_total;
	UdError		err;

	if (data_space(&agent->data, &disk_free, &disk_total, &err) < 0)
		ud_warning("%s", err.message);
	return disk_free;
}

int
keeper_admit(Agent *agent, UdError *err)
{
	int64_t		floor = keeper_floor(agent);

	if (keeper_free(agent) >= floor || cache_make_room(agent, floor))
		return 0;
	return ud_error(err, UD_EIO, UD_REASON_NODE_DISK_FULL,
					"%" PRId64 " bytes are free for tasks, fewer than the floor of %" PRId64, keeper_free(agent), floor);
}

/* Whatever is being prepared gives up; true when there was something. */
static bool
end_preparing(Agent *agent)
{
	bool		found = false;

	agent_lock(agent);
	for (Attempt *attempt = agent->attempts; attempt != NULL; attempt = attempt->next)
	{
		if (attempt->gone || attempt->state != UD_ATTEMPT_PREPARING)
			continue;
		found = true;
		if (!attempt->disk_full)
			ud_warning("attempt %s: given up, because the disk is almost full", attempt->name);
		attempt->disk_full = true;
		atomic_store(&attempt->interrupt, true);
	}
	agent_unlock(agent);
	return found;
}

/* A running attempt as it is looked at without the lock. */
typedef struct Writer
{
	char		name[DATA_NAME_BYTES];
	char		container[DATA_NAME_BYTES + 4];
	char		checkpoint[DATA_NAME_BYTES];
	Fence		fence;
	int64_t		bytes;
} Writer;

static void
measure_writer(Agent *agent, Writer *writer)
{
	int			dirs[] = {agent->data.tree_fd, agent->data.out_fd, agent->data.run_fd};
	UdError		err;

	if (docker_container_size(agent->docker, writer->container, &writer->bytes, &err) < 0)
		ud_warning("attempt %s: %s", writer->name, err.message);
	for (size_t i = 0; i < sizeof(dirs) / sizeof(dirs[0]); i++)
		writer->bytes += tree_size(dirs[i], writer->name);
	writer->bytes += tree_size(agent->data.checkpoint_fd, writer->checkpoint);
}

/* Attempts that run; *stopping when one is already being ended. */
static size_t
list_writers(Agent *agent, Writer *writers, bool *stopping)
{
	size_t		count = 0;

	*stopping = false;
	agent_lock(agent);
	for (Attempt *attempt = agent->attempts; attempt != NULL && count < AGENT_ATTEMPTS_MAX; attempt = attempt->next)
	{
		Writer	   *writer = &writers[count];

		if (attempt->gone || !attempt->ran || attempt->ended || attempt->held)
			continue;
		*stopping = *stopping || attempt->disk_full || attempt->intent != STOP_NONE;
		memcpy(writer->name, attempt->name, sizeof(writer->name));
		memcpy(writer->container, attempt->container, sizeof(writer->container));
		memcpy(writer->checkpoint, attempt->checkpoint, sizeof(writer->checkpoint));
		writer->fence = attempt->fence;
		count++;
	}
	agent_unlock(agent);
	return count;
}

/* End the running attempt that wrote the most, if it wrote at least that. */
static void
end_largest(Agent *agent, int64_t least)
{
	ud_auto_free Writer *writers = ud_calloc(AGENT_ATTEMPTS_MAX, sizeof(*writers));
	bool		stopping;
	size_t		count = list_writers(agent, writers, &stopping);
	const Writer *largest = NULL;
	Attempt    *attempt;

	/* One at a time: the first may be all that is needed. */
	if (stopping)
		return;
	for (size_t i = 0; i < count; i++)
	{
		measure_writer(agent, &writers[i]);
		if (largest == NULL || writers[i].bytes > largest->bytes)
			largest = &writers[i];
	}
	if (largest == NULL || largest->bytes < least)
		return;
	agent_lock(agent);
	attempt = attempt_find(agent, &largest->fence);
	if (attempt != NULL && attempt->ran && !attempt->ended)
	{
		ud_warning("attempt %s: ended, because the disk is almost full and it wrote %" PRId64 " bytes", attempt->name, largest->bytes);
		attempt->disk_full = true;
		atomic_store(&attempt->interrupt, true);
	}
	agent_unlock(agent);
}

static void
watch_disk(Keeper *keeper)
{
	Agent	   *agent = keeper->agent;
	int64_t		floor = keeper_floor(agent);
	int64_t		disk_free = keeper_free(agent);

	if (disk_free < floor && clock_boot_ns() - keeper->room_tried_ns > RETRY_NS)
	{
		if (!cache_make_room(agent, floor))
			keeper->room_tried_ns = clock_boot_ns();
		disk_free = keeper_free(agent);
	}
	if ((disk_free < floor) != keeper->low)
	{
		keeper->low = disk_free < floor;
		if (keeper->low)
			ud_warning("%" PRId64 " bytes are free, fewer than the floor of %" PRId64 ": no work is taken", disk_free, floor);
		else
			ud_info("the disk has room again: work is taken");
	}
	if (disk_free < floor / 2 && !end_preparing(agent))
		end_largest(agent, floor / 2);
}

void *
keeper_main(void *arg)
{
	Keeper		keeper = {
		.agent = arg,
		.trim_tried_ns = -RETRY_NS,
		.room_tried_ns = -RETRY_NS,
	};

	while (!atomic_load(&keeper.agent->exiting))
	{
		if (clock_boot_ns() - keeper.trim_tried_ns > RETRY_NS && !cache_trim(keeper.agent))
			keeper.trim_tried_ns = clock_boot_ns();
		/* Without a session there is no floor yet, and nothing to protect. */
		watch_disk(&keeper);
		data_remove_dropped(&keeper.agent->data);
		agent_pause(keeper.agent, LOOK_MS);
	}
	return NULL;
}
