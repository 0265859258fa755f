/*
 * admit.h
 *	  Who may open a WebSocket: the answer before the upgrade completes.
 */
#ifndef ADMIT_H
#define ADMIT_H

#include <stdint.h>

#include <libwebsockets.h>

#include "tokens.h"

struct Bridge;

#define AGENT_PATH "/agent"
#define WEBSOCKET_VERSION "13"
#define HTTP_STATUS_UPGRADE_REQUIRED 426

/* An answer to a request; a status of 0 means "go on with the upgrade". */
typedef struct Admission
{
	int			status;			/* HTTP */
	int			retry_after_s;	/* 0: none */
	const char *reason;			/* for the answer's body and the log */
	int32_t		node;			/* when admitted */
	uint8_t		token_hash[TOKEN_HASH_BYTES];
} Admission;

/* What the request says about itself: protocol, path, origin. */
extern void admit_upgrade(struct lws *wsi, Admission *admission);

/* Its token and whether there is room; after admit_upgrade. */
extern void admit_agent(struct Bridge *bridge, struct lws *wsi, Admission *admission);

/* The text behind "Bearer ", or NULL; in place. */
extern const char *admit_bearer(char *header);

/* True when the comma-separated list has the name. */
extern int	admit_list_has(const char *list, const char *name);

#endif							/* ADMIT_H */
