/*
 * docker_pull.c
 *	  Why an image to build upon could not be pulled.
 *
 * The engine has no codes for that, only what the registry or the network
 * said, wrapped in words of its own that differ between versions.  What is not
 * known here, above all an image or tag that does not exist, is the
 * Dockerfile's fault.
 */
#include "agent/docker_internal.h"

#include <string.h>

#include "common/reasons.h"

/* First match wins: a refusal may come with any of the network's words. */
static const struct
{
	const char *text;
	int			reason;
}			known[] =

{
	{"toomanyrequests: ", UD_REASON_PREP_REPO_THROTTLED},
	{"429 Too Many Requests", UD_REASON_PREP_REPO_THROTTLED},
	{"pull access denied", UD_REASON_PREP_CREDENTIAL},
	{"unauthorized: ", UD_REASON_PREP_CREDENTIAL},
	{"401 Unauthorized", UD_REASON_PREP_CREDENTIAL},
	{"403 Forbidden", UD_REASON_PREP_CREDENTIAL},
	{"no basic auth credentials", UD_REASON_PREP_CREDENTIAL},
	{": denied: ", UD_REASON_PREP_CREDENTIAL},
	{"no such host", UD_REASON_PREP_PULL_FAILED},
	{"server misbehaving", UD_REASON_PREP_PULL_FAILED},
	{"temporary failure in name resolution", UD_REASON_PREP_PULL_FAILED},
	{"i/o timeout", UD_REASON_PREP_PULL_FAILED},
	{"TLS handshake timeout", UD_REASON_PREP_PULL_FAILED},
	{"tls: ", UD_REASON_PREP_PULL_FAILED},
	{"x509: ", UD_REASON_PREP_PULL_FAILED},
	{"server gave HTTP response to HTTPS client", UD_REASON_PREP_PULL_FAILED},
	{"connection refused", UD_REASON_PREP_PULL_FAILED},
	{"connection reset", UD_REASON_PREP_PULL_FAILED},
	{"connection timed out", UD_REASON_PREP_PULL_FAILED},
	{"network is unreachable", UD_REASON_PREP_PULL_FAILED},
	{"no route to host", UD_REASON_PREP_PULL_FAILED},
	{"broken pipe", UD_REASON_PREP_PULL_FAILED},
	{"Client.Timeout", UD_REASON_PREP_PULL_FAILED},
	{"context deadline exceeded", UD_REASON_PREP_PULL_FAILED},
	{"request canceled", UD_REASON_PREP_PULL_FAILED},
	{"unexpected EOF", UD_REASON_PREP_PULL_FAILED},
	{": EOF", UD_REASON_PREP_PULL_FAILED},
	{"proxyconnect ", UD_REASON_PREP_PULL_FAILED},
	{"download failed after attempts", UD_REASON_PREP_PULL_FAILED},
	{"unexpected HTTP status: 5", UD_REASON_PREP_PULL_FAILED},
	{"500 Internal Server Error", UD_REASON_PREP_PULL_FAILED},
	{"502 Bad Gateway", UD_REASON_PREP_PULL_FAILED},
	{"503 Service Unavailable", UD_REASON_PREP_PULL_FAILED},
	{"504 Gateway Time", UD_REASON_PREP_PULL_FAILED},
};

int
docker_pull_reason(const char *error)
{
	for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
		if (strcasestr(error, known[i].text) != NULL)
			return known[i].reason;
	return UD_REASON_NONE;
}
