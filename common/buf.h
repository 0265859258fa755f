/*
 * buf.h
 *	  A growing byte buffer, and allocation that never returns NULL.
 *
 * Invariant: len <= size; data is NULL only when size is 0.
 */
#ifndef UD_BUF_H
#define UD_BUF_H

#include <stddef.h>
#include <stdint.h>

typedef struct UdBuf
{
	uint8_t    *data;			/* owned */
	size_t		len;
	size_t		size;
} UdBuf;

/* A UdBuf of zeroes is ready for use; release frees and makes it so again. */
extern void ud_buf_release(UdBuf *buf);
extern void ud_buf_reset(UdBuf *buf);	/* len = 0, memory kept */
extern void ud_buf_reserve(UdBuf *buf, size_t more);
extern void ud_buf_append(UdBuf *buf, const void *bytes, size_t len);
extern void ud_buf_printf(UdBuf *buf, const char *fmt,...) __attribute__((format(printf, 2, 3)));

/* Drop the first len bytes. */
extern void ud_buf_consume(UdBuf *buf, size_t len);

/* NUL-terminate (not counted in len) and lend the text. */
extern const char *ud_buf_text(UdBuf *buf);

/* These end the program with a message when memory is exhausted. */
extern void *ud_malloc(size_t size);
extern void *ud_calloc(size_t count, size_t size);
extern void *ud_realloc(void *old, size_t size);
extern char *ud_strdup(const char *text);
extern char *ud_asprintf(const char *fmt,...) __attribute__((format(printf, 1, 2)));

#endif							/* UD_BUF_H */
