/*
 * data.h
 *	  The agent's data directory: what lies where, and safe access to it.
 *
 *	mirrors/		bare repositories, owned by the uid git runs as
 *	bin/			copy of unidesk-init, mounted into every task
 *	tree/<name>		a task's code, mounted at /workspace
 *	out/<name>/		output, mounted at /output
 *	checkpoint/<task>	mounted at /checkpoint: <incarnation>-<task>, because it
 *					outlives the attempts of its task
 *	run/<name>		log, exit, control, mounted at /run/unidesk
 *	probe/			proves that the engine sees this directory: see probe.h
 *	index			what the caches hold: see cache_index.h
 *	identity		which data directory this is: see identity.h
 *	state/<name>	what the agent needs to go on after its own restart; never
 *					mounted, so no task can forge it
 *
 * <name> is "<incarnation8>-<task>-<attempt>".  tree, out, checkpoint and run
 * belong to the task while it runs: everything below them is hostile, so files are opened
 * relative to directory descriptors, without following links, and only when
 * they are regular.
 */
#ifndef AGENT_DATA_H
#define AGENT_DATA_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "common/buf.h"
#include "common/error.h"

#define DATA_NAME_BYTES 64
#define DATA_ALIVE "agent.alive"

typedef struct DataDir
{
	const char *path;			/* borrowed: as this program sees it */
	char	   *host;			/* owned: as the engine sees it */
	int			root_fd;
	int			mirrors_fd;
	int			probe_fd;
	int			tree_fd;
	int			out_fd;
	int			checkpoint_fd;
	int			run_fd;
	int			state_fd;
	int			lock_fd;
} DataDir;

/*
 * Make what is missing below path, lock it against a second agent, and copy
 * unidesk-init to bin/.  host is taken over.
 */
extern int	data_open(DataDir *data, const char *path, char *host, uid_t git_uid, const char *init_program, UdError *err) UD_MUSTCHECK;
extern void data_close(DataDir *data);

/* Fresh directories of one attempt; what an earlier try left goes first. */
extern int	data_make_attempt(const DataDir *data, const char *name, UdError *err) UD_MUSTCHECK;
extern int	data_chown_attempt(const DataDir *data, const char *name, uid_t uid, gid_t gid, UdError *err) UD_MUSTCHECK;

/* All directories of the attempt, then its state; absent is no error. */
extern int	data_remove_attempt(const DataDir *data, const char *name, UdError *err) UD_MUSTCHECK;

/*
 * data_checkpoint.c: what a task saves.  Made where it is missing; left behind
 * by an attempt with the time of its last use, or without anything in it
 * removed; dropped when nobody needs it, which data_remove_dropped completes.
 */
extern void data_write_checkpoint_name(int64_t incarnation, int64_t task, char out[DATA_NAME_BYTES]);
extern int	data_make_checkpoint(const DataDir *data, const char *name, UdError *err) UD_MUSTCHECK;
extern int	data_chown_checkpoint(const DataDir *data, const char *name, uid_t uid, gid_t gid, UdError *err) UD_MUSTCHECK;
extern bool data_checkpoint_is_used(const DataDir *data, const char *name);
extern void data_leave_checkpoint(const DataDir *data, const char *name);
extern int	data_drop_checkpoint(const DataDir *data, const char *name, UdError *err) UD_MUSTCHECK;
extern void data_remove_dropped(const DataDir *data);
extern bool data_has_checkpoints(const DataDir *data);

/* Call each with every checkpoint and the seconds since its last use. */
extern void data_each_checkpoint(const DataDir *data, void (*each) (void *arg, int64_t incarnation, int64_t task, int64_t age_s), void *arg);

/* Call each with every name in a directory; those that begin with "." not. */
extern void data_each(int dir, void (*each) (void *arg, const char *name), void *arg);

/*
 * A regular file of run/<name>, for reading; UD_ENOENT when absent, UD_EINVAL
 * when it is something else, any other error: that cannot be told now.
 */
extern int	data_open_run(const DataDir *data, const char *name, const char *file, int *fd, UdError *err) UD_MUSTCHECK;
extern int	data_read_run(const DataDir *data, const char *name, const char *file, size_t size_max, UdBuf *out, UdError *err) UD_MUSTCHECK;

/*
 * Write aside and rename; data_update_run for a file that is written again and
 * again: it keeps a second file of that size, so that from the second time on
 * a full disk does not stop it.
 */
extern int	data_update_run(const DataDir *data, const char *name, const char *file, const void *bytes, size_t len, UdError *err) UD_MUSTCHECK;
extern int	data_write_run(const DataDir *data, const char *name, const char *file, const void *bytes, size_t len, UdError *err) UD_MUSTCHECK;

extern int	data_read_state(const DataDir *data, const char *name, UdBuf *out, UdError *err) UD_MUSTCHECK;
extern int	data_write_state(const DataDir *data, const char *name, const void *bytes, size_t len, UdError *err) UD_MUSTCHECK;

/* A file of the agent's own: whole, replaced, or with something added. */
extern int	data_read_file(const DataDir *data, const char *file, size_t size_max, UdBuf *out, UdError *err) UD_MUSTCHECK;
extern int	data_write_file(const DataDir *data, const char *file, const void *bytes, size_t len, UdError *err) UD_MUSTCHECK;
extern int	data_append_file(const DataDir *data, const char *file, const void *bytes, size_t len, UdError *err) UD_MUSTCHECK;

/*
 * The same for a file that has to outlive a loss of power, and that is not
 * believed before it is safe: a new one, or one of the same length over what
 * is there, which needs no room on a full disk.
 */
extern int	data_store_file(const DataDir *data, const char *file, const void *bytes, size_t len, UdError *err) UD_MUSTCHECK;

/* A file of probe/, in place of the one before. */
extern int	data_write_probe(const DataDir *data, const char *file, const void *bytes, size_t len, UdError *err) UD_MUSTCHECK;

/* Call each with the name of every mirror there is. */
extern void data_each_mirror(const DataDir *data, void (*each) (void *arg, const char *name), void *arg);

/*
 * Remove a mirror that nobody reads: it has gone at once, and what an agent
 * that is killed meanwhile leaves of it is removed by data_sweep.
 */
extern int	data_remove_mirror(const DataDir *data, const char *name, UdError *err) UD_MUSTCHECK;

/* Call each with the name of every state there is. */
extern void data_each_state(const DataDir *data, void (*each) (void *arg, const char *name), void *arg);

/*
 * Remove directories of attempts for which keep says false, and mirrors whose
 * removal had begun.
 */
extern void data_sweep(const DataDir *data, int (*keep) (void *arg, const char *name), void *arg);

extern int	data_space(const DataDir *data, int64_t *free_bytes, int64_t *total_bytes, UdError *err) UD_MUSTCHECK;

/*
 * Say that the server acknowledged a beat now, and that the next one is due
 * within limit_s; --health looks at it.
 */
extern void data_touch_alive(const DataDir *data, int64_t limit_s);

/* Seconds since then, or -1; *limit_s as it was given, or 0. */
extern int64_t data_alive_age_s(const char *path, int64_t *limit_s);

#endif							/* AGENT_DATA_H */
