/*
 * check_pgarray.c
 *	  Binary arrays, byte by byte as array_send() of PostgreSQL writes them.
 */
#include <string.h>

#include <check.h>

#include "bridge/pgarray.h"

static void
assert_bytes(const PgArray *array, const uint8_t *bytes, size_t len)
{
	ck_assert_uint_eq(array->buf.len, len);
	ck_assert_int_eq(memcmp(array->buf.data, bytes, len), 0);
}

/* array_send('{}'::int8[]) */
START_TEST(empty_array_has_no_dimension)
{
	static const uint8_t expected[] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 20};
	PgArray		array = {0};

	pgarray_reset(&array, PG_INT8);
	pgarray_finish(&array);
	assert_bytes(&array, expected, sizeof(expected));
	pgarray_release(&array);
}

END_TEST

/* array_send('{1,-2}'::int4[]) */
START_TEST(numbers_are_big_endian)
{
	static const uint8_t expected[] = {
		0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 23, 0, 0, 0, 2, 0, 0, 0, 1,
		0, 0, 0, 4, 0, 0, 0, 1, 0, 0, 0, 4, 0xff, 0xff, 0xff, 0xfe,
	};
	PgArray		array = {0};

	pgarray_reset(&array, PG_INT4);
	pgarray_add_int4(&array, 1);
	pgarray_add_int4(&array, -2);
	pgarray_finish(&array);
	assert_bytes(&array, expected, sizeof(expected));
	pgarray_release(&array);
}

END_TEST

/* array_send(ARRAY['\xab', NULL, '']::bytea[]) */
START_TEST(bytes_and_null)
{
	static const uint8_t expected[] = {
		0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 17, 0, 0, 0, 3, 0, 0, 0, 1,
		0, 0, 0, 1, 0xab, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0,
	};
	PgArray		array = {0};

	pgarray_reset(&array, PG_BYTEA);
	pgarray_add_bytes(&array, "\xab", 1);
	pgarray_add_null(&array);
	pgarray_add_bytes(&array, NULL, 0);
	pgarray_finish(&array);
	assert_bytes(&array, expected, sizeof(expected));

	/* Used again, nothing of the old content is left. */
	pgarray_reset(&array, PG_INT2);
	pgarray_add_int2(&array, -1);
	pgarray_finish(&array);
	ck_assert_uint_eq(array.buf.len, 26);
	ck_assert_int_eq(pg_get_int(array.buf.data + 4, 4), 0);
	ck_assert_int_eq(pg_get_int(array.buf.data + 24, 2), -1);
	pgarray_release(&array);
}

END_TEST

START_TEST(numbers_come_back)
{
	static const int64_t values[] = {0, 1, -1, INT64_MAX, INT64_MIN, INT32_MIN, 255, 256};
	uint8_t		bytes[8];

	for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++)
	{
		pg_put_int(bytes, (uint64_t) values[i], 8);
		ck_assert_int_eq(pg_get_int(bytes, 8), values[i]);
	}
	pg_put_int(bytes, (uint64_t) INT64_C(-5), 2);
	ck_assert_int_eq(pg_get_int(bytes, 2), -5);
}

END_TEST

START_TEST(huge_memory_is_not_kept)
{
	static uint8_t body[2 * 1024 * 1024];
	PgArray		array = {0};

	pgarray_reset(&array, PG_BYTEA);
	pgarray_add_bytes(&array, body, sizeof(body));
	pgarray_reset(&array, PG_BYTEA);
	ck_assert_uint_lt(array.buf.size, 1024 * 1024);
	pgarray_release(&array);
}

END_TEST

int
main(void)
{
	Suite	   *suite = suite_create("bridge/pgarray");
	TCase	   *tcase = tcase_create("pgarray");
	SRunner    *runner;
	int			failed;

	tcase_add_test(tcase, empty_array_has_no_dimension);
	tcase_add_test(tcase, numbers_are_big_endian);
	tcase_add_test(tcase, bytes_and_null);
	tcase_add_test(tcase, numbers_come_back);
	tcase_add_test(tcase, huge_memory_is_not_kept);
	suite_add_tcase(suite, tcase);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed != 0;
}
