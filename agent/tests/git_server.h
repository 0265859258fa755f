/*
 * git_server.h
 *	  A smart-HTTP git server on loopback for check_git.c: git's own
 *	  http-backend behind just enough HTTP.
 *
 *	/<repository>/...		git http-backend, below root
 *	/hang/...				accepts and never answers
 *	/redirect/...			302 to localhost, without /redirect
 *	/status/<code>/...		that status
 *	/after/<code>/<s>/...	that status, and Retry-After
 *
 * Each request adds a line to root/requests.
 */
#ifndef AGENT_TESTS_GIT_SERVER_H
#define AGENT_TESTS_GIT_SERVER_H

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/buf.h"

typedef struct GitServer
{
	pid_t		pid;
	int			port;
	char		root[256];
} GitServer;

static inline void
server_send(int fd, const char *status, const char *headers, const void *body, size_t len)
{
	UdBuf		out = {0};
	size_t		sent = 0;

	ud_buf_printf(&out, "HTTP/1.1 %s\r\n%sContent-Length: %zu\r\nConnection: close\r\n\r\n", status, headers, len);
	ud_buf_append(&out, body, len);
	while (sent < out.len)
	{
		ssize_t		done = send(fd, out.data + sent, out.len - sent, MSG_NOSIGNAL);

		if (done <= 0)
			break;
		sent += (size_t) done;
	}
	ud_buf_release(&out);
}

static inline void
server_header(const char *request, const char *name, char *value, size_t size)
{
	const char *at = strcasestr(request, name);

	*value = '\0';
	if (at != NULL)
		snprintf(value, size, "%.*s", (int) strcspn(at + strlen(name), "\r\n"), at + strlen(name));
}

/* Run http-backend over a request whose body lies in body_fd. */
static inline void
server_backend(const GitServer *server, int fd, const char *method, char *target, const char *request, int body_fd)
{
	int			out_fd = memfd_create("answer", MFD_CLOEXEC);
	char	   *query = strchr(target, '?');
	char		type[256];
	char		length[64];
	char		encoding[64];
	UdBuf		answer = {0};
	char		chunk[65536];
	ssize_t		got;
	pid_t		pid;
	char	   *end;
	char	   *status;
	char	   *body;

	if (query != NULL)
		*query++ = '\0';
	server_header(request, "\r\nContent-Type: ", type, sizeof(type));
	server_header(request, "\r\nContent-Length: ", length, sizeof(length));
	server_header(request, "\r\nContent-Encoding: ", encoding, sizeof(encoding));
	pid = fork();
	if (pid == 0)
	{
		setenv("GIT_PROJECT_ROOT", server->root, 1);
		setenv("GIT_HTTP_EXPORT_ALL", "1", 1);
		setenv("HOME", server->root, 1);
		setenv("PATH_INFO", target, 1);
		setenv("QUERY_STRING", query != NULL ? query : "", 1);
		setenv("REQUEST_METHOD", method, 1);
		setenv("CONTENT_TYPE", type, 1);
		setenv("CONTENT_LENGTH", length, 1);
		if (*encoding)
			setenv("HTTP_CONTENT_ENCODING", encoding, 1);
		dup2(body_fd, 0);
		dup2(out_fd, 1);
		dup2(open("/dev/null", O_WRONLY), 2);
		execlp("git", "git", "http-backend", NULL);
		_exit(127);
	}
	waitpid(pid, NULL, 0);
	lseek(out_fd, 0, SEEK_SET);
	while ((got = read(out_fd, chunk, sizeof(chunk))) > 0)
		ud_buf_append(&answer, chunk, (size_t) got);
	ud_buf_append(&answer, "", 1);
	answer.len--;
	body = memmem(answer.data, answer.len, "\r\n\r\n", 4);
	if (body == NULL)
	{
		server_send(fd, "500 No Answer", "", "", 0);
		return;
	}
	*(body + 2) = '\0';
	body += 4;
	status = strstr((char *) answer.data, "Status: ");
	end = status != NULL ? strchr(status, '\r') : NULL;
	if (end != NULL)
	{
		char	   *text = strndup(status + 8, (size_t) (end - status - 8));

		server_send(fd, text, "Content-Type: text/plain\r\n", body, answer.len - (size_t) (body - (char *) answer.data));
		free(text);
	}
	else
		server_send(fd, "200 OK", (char *) answer.data, body, answer.len - (size_t) (body - (char *) answer.data));
	ud_buf_release(&answer);
}

static inline void
server_note(const GitServer *server, const char *method, const char *target)
{
	char		path[320];
	int			fd;

	snprintf(path, sizeof(path), "%s/requests", server->root);
	fd = open(path, O_WRONLY | O_CREAT | O_APPEND, 0644);
	dprintf(fd, "%s %s\n", method, target);
	close(fd);
}

static inline void
server_handle(const GitServer *server, int fd)
{
	UdBuf		request = {0};
	char		chunk[65536];
	char		method[16];
	char		target[2048];
	char		length[64];
	char	   *body = NULL;
	ssize_t		got = 1;
	size_t		have;
	int			body_fd = memfd_create("body", MFD_CLOEXEC);

	while (body == NULL && (got = recv(fd, chunk, sizeof(chunk), 0)) > 0)
	{
		ud_buf_append(&request, chunk, (size_t) got);
		body = memmem(request.data, request.len, "\r\n\r\n", 4);
	}
	if (body == NULL)
		return;
	*(body + 2) = '\0';
	body += 4;
	have = request.len - (size_t) (body - (char *) request.data);
	server_header((char *) request.data, "\r\nContent-Length: ", length, sizeof(length));
	if (write(body_fd, body, have) < 0)
		return;
	for (; have < strtoull(length, NULL, 10) && (got = recv(fd, chunk, sizeof(chunk), 0)) > 0; have += (size_t) got)
		if (write(body_fd, chunk, (size_t) got) < 0)
			return;
	lseek(body_fd, 0, SEEK_SET);
	if (sscanf((char *) request.data, "%15s %2047s", method, target) != 2)
		return;
	server_note(server, method, target);
	if (strncmp(target, "/hang/", 6) == 0)
		for (;;)
			pause();
	if (strncmp(target, "/redirect/", 10) == 0)
	{
		snprintf(chunk, sizeof(chunk), "Location: http://localhost:%d%s\r\n", server->port, target + 9);
		server_send(fd, "302 Found", chunk, "", 0);
	}
	else if (strncmp(target, "/status/", 8) == 0)
	{
		snprintf(chunk, sizeof(chunk), "%.3s Status", target + 8);
		server_send(fd, chunk, "Content-Type: text/plain\r\n", "no", 2);
	}
	else if (strncmp(target, "/after/", 7) == 0)
	{
		char		header[64];

		snprintf(chunk, sizeof(chunk), "%.3s Status", target + 7);
		snprintf(header, sizeof(header), "Retry-After: %d\r\n", atoi(target + 11));
		server_send(fd, chunk, header, "no", 2);
	}
	else
		server_backend(server, fd, method, target, (char *) request.data, body_fd);
}

/* A server process of its own group; stopped by server_stop. */
static inline void
server_start(GitServer *server, const char *root)
{
	struct sockaddr_in address = {
		.sin_family = AF_INET,
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK),
	};
	socklen_t	len = sizeof(address);
	int			listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	snprintf(server->root, sizeof(server->root), "%s", root);
	if (bind(listener, (struct sockaddr *) &address, len) != 0 || listen(listener, 16) != 0
		|| getsockname(listener, (struct sockaddr *) &address, &len) != 0)
		abort();
	server->port = ntohs(address.sin_port);
	server->pid = fork();
	if (server->pid == 0)
	{
		setpgid(0, 0);
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		signal(SIGCHLD, SIG_IGN);
		for (;;)
		{
			int			fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);

			if (fd < 0)
				continue;
			if (fork() == 0)
			{
				signal(SIGCHLD, SIG_DFL);
				server_handle(server, fd);
				_exit(0);
			}
			close(fd);
		}
	}
	setpgid(server->pid, server->pid);
	close(listener);
}

static inline void
server_stop(GitServer *server)
{
	kill(-server->pid, SIGKILL);
	waitpid(server->pid, NULL, 0);
}

/* Requests answered so far. */
static inline int
server_requests(const GitServer *server)
{
	char		path[320];
	FILE	   *file;
	int			lines = 0;
	int			c;

	snprintf(path, sizeof(path), "%s/requests", server->root);
	file = fopen(path, "r");
	if (file == NULL)
		return 0;
	while ((c = getc(file)) != EOF)
		lines += c == '\n';
	fclose(file);
	return lines;
}

#endif							/* AGENT_TESTS_GIT_SERVER_H */
