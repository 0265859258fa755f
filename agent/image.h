/*
 * image.h
 *	  The image of an attempt: fetched, built once per environment, cached.
 */
#ifndef AGENT_IMAGE_H
#define AGENT_IMAGE_H

#include "agent/agent.h"

#define IMAGE_NAME_BYTES 192

/*
 * "unidesk-cache/<trust>:" and a tag from everything that decides what the
 * image contains; two trust domains never share either.
 */
extern void image_write_name(const TaskSpec *spec, char name[IMAGE_NAME_BYTES]);

/*
 * Have the image of that name, building it from mirror when it is not there.  image is
 * filled; release it with docker_image_release.  A failed build leaves the
 * end of its output in the attempt's outcome message.
 */
extern int	image_provide(Attempt *attempt, const char *name, const char *mirror, int timeout_s, DockerImage *image, UdError *err) UD_MUSTCHECK;

/* The last line of text tells people what is going on. */
extern void attempt_progress(Attempt *attempt, const char *text, size_t len);

#endif							/* AGENT_IMAGE_H */
