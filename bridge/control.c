/*
 * control.c
 *	  The control connection.
 *
 * register() gets a number drawn at start instead of the process id, which in
 * a container is the same after each restart: the same number means the same
 * process, whose connections, and so whose sessions, have survived the loss of
 * the database.  Another id in the answer means that the sessions are gone.
 */
#include "control.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "bridge.h"
#include "common/log.h"

#define SECOND INT64_C(1000000)
#define BEAT_EVERY_US (10 * SECOND)
#define BEAT_FRESH_US (25 * SECOND)
#define PULL_EVERY_US (5 * SECOND)
#define ERROR_DELAY_US (1 * SECOND)

/* The text of a call's error or loss; loss is logged by the connection. */
static bool
control_failed(Control *control, const PGresult *result, const char *what)
{
	if (result == NULL)
		return true;
	if (!db_failed(result))
		return false;
	ud_warning("%s failed: %s", what, db_message(result));
	if (db_blame(result) == DB_BLAME_SERVER)
		db_restart(&control->db, "the database's interface has changed");
	else
	{
		control->not_before = loop_now() + ERROR_DELAY_US;
		loop_timer_set(&control->bridge->loop, &control->retry_timer, ERROR_DELAY_US);
	}
	return true;
}

/* A call with the bridge's id and up to three more parameters. */
static void
control_call(Control *control, const char *sql, const char *statement, const uint32_t *types,
			 const char *const *values, const int *lengths, int count, DbDone done)
{
	DbCall		call = {0};

	call.sql = sql;
	call.statement = statement;
	call.parameter_count = count;
	call.types = types;
	call.values = values;
	call.lengths = lengths;
	call.done = done;
	call.arg = control;
	db_call(&control->db, &call);
}

/* Every session of this process has ended: so do its connections. */
static void
sessions_are_gone(Control *control)
{
	ud_warning("the database has a new instance row for this bridge: closing all connections");
	control->opened_count = 0;
	control->closed_count = 0;
	conn_close_all(&control->bridge->conns, CLOSE_GOING_AWAY, "the bridge was registered anew");
}

static void
register_done(void *arg, const PGresult *result)
{
	Control    *control = arg;
	int32_t		id;

	if (control_failed(control, result, "register()"))
		return;
	id = PQntuples(result) == 1 && PQgetlength(result, 0, 0) == 4
		? (int32_t) pg_get_int(PQgetvalue(result, 0, 0), 4) : 0;
	if (id == 0)
	{
		db_restart(&control->db, "register() gave no id");
		return;
	}
	if (control->id != 0 && control->id != id)
		sessions_are_gone(control);
	ud_info("registered as bridge %d, name %s", id, control->bridge->config->name);
	control->id = id;
	control->registered = true;
	control->cursor = 0;
	control->beat_due = true;
	control->pull_due = true;
	listen_to_bridge(&control->bridge->listen);
	control_kick(control);
	relay_kick(&control->bridge->relay);
}

static void
call_register(Control *control)
{
	static const uint32_t types[] = {25 /* text */ , PG_INT4};
	const char *name = control->bridge->config->name;
	uint8_t		instance[4];
	const char *values[] = {name, (const char *) instance};
	int			lengths[] = {(int) strlen(name), 4};

	pg_put_int(instance, (uint32_t) control->instance, 4);
	control_call(control, "SELECT unidesk_bridge.register($1, $2)", NULL, types, values, lengths, 2, register_done);
}

static void
beat_done(void *arg, const PGresult *result)
{
	Control    *control = arg;

	if (control_failed(control, result, "beat()"))
	{
		/* Perhaps the instance row has gone. */
		control->registered = false;
		return;
	}
	control->beat_at = loop_now();
	control_kick(control);
}

static void
call_beat(Control *control)
{
	static const uint32_t types[] = {PG_INT4, PG_INT4};
	uint8_t		id[4];
	uint8_t		age[4];
	const char *values[] = {(const char *) id, (const char *) age};
	int			lengths[] = {4, 4};

	control->beat_due = false;
	pg_put_int(id, (uint32_t) control->id, 4);
	pg_put_int(age, (uint32_t) relay_age_ms(&control->bridge->relay, loop_now()), 4);
	control_call(control, "SELECT unidesk_bridge.beat($1, $2)", NULL, types, values, lengths, 2, beat_done);
}

static void
close_done(void *arg, const PGresult *result)
{
	Control    *control = arg;

	if (control_failed(control, result, "close_session()"))
		return;
	control->closed_count -= control->closed_sent;
	if (control->closed_count > 0)
		memmove(control->closed, control->closed + control->closed_sent, control->closed_count * sizeof(uint64_t));
	control_kick(control);
}

static void
call_close(Control *control)
{
	static const uint32_t types[] = {PG_INT4, 1016 /* int8[] */ };
	PgArray    *sessions = &control->arrays[0];
	uint8_t		id[4];
	const char *values[2];
	int			lengths[2] = {4};

	pgarray_reset(sessions, PG_INT8);
	for (size_t i = 0; i < control->closed_count; i++)
		pgarray_add_int8(sessions, (int64_t) control->closed[i]);
	pgarray_finish(sessions);
	control->closed_sent = control->closed_count;
	pg_put_int(id, (uint32_t) control->id, 4);
	values[0] = (const char *) id;
	values[1] = (const char *) sessions->buf.data;
	lengths[1] = (int) sessions->buf.len;
	control_call(control, "SELECT unidesk_bridge.close_session($1, $2)", NULL, types, values, lengths, 2, close_done);
}

static void
pull_done(void *arg, const PGresult *result)
{
	Control    *control = arg;

	if (control_failed(control, result, "pull()"))
	{
		control->pull_due = true;
		return;
	}
	control->opened_count -= control->opened_sent;
	if (control->opened_count > 0)
		memmove(control->opened, control->opened + control->opened_sent,
				control->opened_count * sizeof(OpenedSession));
	if (!relay_apply(&control->bridge->relay, result, NULL, &control->cursor))
		db_restart(&control->db, "pull() answered with unexpected columns");
	control_kick(control);
}

static void
call_pull(Control *control)
{
	PgArray    *sessions = &control->arrays[0];
	PgArray    *revisions = &control->arrays[1];
	uint8_t		id[4];
	uint8_t		cursor[8];
	const char *values[4] = {(const char *) id, (const char *) cursor};
	int			lengths[4] = {4, 8};

	control->pull_due = false;
	control->opened_sent = control->opened_count;
	pgarray_reset(sessions, PG_INT8);
	pgarray_reset(revisions, PG_INT8);
	for (size_t i = 0; i < control->opened_count; i++)
	{
		pgarray_add_int8(sessions, (int64_t) control->opened[i].session);
		pgarray_add_int8(revisions, control->opened[i].revision);
	}
	pgarray_finish(sessions);
	pgarray_finish(revisions);
	pg_put_int(id, (uint32_t) control->id, 4);
	pg_put_int(cursor, (uint64_t) control->cursor, 8);
	values[2] = (const char *) sessions->buf.data;
	lengths[2] = (int) sessions->buf.len;
	values[3] = (const char *) revisions->buf.data;
	lengths[3] = (int) revisions->buf.len;
	control_call(control, NULL, "pull", NULL, values, lengths, 4, pull_done);
}

static void
deregister_done(void *arg, const PGresult *result)
{
	Control    *control = arg;

	if (result != NULL && db_failed(result))
		ud_warning("deregister() failed: %s", db_message(result));
	control->deregistered = true;
	drain_step(&control->bridge->drain);
}

static void
call_deregister(Control *control)
{
	static const uint32_t types[] = {PG_INT4};
	uint8_t		id[4];
	const char *values[] = {(const char *) id};
	int			lengths[] = {4};

	control->deregister_due = false;
	pg_put_int(id, (uint32_t) control->id, 4);
	control_call(control, "SELECT unidesk_bridge.deregister($1)", NULL, types, values, lengths, 1, deregister_done);
}

/*
 * What comes first: the instance row, its beat, ended sessions; then orders
 * and messages in turns, so that neither starves the other.
 */
void
control_kick(Control *control)
{
	Relay	   *relay = &control->bridge->relay;

	if (!db_is_idle(&control->db) || control->deregistered || loop_now() < control->not_before)
		return;
	if (!control->registered)
		call_register(control);
	else if (control->beat_due)
		call_beat(control);
	else if (control->closed_count > 0)
		call_close(control);
	else if (control->pull_due && !control->pulled_last)
	{
		control->pulled_last = true;
		call_pull(control);
	}
	else if (relay_send(relay, CHANNEL_CONTROL))
		control->pulled_last = false;
	else if (control->pull_due)
		call_pull(control);
	else if (control->deregister_due)
		call_deregister(control);
}

void
control_pull(Control *control)
{
	control->pull_due = true;
	control_kick(control);
}

void
control_session_opened(Control *control, uint64_t session, int64_t revision)
{
	if (control->opened_count == control->opened_size)
	{
		control->opened_size = control->opened_size ? control->opened_size * 2 : 64;
		control->opened = ud_realloc(control->opened, control->opened_size * sizeof(OpenedSession));
	}
	control->opened[control->opened_count].session = session;
	control->opened[control->opened_count].revision = revision;
	control->opened_count++;
	control->pull_due = true;
}

void
control_close_session(Control *control, uint64_t session)
{
	if (session == 0)
		return;
	if (control->closed_count == control->closed_size)
	{
		control->closed_size = control->closed_size ? control->closed_size * 2 : 64;
		control->closed = ud_realloc(control->closed, control->closed_size * sizeof(uint64_t));
	}
	control->closed[control->closed_count++] = session;
	control_kick(control);
}

void
control_deregister(Control *control)
{
	control->deregister_due = true;
	control_kick(control);
}

bool
control_is_well(const Control *control, int64_t now)
{
	return control->registered && control->db.state == DB_READY &&
		control->beat_at != 0 && now - control->beat_at < BEAT_FRESH_US;
}

static void
control_ready(void *arg)
{
	Control    *control = arg;

	control->registered = false;
	control->not_before = 0;
	control_kick(control);
}

static void
control_lost(void *arg)
{
	Control    *control = arg;

	control->registered = false;
	drain_step(&control->bridge->drain);
}

static void
beat_timer_fired(void *arg)
{
	Control    *control = arg;

	control->beat_due = true;
	control_kick(control);
	loop_timer_set(&control->bridge->loop, &control->beat_timer, BEAT_EVERY_US);
}

static void
pull_timer_fired(void *arg)
{
	Control    *control = arg;

	control_pull(control);
	loop_timer_set(&control->bridge->loop, &control->pull_timer, PULL_EVERY_US);
}

static void
retry_timer_fired(void *arg)
{
	control_kick(arg);
}

void
control_init(Control *control, Bridge *bridge)
{
	static const DbHandlers handlers = {
		.ready = control_ready,
		.lost = control_lost,
	};

	memset(control, 0, sizeof(*control));
	control->bridge = bridge;
	control->instance = 1 + (int32_t) loop_random(INT32_MAX - 1);
	control->beat_timer.fire = beat_timer_fired;
	control->beat_timer.arg = control;
	control->pull_timer.fire = pull_timer_fired;
	control->pull_timer.arg = control;
	control->retry_timer.fire = retry_timer_fired;
	control->retry_timer.arg = control;
	db_init(&control->db, "control", bridge->config, &bridge->loop, relay_setup_sql, &handlers, control);
}

void
control_start(Control *control)
{
	Loop	   *loop = &control->bridge->loop;

	db_start(&control->db);
	loop_timer_set(loop, &control->beat_timer, BEAT_EVERY_US);
	loop_timer_set(loop, &control->pull_timer, PULL_EVERY_US);
}

void
control_release(Control *control)
{
	Loop	   *loop = &control->bridge->loop;

	db_stop(&control->db);
	loop_timer_cancel(loop, &control->beat_timer);
	loop_timer_cancel(loop, &control->pull_timer);
	loop_timer_cancel(loop, &control->retry_timer);
	free(control->opened);
	free(control->closed);
	pgarray_release(&control->arrays[0]);
	pgarray_release(&control->arrays[1]);
}
