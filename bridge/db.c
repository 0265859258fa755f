/*
 * db.c
 *	  One PostgreSQL connection in the event loop.
 *
 * There is one call in flight at most and no pipelining: what comes while it
 * is in flight leaves together in the next one, and an error concerns exactly
 * one call.
 */
#include "db.h"

#include <stdlib.h>
#include <string.h>

#include "common/buf.h"
#include "common/log.h"

#define CONNECT_TIMEOUT_US (10 * INT64_C(1000000))
/* Longer than the statement timeout: then the server itself has gone. */
#define CALL_TIMEOUT_US (40 * INT64_C(1000000))
#define RETRY_FIRST_US (250 * INT64_C(1000))
#define RETRY_MAX_US (5 * INT64_C(1000000))
#define RETRY_FLOOR_US (20 * INT64_C(1000))
#define STABLE_AFTER_US (10 * INT64_C(1000000))
#define KEYWORDS_MAX 64

static void db_connect(Db *db, const char *hosts, const char *addresses);
static void db_setup_next(void *arg, const PGresult *result);

static const char session_sql[] =
"SET statement_timeout = '30s'; SET lock_timeout = '10s'; "
"SET idle_in_transaction_session_timeout = '30s'; SET client_min_messages = warning";

bool
db_failed(const PGresult *result)
{
	ExecStatusType status = PQresultStatus(result);

	return status != PGRES_COMMAND_OK && status != PGRES_TUPLES_OK;
}

const char *
db_message(const PGresult *result)
{
	const char *text;

	if (result == NULL)
		return "connection lost";
	text = PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY);
	return text != NULL ? text : PQresStatus(PQresultStatus(result));
}

DbBlame
db_blame(const PGresult *result)
{
	/* Classes and codes of the SQL standard and of PostgreSQL. */
	static const char *const moment[] = {"08", "25", "40", "53", "55", "57P", "58"};
	static const char *const server[] = {"0A", "26", "28", "3F", "42"};
	const char *code = PQresultErrorField(result, PG_DIAG_SQLSTATE);

	if (code == NULL)
		return DB_BLAME_MOMENT;
	for (size_t i = 0; i < sizeof(moment) / sizeof(moment[0]); i++)
		if (strncmp(code, moment[i], strlen(moment[i])) == 0)
			return DB_BLAME_MOMENT;
	for (size_t i = 0; i < sizeof(server) / sizeof(server[0]); i++)
		if (strncmp(code, server[i], strlen(server[i])) == 0)
			return DB_BLAME_SERVER;
	return DB_BLAME_CALL;
}

/* End the call in flight; result NULL: the connection is lost. */
static void
db_finish_call(Db *db, PGresult *result)
{
	DbDone		done = db->done;

	db->done = NULL;
	db->result = NULL;
	loop_timer_cancel(db->loop, &db->timer);
	if (done != NULL)
		done(db->done_arg, result);
	PQclear(result);
}

/* Close what there is and try again later; why is logged when it is new. */
static void
db_fail(Db *db, const char *why)
{
	bool		was_ready = db->state == DB_READY;
	int64_t		limit = RETRY_MAX_US;
	PGconn	   *pg = db->pg;

	if (was_ready || strncmp(db->last_failure, why, sizeof(db->last_failure) - 1) != 0)
		ud_warning("database connection %s: %s", db->name, why);
	snprintf(db->last_failure, sizeof(db->last_failure), "%s", why);
	if (was_ready && loop_now() - db->ready_at > STABLE_AFTER_US)
		db->failures = 0;
	if (db->failures < 4)
		limit = RETRY_FIRST_US << db->failures;
	db->failures++;
	db->state = DB_WAITING;
	db->pg = NULL;
	loop_unwatch(db->loop, &db->source);
	PQclear(db->result);
	db_finish_call(db, NULL);
	/* why may point into it */
	PQfinish(pg);
	loop_timer_set(db->loop, &db->timer, RETRY_FLOOR_US + loop_random(limit));
	if (was_ready)
		db->handlers.lost(db->arg);
}

void
db_restart(Db *db, const char *why)
{
	if (db->pg != NULL)
		db_fail(db, why);
}

/* The server's last words, or else the first line of libpq's. */
static void
db_fail_libpq(Db *db)
{
	char		text[256];

	snprintf(text, sizeof(text), "%s", db->last_words[0] ? db->last_words : PQerrorMessage(db->pg));
	text[strcspn(text, "\n")] = '\0';
	db_fail(db, text[0] ? text : "connection lost");
}

/* Push out what is buffered and watch for what has to come next. */
static void
db_flush(Db *db)
{
	int			rest = PQflush(db->pg);

	if (rest < 0)
		db_fail_libpq(db);
	else
		loop_watch(db->loop, &db->source, PQsocket(db->pg), rest > 0 ? EPOLLIN | EPOLLOUT : EPOLLIN);
}

/* The statement was given to libpq (sent = 1) or not. */
static void
db_sent(Db *db, int sent, DbDone done, void *arg)
{
	db->done = done;
	db->done_arg = arg;
	if (!sent)
	{
		db_fail_libpq(db);
		return;
	}
	loop_timer_set(db->loop, &db->timer, CALL_TIMEOUT_US);
	db_flush(db);
}

bool
db_is_idle(const Db *db)
{
	return db->state == DB_READY && db->done == NULL;
}

void
db_call(Db *db, const DbCall *call)
{
	static const int binary[] = {1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1};
	int			sent;

	if (call->statement != NULL)
		sent = PQsendQueryPrepared(db->pg, call->statement, call->parameter_count,
								   call->values, call->lengths, binary, 1);
	else
		sent = PQsendQueryParams(db->pg, call->sql, call->parameter_count, call->types,
								 call->values, call->lengths, binary, 1);
	db_sent(db, sent, call->done, call->arg);
}

void
db_script(Db *db, const char *sql, DbDone done, void *arg)
{
	db_sent(db, PQsendQuery(db->pg, sql), done, arg);
}

/* Keep the first error of a script, else its last result. */
static void
db_take_result(Db *db, PGresult *result)
{
	if (db->result != NULL && db_failed(db->result))
	{
		PQclear(result);
		return;
	}
	PQclear(db->result);
	db->result = result;
}

static void
db_read(Db *db)
{
	PGconn	   *pg = db->pg;
	PGnotify   *notify;

	if (!PQconsumeInput(pg))
	{
		db_fail_libpq(db);
		return;
	}
	while (db->pg == pg && db->done != NULL && !PQisBusy(pg))
	{
		PGresult   *result = PQgetResult(pg);

		if (result != NULL)
			db_take_result(db, result);
		else if (PQstatus(pg) == CONNECTION_BAD)
			db_fail_libpq(db);
		else
			db_finish_call(db, db->result);
	}
	while (db->pg == pg && (notify = PQnotifies(pg)) != NULL)
	{
		if (db->state == DB_READY && db->handlers.notified != NULL)
			db->handlers.notified(db->arg, notify->relname);
		PQfreemem(notify);
	}
	if (db->pg == pg && PQstatus(pg) == CONNECTION_BAD)
		db_fail_libpq(db);
}

/* A step of setup is done: the version first, then the statements. */
static void
db_setup_done(void *arg, const PGresult *result)
{
	Db		   *db = arg;

	if (db_failed(result))
	{
		if (db->state == DB_SETUP)
			db_fail(db, db_message(result));
		return;
	}
	db->state = DB_READY;
	db->ready_at = loop_now();
	db->last_failure[0] = '\0';
	ud_info("database connection %s: ready", db->name);
	db->handlers.ready(db->arg);
}

static void
db_setup_next(void *arg, const PGresult *result)
{
	Db		   *db = arg;
	char		text[128];
	int			version;

	/* NULL: db_fail has already seen to it. */
	if (result == NULL)
		return;
	if (db_failed(result))
	{
		snprintf(text, sizeof(text), "unidesk_bridge.api_version() failed: %s", db_message(result));
		db_fail(db, text);
		return;
	}
	version = PQntuples(result) == 1 ? atoi(PQgetvalue(result, 0, 0)) : 0;
	if (version != BRIDGE_API_VERSION)
	{
		snprintf(text, sizeof(text), "the database's bridge interface has version %d, this bridge knows version %d only",
				 version, BRIDGE_API_VERSION);
		db_fail(db, text);
		return;
	}
	db_script(db, db->setup_sql, db_setup_done, db);
}

static void
db_session_done(void *arg, const PGresult *result)
{
	Db		   *db = arg;

	if (result == NULL)
		return;
	if (db_failed(result))
		db_fail(db, db_message(result));
	else
		db_script(db, "SELECT unidesk_bridge.api_version()", db_setup_next, db);
}

/* Go on with connecting; the socket may be another one each time. */
static void
db_poll_connect(Db *db)
{
	switch (PQconnectPoll(db->pg))
	{
		case PGRES_POLLING_READING:
			loop_watch(db->loop, &db->source, PQsocket(db->pg), EPOLLIN);
			break;
		case PGRES_POLLING_WRITING:
			loop_watch(db->loop, &db->source, PQsocket(db->pg), EPOLLOUT);
			break;
		case PGRES_POLLING_OK:
			if (PQsetnonblocking(db->pg, 1) != 0)
			{
				db_fail_libpq(db);
				break;
			}
			db->state = DB_SETUP;
			db_script(db, session_sql, db_session_done, db);
			break;
		default:
			db_fail_libpq(db);
			break;
	}
}

static void
db_on_socket(void *arg, uint32_t events)
{
	Db		   *db = arg;
	PGconn	   *pg = db->pg;

	if (db->state == DB_CONNECTING)
	{
		db_poll_connect(db);
		return;
	}
	if (events & ~(uint32_t) EPOLLOUT)
		db_read(db);
	if (db->pg == pg && (events & EPOLLOUT))
		db_flush(db);
}

static void
db_notice(void *arg, const PGresult *result)
{
	Db		   *db = arg;
	const char *severity = PQresultErrorField(result, PG_DIAG_SEVERITY_NONLOCALIZED);

	if (severity != NULL && strcmp(severity, "FATAL") == 0)
		snprintf(db->last_words, sizeof(db->last_words), "%s", db_message(result));
	else
		ud_warning("database connection %s says: %s", db->name, db_message(result));
}

static void
db_resolved(void *arg, const char *hosts, const char *addresses, const char *failure)
{
	Db		   *db = arg;
	char		text[200];

	if (failure == NULL)
	{
		db_connect(db, hosts, addresses);
		return;
	}
	snprintf(text, sizeof(text), "could not look up the database's host: %s", failure);
	db_fail(db, text);
}

static const char *
db_keyword(const Db *db, const char *keyword)
{
	for (size_t i = 0; db->config->keywords[i] != NULL; i++)
		if (strcmp(db->config->keywords[i], keyword) == 0)
			return db->config->values[i];
	return NULL;
}

/* Begin an attempt. */
static void
db_begin(Db *db)
{
	const char *host = db_keyword(db, "host");

	if (db_keyword(db, "hostaddr") == NULL && resolve_is_needed(host))
	{
		db->state = DB_RESOLVING;
		resolve_start(&db->resolver, db->loop, host, db_resolved, db);
	}
	else
		db_connect(db, NULL, NULL);
}

/*
 * Start connecting.  Of a keyword given twice libpq takes the last, so the
 * defaults come first, then the configuration, then what must be so.
 */
static void
db_connect(Db *db, const char *hosts, const char *addresses)
{
	const char *keywords[KEYWORDS_MAX + 1] = {
		"tcp_user_timeout", "keepalives_idle", "keepalives_interval", "keepalives_count",
		"target_session_attrs", "fallback_application_name",
	};
	const char *values[KEYWORDS_MAX + 1] = {
		"20000", "10", "5", "3", "read-write", "unidesk-bridge",
	};
	int			count = 6;
	char	   *password;
	UdError		err;

	if (config_password(db->config, &password, &err) != 0)
	{
		db->state = DB_CONNECTING;
		db_fail(db, err.message);
		return;
	}
	for (size_t i = 0; db->config->keywords[i] != NULL && count < KEYWORDS_MAX - 4; i++)
	{
		keywords[count] = db->config->keywords[i];
		values[count++] = db->config->values[i];
	}
	if (addresses != NULL)
	{
		keywords[count] = "host";
		values[count++] = hosts;
		keywords[count] = "hostaddr";
		values[count++] = addresses;
	}
	keywords[count] = "client_encoding";
	values[count++] = "UTF8";
	if (password != NULL)
	{
		keywords[count] = "password";
		values[count++] = password;
	}
	db->state = DB_CONNECTING;
	db->last_words[0] = '\0';
	db->pg = PQconnectStartParams(keywords, values, 0);
	if (password != NULL)
		explicit_bzero(password, strlen(password));
	free(password);
	loop_timer_set(db->loop, &db->timer, CONNECT_TIMEOUT_US);
	if (db->pg == NULL || PQstatus(db->pg) == CONNECTION_BAD)
	{
		db_fail_libpq(db);
		return;
	}
	PQsetNoticeReceiver(db->pg, db_notice, db);
	/* The documentation asks to behave as if the last poll said "writing". */
	loop_watch(db->loop, &db->source, PQsocket(db->pg), EPOLLOUT);
}

static void
db_on_timer(void *arg)
{
	Db		   *db = arg;

	if (db->state == DB_WAITING)
		db_begin(db);
	else if (db->state == DB_CONNECTING)
		db_fail(db, "no connection in time");
	else if (db->done != NULL)
		db_fail(db, "no answer in time");
}

void
db_init(Db *db, const char *name, const BridgeConfig *config, Loop *loop,
		const char *setup_sql, const DbHandlers *handlers, void *arg)
{
	memset(db, 0, sizeof(*db));
	db->name = name;
	db->config = config;
	db->loop = loop;
	db->setup_sql = setup_sql;
	db->handlers = *handlers;
	db->arg = arg;
	db->source.fd = -1;
	db->source.ready = db_on_socket;
	db->source.arg = db;
	db->timer.fire = db_on_timer;
	db->timer.arg = db;
}

void
db_start(Db *db)
{
	db->state = DB_WAITING;
	loop_timer_set(db->loop, &db->timer, 0);
}

void
db_stop(Db *db)
{
	resolve_abandon(&db->resolver);
	loop_timer_cancel(db->loop, &db->timer);
	loop_unwatch(db->loop, &db->source);
	db->state = DB_STOPPED;
	db->done = NULL;
	PQclear(db->result);
	db->result = NULL;
	PQfinish(db->pg);
	db->pg = NULL;
}
