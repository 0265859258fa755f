/*
 * check_tokens.c
 *	  The token map's verdicts, and what a request's header lines say.
 */
#include <stdio.h>
#include <string.h>

#include <check.h>

#include "bridge/admit.h"
#include "bridge/tokens.h"

#define MANY 5000

static TokenMap map;

static void
hash_of(int number, uint8_t *hash)
{
	char		text[32];

	snprintf(text, sizeof(text), "token %d", number);
	tokens_hash(text, strlen(text), hash);
}

static void
load(int from, int to)
{
	TokenMap	loaded = {0};
	uint8_t		hash[TOKEN_HASH_BYTES];

	for (int i = from; i < to; i++)
	{
		hash_of(i, hash);
		tokens_add(&loaded, hash, i + 1);
	}
	tokens_replace(&map, &loaded);
}

static void
teardown(void)
{
	tokens_release(&map);
}

/* sha256("abc"), FIPS 180-2. */
START_TEST(hash_is_sha256)
{
	static const uint8_t expected[] = {0xba, 0x78, 0x16, 0xbf, 0x8f, 0x01, 0xcf, 0xea};
	uint8_t		hash[TOKEN_HASH_BYTES];

	tokens_hash("abc", 3, hash);
	ck_assert_int_eq(memcmp(hash, expected, sizeof(expected)), 0);
}

END_TEST

START_TEST(many_are_found)
{
	uint8_t		hash[TOKEN_HASH_BYTES];
	int32_t		node;

	load(0, MANY);
	ck_assert_uint_eq(map.count, MANY);
	for (int i = 0; i < MANY; i++)
	{
		hash_of(i, hash);
		ck_assert(tokens_find(&map, hash, &node));
		ck_assert_int_eq(node, i + 1);
	}
	hash_of(MANY, hash);
	ck_assert(!tokens_find(&map, hash, &node));
}

END_TEST

START_TEST(unknown_is_asked_again_once)
{
	uint8_t		hash[TOKEN_HASH_BYTES];
	int32_t		node;

	hash_of(10, hash);
	ck_assert_int_eq(tokens_check(&map, hash, &node), TOKEN_NO_MAP);
	load(0, 10);
	ck_assert_int_eq(tokens_check(&map, hash, &node), TOKEN_UNKNOWN);
	ck_assert_int_eq(tokens_check(&map, hash, &node), TOKEN_UNKNOWN);
	load(0, 10);
	ck_assert_int_eq(tokens_check(&map, hash, &node), TOKEN_REFUSED);
	load(0, 11);
	ck_assert_int_eq(tokens_check(&map, hash, &node), TOKEN_KNOWN);
	ck_assert_int_eq(node, 11);
	/* An empty map is a map, too. */
	load(0, 0);
	ck_assert_int_eq(tokens_check(&map, hash, &node), TOKEN_REFUSED);
}

END_TEST

/* Strangers' tokens push each other out, never a known one. */
START_TEST(flood_of_unknown_tokens)
{
	uint8_t		hash[TOKEN_HASH_BYTES];
	int32_t		node;

	load(0, 10);
	for (int i = 10; i < 10 + 3 * TOKENS_SEEN; i++)
	{
		hash_of(i, hash);
		ck_assert_int_eq(tokens_check(&map, hash, &node), TOKEN_UNKNOWN);
	}
	hash_of(3, hash);
	ck_assert_int_eq(tokens_check(&map, hash, &node), TOKEN_KNOWN);
}

END_TEST

START_TEST(bearer_header)
{
	char		good[] = "bearer  abc ";
	char		empty[] = "Bearer ";
	char		basic[] = "Basic abc";
	char		shorter[] = "Bear";

	ck_assert_str_eq(admit_bearer(good), "abc");
	ck_assert_ptr_null(admit_bearer(empty));
	ck_assert_ptr_null(admit_bearer(basic));
	ck_assert_ptr_null(admit_bearer(shorter));
}

END_TEST

START_TEST(protocol_list)
{
	ck_assert(admit_list_has("a.v1", "a.v1"));
	ck_assert(admit_list_has("b, a.v1,c", "a.v1"));
	ck_assert(!admit_list_has("", "a.v1"));
	ck_assert(!admit_list_has("a.v12, a.v", "a.v1"));
}

END_TEST

int
main(void)
{
	Suite	   *suite = suite_create("bridge/tokens");
	TCase	   *tcase = tcase_create("tokens");
	SRunner    *runner;
	int			failed;

	tcase_add_checked_fixture(tcase, NULL, teardown);
	tcase_add_test(tcase, hash_is_sha256);
	tcase_add_test(tcase, many_are_found);
	tcase_add_test(tcase, unknown_is_asked_again_once);
	tcase_add_test(tcase, flood_of_unknown_tokens);
	tcase_add_test(tcase, bearer_header);
	tcase_add_test(tcase, protocol_list);
	suite_add_tcase(suite, tcase);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed != 0;
}
