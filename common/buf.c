/*
 * buf.c
 *	  A growing byte buffer, and allocation that never returns NULL.
 */
#include "common/buf.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/log.h"

static void *
check_memory(void *memory)
{
	if (memory == NULL)
	{
		ud_err("out of memory");
		abort();
	}
	return memory;
}

void *
ud_malloc(size_t size)
{
	return check_memory(malloc(size ? size : 1));
}

void *
ud_calloc(size_t count, size_t size)
{
	return check_memory(calloc(count ? count : 1, size ? size : 1));
}

void *
ud_realloc(void *old, size_t size)
{
	return check_memory(realloc(old, size ? size : 1));
}

char *
ud_strdup(const char *text)
{
	return check_memory(strdup(text));
}

char *
ud_asprintf(const char *fmt,...)
{
	char	   *text = NULL;
	va_list		args;
	int			len;

	va_start(args, fmt);
	len = vasprintf(&text, fmt, args);
	va_end(args);
	return check_memory(len < 0 ? NULL : text);
}

void
ud_buf_release(UdBuf *buf)
{
	free(buf->data);
	*buf = (UdBuf)
	{
		0
	};
}

void
ud_buf_reset(UdBuf *buf)
{
	buf->len = 0;
}

void
ud_buf_reserve(UdBuf *buf, size_t more)
{
	size_t		wanted = buf->len + more;
	size_t		size = buf->size ? buf->size : 256;

	if (wanted <= buf->size)
		return;
	while (size < wanted)
		size *= 2;
	buf->data = ud_realloc(buf->data, size);
	buf->size = size;
}

void
ud_buf_append(UdBuf *buf, const void *bytes, size_t len)
{
	if (len == 0)
		return;
	ud_buf_reserve(buf, len);
	memcpy(buf->data + buf->len, bytes, len);
	buf->len += len;
}

void
ud_buf_printf(UdBuf *buf, const char *fmt,...)
{
	va_list		args;
	va_list		again;
	int			len;

	va_start(args, fmt);
	va_copy(again, args);
	len = vsnprintf(NULL, 0, fmt, args);
	va_end(args);
	if (len >= 0)
	{
		ud_buf_reserve(buf, (size_t) len + 1);
		vsnprintf((char *) buf->data + buf->len, (size_t) len + 1, fmt, again);
		buf->len += (size_t) len;
	}
	va_end(again);
}

void
ud_buf_consume(UdBuf *buf, size_t len)
{
	if (len >= buf->len)
	{
		buf->len = 0;
		return;
	}
	memmove(buf->data, buf->data + len, buf->len - len);
	buf->len -= len;
}

const char *
ud_buf_text(UdBuf *buf)
{
	ud_buf_reserve(buf, 1);
	buf->data[buf->len] = '\0';
	return (const char *) buf->data;
}
