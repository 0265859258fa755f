/*
 * attempt_container.c
 *	  Whose a container is, and removing it only when it is ours.
 *
 * An attempt's container is known by its name, but a name can be anybody's:
 * before one is removed, its labels have to say that it is this attempt's, made
 * by an agent on this data directory.
 */
#include "agent/attempt.h"

#include <inttypes.h>
#include <string.h>

#include "common/cleanup.h"
#include "common/log.h"
#include "common/reasons.h"

#define REMOVE_RETRY_MS 5000

void
attempt_make_labels(const Attempt *attempt, AttemptLabels *labels)
{
	char		hex[DESIRED_HEX_BYTES];

	incarnation_write(attempt->fence.incarnation, hex);
	labels->items[0] = ud_asprintf("unidesk.incarnation=%s", hex);
	labels->items[1] = ud_asprintf("unidesk.node=%s", attempt->node);
	labels->items[2] = ud_asprintf("unidesk.task=%" PRId64, attempt->fence.task);
	labels->items[3] = ud_asprintf("unidesk.attempt=%" PRId32, attempt->fence.attempt);
	labels->items[4] = ud_asprintf("unidesk.data=%s", attempt->agent->data.host);
	labels->items[5] = ud_asprintf("unidesk.node_id=%" PRId32, attempt->node_id);
	labels->items[6] = NULL;
}

void
attempt_release_labels(AttemptLabels *labels)
{
	for (int i = 0; i < ATTEMPT_LABELS; i++)
		free(labels->items[i]);
}

static bool
container_is_ours(const Attempt *attempt, const DockerContainer *container)
{
	AttemptLabels labels;
	bool		ours = true;

	attempt_make_labels(attempt, &labels);
	for (int i = 0; ours && i < ATTEMPT_OWNER_LABELS; i++)
	{
		char	   *value = strchr(labels.items[i], '=');
		const char *have;

		*value++ = '\0';
		have = docker_container_label(container, labels.items[i]);
		ours = have != NULL && strcmp(have, value) == 0;
	}
	attempt_release_labels(&labels);
	return ours;
}

int
attempt_remove_container(Attempt *attempt, UdError *err)
{
	Docker	   *docker = attempt->agent->docker;
	DockerContainer container;
	int			result = docker_inspect(docker, attempt->container, &container, err);

	if (result == UD_ENOENT)
		return 0;
	if (result < 0)
		return result;
	/* By its id: the name may become another's in between. */
	if (container_is_ours(attempt, &container))
		result = docker_remove(docker, container.id, err);
	else
		result = ud_error(err, UD_EEXIST, UD_REASON_NODE_NAME_CONFLICT,
						  "a container named \"%s\" exists that is not this attempt's", attempt->container);
	docker_container_release(&container);
	return result;
}

bool
attempt_remove_until_gone(Attempt *attempt)
{
	UdError		err;
	int			result;

	while ((result = attempt_remove_container(attempt, &err)) < 0)
	{
		ud_warning("attempt %s: could not remove its container: %s", attempt->name, err.message);
		if (err.reason == UD_REASON_NODE_NAME_CONFLICT)
			break;
		agent_pause(attempt->agent, REMOVE_RETRY_MS);
		if (atomic_load(&attempt->agent->exiting))
			return false;
	}
	return true;
}
