/*
 * config.h
 *	  The agent's settings: environment variables, all checked at the start.
 */
#ifndef AGENT_CONFIG_H
#define AGENT_CONFIG_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "common/error.h"

#define AGENT_VERSION "0.2.0"

/* Exit codes of unidesk-agent. */
#define AGENT_EXIT_FAILED 1
#define AGENT_EXIT_CONFIG 2

/* One GPU of UNIDESK_GPUS. */
typedef struct AgentGpu
{
	char		uuid[96];
	int64_t		memory;			/* bytes, 0 when not said */
	char		model[96];
} AgentGpu;

typedef struct AgentLabel
{
	char	   *key;			/* owned */
	char	   *value;			/* owned */
} AgentLabel;

#define AGENT_GPUS_MAX 64
#define AGENT_LABELS_MAX 64

/* All pointers are owned; optional ones are NULL when not set. */
typedef struct AgentConfig
{
	bool		url_tls;
	char	   *url_host;
	int			url_port;
	char	   *url_path;
	char	   *token;			/* never logged */
	char	   *ca_file;
	char	   *data;
	char	   *volume;
	char	   *data_host;
	char	   *docker_socket;
	char	   *task_network;
	char	   *init_program;
	char	   *git_program;
	uid_t		git_uid;
	char	   *allowed_git_hosts;	/* list of common/hostlist.h */
	char	   *update_images;	/* patterns, see update.h */
	int64_t		fetch_bytes_max;
	int64_t		image_budget;	/* bytes; -1: a share of the disk */
	int64_t		mirror_budget;
	bool		debug;
	AgentGpu	gpus[AGENT_GPUS_MAX];
	int			gpu_count;
	AgentLabel	labels[AGENT_LABELS_MAX];
	int			label_count;
} AgentConfig;

/*
 * Fill config from the environment.  An error's message names the variable
 * and says what to do.
 */
extern int	config_load(AgentConfig *config, UdError *err) UD_MUSTCHECK;
extern void config_release(AgentConfig *config);

/* The token would cross a network that does not look private, unencrypted. */
extern bool config_is_exposed(const AgentConfig *config);

#endif							/* AGENT_CONFIG_H */
