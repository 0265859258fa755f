/*
 * userdb.h
 *	  Which uid and gid an image's User means, from the image's own files.
 */
#ifndef AGENT_USERDB_H
#define AGENT_USERDB_H

#include <sys/types.h>

#include "common/error.h"

/*
 * Resolve "", "uid", "uid:gid", "name", "name:group" as the engine does.
 * passwd and group are the texts of the image's files, "" when it has none;
 * they are hostile input.
 */
extern int	userdb_resolve(const char *user, const char *passwd, const char *group, uid_t *uid, gid_t *gid, UdError *err) UD_MUSTCHECK;

#endif							/* AGENT_USERDB_H */
