/*
 * confine.h
 *	  What a unidesk-git that needs no network may read.
 */
#ifndef GIT_CONFINE_H
#define GIT_CONFINE_H

/*
 * From here on nothing can be opened for reading, listed or executed but what
 * lies below mirror, its lock, and below into (may be NULL).  A kernel that
 * cannot do that leaves things as they are.  no_new_privs must be set.
 */
extern void confine_reading(const char *mirror, const char *into);

#endif							/* GIT_CONFINE_H */
