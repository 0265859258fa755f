/*
 * docker_clone.h
 *	  A container made anew from another image, with everything else as it is.
 *
 * Containers are described by what the engine's inspect says, whole, so that
 * options that this program knows nothing of are kept as well.
 */
#ifndef AGENT_DOCKER_CLONE_H
#define AGENT_DOCKER_CLONE_H

#include <json-c/json.h>

#include "agent/docker.h"

/* What inspect says about a container; NULL and err (UD_ENOENT) when there is none.  The caller puts it. */
extern struct json_object *docker_clone_inspect(Docker *docker, const char *container, UdError *err);

/* The same of an image. */
extern struct json_object *docker_clone_inspect_image(Docker *docker, const char *image, UdError *err);

/*
 * Body of a create call: container as it is, from another image, without a
 * restart policy.  What container only has from its own image (old_image, NULL
 * when that is gone) is left to the new one.  No I/O; the caller puts it.
 */
extern struct json_object *docker_clone_body(struct json_object *container, struct json_object *old_image, const char *image);

/* Create it under a name, in all networks of container.  UD_EEXIST: the name is taken. */
extern int	docker_clone_create(Docker *docker, struct json_object *container, struct json_object *old_image,
								const char *image, const char *name, char container_id[80], UdError *err) UD_MUSTCHECK;

/*
 * A container that works on container: from the same image, with its volumes
 * and rights, without a network.  Labels that begin with "unidesk." are its
 * too.  It is started again when it fails, three times at most.
 */
extern int	docker_clone_helper(Docker *docker, struct json_object *container, const char *const *command, const char *const *environment,
								const char *name, char container_id[80], UdError *err) UD_MUSTCHECK;

/* Give it the restart policy that container has. */
extern int	docker_set_restart_policy(Docker *docker, const char *name, struct json_object *container, UdError *err) UD_MUSTCHECK;

#endif							/* AGENT_DOCKER_CLONE_H */
