/*
 * update.h
 *	  The agent's own replacement, ordered by the server.
 *
 * What a program cannot do, stop itself and start another in its place, a
 * container does that is made for it from the agent's own image (replace.h).
 * How far an order is lies in the data directory, which that container and
 * both agents share: whichever agent is there in the end tells the server.
 */
#ifndef AGENT_UPDATE_H
#define AGENT_UPDATE_H

#include <stdbool.h>
#include <stdint.h>

#include "agent/data.h"
#include "common/error.h"

#define UPDATE_IMAGE_BYTES 408
#define UPDATE_ORDER_BYTES 32

struct Agent;
struct json_object;

/* An order, and how far it is; order 0: there was none. */
typedef struct UpdateRecord
{
	int64_t		incarnation;
	int32_t		order;
	char		state[16];		/* begun, applied, failed, refused */
	char		helper[80];		/* the container that replaces the agent, or
								 * "" */
	char		message[512];	/* one line, or "" */
} UpdateRecord;

/* Guarded by Agent.lock. */
typedef struct Update
{
	UpdateRecord record;
	int64_t		wanted_incarnation;
	int32_t		wanted_order;	/* 0: none */
	char		wanted_image[UPDATE_IMAGE_BYTES];
} Update;

/* What an earlier run left; call it before the others. */
extern void update_open(struct Agent *agent);

/* The server's order; one that is known already is answered again.  Takes the lock. */
extern void update_take_order(struct Agent *agent, int64_t incarnation, int64_t order, const void *body, size_t len);

/* The thread that carries orders out, and looks how far the container is. */
extern void *update_main(void *agent);

/* What a hello or inventory says; Agent.lock is held. */
extern void update_report(const struct Agent *agent, struct json_object *object);

/*
 * In that container: keep what became of the order ("<incarnation>-<number>",
 * as its command line has it) in the data directory.
 */
extern int	update_finish(const char *data_path, const char *order, bool applied, const char *why, UdError *err) UD_MUSTCHECK;

/* update_parts.c: no I/O. */

/* The first item of a list of patterns that is none, or NULL; *len is its length. */
extern const char *update_bad_pattern(const char *list, size_t *len);

/* Does a pattern of the list, in which "*" stands for any characters but "/", fit all of image? */
extern bool update_is_allowed(const char *list, const char *image);

/* The image's full name: with its tag, or ":latest"; with a digest as it is. */
extern void update_full_name(const char *image, char out[UPDATE_IMAGE_BYTES]);

/* The container this program runs in, from /proc/self/mountinfo and cgroup; false: none. */
extern bool update_own_container(const char *mountinfo, const char *cgroup, char id[80]);

extern void update_write_order(int64_t incarnation, int32_t order, char out[UPDATE_ORDER_BYTES]);
extern bool update_read_order(const char *text, int64_t *incarnation, int32_t *order);

/* One line, fit for the server, of at most size - 1 bytes. */
extern void update_line(char *out, size_t size, const char *text);

#endif							/* AGENT_UPDATE_H */
