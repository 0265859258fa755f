/*
 * docker_internal.h
 *	  What the files of the Docker client share: one HTTP call, and queries.
 */
#ifndef AGENT_DOCKER_INTERNAL_H
#define AGENT_DOCKER_INTERNAL_H

#include <json-c/json.h>

#include "agent/docker.h"

/* Nothing the engine is asked for in passing may take longer. */
#define DOCKER_SMALL_CALL_S 30
/* Creating, starting and removing wait for disks and for the kernel. */
#define DOCKER_SLOW_CALL_S 120
#define DOCKER_REPLY_BYTES_MAX ((size_t) 16 * 1024 * 1024)

struct Docker
{
	char	   *socket_path;	/* owned */
	char		prefix[16];		/* "/v1.41" */
};

/* One request and its reply; zeroed, then filled, then docker_call. */
typedef struct DockerCall
{
	const char *method;
	const char *path;			/* escaped, with the query, without version */
	bool		unversioned;
	struct json_object *body;	/* borrowed, or NULL */
	int			upload_fd;		/* with has_upload: a tar, read to its end */
	bool		has_upload;
	int			timeout_s;		/* 0 = DOCKER_SMALL_CALL_S */
	const atomic_bool *cancel;	/* may be NULL */
	int			wake_fd;		/* with has_wake: any event of it cancels too */
	bool		has_wake;
	size_t		reply_max;		/* 0 = DOCKER_REPLY_BYTES_MAX */
	/* Takes the body of a 200 piece by piece instead of reply. */
	void		(*on_data) (void *arg, const char *bytes, size_t len);
	void	   *arg;

	long		status;			/* HTTP status of the answer */
	UdBuf		reply;			/* owned: docker_call_release */
	bool		reply_too_long;
	bool		is_paused;		/* the upload waits for upload_fd */
} DockerCall;

/*
 * 0 when an HTTP answer came, whatever its status; else UD_EIO,
 * UD_ETIMEDOUT, UD_ECANCELLED, or UD_EPROTO when the reply is too long.
 */
extern int	docker_call(Docker *docker, DockerCall *call, UdError *err) UD_MUSTCHECK;
extern void docker_call_release(DockerCall *call);
#define docker_auto_call __attribute__((cleanup(docker_call_release)))

/*
 * The error of an answer that is not what was hoped for: UD_ENOENT for 404,
 * UD_EEXIST for 409, UD_EINVAL for other 4xx, else UD_EIO.  The message is
 * "could not <what>: <the engine's text>".
 */
extern int	docker_refused(const DockerCall *call, const char *what, UdError *err);

/* docker_call and docker_refused in one: 0 for 2xx. */
extern int	docker_call_expect(Docker *docker, DockerCall *call, const char *what, UdError *err) UD_MUSTCHECK;

/*
 * A call on one container that answers with nothing: before and after its
 * name "/containers/" and action.  0 also when it is so already (304).
 */
extern int	docker_act(Docker *docker, const char *method, const char *container, const char *action,
					   struct json_object *body, const char *what, UdError *err) UD_MUSTCHECK;

/* The reply as a JSON object; NULL and err when it is none. */
extern struct json_object *docker_reply_object(const DockerCall *call, UdError *err);

/* The reply as an array, inside the object returned, which is to be put. */
extern struct json_object *docker_reply_list(const DockerCall *call, struct json_object **list, UdError *err);

/* Append text percent-encoded: for a path (keeps / and :) or for a query. */
extern void docker_escape_path(UdBuf *out, const char *text);
extern void docker_escape_query(UdBuf *out, const char *text);

/*
 * A path of three parts with the middle escaped, e.g. "/images/", name,
 * "/json".  UD_EINVAL for a name that would leave its place in the path.
 */
extern int	docker_path(UdBuf *out, const char *before, const char *name, const char *after, UdError *err) UD_MUSTCHECK;

/* {"key":"value"} of "key=value" texts; caller owns the object. */
extern struct json_object *docker_map_of(const char *const *pairs);

/* The reverse, NULL-terminated, one piece, free() it; value may be NULL. */
extern char **docker_pairs_of(struct json_object *map);

/* A JSON array of texts; NULL for NULL. */
extern struct json_object *docker_array_of(const char *const *texts);

/*
 * The reason why pulling an image to build upon failed with this error: its
 * registry's limit, a missing credential, the network; NONE for all else.
 */
extern int	docker_pull_reason(const char *error);

/* A required text of at most size - 1 bytes. */
extern int	docker_copy_text(struct json_object *object, const char *key, char *out, size_t size, UdError *err) UD_MUSTCHECK;

#endif							/* AGENT_DOCKER_INTERNAL_H */
