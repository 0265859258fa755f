/*
 * probe.c
 *	  Does the engine see our data directory where we tell it to look?
 */
#include "agent/probe.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "common/cleanup.h"
#include "common/log.h"
#include "common/reasons.h"

#define PROBE_FILE "nonce"
#define PROBE_MOUNT "/probe"
#define PROBE_LABEL "unidesk.probe=1"
#define NONCE_BYTES 16

/* What this data directory's probes are called and labelled with. */
typedef struct Probe
{
	Agent	   *agent;			/* borrowed */
	uint8_t		nonce[NONCE_BYTES];
	char		image[64];
	char	   *label;			/* owned */
} Probe;

static void
probe_release(Probe *probe)
{
	free(probe->label);
}

/* Containers first: an image that has one stays. */
static void
probe_remove(const Probe *probe)
{
	Docker	   *docker = probe->agent->docker;
	const char *labels[] = {PROBE_LABEL, probe->label, NULL};
	DockerContainer *containers = NULL;
	DockerImageEntry *images = NULL;
	int			count = 0;
	UdError		err;

	if (docker_list(docker, labels, &containers, &count, &err) < 0)
		ud_warning("%s", err.message);
	for (int i = 0; i < count; i++)
		if (docker_remove(docker, containers[i].id, &err) < 0)
			ud_warning("%s", err.message);
	docker_container_list_free(containers, count);
	if (docker_image_list(docker, &images, &count, &err) < 0)
		ud_warning("%s", err.message);
	for (int i = 0; i < count; i++)
	{
		bool		ours = false;

		for (char **label = images[i].labels; *label != NULL; label++)
			ours = ours || strcmp(*label, probe->label) == 0;
		for (char **tag = images[i].tags; ours && *tag != NULL; tag++)
			if (strncmp(*tag, "unidesk-probe:", 14) == 0 && docker_image_remove(docker, *tag, &err) < 0)
				ud_warning("%s", err.message);
	}
	docker_image_list_free(images, count);
}

static int
probe_no_mount(const Probe *probe, const char *why, UdError *err)
{
	const AgentConfig *config = probe->agent->config;
	ud_auto_free char *said = ud_strdup(why);

	if (config->data_host != NULL)
		return ud_error(err, UD_EINVAL, UD_REASON_NODE_NO_DATA_MOUNT,
						"%s: UNIDESK_DATA_HOST is \"%s\", which is not what this agent has at \"%s\" (%s)",
						ud_reason_text(UD_REASON_NODE_NO_DATA_MOUNT), config->data_host, config->data, said);
	return ud_error(err, UD_EINVAL, UD_REASON_NODE_NO_DATA_MOUNT,
					"%s: UNIDESK_VOLUME is \"%s\", which is not the volume that this agent has at \"%s\" (%s)",
					ud_reason_text(UD_REASON_NODE_NO_DATA_MOUNT), config->volume, config->data, said);
}

/* Through a container of that name: is our nonce there? */
static int
probe_look(const Probe *probe, const char *name, UdError *err)
{
	Docker	   *docker = probe->agent->docker;
	ud_auto_free char *source = ud_asprintf("%s/probe", probe->agent->data.host);
	ud_auto_buf UdBuf seen = {0};
	const char *labels[] = {PROBE_LABEL, probe->label, NULL};
	const char *command[] = {"/nothing", NULL};
	DockerMount mount = {source, PROBE_MOUNT, true};
	DockerCreate create = {
		.name = name,
		.image = probe->image,
		.command = command,
		.labels = labels,
		.mounts = &mount,
		.mount_count = 1,
		.network_mode = "none",
	};
	char		id[80];
	int			result = docker_create(docker, &create, id, err);

	if (result == UD_EINVAL)
		return probe_no_mount(probe, err->message, err);
	if (result < 0)
		return result;
	result = docker_read_file(docker, id, PROBE_MOUNT "/" PROBE_FILE, NONCE_BYTES, &seen, err);
	if (result == UD_ENOENT || result == UD_EINVAL)
		return probe_no_mount(probe, "a file written here does not appear there", err);
	if (result == 0 && (seen.len != NONCE_BYTES || memcmp(seen.data, probe->nonce, NONCE_BYTES) != 0))
		return probe_no_mount(probe, "a file written here has another content there", err);
	return result;
}

int
probe_data(Agent *agent, UdError *err)
{
	__attribute__((cleanup(probe_release))) Probe probe = {
		.agent = agent,
	};
	char		name[64];
	ud_auto_free char *label = NULL;
	int			result;

	probe.label = ud_asprintf("unidesk.data=%s", agent->data.host);
	if (getrandom(probe.nonce, NONCE_BYTES, 0) != NONCE_BYTES)
		return ud_error(err, UD_EIO, UD_REASON_NODE_AGENT_ERROR, "could not get random bytes");
	snprintf(name, sizeof(name), "unidesk-probe-%02x%02x%02x%02x%02x%02x", probe.nonce[0], probe.nonce[1],
			 probe.nonce[2], probe.nonce[3], probe.nonce[4], probe.nonce[5]);
	snprintf(probe.image, sizeof(probe.image), "unidesk-probe:%s", name + strlen("unidesk-probe-"));
	probe_remove(&probe);
	label = ud_asprintf("unidesk.data=\"%s\"", agent->data.host);
	result = data_write_probe(&agent->data, PROBE_FILE, probe.nonce, NONCE_BYTES, err);
	if (result == 0)
		result = docker_image_import_empty(agent->docker, probe.image, label, err);
	if (result == 0)
		result = probe_look(&probe, name, err);
	probe_remove(&probe);
	return result;
}
