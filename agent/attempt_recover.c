/*
 * attempt_recover.c
 *	  Going on with what an earlier run of this agent left behind.
 *
 * Containers are ours when they carry this data directory's label; that also
 * holds for those of another node name or incarnation, which are then held:
 * shown in every inventory, otherwise untouched.  One that was created but
 * not started is removed: the server sends it again.
 */
#include "agent/attempt.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/cleanup.h"
#include "common/log.h"
#include "common/protocol.h"
#include "common/reasons.h"
#include "agent/state.h"

/* A whole positive decimal number up to max, from a label. */
static bool
recover_number(const char *text, int64_t max, int64_t *out)
{
	char	   *end;
	long long	value;

	if (text == NULL || text[0] < '1' || text[0] > '9' || strlen(text) > 18)
		return false;
	value = strtoll(text, &end, 10);
	if (*end != '\0' || value > max)
		return false;
	*out = value;
	return true;
}

/* The fence a container's labels speak of, when its name agrees. */
static bool
recover_fence(const DockerContainer *container, Fence *fence)
{
	const char *incarnation = docker_container_label(container, "unidesk.incarnation");
	const char *name = container->name[0] == '/' ? container->name + 1 : container->name;
	char		expected[DATA_NAME_BYTES];
	int64_t		attempt;

	if (incarnation == NULL || !incarnation_read(incarnation, &fence->incarnation) ||
		!recover_number(docker_container_label(container, "unidesk.task"), INT64_MAX, &fence->task) ||
		!recover_number(docker_container_label(container, "unidesk.attempt"), INT32_MAX, &attempt))
		return false;
	fence->attempt = (int32_t) attempt;
	attempt_write_name(fence, expected);
	return strncmp(name, "ud-", 3) == 0 && strcmp(name + 3, expected) == 0;
}

/* Its container never ran and is gone: it was about to start, no more. */
static void
recover_forget(Attempt *attempt)
{
	UdError		err;

	if (data_remove_attempt(&attempt->agent->data, attempt->name, &err) < 0)
		ud_warning("attempt %s: %s", attempt->name, err.message);
	attempt->gone = true;
}

static void
recover_container(Agent *agent, const DockerContainer *container)
{
	Attempt    *attempt;
	Fence		fence;
	UdError		err;

	if (!recover_fence(container, &fence))
	{
		ud_warning("container \"%s\" has labels of this agent but they do not agree: left alone", container->name);
		return;
	}
	attempt = attempt_find(agent, &fence);
	if (strcmp(container->state, "created") == 0)
	{
		if (docker_remove(agent->docker, container->id, &err) == 0)
		{
			if (attempt != NULL)
				recover_forget(attempt);
			return;
		}
		/* It may yet begin: kept, and removed before anything is said of it. */
		ud_warning("could not remove container \"%s\", which never ran: %s", container->name, err.message);
	}
	if (attempt == NULL)
	{
		int64_t		node_id;

		attempt = attempt_add(agent, &fence, docker_container_label(container, "unidesk.node"));
		if (attempt != NULL && recover_number(docker_container_label(container, "unidesk.node_id"), INT32_MAX, &node_id))
			attempt->node_id = (int32_t) node_id;
	}
	if (attempt == NULL)
		return;
	attempt->ran = true;
	snprintf(attempt->image_id, sizeof(attempt->image_id), "%s", container->image_id);
	attempt->state = strcmp(container->state, "exited") == 0 || strcmp(container->state, "dead") == 0 ?
		UD_ATTEMPT_FINISHING : UD_ATTEMPT_RUNNING;
}

/* A state exists from just before the start on, so it may have run. */
static void
recover_state(void *arg, const char *name)
{
	Agent	   *agent = arg;
	ud_auto_buf UdBuf text = {0};
	StateRead	read;
	char		expected[DATA_NAME_BYTES];
	Attempt    *attempt;
	UdError		err;

	if (data_read_state(&agent->data, name, &text, &err) < 0 ||
		state_read_fence(text.data, text.len, &read, &err) < 0)
	{
		ud_warning("state of \"%s\" is damaged: %s", name, err.message);
		return;
	}
	attempt_write_name(&read.fence, expected);
	if (strcmp(expected, name) != 0)
	{
		ud_warning("state \"%s\" speaks of attempt %s: ignored", name, expected);
		return;
	}
	attempt = attempt_add(agent, &read.fence, read.node);
	if (attempt == NULL)
		return;
	attempt->node_id = read.node_id;
	if (state_read(text.data, text.len, attempt, &err) < 0)
		ud_warning("state of \"%s\" is damaged: %s", name, err.message);
	attempt->ran = true;
	attempt->state = attempt->intent != STOP_NONE && attempt->intent != STOP_DISK ? UD_ATTEMPT_STOPPING : UD_ATTEMPT_RUNNING;
}

static int
recover_keep(void *arg, const char *name)
{
	Agent	   *agent = arg;

	for (Attempt *attempt = agent->attempts; attempt != NULL; attempt = attempt->next)
		if (strcmp(attempt->name, name) == 0)
			return 1;
	return 0;
}

int
attempt_recover(Agent *agent, UdError *err)
{
	ud_auto_free char *data_label = ud_asprintf("unidesk.data=%s", agent->data.host);
	const char *labels[] = {"unidesk.node", data_label, NULL};
	DockerContainer *containers = NULL;
	int			count = 0;

	if (docker_list(agent->docker, labels, &containers, &count, err) < 0)
		return err->code;
	agent_lock(agent);
	data_each_state(&agent->data, recover_state, agent);
	for (int i = 0; i < count; i++)
		recover_container(agent, &containers[i]);
	docker_container_list_free(containers, count);
	attempt_sweep(agent, NULL, NULL);
	data_sweep(&agent->data, recover_keep, agent);
	for (Attempt *attempt = agent->attempts; attempt != NULL; attempt = attempt->next)
	{
		ud_info("attempt %s: found, %s", attempt->name, ud_attempt_state_name(attempt->state));
		attempt->report_dirty = true;
		attempt_start(attempt);
	}
	agent_unlock(agent);
	return 0;
}
