/*
 * people.h
 *	  Who is calling, and what that person may do.
 */
#ifndef UNIDESK_PEOPLE_H
#define UNIDESK_PEOPLE_H

#include "unidesk.h"

typedef enum UnideskMembership
{
	UNIDESK_VIEWER = 1,			/* reads */
	UNIDESK_MEMBER = 2,			/* submits, cancels, holds ... */
	UNIDESK_MANAGER = 3			/* adds members */
} UnideskMembership;

/*
 * The role on whose behalf this session acts: the session's user in psql, the
 * role set by SET ROLE behind the bridge; an error for the bridge itself.
 */
extern Oid	unidesk_me_oid(void);
extern bool unidesk_me_is_admin(void);

/* Raises "only administrators <what>" for anybody else. */
extern void unidesk_require_admin(const char *what);

/* The caller's account; made on the fly for an administrator.  Needs SPI. */
extern int32 unidesk_caller_account(void);

/*
 * The id of a project in which the caller has at least this membership;
 * raises "does not exist" for one the caller cannot see.  Needs SPI.
 */
extern int32 unidesk_project_for(const char *name, UnideskMembership least);

/* The same for the project of a task; raises when there is no such task. */
extern void unidesk_check_task_access(int64 task_id, UnideskMembership least);

#endif							/* UNIDESK_PEOPLE_H */
