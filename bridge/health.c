/*
 * health.c
 *	  "unidesk-bridge --health": ask a running bridge how it is.
 *
 * For the container's health check, so that the image needs no HTTP client.
 */
#include "health.h"

#include <errno.h>
#include <netdb.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>

#include "common/cleanup.h"

#define HEALTH_TIMEOUT_S 3

/* Where a bridge that listens on "any" can be reached from here. */
static const char *
reachable(const char *address)
{
	if (strcmp(address, "0.0.0.0") == 0)
		return "127.0.0.1";
	return strcmp(address, "::") == 0 ? "::1" : address;
}

static int
health_connect(const BridgeConfig *config)
{
	struct addrinfo hints = {0};
	struct addrinfo *found;
	struct timeval timeout = {.tv_sec = HEALTH_TIMEOUT_S};
	int			fd;

	hints.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV;
	hints.ai_socktype = SOCK_STREAM;
	if (getaddrinfo(reachable(config->listen_address), config->listen_port, &hints, &found) != 0)
		return -1;
	fd = socket(found->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd >= 0)
	{
		/* On Linux the send timeout bounds connect() too. */
		setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout));
		setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof(timeout));
		if (connect(fd, found->ai_addr, found->ai_addrlen) != 0)
		{
			close(fd);
			fd = -1;
		}
	}
	freeaddrinfo(found);
	return fd;
}

int
health_ask(const BridgeConfig *config, UdError *err)
{
	static const char request[] = "GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
	char		answer[1024];
	size_t		len = 0;
	ssize_t		got;
	const char *body;
	ud_auto_fd int fd = health_connect(config);

	if (fd < 0 || send(fd, request, strlen(request), MSG_NOSIGNAL) < 0)
		return ud_error(err, UD_EIO, 0, "could not reach %s port %s: %s",
						reachable(config->listen_address), config->listen_port, strerror(errno));
	while (len < sizeof(answer) - 1 &&
		   (got = recv(fd, answer + len, sizeof(answer) - 1 - len, 0)) > 0)
		len += (size_t) got;
	answer[len] = '\0';
	if (strncmp(answer, "HTTP/1.1 200", 12) == 0)
		return 0;
	body = strstr(answer, "\r\n\r\n");
	if (body == NULL)
		return ud_error(err, UD_EIO, 0, "no answer in time");
	body += 4;
	return ud_error(err, UD_EIO, 0, "%.*s", (int) strcspn(body, "\r\n"), body);
}
