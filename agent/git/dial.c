/*
 * dial.c
 *	  Sockets for libgit2, see dial.h.
 */
#include "agent/git/dial.h"

#include <errno.h>
#include <fcntl.h>
#include <git2.h>
#if __has_include(<git2/sys/errors.h>)
#include <git2/sys/errors.h>	/* libgit2 1.7 moved git_error_set_str there */
#endif
#include <git2/sys/stream.h>
#include <netdb.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "agent/git/tunnel.h"
#include "common/buf.h"
#include "common/proxy.h"
#include "common/reasons.h"

#define CONNECT_TIMEOUT_MS 15000
#define IDLE_TIMEOUT_MS 60000

typedef struct DialStream
{
	git_stream	parent;			/* first, libgit2 sees only this */
	char	   *host;
	char	   *port;
	int			fd;
} DialStream;

static const RepoUrl *dial_target;
static UdError dial_last;

const UdError *
dial_failure(void)
{
	return dial_last.code != 0 ? &dial_last : NULL;
}

void
dial_clear_failure(void)
{
	memset(&dial_last, 0, sizeof(dial_last));
}

static int
find_proxy(Proxy *proxy, UdError *err)
{
	int			rc = proxy_find(dial_target->is_https, dial_target->host, atoi(dial_target->port), proxy, err);

	if (rc < 0)
		err->reason = UD_REASON_PREP_REPO_UNREACHABLE;
	return rc;
}

/*
 * Resolve, and when check, refuse all of it when one address is not one for a
 * repository under this node's policy.
 */
static int
resolve_checked(const char *host, const char *port, bool check, struct addrinfo **out, UdError *err)
{
	struct addrinfo hints = {
		.ai_family = AF_UNSPEC,
		.ai_socktype = SOCK_STREAM,
	};
	int			rc = getaddrinfo(host, port, &hints, out);

	if (rc != 0)
		return ud_error(err, UD_EIO, UD_REASON_PREP_REPO_UNREACHABLE,
						"could not resolve \"%s\": %s", host, gai_strerror(rc));
	for (struct addrinfo *a = *out; check && a != NULL; a = a->ai_next)
	{
		if (!address_is_forbidden(a->ai_addr) && (dial_target->is_listed || !address_is_private(a->ai_addr)))
			continue;
		freeaddrinfo(*out);
		*out = NULL;
		return ud_error(err, UD_EINVAL, UD_REASON_PREP_REPO_REFUSED,
						"repository host \"%s\" has an address that is not public", host);
	}
	return 0;
}

int
dial_check_target(UdError *err)
{
	struct addrinfo *addresses = NULL;
	Proxy		proxy;
	int			proxied = find_proxy(&proxy, err);
	int			rc;

	if (proxied < 0)
		return proxied;
	rc = resolve_checked(dial_target->host, dial_target->port, true, &addresses, err);
	if (rc == UD_EIO && proxied)
		return 0;
	if (rc == 0)
		freeaddrinfo(addresses);
	return rc;
}

static int
connect_address(const struct addrinfo *address)
{
	struct pollfd wait = {
		.events = POLLOUT,
	};
	int			error = 0;
	socklen_t	error_len = sizeof(error);
	int			fd = socket(address->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	if (fd < 0)
		return -1;
	wait.fd = fd;
	if (connect(fd, address->ai_addr, address->ai_addrlen) != 0)
	{
		int			ready;

		if (errno != EINPROGRESS)
			goto failed;
		do
			ready = poll(&wait, 1, CONNECT_TIMEOUT_MS);
		while (ready < 0 && errno == EINTR);
		if (ready == 0)
			errno = ETIMEDOUT;
		if (ready <= 0)
			goto failed;
		if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &error_len) != 0 || error != 0)
		{
			errno = error;
			goto failed;
		}
	}
	return fd;

failed:
	error = errno;
	close(fd);
	errno = error;
	return -1;
}

/* Fill dial_last and libgit2's error alike. */
static int
stream_error(const char *what, const DialStream *stream, const char *why)
{
	if (dial_last.code == 0)
		(void) ud_error(&dial_last, UD_EIO, UD_REASON_PREP_REPO_UNREACHABLE,
						"could not %s %s:%s: %s", what, stream->host, stream->port, why);
	git_error_set_str(GIT_ERROR_NET, dial_last.message);
	return -1;
}

static int
dial_connect(git_stream *parent)
{
	DialStream *stream = (DialStream *) parent;
	struct addrinfo *addresses = NULL;
	Proxy		proxy;
	char		port[12];
	int			proxied;

	if (strcasecmp(stream->host, dial_target->host) != 0 || strcmp(stream->port, dial_target->port) != 0)
	{
		(void) ud_error(&dial_last, UD_EINVAL, UD_REASON_PREP_REPO_REFUSED,
						"repository sends us to another host, \"%s:%s\"", stream->host, stream->port);
		return stream_error("connect to", stream, "another host");
	}
	proxied = find_proxy(&proxy, &dial_last);
	if (proxied < 0)
		return stream_error("connect to", stream, "proxy");
	snprintf(port, sizeof(port), "%d", proxy.port);
	if (resolve_checked(proxied ? proxy.host : stream->host, proxied ? port : stream->port, !proxied, &addresses, &dial_last) != 0)
		return stream_error("connect to", stream, "refused");
	for (struct addrinfo *a = addresses; a != NULL && stream->fd < 0; a = a->ai_next)
		stream->fd = connect_address(a);
	freeaddrinfo(addresses);
	if (stream->fd < 0)
		return stream_error(proxied ? "reach the proxy for" : "connect to", stream, strerror(errno));
	if (proxied && tunnel_open(stream->fd, &proxy, dial_target, IDLE_TIMEOUT_MS, &dial_last) != 0)
		return stream_error("connect to", stream, "proxy");
	return 0;
}

/* 1 when ready, else -1 after having said why. */
static int
wait_for(DialStream *stream, short events, const char *what)
{
	struct pollfd wait = {
		.fd = stream->fd,
		.events = events,
	};
	int			ready;

	do
		ready = poll(&wait, 1, IDLE_TIMEOUT_MS);
	while (ready < 0 && errno == EINTR);
	if (ready <= 0)
		return stream_error(what, stream, ready == 0 ? "silent for too long" : strerror(errno));
	return 1;
}

static ssize_t
dial_read(git_stream *parent, void *data, size_t len)
{
	DialStream *stream = (DialStream *) parent;
	ssize_t		got;

	do
	{
		if (wait_for(stream, POLLIN, "read from") < 0)
			return -1;
		got = recv(stream->fd, data, len, 0);
	} while (got < 0 && (errno == EINTR || errno == EAGAIN));
	if (got < 0)
		return stream_error("read from", stream, strerror(errno));
	return got;
}

static ssize_t
dial_write(git_stream *parent, const char *data, size_t len, int flags)
{
	DialStream *stream = (DialStream *) parent;
	ssize_t		done;

	(void) flags;
	do
	{
		if (wait_for(stream, POLLOUT, "write to") < 0)
			return -1;
		done = send(stream->fd, data, len, MSG_NOSIGNAL);
	} while (done < 0 && (errno == EINTR || errno == EAGAIN));
	if (done < 0)
		return stream_error("write to", stream, strerror(errno));
	return done;
}

static int
dial_close(git_stream *parent)
{
	DialStream *stream = (DialStream *) parent;

	if (stream->fd >= 0)
		close(stream->fd);
	stream->fd = -1;
	return 0;
}

static void
dial_free(git_stream *parent)
{
	DialStream *stream = (DialStream *) parent;

	dial_close(parent);
	free(stream->host);
	free(stream->port);
	free(stream);
}

static int
dial_new(git_stream **out, const char *host, const char *port)
{
	DialStream *stream = ud_calloc(1, sizeof(DialStream));

	stream->parent.version = GIT_STREAM_VERSION;
	stream->parent.connect = dial_connect;
	stream->parent.read = dial_read;
	stream->parent.write = dial_write;
	stream->parent.close = dial_close;
	stream->parent.free = dial_free;
	stream->host = ud_strdup(host);
	stream->port = ud_strdup(port);
	stream->fd = -1;
	*out = &stream->parent;
	return 0;
}

int
dial_register(const RepoUrl *target, UdError *err)
{
	git_stream_registration registration = {
		.version = GIT_STREAM_VERSION,
		.init = dial_new,
	};

	dial_target = target;
	dial_clear_failure();
	if (git_stream_register(GIT_STREAM_STANDARD, &registration) != 0)
		return ud_error(err, UD_EIO, UD_REASON_PREP_FETCH_FAILED, "could not register the socket stream");
	return 0;
}
