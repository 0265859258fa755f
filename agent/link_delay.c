/*
 * link_delay.c
 *	  After a connection has ended: how long to wait before the next (full
 *	  jitter, and the times the protocol's close codes ask for), and what a
 *	  person can do about it.
 */
#include "agent/link.h"

#include "common/protocol.h"

#define MS INT64_C(1000)
#define HOUR_MS (3600 * MS)
#define BACKOFF_MAX_MS (60 * MS)
#define RETRY_AFTER_MAX_MS (600 * MS)

const char *
link_advice(int close_code)
{
	switch (close_code)
	{
		case UD_CLOSE_DUPLICATE:
			return "this node's session lives on another machine: two agents use the same token";
		case UD_CLOSE_TOKEN_REVOKED:
			return "this node's token was revoked: make a new one and put it into UNIDESK_TOKEN_FILE";
		case UD_CLOSE_VERSION:
			return "the server does not speak this agent's version of the protocol: replace the agent (this is " AGENT_VERSION ") by one of the server's release";
	}
	return NULL;
}

int64_t
link_delay_ms(const LinkEnd *end, int tries, double random)
{
	int64_t		window = tries < 6 ? MS << (tries < 0 ? 0 : tries) : BACKOFF_MAX_MS;
	int64_t		jitter = (int64_t) ((double) window * random);
	int64_t		half_minute = (int64_t) (30.0 * MS * random);
	int64_t		asked = end->retry_after_ms < 0 ? 0 : end->retry_after_ms;

	if (asked > RETRY_AFTER_MAX_MS)
		asked = RETRY_AFTER_MAX_MS;
	if (end->http_status == 401 || end->http_status == 403)
		return 120 * MS + (int64_t) (180.0 * MS * random);
	switch (end->close_code)
	{
		case UD_CLOSE_SUPERSEDED:
		case UD_CLOSE_DUPLICATE:
			return 60 * MS + half_minute;
		case UD_CLOSE_TOKEN_REVOKED:
		case UD_CLOSE_VERSION:
			return HOUR_MS + (int64_t) (300.0 * MS * random);
		case UD_CLOSE_OVERLOADED:
			return 30 * MS + half_minute;
	}
	/* What the server asked for, spread so that not all come back at once. */
	return asked + jitter;
}
