/*
 * tunnel.c
 *	  A connection through an HTTP proxy.
 *
 * libgit2 has its own way with proxies, but its versions differ in whether
 * they use one for plain http, and with CONNECT all is asked for in one place.
 */
#include "agent/git/tunnel.h"

#include <errno.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "common/buf.h"
#include "common/cleanup.h"
#include "common/clock.h"
#include "common/reasons.h"

#define ANSWER_BYTES_MAX 8192

#define FAILED(...) ud_error(err, UD_EIO, UD_REASON_PREP_REPO_UNREACHABLE, __VA_ARGS__)

static void
append_base64(UdBuf *out, const char *text)
{
	static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	size_t		len = strlen(text);

	for (size_t i = 0; i < len; i += 3)
	{
		uint32_t	bits = 0;
		char		four[4];

		for (size_t j = 0; j < 3; j++)
			bits = bits << 8 | (i + j < len ? (unsigned char) text[i + j] : 0);
		for (size_t j = 0; j < 4; j++)
			four[j] = j > len - i ? '=' : digits[bits >> (18 - 6 * j) & 63];
		ud_buf_append(out, four, 4);
	}
}

static int
wait_for(int fd, short events, int64_t deadline_ms, UdError *err)
{
	struct pollfd wait = {
		.fd = fd,
		.events = events,
	};
	int			ready;

	do
	{
		int64_t		left = deadline_ms - clock_ms();

		ready = poll(&wait, 1, left > 0 ? (int) left : 0);
	} while (ready < 0 && errno == EINTR);
	if (ready > 0)
		return 0;
	return FAILED("proxy does not answer: %s", ready == 0 ? "silent for too long" : strerror(errno));
}

static int
send_request(int fd, const Proxy *proxy, const RepoUrl *target, int64_t deadline_ms, UdError *err)
{
	ud_auto_buf UdBuf request = {0};
	bool		is_v6 = strchr(target->host, ':') != NULL;
	ud_auto_free char *authority = ud_asprintf("%s%s%s:%s", is_v6 ? "[" : "", target->host, is_v6 ? "]" : "", target->port);

	ud_buf_printf(&request, "CONNECT %s HTTP/1.1\r\nHost: %s\r\n", authority, authority);
	if (proxy->user[0] != '\0')
	{
		ud_buf_printf(&request, "Proxy-Authorization: Basic ");
		append_base64(&request, proxy->user);
		ud_buf_printf(&request, "\r\n");
	}
	ud_buf_printf(&request, "\r\n");
	while (request.len > 0)
	{
		ssize_t		done;

		if (wait_for(fd, POLLOUT, deadline_ms, err) < 0)
			return err->code;
		done = send(fd, request.data, request.len, MSG_NOSIGNAL);
		if (done < 0 && errno != EINTR && errno != EAGAIN)
			return FAILED("could not ask the proxy: %s", strerror(errno));
		if (done > 0)
			ud_buf_consume(&request, (size_t) done);
	}
	return 0;
}

/* The answer's head, byte by byte: what follows it is not ours. */
static int
read_answer(int fd, char answer[ANSWER_BYTES_MAX], int64_t deadline_ms, UdError *err)
{
	size_t		len = 0;

	while (len < 4 || memcmp(answer + len - 4, "\r\n\r\n", 4) != 0)
	{
		ssize_t		got;

		if (len + 1 == ANSWER_BYTES_MAX)
			return FAILED("proxy's answer is too long");
		if (wait_for(fd, POLLIN, deadline_ms, err) < 0)
			return err->code;
		got = recv(fd, answer + len, 1, 0);
		if (got == 0)
			return FAILED("proxy closed the connection");
		if (got < 0 && errno != EINTR && errno != EAGAIN)
			return FAILED("could not read from the proxy: %s", strerror(errno));
		len += got > 0;
	}
	answer[len] = '\0';
	return 0;
}

int
tunnel_open(int fd, const Proxy *proxy, const RepoUrl *target, int timeout_ms, UdError *err)
{
	char		answer[ANSWER_BYTES_MAX] = "";
	int64_t		deadline_ms = clock_ms() + timeout_ms;
	int			status = 0;

	if (send_request(fd, proxy, target, deadline_ms, err) < 0 || read_answer(fd, answer, deadline_ms, err) < 0)
		return err->code;
	if (sscanf(answer, "HTTP/1.%*1d %3d ", &status) != 1)
		return FAILED("what http_proxy or https_proxy names is no HTTP proxy");
	if (status >= 200 && status < 300)
		return 0;
	if (status == 403)
		return ud_error(err, UD_EINVAL, UD_REASON_PREP_REPO_REFUSED, "this node's proxy does not connect to %s:%s", target->host, target->port);
	return FAILED("this node's proxy could not connect to %s:%s: it answered %d", target->host, target->port, status);
}
