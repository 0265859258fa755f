/*
 * link.h
 *	  The WebSocket to the server: connect, keep alive, connect again.
 */
#ifndef AGENT_LINK_H
#define AGENT_LINK_H

#include "agent/agent.h"

/*
 * Run the loop until agent->exiting is set and the connection was closed; 0,
 * or negative when the loop could not be set up.
 */
extern int	link_run(Agent *agent, UdError *err) UD_MUSTCHECK;

/* Make the loop look; any thread, also before and after link_run. */
extern void link_wake(void);

/* Why a connection is no more. */
typedef struct LinkEnd
{
	int			close_code;		/* of the peer's close frame, 0: none */
	int			http_status;	/* of a refused upgrade, 0: none */
	int64_t		retry_after_ms; /* what the server asked for, 0: nothing */
} LinkEnd;

/* What a person can do about a close code, NULL: nothing. */
extern const char *link_advice(int close_code);

/*
 * Milliseconds to wait before connecting again; tries is the number of
 * connections in a row that did not last 60 s, random is uniform in [0, 1).
 */
extern int64_t link_delay_ms(const LinkEnd *end, int tries, double random);

#endif							/* AGENT_LINK_H */
