/*
 * pgarray.h
 *	  One-dimensional PostgreSQL arrays in binary format, as call parameters.
 */
#ifndef PGARRAY_H
#define PGARRAY_H

#include <stddef.h>
#include <stdint.h>

#include "common/buf.h"

/* Type numbers of the system catalog; they never change. */
#define PG_BYTEA 17
#define PG_INT8 20
#define PG_INT2 21
#define PG_INT4 23

typedef struct PgArray
{
	UdBuf		buf;
	uint32_t	type;			/* of the elements */
	uint32_t	count;
	uint32_t	has_null;
} PgArray;

/* An array of zeroes may be reset; reset keeps the memory. */
extern void pgarray_reset(PgArray *array, uint32_t type);
extern void pgarray_release(PgArray *array);

/* The number's size has to be that of the array's type. */
extern void pgarray_add_int2(PgArray *array, int16_t value);
extern void pgarray_add_int4(PgArray *array, int32_t value);
extern void pgarray_add_int8(PgArray *array, int64_t value);
extern void pgarray_add_bytes(PgArray *array, const void *bytes, size_t len);
extern void pgarray_add_null(PgArray *array);

/* Write the header; buf is then the parameter's value. */
extern void pgarray_finish(PgArray *array);

/* Big-endian numbers, as in parameters and results. */
extern void pg_put_int(uint8_t *out, uint64_t value, int bytes);
extern int64_t pg_get_int(const void *in, int bytes);

#endif							/* PGARRAY_H */
