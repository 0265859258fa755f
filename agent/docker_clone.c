/*
 * docker_clone.c
 *	  A container made anew from another image, with everything else as it is.
 */
#include "agent/docker_clone.h"

#include <string.h>

#include "agent/docker_internal.h"
#include "agent/json.h"
#include "common/cleanup.h"

static struct json_object *
inspect(Docker *docker, const char *kind, const char *name, const char *what, UdError *err)
{
	ud_auto_buf UdBuf path = {0};
	docker_auto_call DockerCall call = {
		.method = "GET",
	};

	if (docker_path(&path, kind, name, "/json", err) != 0)
		return NULL;
	call.path = ud_buf_text(&path);
	if (docker_call_expect(docker, &call, what, err) != 0)
		return NULL;
	return docker_reply_object(&call, err);
}

struct json_object *
docker_clone_inspect(Docker *docker, const char *container, UdError *err)
{
	return inspect(docker, "/containers/", container, "look at the container", err);
}

struct json_object *
docker_clone_inspect_image(Docker *docker, const char *image, UdError *err)
{
	return inspect(docker, "/images/", image, "look at the image", err);
}

/* A copy of the caller's own; NULL for NULL. */
static struct json_object *
copy_of(struct json_object *object)
{
	struct json_object *copy = NULL;

	if (object != NULL && json_object_deep_copy(object, &copy, NULL) < 0)
		return NULL;
	return copy;
}

static struct json_object *
member(struct json_object *object, const char *key)
{
	struct json_object *value = NULL;

	if (object != NULL && json_object_is_type(object, json_type_object))
		json_object_object_get_ex(object, key, &value);
	return value;
}

static bool
is_same(struct json_object *a, struct json_object *b)
{
	return a == b || (a != NULL && b != NULL && json_object_equal(a, b));
}

static bool
contains(struct json_object *array, struct json_object *value)
{
	if (!json_object_is_type(array, json_type_array))
		return false;
	for (size_t i = 0; i < json_object_array_length(array); i++)
		if (is_same(json_object_array_get_idx(array, i), value))
			return true;
	return false;
}

/* The elements of array that are not in others. */
static struct json_object *
array_without(struct json_object *array, struct json_object *others)
{
	struct json_object *rest = json_object_new_array();

	for (size_t i = 0; i < json_object_array_length(array); i++)
	{
		struct json_object *value = json_object_array_get_idx(array, i);

		if (!contains(others, value))
			json_object_array_add(rest, json_object_get(value));
	}
	return rest;
}

/* The members of map that others does not have with the same value. */
static struct json_object *
map_without(struct json_object *map, struct json_object *others)
{
	struct json_object *rest = json_object_new_object();

	json_object_object_foreach(map, key, value)
		if (!is_same(value, member(others, key)))
		json_object_object_add(rest, key, json_object_get(value));
	return rest;
}

/* The new image's own settings are to count, where the old one's did. */
static struct json_object *
config_without(struct json_object *config, struct json_object *of_image)
{
	struct json_object *rest = map_without(config, of_image);
	struct json_object *env = member(rest, "Env");
	struct json_object *labels = member(rest, "Labels");

	if (json_object_is_type(env, json_type_array))
		json_object_object_add(rest, "Env", array_without(env, member(of_image, "Env")));
	if (json_object_is_type(labels, json_type_object))
		json_object_object_add(rest, "Labels", map_without(labels, member(of_image, "Labels")));
	return rest;
}

/* A host name that is the first digits of the container's id was not chosen. */
static bool
is_id_of(struct json_object *container, struct json_object *text)
{
	const char *id = json_object_get_string(member(container, "Id"));
	const char *name = json_object_get_string(text);

	return id != NULL && name != NULL && strlen(name) == 12 && strncmp(id, name, 12) == 0;
}

/* What was asked for of a network, without what the engine gave. */
static struct json_object *
endpoint_of(struct json_object *container, struct json_object *network)
{
	static const char *const keys[] = {"IPAMConfig", "Links", "DriverOpts"};
	struct json_object *endpoint = json_object_new_object();
	struct json_object *aliases = member(network, "Aliases");
	struct json_object *kept = json_object_new_array();

	for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++)
		if (member(network, keys[i]) != NULL)
			json_object_object_add(endpoint, keys[i], copy_of(member(network, keys[i])));
	if (json_object_is_type(aliases, json_type_array))
		for (size_t i = 0; i < json_object_array_length(aliases); i++)
			if (!is_id_of(container, json_object_array_get_idx(aliases, i)))
				json_object_array_add(kept, json_object_get(json_object_array_get_idx(aliases, i)));
	json_object_object_add(endpoint, "Aliases", kept);
	return endpoint;
}

/* Has it networks of its own, and not those of the host or of another container? */
static bool
has_networks(const char *mode)
{
	return strcmp(mode, "host") != 0 && strcmp(mode, "none") != 0 && strncmp(mode, "container:", 10) != 0;
}

static const char *
network_mode(struct json_object *container)
{
	const char *mode = json_object_get_string(member(member(container, "HostConfig"), "NetworkMode"));

	return mode != NULL ? mode : "default";
}

static struct json_object *
networks_of(struct json_object *container)
{
	return member(member(container, "NetworkSettings"), "Networks");
}

struct json_object *
docker_clone_body(struct json_object *container, struct json_object *old_image, const char *image)
{
	ud_auto_json struct json_object *config = copy_of(member(container, "Config"));
	struct json_object *body = config_without(config, member(old_image, "Config"));
	struct json_object *host = copy_of(member(container, "HostConfig"));
	struct json_object *policy = json_object_new_object();
	const char *mode = network_mode(container);
	struct json_object *network = member(networks_of(container), mode);

	if (is_id_of(container, member(body, "Hostname")) || !has_networks(mode))
		json_object_object_del(body, "Hostname");
	json_set_text(body, "Image", image);
	json_set_text(policy, "Name", "no");
	if (host == NULL)
		host = json_object_new_object();
	json_object_object_add(host, "RestartPolicy", policy);
	json_object_object_add(body, "HostConfig", host);
	if (has_networks(mode) && network != NULL)
	{
		struct json_object *endpoints = json_object_new_object();
		struct json_object *networking = json_object_new_object();

		json_object_object_add(endpoints, mode, endpoint_of(container, network));
		json_object_object_add(networking, "EndpointsConfig", endpoints);
		json_object_object_add(body, "NetworkingConfig", networking);
	}
	return body;
}

/* A create call takes one network; the others are joined afterwards. */
static int
join_networks(Docker *docker, struct json_object *container, const char *id, UdError *err)
{
	struct json_object *networks = networks_of(container);
	const char *mode = network_mode(container);

	if (networks == NULL || !has_networks(mode))
		return 0;
	json_object_object_foreach(networks, name, network)
	{
		ud_auto_buf UdBuf path = {0};
		ud_auto_json struct json_object *body = json_object_new_object();
		docker_auto_call DockerCall call = {
			.method = "POST",
			.body = body,
		};
		int			result;

		if (strcmp(name, mode) == 0 || (strcmp(mode, "default") == 0 && strcmp(name, "bridge") == 0))
			continue;
		json_set_text(body, "Container", id);
		json_object_object_add(body, "EndpointConfig", endpoint_of(container, network));
		result = docker_path(&path, "/networks/", name, "/connect", err);
		if (result != 0)
			return result;
		call.path = ud_buf_text(&path);
		result = docker_call_expect(docker, &call, "connect the container to its networks", err);
		if (result != 0)
			return result;
	}
	return 0;
}

/* Create a container under a name from what is to be posted. */
static int
create(Docker *docker, struct json_object *body, const char *name, char container_id[80], UdError *err)
{
	ud_auto_json struct json_object *reply = NULL;
	ud_auto_buf UdBuf path = {0};
	docker_auto_call DockerCall call = {
		.method = "POST",
		.body = body,
		.timeout_s = DOCKER_SLOW_CALL_S,
	};
	int			result;

	ud_buf_printf(&path, "/containers/create?name=");
	docker_escape_query(&path, name);
	call.path = ud_buf_text(&path);
	result = docker_call_expect(docker, &call, "create the container", err);
	if (result != 0)
		return result;
	reply = docker_reply_object(&call, err);
	if (reply == NULL || docker_copy_text(reply, "Id", container_id, 80, err) != 0)
		return UD_EPROTO;
	return 0;
}

int
docker_clone_create(Docker *docker, struct json_object *container, struct json_object *old_image,
					const char *image, const char *name, char container_id[80], UdError *err)
{
	ud_auto_json struct json_object *body = docker_clone_body(container, old_image, image);
	int			result = create(docker, body, name, container_id, err);

	return result != 0 ? result : join_networks(docker, container, container_id, err);
}

/* Labels of ours: what finds the container finds its helper. */
static struct json_object *
own_labels(struct json_object *container)
{
	struct json_object *labels = json_object_new_object();
	struct json_object *all = member(member(container, "Config"), "Labels");

	if (json_object_is_type(all, json_type_object))
	{
		json_object_object_foreach(all, key, value)
			if (strncmp(key, "unidesk.", 8) == 0)
			json_object_object_add(labels, key, json_object_get(value));
	}
	return labels;
}

static struct json_object *
helper_host_config(struct json_object *container)
{
	static const char *const kept[] = {"SecurityOpt", "GroupAdd", "UsernsMode", "CapAdd", "CapDrop", "Privileged"};
	const char *const volumes[] = {json_object_get_string(member(container, "Id")), NULL};
	struct json_object *host = json_object_new_object();
	struct json_object *policy = json_object_new_object();
	struct json_object *as_is = member(container, "HostConfig");

	json_set_text(policy, "Name", "on-failure");
	json_set_int(policy, "MaximumRetryCount", 3);
	json_object_object_add(host, "RestartPolicy", policy);
	json_object_object_add(host, "VolumesFrom", docker_array_of(volumes));
	json_set_text(host, "NetworkMode", "none");
	json_set_bool(host, "ReadonlyRootfs", true);
	for (size_t i = 0; i < sizeof(kept) / sizeof(kept[0]); i++)
		if (member(as_is, kept[i]) != NULL)
			json_object_object_add(host, kept[i], copy_of(member(as_is, kept[i])));
	return host;
}

int
docker_clone_helper(Docker *docker, struct json_object *container, const char *const *command, const char *const *environment,
					const char *name, char container_id[80], UdError *err)
{
	ud_auto_json struct json_object *body = json_object_new_object();
	struct json_object *config = member(container, "Config");

	json_object_object_add(body, "Image", copy_of(member(container, "Image")));
	json_object_object_add(body, "Entrypoint", docker_array_of(command));
	json_object_object_add(body, "Cmd", json_object_new_array());
	json_object_object_add(body, "Env", docker_array_of(environment));
	if (member(config, "User") != NULL)
		json_object_object_add(body, "User", copy_of(member(config, "User")));
	json_object_object_add(body, "Labels", own_labels(container));
	json_object_object_add(body, "HostConfig", helper_host_config(container));
	return create(docker, body, name, container_id, err);
}

int
docker_set_restart_policy(Docker *docker, const char *name, struct json_object *container, UdError *err)
{
	ud_auto_json struct json_object *body = json_object_new_object();

	json_object_object_add(body, "RestartPolicy", copy_of(member(member(container, "HostConfig"), "RestartPolicy")));
	return docker_act(docker, "POST", name, "/update", body, "set the restart policy of the container", err);
}
