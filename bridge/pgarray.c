/*
 * pgarray.c
 *	  One-dimensional PostgreSQL arrays in binary format, as call parameters.
 *
 * Wire format (array_recv in PostgreSQL): int32 number of dimensions, int32
 * "has nulls", uint32 element type, per dimension int32 length and int32 lower
 * bound, then per element int32 length (-1 for NULL) and the bytes.  An empty
 * array has no dimension at all.
 */
#include "pgarray.h"

#define ARRAY_HEADER_BYTES 20
#define ARRAY_HEADER_BYTES_EMPTY 12
#define ARRAY_MEMORY_KEPT (1024 * 1024)

void
pg_put_int(uint8_t *out, uint64_t value, int bytes)
{
	for (int i = bytes - 1; i >= 0; i--)
	{
		out[i] = (uint8_t) value;
		value >>= 8;
	}
}

int64_t
pg_get_int(const void *in, int bytes)
{
	const uint8_t *byte = in;
	uint64_t	value = (byte[0] & 0x80) ? UINT64_MAX : 0;

	for (int i = 0; i < bytes; i++)
		value = (value << 8) | byte[i];
	return (int64_t) value;
}

void
pgarray_reset(PgArray *array, uint32_t type)
{
	uint8_t		header[ARRAY_HEADER_BYTES] = {0};

	/* One huge batch shall not hold its memory for ever. */
	if (array->buf.size > ARRAY_MEMORY_KEPT)
		ud_buf_release(&array->buf);
	ud_buf_reset(&array->buf);
	ud_buf_append(&array->buf, header, sizeof(header));
	array->type = type;
	array->count = 0;
	array->has_null = 0;
}

void
pgarray_release(PgArray *array)
{
	ud_buf_release(&array->buf);
}

void
pgarray_add_bytes(PgArray *array, const void *bytes, size_t len)
{
	uint8_t		length[4];

	pg_put_int(length, len, 4);
	ud_buf_append(&array->buf, length, 4);
	ud_buf_append(&array->buf, bytes, len);
	array->count++;
}

static void
array_add_int(PgArray *array, uint64_t value, int bytes)
{
	uint8_t		number[8];

	pg_put_int(number, value, bytes);
	pgarray_add_bytes(array, number, (size_t) bytes);
}

void
pgarray_add_int2(PgArray *array, int16_t value)
{
	array_add_int(array, (uint64_t) value, 2);
}

void
pgarray_add_int4(PgArray *array, int32_t value)
{
	array_add_int(array, (uint64_t) value, 4);
}

void
pgarray_add_int8(PgArray *array, int64_t value)
{
	array_add_int(array, (uint64_t) value, 8);
}

void
pgarray_add_null(PgArray *array)
{
	static const uint8_t null_length[4] = {0xff, 0xff, 0xff, 0xff};

	ud_buf_append(&array->buf, null_length, 4);
	array->count++;
	array->has_null = 1;
}

void
pgarray_finish(PgArray *array)
{
	uint8_t    *header = array->buf.data;

	pg_put_int(header, array->count ? 1 : 0, 4);
	pg_put_int(header + 4, array->has_null, 4);
	pg_put_int(header + 8, array->type, 4);
	pg_put_int(header + 12, array->count, 4);
	pg_put_int(header + 16, 1, 4);
	if (array->count == 0)
		array->buf.len = ARRAY_HEADER_BYTES_EMPTY;
}
