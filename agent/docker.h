/*
 * docker.h
 *	  Client of the Docker Engine API over its unix socket.
 *
 * Blocking calls for worker threads: each call takes its own libcurl handle,
 * so any thread may call any function.  A cancel flag (may be NULL) is looked
 * at about every 100 ms where the call says so; when it is set the connection
 * is closed and the call returns UD_ECANCELLED.  The API version is
 * negotiated by docker_open: min(engine's, 1.47), at least 1.40.
 */
#ifndef AGENT_DOCKER_H
#define AGENT_DOCKER_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "common/buf.h"
#include "common/error.h"

typedef struct Docker Docker;

/* What the engine says about itself; fixed-size text, "" when unknown. */
typedef struct DockerInfo
{
	char		engine_id[128];
	char		version[64];
	char		api_version[16];
	char		os[128];
	char		kernel[128];
	char		arch[32];
	int64_t		cpus_milli;
	int64_t		memory;			/* bytes */
	bool		live_restore;
} DockerInfo;

extern Docker *docker_open(const char *socket_path, UdError *err);
extern void docker_close(Docker *docker);

/* 0 when the engine answers within 5 s. */
extern int	docker_ping(Docker *docker, UdError *err) UD_MUSTCHECK;
extern int	docker_info(Docker *docker, DockerInfo *info, UdError *err) UD_MUSTCHECK;

/* Host path behind a volume; caller frees.  UD_ENOENT when it does not exist. */
extern int	docker_volume_mountpoint(Docker *docker, const char *volume, char **mountpoint, UdError *err) UD_MUSTCHECK;

/* What an image asks for; release with docker_image_release. */
typedef struct DockerImage
{
	char		id[80];			/* sha256:... */
	char	   *user;			/* "" when none */
	char	  **entrypoint;		/* NULL-terminated, possibly empty */
	char	  **cmd;
} DockerImage;

/* UD_ENOENT when there is no such image. */
extern int	docker_image_inspect(Docker *docker, const char *name, DockerImage *image, UdError *err) UD_MUSTCHECK;
extern void docker_image_release(DockerImage *image);

/*
 * Without force, and without the untagged images below it, which need not be
 * ours.  UD_ENOENT when absent, UD_EEXIST when in use.
 */
extern int	docker_image_remove(Docker *docker, const char *name, UdError *err) UD_MUSTCHECK;

/* An image as it is listed, those that other images are built on included. */
typedef struct DockerImageEntry
{
	char		id[80];			/* sha256:... */
	char		parent[80];		/* the same, or "" */
	int64_t		size;			/* bytes, those of its parents included */
	int64_t		created;		/* seconds since the epoch */
	char	  **tags;			/* name:tag, NULL-terminated, owned */
	char	  **labels;			/* key=value, NULL-terminated, owned */
} DockerImageEntry;

extern int	docker_image_list(Docker *docker, DockerImageEntry **out, int *count, UdError *err) UD_MUSTCHECK;
extern void docker_image_list_free(DockerImageEntry *images, int count);

/* Make an image with nothing in it; label is KEY="value", as in a Dockerfile. */
extern int	docker_image_import_empty(Docker *docker, const char *name, const char *label, UdError *err) UD_MUSTCHECK;

/*
 * Build an image with the classic builder from a tar that is read from
 * context_fd until its end.  output receives the build's text (last 16 KiB
 * kept); image_id is filled on success.  labels is a NULL-terminated array of
 * "key=value".  Cancellable.  Errors: prep.build_failed, prep.pull_failed,
 * prep.credential, prep.repo_throttled (of the registry),
 * prep.dockerfile_not_found, node.engine_error.
 */
typedef struct DockerBuild
{
	const char *tag;			/* name:tag */
	const char *dockerfile;		/* path inside the context */
	const char *const *labels;
	int			context_fd;
	int64_t		memory;			/* bytes, 0 = no limit */
	int64_t		cpus_milli;		/* 0 = no limit */
	const char *network_mode;	/* of RUN steps; NULL = the engine's default */
	int			timeout_s;
	void		(*on_output) (void *arg, const char *text, size_t len); /* may be NULL */

	/*
	 * Told of each image and container the build makes on its way, by the
	 * first digits of its id; what the build's own output looks like can be
	 * forged by the Dockerfile.  May be NULL.
	 */
	void		(*on_made) (void *arg, bool container, const char *id);
	void	   *arg;
} DockerBuild;

extern int	docker_build(Docker *docker, const DockerBuild *build, const atomic_bool *cancel,
						 char image_id[80], UdBuf *output, UdError *err) UD_MUSTCHECK;

/* A bind of a host path; the source must exist (Mounts, never Binds). */
typedef struct DockerMount
{
	const char *source;
	const char *target;
	bool		read_only;
} DockerMount;

/*
 * Everything a task container is made of.  Fixed by docker_create and not
 * configurable: default capabilities less NET_RAW, MKNOD, AUDIT_WRITE;
 * no-new-privileges; log driver local 1m x 2; no swap beyond memory; no
 * restart policy; never privileged, no host namespaces.
 */
typedef struct DockerCreate
{
	const char *name;
	const char *image;			/* id */
	const char *const *entrypoint;	/* NULL-terminated; NULL keeps the image's */
	const char *const *command; /* NULL-terminated; NULL keeps the image's */
	const char *const *environment; /* KEY=value, NULL-terminated */
	const char *const *labels;	/* key=value, NULL-terminated */
	const char *working_dir;	/* NULL keeps the image's */
	const char *user;			/* NULL keeps the image's */
	const DockerMount *mounts;
	int			mount_count;
	int64_t		memory;			/* bytes */
	int64_t		shm_size;		/* bytes */
	int64_t		cpus_milli;
	int			pids_limit;
	const char *const *gpus;	/* UUIDs, NULL-terminated, or NULL */
	const char *network_mode;	/* NULL = engine's default bridge */
	int			stop_timeout_s;
} DockerCreate;

/* UD_EEXIST: the name is taken.  UD_ENOENT: no such image. */
extern int	docker_create(Docker *docker, const DockerCreate *create, char container_id[80], UdError *err) UD_MUSTCHECK;

/* Starting a started container is no error. */
extern int	docker_start(Docker *docker, const char *container, UdError *err) UD_MUSTCHECK;

/* Signal by name or number, e.g. "TERM"; UD_ENOENT when absent, UD_EEXIST when not running. */
extern int	docker_kill(Docker *docker, const char *container, const char *signal, UdError *err) UD_MUSTCHECK;

/* Remove with its anonymous volumes, killing it first; absent is no error. */
extern int	docker_remove(Docker *docker, const char *container, UdError *err) UD_MUSTCHECK;

/* Remove only if it does not run; UD_EEXIST when it does. */
extern int	docker_remove_ended(Docker *docker, const char *container, UdError *err) UD_MUSTCHECK;

/* Ask it to stop, and kill it after timeout_s; no error when it does not run. */
extern int	docker_stop(Docker *docker, const char *container, int timeout_s, UdError *err) UD_MUSTCHECK;

extern int	docker_rename(Docker *docker, const char *container, const char *name, UdError *err) UD_MUSTCHECK;

/* Remove it, killing it first, and keep its volumes; absent is no error. */
extern int	docker_remove_only(Docker *docker, const char *container, UdError *err) UD_MUSTCHECK;

/* The last bytes of its output as one valid text. */
extern int	docker_output_tail(Docker *docker, const char *container, char *out, size_t size, UdError *err) UD_MUSTCHECK;

/*
 * Wait until the container is not running, at most timeout_s (then
 * UD_ETIMEDOUT).  Cancellable, also by any event of wake_fd (-1: none).
 * UD_ENOENT when it is gone.
 */
extern int	docker_wait(Docker *docker, const char *container, int timeout_s, const atomic_bool *cancel, int wake_fd, int *exit_code, UdError *err) UD_MUSTCHECK;

typedef struct DockerContainer
{
	char		id[80];
	char		name[128];
	char		state[16];		/* created running exited dead ... */
	int64_t		created;		/* seconds since the epoch; from a list only */
	char		image_id[80];
	int			exit_code;		/* from inspect only */
	bool		oom_killed;		/* from inspect only */
	char		error[256];		/* from inspect only */
	char	  **labels;			/* key=value, NULL-terminated, owned */
} DockerContainer;

extern int	docker_inspect(Docker *docker, const char *container, DockerContainer *out, UdError *err) UD_MUSTCHECK;

/* Bytes in the container's own layer; slow, because the engine counts them. */
extern int	docker_container_size(Docker *docker, const char *container, int64_t *bytes, UdError *err) UD_MUSTCHECK;

/* All containers, running or not, that carry every one of labels ("key=value" or "key"). */
extern int	docker_list(Docker *docker, const char *const *labels, DockerContainer **out, int *count, UdError *err) UD_MUSTCHECK;
extern void docker_container_release(DockerContainer *container);
extern void docker_container_list_free(DockerContainer *containers, int count);

/* The value of a label, borrowed, or NULL. */
extern const char *docker_container_label(const DockerContainer *container, const char *key);

/*
 * One regular file out of a container's file system, also before its start;
 * at most size_max bytes.  UD_ENOENT when absent.
 */
extern int	docker_read_file(Docker *docker, const char *container, const char *path, size_t size_max, UdBuf *out, UdError *err) UD_MUSTCHECK;

#endif							/* AGENT_DOCKER_H */
