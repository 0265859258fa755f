/*
 * admit.c
 *	  Who may open a WebSocket: the answer before the upgrade completes.
 */
#include "admit.h"

#include <string.h>
#include <strings.h>

#include "bridge.h"
#include "common/protocol.h"

#define RETRY_NOT_READY_S 5
#define RETRY_UNKNOWN_TOKEN_S 2
#define RETRY_FULL_S 30

#define UPGRADE_KEY_BYTES 24	/* 16 in base64 */

static void
deny(Admission *admission, int status, int retry_after_s, const char *reason)
{
	admission->status = status;
	admission->retry_after_s = retry_after_s;
	admission->reason = reason;
}

const char *
admit_bearer(char *header)
{
	size_t		len;
	char	   *token;

	if (strncasecmp(header, "Bearer ", strlen("Bearer ")) != 0)
		return NULL;
	token = header + strlen("Bearer ");
	token += strspn(token, " ");
	len = strlen(token);
	while (len > 0 && token[len - 1] == ' ')
		token[--len] = '\0';
	return len > 0 ? token : NULL;
}

int
admit_list_has(const char *list, const char *name)
{
	size_t		len = strlen(name);

	for (;;)
	{
		size_t		item;

		list += strspn(list, ", \t");
		item = strcspn(list, ", \t");
		if (item == 0)
			return 0;
		if (item == len && memcmp(list, name, len) == 0)
			return 1;
		list += item;
	}
}

void
admit_upgrade(struct lws *wsi, Admission *admission)
{
	char		text[256] = "";

	memset(admission, 0, sizeof(*admission));
	if (lws_hdr_copy(wsi, text, sizeof(text), WSI_TOKEN_UPGRADE) < 0 ||
		strcasecmp(text, "websocket") != 0)
	{
		deny(admission, HTTP_STATUS_BAD_REQUEST, 0, "only an upgrade to websocket is possible");
		return;
	}
	/* libwebsockets itself looks at neither of these three. */
	if (lws_hdr_copy(wsi, text, sizeof(text), WSI_TOKEN_HTTP) <= 0 || strcmp(text, "HTTP/1.1") != 0)
	{
		deny(admission, HTTP_STATUS_BAD_REQUEST, 0, "only HTTP/1.1 can be upgraded");
		return;
	}
	if (lws_hdr_copy(wsi, text, sizeof(text), WSI_TOKEN_VERSION) <= 0 || strcmp(text, WEBSOCKET_VERSION) != 0)
	{
		deny(admission, HTTP_STATUS_UPGRADE_REQUIRED, 0, "WebSocket version " WEBSOCKET_VERSION " is needed");
		return;
	}
	if (lws_hdr_total_length(wsi, WSI_TOKEN_KEY) != UPGRADE_KEY_BYTES)
	{
		deny(admission, HTTP_STATUS_BAD_REQUEST, 0, "Sec-WebSocket-Key is missing or not a key");
		return;
	}
	if (lws_hdr_copy(wsi, text, sizeof(text), WSI_TOKEN_GET_URI) <= 0 || strcmp(text, AGENT_PATH) != 0)
	{
		deny(admission, HTTP_STATUS_NOT_FOUND, 0, "no such path");
		return;
	}
	/* Tokens in URLs end in other people's logs: not even tolerated. */
	if (lws_hdr_total_length(wsi, WSI_TOKEN_HTTP_URI_ARGS) > 0)
	{
		deny(admission, HTTP_STATUS_BAD_REQUEST, 0, "no query is allowed here");
		return;
	}
	if (lws_hdr_total_length(wsi, WSI_TOKEN_ORIGIN) > 0)
	{
		deny(admission, HTTP_STATUS_FORBIDDEN, 0, "not for browsers");
		return;
	}
	if (lws_hdr_copy(wsi, text, sizeof(text), WSI_TOKEN_PROTOCOL) <= 0 ||
		!admit_list_has(text, UD_PROTOCOL_NAME))
		deny(admission, HTTP_STATUS_BAD_REQUEST, 0, "subprotocol " UD_PROTOCOL_NAME " is needed");
}

/* The token's verdict; its text does not outlive this function. */
static void
admit_token(Bridge *bridge, struct lws *wsi, Admission *admission)
{
	char		header[TOKEN_TEXT_BYTES_MAX] = "";
	const char *token = NULL;

	if (lws_hdr_copy(wsi, header, sizeof(header), WSI_TOKEN_HTTP_AUTHORIZATION) > 0)
		token = admit_bearer(header);
	if (token == NULL)
	{
		deny(admission, HTTP_STATUS_UNAUTHORIZED, 0, "a bearer token is needed");
		explicit_bzero(header, sizeof(header));
		return;
	}
	tokens_hash(token, strlen(token), admission->token_hash);
	explicit_bzero(header, sizeof(header));
	switch (tokens_check(&bridge->tokens, admission->token_hash, &admission->node))
	{
		case TOKEN_KNOWN:
			break;
		case TOKEN_NO_MAP:
			deny(admission, HTTP_STATUS_SERVICE_UNAVAILABLE, RETRY_NOT_READY_S, "not ready");
			break;
		case TOKEN_UNKNOWN:
			listen_refresh_tokens(&bridge->listen);
			deny(admission, HTTP_STATUS_SERVICE_UNAVAILABLE, RETRY_UNKNOWN_TOKEN_S,
				 "token not known yet");
			break;
		case TOKEN_REFUSED:
			deny(admission, HTTP_STATUS_UNAUTHORIZED, 0, "unknown token");
			break;
	}
}

void
admit_agent(Bridge *bridge, struct lws *wsi, Admission *admission)
{
	if (bridge->drain.phase != DRAIN_NONE)
		deny(admission, HTTP_STATUS_SERVICE_UNAVAILABLE, RETRY_NOT_READY_S, "shutting down");
	else if (!bridge->control.registered || bridge->tokens.generation == 0)
		deny(admission, HTTP_STATUS_SERVICE_UNAVAILABLE, RETRY_NOT_READY_S, "not ready");
	else if (bridge->conns.count >= (size_t) bridge->config->connections_max)
		deny(admission, HTTP_STATUS_SERVICE_UNAVAILABLE, RETRY_FULL_S, "too many connections");
	else
	{
		admit_token(bridge, wsi, admission);
		if (admission->status == 0 && !conn_may_arrive(&bridge->conns, admission->node, loop_now()))
			deny(admission, HTTP_STATUS_SERVICE_UNAVAILABLE, RETRY_FULL_S,
				 "this node connects too often or too many times");
	}
}
