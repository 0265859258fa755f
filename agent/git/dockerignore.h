/*
 * dockerignore.h
 *	  .dockerignore: which paths stay out of a build context.
 *
 * Docker's semantics: patterns relative to the root, the last match wins,
 * "!" takes back, a matched directory takes what is below it along.
 *
 * A path is judged together with its directories, so a walk carries a scope
 * per directory: the patterns that matched the directory or one above it.
 */
#ifndef GIT_DOCKERIGNORE_H
#define GIT_DOCKERIGNORE_H

#include <stdbool.h>
#include <stddef.h>

#include "common/error.h"

typedef struct Dockerignore Dockerignore;

/* Bytes, patterns and pattern length are limited; beyond: prep.tree_invalid. */
#define DOCKERIGNORE_BYTES_MAX (256 * 1024)
#define DOCKERIGNORE_PATTERNS_MAX 2000

/* A file's text; NULL and err on failure. */
extern Dockerignore *dockerignore_parse(const char *text, size_t len, UdError *err);
extern void dockerignore_free(Dockerignore *ignore);

/* The root's scope, and room for another; free() each. */
extern bool *dockerignore_new_scope(const Dockerignore *ignore);

/*
 * Is path left out?  scope is that of its directory; child_scope (may be NULL)
 * is filled with path's own, for what lies below it.
 */
extern bool dockerignore_excludes(const Dockerignore *ignore, const bool *scope, const char *path, bool *child_scope);

/* Could anything below a left-out directory be taken back? */
extern bool dockerignore_has_negation(const Dockerignore *ignore);

#endif							/* GIT_DOCKERIGNORE_H */
