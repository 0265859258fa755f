/*
 * resolve.c
 *	  The database host's addresses, looked up without blocking the loop.
 *
 * getaddrinfo_a() works in a thread of its own; its end is polled for, because
 * its notifications come by signal or on yet another thread.
 */
#include "resolve.h"

#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>

#include "common/buf.h"
#include "common/cleanup.h"

#define RESOLVE_POLL_US 10000
#define ADDRESSES_MAX 8

bool
resolve_is_needed(const char *host)
{
	struct in6_addr address;

	return host != NULL && host[0] != '\0' && strpbrk(host, "/,@") == NULL &&
		inet_pton(AF_INET, host, &address) != 1 && inet_pton(AF_INET6, host, &address) != 1;
}

static void
resolve_finish(Resolver *resolver, int code)
{
	char	   *host = resolver->host;
	ResolveDone done = resolver->done;
	struct addrinfo *found = resolver->request.ar_result;
	int			count = 0;
	ud_auto_buf UdBuf hosts = {0};
	ud_auto_buf UdBuf addresses = {0};

	resolver->running = false;
	resolver->host = NULL;
	resolver->done = NULL;
	for (struct addrinfo *one = found; code == 0 && one != NULL && count < ADDRESSES_MAX; one = one->ai_next)
	{
		char		text[NI_MAXHOST];

		if (getnameinfo(one->ai_addr, one->ai_addrlen, text, sizeof(text), NULL, 0, NI_NUMERICHOST) != 0)
			continue;
		ud_buf_printf(&hosts, "%s%s", count ? "," : "", host);
		ud_buf_printf(&addresses, "%s%s", count ? "," : "", text);
		count++;
	}
	if (code == 0 && found != NULL)
		freeaddrinfo(found);
	if (done != NULL && count > 0)
		done(resolver->arg, ud_buf_text(&hosts), ud_buf_text(&addresses), NULL);
	else if (done != NULL)
		done(resolver->arg, NULL, NULL, code != 0 ? gai_strerror(code) : "no usable address");
	free(host);
}

static void
resolve_poll(void *arg)
{
	Resolver   *resolver = arg;
	int			code = resolver->failed != 0 ? resolver->failed : gai_error(&resolver->request);

	if (code == EAI_INPROGRESS)
		loop_timer_set(resolver->loop, &resolver->timer, RESOLVE_POLL_US);
	else
		resolve_finish(resolver, code);
}

void
resolve_start(Resolver *resolver, Loop *loop, const char *host, ResolveDone done, void *arg)
{
	struct gaicb *list[1] = {&resolver->request};

	resolver->done = done;
	resolver->arg = arg;
	/* One that was abandoned still runs: its answer is as good. */
	if (resolver->running)
		return;
	resolver->loop = loop;
	resolver->timer.fire = resolve_poll;
	resolver->timer.arg = resolver;
	resolver->host = ud_strdup(host);
	memset(&resolver->hints, 0, sizeof(resolver->hints));
	resolver->hints.ai_socktype = SOCK_STREAM;
	resolver->hints.ai_flags = AI_ADDRCONFIG;
	memset(&resolver->request, 0, sizeof(resolver->request));
	resolver->request.ar_name = resolver->host;
	resolver->request.ar_request = &resolver->hints;
	resolver->running = true;
	resolver->failed = getaddrinfo_a(GAI_NOWAIT, list, 1, NULL);
	loop_timer_set(loop, &resolver->timer, RESOLVE_POLL_US / 10);
}

void
resolve_abandon(Resolver *resolver)
{
	resolver->done = NULL;
}
