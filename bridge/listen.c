/*
 * listen.c
 *	  The LISTEN connection.
 *
 * LISTEN always comes before the look at what it announces, so nothing falls
 * between the two: the token map is loaded after "LISTEN unidesk_tokens", and
 * orders are pulled after "LISTEN unidesk_bridge_<id>".
 */
#include "listen.h"

#include <stdio.h>
#include <string.h>

#include "bridge.h"
#include "common/log.h"

#define SECOND INT64_C(1000000)
#define TOKENS_EVERY_US (60 * SECOND)
#define TOKENS_AGAIN_US (1 * SECOND)
#define TICK_US (SECOND / 4)

static void listen_kick(Listen *listen);

static void
load_tokens(Listen *listen, const PGresult *result)
{
	Bridge	   *bridge = listen->bridge;
	TokenMap	loaded = {0};
	bool		first = bridge->tokens.generation == 0;
	int			count = PQntuples(result);

	for (int i = 0; i < count; i++)
	{
		if (PQgetlength(result, i, 0) != TOKEN_HASH_BYTES || PQgetlength(result, i, 1) != 4)
			continue;
		tokens_add(&loaded, (const uint8_t *) PQgetvalue(result, i, 0),
				   (int32_t) pg_get_int(PQgetvalue(result, i, 1), 4));
	}
	if (first || loaded.count != bridge->tokens.count)
		ud_info("token map: %zu tokens", loaded.count);
	tokens_replace(&bridge->tokens, &loaded);
	conn_close_revoked(&bridge->conns, &bridge->tokens);
}

static void
tokens_done(void *arg, const PGresult *result)
{
	Listen	   *listen = arg;

	if (result == NULL)
		return;
	if (db_failed(result) || PQnfields(result) != 2)
	{
		char		text[128];

		snprintf(text, sizeof(text), "tokens() failed: %s", db_message(result));
		db_restart(&listen->db, text);
		return;
	}
	load_tokens(listen, result);
	listen_kick(listen);
}

static void
listening_done(void *arg, const PGresult *result)
{
	Listen	   *listen = arg;

	if (result == NULL)
		return;
	if (db_failed(result))
	{
		db_restart(&listen->db, db_message(result));
		return;
	}
	listen->listened_id = listen->listening_id;
	control_pull(&listen->bridge->control);
	listen_kick(listen);
}

static void
listen_kick(Listen *listen)
{
	int32_t		id = listen->bridge->control.id;
	DbCall		call = {0};
	char		sql[128];

	if (!db_is_idle(&listen->db))
		return;
	if (id != listen->listened_id)
	{
		listen->listening_id = id;
		snprintf(sql, sizeof(sql), "UNLISTEN unidesk_bridge_%d; LISTEN unidesk_bridge_%d",
				 listen->listened_id, id);
		db_script(&listen->db, sql, listening_done, listen);
	}
	else if (listen->tokens_due)
	{
		listen->tokens_due = false;
		listen->tokens_wished = false;
		listen->tokens_at = loop_now();
		call.sql = "SELECT token_hash, node_id FROM unidesk_bridge.tokens()";
		call.done = tokens_done;
		call.arg = listen;
		db_call(&listen->db, &call);
	}
}

static void
listen_tick(void *arg)
{
	Listen	   *listen = arg;
	int64_t		since = loop_now() - listen->tokens_at;

	if (since > TOKENS_EVERY_US || (listen->tokens_wished && since > TOKENS_AGAIN_US))
		listen->tokens_due = true;
	listen_kick(listen);
	loop_timer_set(&listen->bridge->loop, &listen->timer, TICK_US);
}

void
listen_to_bridge(Listen *listen)
{
	listen_kick(listen);
}

void
listen_refresh_tokens(Listen *listen)
{
	listen->tokens_wished = true;
	if (loop_now() - listen->tokens_at > TOKENS_AGAIN_US)
	{
		listen->tokens_due = true;
		listen_kick(listen);
	}
}

static void
listen_ready(void *arg)
{
	Listen	   *listen = arg;

	listen->listened_id = 0;
	listen->tokens_due = true;
	listen_kick(listen);
}

static void
listen_lost(void *arg)
{
	Listen	   *listen = arg;

	listen->listened_id = 0;
}

static void
listen_notified(void *arg, const char *channel)
{
	Listen	   *listen = arg;

	/* Any role can notify: not each call may cost the reading of all tokens. */
	if (strcmp(channel, "unidesk_tokens") == 0)
		listen_refresh_tokens(listen);
	else
		control_pull(&listen->bridge->control);
}

void
listen_init(Listen *listen, Bridge *bridge)
{
	static const DbHandlers handlers = {
		.ready = listen_ready,
		.lost = listen_lost,
		.notified = listen_notified,
	};

	memset(listen, 0, sizeof(*listen));
	listen->bridge = bridge;
	listen->timer.fire = listen_tick;
	listen->timer.arg = listen;
	db_init(&listen->db, "listen", bridge->config, &bridge->loop, "LISTEN unidesk_tokens", &handlers, listen);
}

void
listen_start(Listen *listen)
{
	db_start(&listen->db);
	loop_timer_set(&listen->bridge->loop, &listen->timer, TICK_US);
}

void
listen_release(Listen *listen)
{
	db_stop(&listen->db);
	loop_timer_cancel(&listen->bridge->loop, &listen->timer);
}
