/*
 * db.h
 *	  One PostgreSQL connection in the event loop: non-blocking from the name's
 *	  look-up on, one call at a time, connected again by itself.
 *
 *	  waiting -> resolving -> connecting -> setup -> ready
 *		 ^___________|____________|__________|________|
 *
 * Setup checks the version of the database's interface and prepares the
 * statements; until "ready" nobody can call.
 */
#ifndef DB_H
#define DB_H

#include <stdbool.h>
#include <stdint.h>

#include <libpq-fe.h>

#include "config.h"
#include "loop.h"
#include "resolve.h"

#define BRIDGE_API_VERSION 1

typedef enum DbState
{
	DB_STOPPED,
	DB_WAITING,					/* for the next attempt */
	DB_RESOLVING,
	DB_CONNECTING,
	DB_SETUP,
	DB_READY
} DbState;

/* What an error says about who is to blame. */
typedef enum DbBlame
{
	DB_BLAME_MOMENT,			/* server busy, deadlock, shutdown: try again */
	DB_BLAME_SERVER,			/* functions missing or changed: connect again */
	DB_BLAME_CALL				/* anything else */
} DbBlame;

/*
 * The end of a call, exactly once per call.  result is borrowed: the last one
 * of the statement, or its error; NULL when the connection was lost.
 */
typedef void (*DbDone) (void *arg, const PGresult *result);

typedef struct DbHandlers
{
	void		(*ready) (void *arg);
	void		(*lost) (void *arg);	/* from ready only; after DbDone */
	void		(*notified) (void *arg, const char *channel);
} DbHandlers;

/* A call of a prepared statement or of sql, parameters and results binary. */
typedef struct DbCall
{
	const char *statement;		/* prepared at setup; or NULL: sql */
	const char *sql;
	int			parameter_count;
	const uint32_t *types;		/* for sql with parameters */
	const char *const *values;
	const int  *lengths;
	DbDone		done;
	void	   *arg;
} DbCall;

typedef struct Db
{
	const char *name;			/* for logs */
	const BridgeConfig *config; /* borrowed */
	Loop	   *loop;			/* borrowed */
	const char *setup_sql;		/* borrowed */
	DbHandlers	handlers;
	void	   *arg;
	DbState		state;
	PGconn	   *pg;				/* owned; NULL while waiting and resolving */
	Resolver	resolver;
	LoopSource	source;
	LoopTimer	timer;			/* next attempt, or end of patience */
	int			failures;		/* since it was last up for a while */
	int64_t		ready_at;
	char		last_failure[256];	/* logged once, not at every attempt */
	char		last_words[128];	/* the server's, before it closes */
	/* the call in flight */
	DbDone		done;			/* NULL: none */
	void	   *done_arg;
	PGresult   *result;			/* owned; the last, or the first error */
} Db;

/* setup_sql: several statements, run after the version is checked. */
extern void db_init(Db *db, const char *name, const BridgeConfig *config, Loop *loop,
					const char *setup_sql, const DbHandlers *handlers, void *arg);
extern void db_start(Db *db);

/* Close it, for good. */
extern void db_stop(Db *db);

/* True when a call may be made now. */
extern bool db_is_idle(const Db *db);

/* Only when idle.  done may come before this returns, if sending fails. */
extern void db_call(Db *db, const DbCall *call);

/* Statements in text, without parameters and with text results. */
extern void db_script(Db *db, const char *sql, DbDone done, void *arg);

/* Drop the connection and connect again. */
extern void db_restart(Db *db, const char *why);

/* NULL and empty results are failures too. */
extern bool db_failed(const PGresult *result);

/* One line for the log. */
extern const char *db_message(const PGresult *result);
extern DbBlame db_blame(const PGresult *result);

#endif							/* DB_H */
