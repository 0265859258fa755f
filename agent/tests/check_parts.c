/*
 * check_parts.c
 *	  Small pure parts: users of images, names of images, lease arithmetic,
 *	  reconnect delays, text for JSON, the state kept over a restart, errors of
 *	  pulls.
 */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/attempt.h"
#include "agent/docker_internal.h"
#include "agent/image.h"
#include "agent/json.h"
#include "agent/lease.h"
#include "agent/link.h"
#include "agent/state.h"
#include "agent/userdb.h"
#include "common/protocol.h"
#include "common/reasons.h"

#define PASSWD "root:x:0:0:root:/root:/bin/sh\nbroken\n:x:7:7::\nworker:x:1234:2345::/:/bin/sh\nbig:x:99999999999:0::\nneg:x:-1:-1::\nlast:x:5:6"
#define GROUP "root:x:0:\nstaff:x:50:\nbad:x:x:\n"

static const struct
{
	const char *user;
	int			uid;			/* -1: an error */
	int			gid;
}			users[] =

{
	{"", 0, 0}, {"0", 0, 0}, {"1234", 1234, 2345}, {"77", 77, 0}, {"77:88", 77, 88},
	{"worker", 1234, 2345}, {"worker:staff", 1234, 50}, {"worker:9", 1234, 9}, {"1234:staff", 1234, 50},
	{"last", 5, 6}, {":9", 0, 9}, {"nobody", -1, 0}, {"worker:nogroup", -1, 0}, {"worker:bad", -1, 0},
	{"big", -1, 0}, {"neg", -1, 0}, {"4294967295", -1, 0}, {"-1", -1, 0}, {"broken", -1, 0}, {"work", -1, 0},
};

START_TEST(users_of_images)
{
	uid_t		uid = 0;
	gid_t		gid = 0;
	UdError		err;
	int			result = userdb_resolve(users[_i].user, PASSWD, GROUP, &uid, &gid, &err);

	if (users[_i].uid < 0)
	{
		ck_assert_msg(result < 0, "\"%s\" was resolved to %u", users[_i].user, uid);
		ck_assert_int_eq(err.reason, UD_REASON_PREP_CREATE_FAILED);
		return;
	}
	ck_assert_msg(result == 0, "\"%s\": %s", users[_i].user, err.message);
	ck_assert_int_eq((int) uid, users[_i].uid);
	ck_assert_int_eq((int) gid, users[_i].gid);
}

END_TEST

static void
name_of(const char *trust, const char *url, const char *dockerfile, char out[200])
{
	TaskSpec	spec = {0};
	char		name[IMAGE_NAME_BYTES];

	spec.trust = (char *) trust;
	spec.env_url = (char *) url;
	spec.dockerfile = (char *) dockerfile;
	strcpy(spec.env_commit, "0123456789abcdef0123456789abcdef01234567");
	image_write_name(&spec, name);
	ck_assert_ptr_nonnull(strchr(name, ':'));
	ck_assert_uint_eq(strlen(strchr(name, ':')), 41);
	snprintf(out, 200, "%s", name);
}

START_TEST(names_of_images)
{
	char		first[200];
	char		other[200];

	name_of("demo", "u", "D", first);
	ck_assert_int_eq(strncmp(first, "unidesk-cache/demo:", 19), 0);
	name_of("demo", "u", "D", other);
	ck_assert_str_eq(first, other);
	name_of("demo2", "u", "D", other);
	ck_assert_str_ne(strchr(first, ':'), strchr(other, ':'));
	name_of("demo", "u2", "D", other);
	ck_assert_str_ne(first, other);
	name_of("demo", "u", "D2", other);
	ck_assert_str_ne(first, other);
	/* What the engine would refuse or read otherwise is hashed. */
	name_of("De/mo:x", "u", "D", other);
	ck_assert_int_eq(strncmp(other, "unidesk-cache/x__", 17), 0);
	ck_assert_uint_eq(strspn(strchr(other, '/') + 1, "abcdefghijklmnopqrstuvwxyz0123456789_"), 35);
}

END_TEST

START_TEST(lease_times)
{
	LeaseTerms	terms = {
		.has_lease = true,
		.lease_s = 7200,
		.grace_s = 30,
		.margin_s = 30,
		.base_boot_ns = 1000 * NS_PER_S,
	};
	UdControl	control;

	ck_assert_int_eq(lease_deadline_ns(&terms), (1000 + 7140) * NS_PER_S);
	lease_fill_control(&control, &terms);
	ck_assert_uint_eq(control.magic, UD_CONTROL_MAGIC);
	ck_assert_uint_eq(control.has_lease, 1);
	ck_assert_uint_eq(control.stop_announced, 0);
	ck_assert_uint_eq(control.grace_s, 30);
	ck_assert_str_eq(control.boot_id, clock_boot_id());
	ck_assert_int_gt(control.written_boot_ns, 0);
	/* Shorter than grace and margin: over at once, never invalid. */
	terms.lease_s = 1;
	terms.base_boot_ns = 0;
	lease_fill_control(&control, &terms);
	ck_assert_int_eq(control.deadline_boot_ns, 0);
	terms.has_lease = false;
	terms.stop_announced = true;
	lease_fill_control(&control, &terms);
	ck_assert_uint_eq(control.has_lease, 0);
	ck_assert_uint_eq(control.stop_announced, 1);
	ck_assert_int_eq(clock_add_s(INT64_MAX - 1, 5), INT64_MAX);
	ck_assert_int_eq(clock_add_s(10, -1e300) < 0, 1);
	ck_assert_int_eq(clock_add_s(0, 0.5), NS_PER_S / 2);
}

END_TEST

static int64_t
delay(int code, int status, int64_t after, int tries, double random)
{
	LinkEnd		end = {
		.close_code = code,
		.http_status = status,
		.retry_after_ms = after,
	};

	return link_delay_ms(&end, tries, random);
}

START_TEST(reconnect_delays)
{
	ck_assert_int_eq(delay(0, 0, 0, 0, 0.0), 0);
	ck_assert_int_eq(delay(0, 0, 0, 0, 0.5), 500);
	ck_assert_int_eq(delay(1001, 0, 0, 3, 0.5), 4000);
	ck_assert_int_eq(delay(1006, 0, 0, 5, 0.5), 16000);
	ck_assert_int_eq(delay(0, 0, 0, 6, 0.5), 30000);
	ck_assert_int_eq(delay(0, 0, 0, 1000, 0.999), 59940);
	ck_assert_int_eq(delay(0, 503, 7000, 0, 0.5), 7500);
	ck_assert_int_eq(delay(0, 503, INT64_MAX, 0, 0.0), 600000);
	ck_assert_int_eq(delay(0, 503, -5, 0, 0.0), 0);
	ck_assert_int_ge(delay(0, 401, 0, 0, 0.0), 120000);
	ck_assert_int_ge(delay(UD_CLOSE_SUPERSEDED, 0, 0, 0, 0.0), 60000);
	ck_assert_int_ge(delay(UD_CLOSE_DUPLICATE, 0, 0, 0, 0.0), 60000);
	ck_assert_int_ge(delay(UD_CLOSE_TOKEN_REVOKED, 0, 0, 0, 0.0), 3600000);
	ck_assert_int_ge(delay(UD_CLOSE_VERSION, 0, 0, 0, 0.0), 3600000);
	ck_assert_int_ge(delay(UD_CLOSE_OVERLOADED, 0, 0, 0, 0.0), 30000);
	ck_assert_int_eq(delay(UD_CLOSE_PROTOCOL, 0, 0, 1, 0.5), 1000);
}

END_TEST

START_TEST(advice_by_close_code)
{
	ck_assert_ptr_nonnull(strstr(link_advice(UD_CLOSE_DUPLICATE), "the same token"));
	ck_assert_ptr_nonnull(strstr(link_advice(UD_CLOSE_TOKEN_REVOKED), "UNIDESK_TOKEN_FILE"));
	ck_assert_ptr_nonnull(strstr(link_advice(UD_CLOSE_VERSION), "replace the agent (this is " AGENT_VERSION ")"));
	ck_assert_ptr_null(link_advice(UD_CLOSE_GOING_AWAY));
	ck_assert_ptr_null(link_advice(0));
}

END_TEST

static const struct
{
	const char *in;
	const char *out;
}			texts[] =

{
	{"plain", "plain"}, {"t\xc3\xa4st\n\tx", "t\xc3\xa4st\n\tx"}, {"\xff\xfe", "??"}, {"a\xc3", "a?"},
	{"\xc0\xaf", "??"}, {"\xed\xa0\x80", "???"}, {"\xf4\x90\x80\x80", "????"}, {"\xf0\x9f\x98\x80", "\xf0\x9f\x98\x80"},
	{"\x1b[31m\x7f\r", "?[31m??"}, {"\xe0\x80\x80", "???"}, {"\xc2\x9b" "31m\xc2\xa0", "?31m\xc2\xa0"},
	{"a\xe2\x80\xae" "b\xe2\x81\xa9\xe2\x80\x8f\xd8\x9c\xe2\x80\xa6", "a?b???\xe2\x80\xa6"},
};

START_TEST(text_is_made_valid)
{
	char		out[64];

	text_make_valid(out, sizeof(out), texts[_i].in, strlen(texts[_i].in));
	ck_assert_str_eq(out, texts[_i].out);
}

END_TEST

START_TEST(text_is_cut_between_characters)
{
	char		out[64];

	text_make_valid(out, 4, "ab\xc3\xa4", 4);
	ck_assert_str_eq(out, "ab");
	text_make_valid(out, 5, "ab\xc3\xa4", 4);
	ck_assert_str_eq(out, "ab\xc3\xa4");
	text_make_valid_tail(out, 4, "ab\xc3\xa4xy", 6);
	ck_assert_str_eq(out, "xy");
	text_make_valid_tail(out, 64, "ab", 2);
	ck_assert_str_eq(out, "ab");
	text_make_valid(out, 2, "a\0b", 3);
	ck_assert_str_eq(out, "a");
	text_make_valid(out, 64, "a\0b", 3);
	ck_assert_str_eq(out, "a?b");
}

END_TEST

START_TEST(state_survives)
{
	static Agent agent;
	Fence		fence = {-5, 123456789012, 2};
	Attempt    *attempt = attempt_add(&agent, &fence, "node \"x\"");
	Attempt    *again = attempt_add(&agent, &fence, "");
	char		gpu[] = "GPU-1";
	StateRead	read;
	UdBuf		text = {0};
	UdError		err;

	attempt->node_id = 3;
	attempt->intent = STOP_WANTED;
	attempt->stop_wanted = true;
	attempt->final_state = UD_ATTEMPT_PREEMPTED;
	attempt->final_reason = UD_REASON_CTL_PREEMPTED;
	attempt->grace_s = 2.5;
	attempt->cpus_milli = 1500;
	attempt->memory = 64;
	attempt->lease_s.set = true;
	attempt->lease_s.value = 60;
	attempt->run_deadline_ns = 987654321;
	attempt->idle_s.set = attempt->warn_s.set = true;
	attempt->idle_s.value = 90;
	attempt->warn_s.value = 7.5;
	attempt->warned = true;
	strcpy(attempt->warn_signal, "INT");
	attempt->stage_ms[1] = 4012;
	strcpy(attempt->image_id, "sha256:abc");
	attempt->spec = ud_calloc(1, sizeof(*attempt->spec));
	attempt->spec->gpus = ud_calloc(2, sizeof(char *));
	attempt->spec->gpus[0] = gpu;
	state_write(attempt, &text);
	ck_assert_int_eq(state_read_fence(text.data, text.len, &read, &err), 0);
	ck_assert_int_eq(read.fence.incarnation, -5);
	ck_assert_int_eq(read.fence.task, 123456789012);
	ck_assert_int_eq(read.fence.attempt, 2);
	ck_assert_str_eq(read.node, "node \"x\"");
	ck_assert_int_eq(read.node_id, 3);
	ck_assert_int_eq(state_read(text.data, text.len, again, &err), 0);
	ck_assert_int_eq(again->intent, STOP_WANTED);
	ck_assert(again->stop_wanted);
	ck_assert(!again->discard);
	ck_assert_int_eq(again->final_state, UD_ATTEMPT_PREEMPTED);
	ck_assert_int_eq(again->final_reason, UD_REASON_CTL_PREEMPTED);
	ck_assert_double_eq(again->grace_s, 2.5);
	ck_assert_int_eq(again->cpus_milli, 1500);
	ck_assert_int_eq(again->memory, 64);
	ck_assert(again->lease_s.set);
	ck_assert_int_eq(again->run_deadline_ns, 987654321);
	ck_assert(!again->other_boot);
	ck_assert(again->idle_s.set && again->warn_s.set && again->warned);
	ck_assert_double_eq(again->idle_s.value, 90);
	ck_assert_double_eq(again->warn_s.value, 7.5);
	ck_assert_str_eq(again->warn_signal, "INT");
	ck_assert_int_eq(again->stage_ms[0], -1);
	ck_assert_int_eq(again->stage_ms[1], 4012);
	ck_assert_str_eq(again->image_id, "sha256:abc");
	ck_assert_ptr_null(again->spec);
	ck_assert_str_eq(attempt_gpus(again)[0], "GPU-1");
	ck_assert_ptr_null(attempt_gpus(again)[1]);
	ck_assert_str_eq(attempt->name, "ffffffff-123456789012-2");
	ck_assert_str_eq(attempt->checkpoint, "fffffffffffffffb-123456789012");
	/* Cut anywhere it is refused, never half believed. */
	for (size_t len = 1; len < text.len; len++)
		ck_assert_int_lt(state_read_fence(text.data, len, &read, &err), 0);
	ck_assert_int_lt(state_read_fence("{}", 2, &read, &err), 0);
	/* Of another boot: no time in it counts, and that is not forgotten. */
	attempt->other_boot = true;
	ud_buf_reset(&text);
	state_write(attempt, &text);
	free(again->gpus);
	again->gpus = NULL;
	ck_assert_int_eq(state_read(text.data, text.len, again, &err), 0);
	ck_assert(again->other_boot);
	ck_assert_int_eq(again->run_deadline_ns, INT64_MAX);
	ud_buf_release(&text);
	attempt->gone = true;
	again->gone = true;
	attempt_sweep(&agent, NULL, NULL);
	ck_assert_int_eq(agent.attempt_count, 0);
}

END_TEST

/* As engines of several versions say it. */
static const struct
{
	const char *error;
	int			reason;
}			pulls[] =

{
	{"toomanyrequests: You have reached your pull rate limit. You may increase the limit by authenticating and upgrading", UD_REASON_PREP_REPO_THROTTLED},
	{"Error response from daemon: received unexpected HTTP status: 429 Too Many Requests", UD_REASON_PREP_REPO_THROTTLED},
	{"pull access denied for x/y, repository does not exist or may require 'docker login': denied: requested access to the resource is denied", UD_REASON_PREP_CREDENTIAL},
	{"Head \"https://registry.example/v2/x/manifests/1\": unauthorized: authentication required", UD_REASON_PREP_CREDENTIAL},
	{"Head \"https://registry.example/v2/x/manifests/1\": no basic auth credentials", UD_REASON_PREP_CREDENTIAL},
	{"unexpected status from HEAD request to https://registry.example/v2/x/manifests/1: 403 Forbidden", UD_REASON_PREP_CREDENTIAL},
	{"Head \"https://registry.example/v2/x/manifests/1\": denied: access forbidden", UD_REASON_PREP_CREDENTIAL},
	{"Get \"https://no-such-host.invalid/v2/\": dial tcp: lookup no-such-host.invalid on 10.0.0.1:53: no such host", UD_REASON_PREP_PULL_FAILED},
	{"Get \"https://registry.example/v2/\": dial tcp: lookup registry.example: Temporary failure in name resolution", UD_REASON_PREP_PULL_FAILED},
	{"Get \"https://registry.example/v2/\": dial tcp 192.0.2.1:443: i/o timeout", UD_REASON_PREP_PULL_FAILED},
	{"Get \"https://registry.example/v2/\": net/http: TLS handshake timeout", UD_REASON_PREP_PULL_FAILED},
	{"Get \"https://registry.example/v2/\": tls: failed to verify certificate: x509: certificate signed by unknown authority", UD_REASON_PREP_PULL_FAILED},
	{"Get \"https://registry.example/v2/\": dial tcp 192.0.2.1:443: connect: connection refused", UD_REASON_PREP_PULL_FAILED},
	{"Get \"https://registry.example/v2/\": net/http: request canceled while waiting for connection (Client.Timeout exceeded while awaiting headers)", UD_REASON_PREP_PULL_FAILED},
	{"Get \"https://registry.example/v2/\": context deadline exceeded", UD_REASON_PREP_PULL_FAILED},
	{"Get \"https://registry.example/v2/\": EOF", UD_REASON_PREP_PULL_FAILED},
	{"received unexpected HTTP status: 503 Service Unavailable", UD_REASON_PREP_PULL_FAILED},
	{"error pulling image configuration: download failed after attempts=6: read tcp 10.0.0.1:1->192.0.2.1:443: read: connection reset by peer", UD_REASON_PREP_PULL_FAILED},
	/* The Dockerfile names what is not there, or what is no name. */
	{"manifest for x/y:1 not found: manifest unknown: manifest unknown", UD_REASON_NONE},
	{"invalid reference format", UD_REASON_NONE},
	{"no matching manifest for linux/amd64 in the manifest list entries", UD_REASON_NONE},
	{"open /var/lib/docker/tmp/x: permission denied", UD_REASON_NONE},
	{"", UD_REASON_NONE},
};

START_TEST(errors_of_pulls)
{
	ck_assert_msg(docker_pull_reason(pulls[_i].error) == pulls[_i].reason, "%s: %s", pulls[_i].error,
				  ud_reason_text(docker_pull_reason(pulls[_i].error)));
}

END_TEST

int
main(void)
{
	Suite	   *suite = suite_create("parts");
	TCase	   *tests = tcase_create("parts");
	SRunner    *runner;
	int			failed;

	tcase_add_loop_test(tests, users_of_images, 0, (int) (sizeof(users) / sizeof(users[0])));
	tcase_add_test(tests, names_of_images);
	tcase_add_test(tests, lease_times);
	tcase_add_test(tests, reconnect_delays);
	tcase_add_test(tests, advice_by_close_code);
	tcase_add_loop_test(tests, text_is_made_valid, 0, (int) (sizeof(texts) / sizeof(texts[0])));
	tcase_add_test(tests, text_is_cut_between_characters);
	tcase_add_test(tests, state_survives);
	tcase_add_loop_test(tests, errors_of_pulls, 0, (int) (sizeof(pulls) / sizeof(pulls[0])));
	suite_add_tcase(suite, tests);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
