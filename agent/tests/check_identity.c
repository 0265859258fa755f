/*
 * check_identity.c
 *	  Which data directory an agent has, the seal of the last welcome, and
 *	  whose attempts are whose when a node has another name.
 */
#include <check.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/attempt.h"
#include "agent/json.h"
#include "agent/remove_tree.h"
#include "agent/session.h"
#include "common/log.h"

#define WELCOME "{\"incarnation\":\"00f3a1b2c3d4e5f6\",\"node\":\"%s\",\"node_id\":%d%s}"
#define SEAL ",\"seal\":\"0123456789abcdef\""
#define NO_SEAL "0000000000000000"
#define GOOD_ID "0123456789abcdef0123456789abcdef"

static char directory[64];
static AgentConfig config;
static Agent agent;
static Session session;
static UdError err;

static void
setup(void)
{
	ud_log_setup("check_identity", UD_LOG_ERROR + 1);
	strcpy(directory, "/tmp/check_identity.XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(directory));
	memset(&agent, 0, sizeof(agent));
	agent.config = &config;
	pthread_mutex_init(&agent.lock, NULL);
	pthread_cond_init(&agent.changed, NULL);
	ck_assert_msg(data_open(&agent.data, directory, ud_strdup(directory), 0, "/bin/true", &err) == 0, "%s", err.message);
	ck_assert_msg(identity_open(&agent.data, &agent.identity, &err) == 0, "%s", err.message);
	session_init(&session, &agent);
	session_open(&session);
}

static void
teardown(void)
{
	for (Attempt *attempt = agent.attempts; attempt != NULL; attempt = attempt->next)
		attempt->gone = true;
	attempt_sweep(&agent, NULL, NULL);
	session_release(&session);
	data_close(&agent.data);
	ck_assert_int_eq(remove_tree(AT_FDCWD, directory), 0);
}

static void
put(const char *bytes, size_t len)
{
	int			fd = openat(agent.data.root_fd, "identity", O_WRONLY | O_CREAT | O_TRUNC, 0600);

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(write(fd, bytes, len), (ssize_t) len);
	close(fd);
}

/* What the next hello says of the data directory. */
static void
hello_says(const char *data_id, const char *seal)
{
	UdBuf		frame = {0};
	UdFrameReader reader;
	UdEnvelope	envelope;
	const uint8_t *body;
	struct json_object *hello;
	const char *got_id = "";
	const char *got_seal = "";
	int64_t		again_us;

	ck_assert(session_next_frame(&session, &frame, &again_us));
	ck_assert_int_eq(ud_frame_begin(&reader, frame.data, frame.len), 0);
	ck_assert_int_eq(ud_frame_next(&reader, &envelope, &body), 1);
	ck_assert_uint_eq(envelope.type, UD_MSG_HELLO);
	hello = json_parse_object(body, envelope.body_bytes, &err);
	ck_assert_ptr_nonnull(hello);
	ck_assert_int_gt(json_get_text(hello, "data_id", 32, &got_id, &err), 0);
	ck_assert_int_gt(json_get_text(hello, "seal", 16, &got_seal, &err), 0);
	ck_assert_str_eq(got_id, data_id);
	ck_assert_str_eq(got_seal, seal);
	json_object_put(hello);
	ud_buf_release(&frame);
}

/* The server's answer; what session_receive says of it. */
static int
welcome(const char *node, int node_id, const char *seal)
{
	UdBuf		bytes = {0};
	UdEnvelope	envelope = {
		.type = UD_MSG_WELCOME,
	};
	UdHeader	header = {
		.version = UD_PROTOCOL_VERSION,
		.message_count = 1,
		.session = 42,
	};
	char		body[256];
	int			result;

	snprintf(body, sizeof(body), WELCOME, node, node_id, seal);
	ud_buf_reserve(&bytes, UD_HEADER_BYTES);
	bytes.len = UD_HEADER_BYTES;
	session_append_message(&bytes, &envelope, body, strlen(body));
	header.frame_bytes = (uint32_t) bytes.len;
	ud_header_write(bytes.data, &header);
	result = session_receive(&session, bytes.data, bytes.len, &err);
	ud_buf_release(&bytes);
	return result;
}

START_TEST(made_once_and_kept)
{
	Identity	again;
	struct stat info;

	ck_assert_uint_eq(strlen(agent.identity.data_id), 32);
	ck_assert_str_eq(agent.identity.seal, NO_SEAL);
	ck_assert_int_eq(fstatat(agent.data.root_fd, "identity", &info, 0), 0);
	ck_assert_uint_eq(info.st_mode & 07777, 0600);
	ck_assert_int_eq(identity_open(&agent.data, &again, &err), 0);
	ck_assert_str_eq(again.data_id, agent.identity.data_id);
	/* Another one where there is none. */
	ck_assert_int_eq(unlinkat(agent.data.root_fd, "identity", 0), 0);
	ck_assert_int_eq(identity_open(&agent.data, &again, &err), 0);
	ck_assert_str_ne(again.data_id, agent.identity.data_id);
}

END_TEST

START_TEST(a_welcome_seals_before_anything_is_said)
{
	Identity	again;

	hello_says(agent.identity.data_id, NO_SEAL);
	ck_assert_int_eq(welcome("n1", 3, SEAL), 0);
	ck_assert_int_eq(identity_open(&agent.data, &again, &err), 0);
	ck_assert_str_eq(again.seal, "0123456789abcdef");
	session_close(&session);
	session_open(&session);
	hello_says(again.data_id, "0123456789abcdef");
	/* A server that gives none leaves it as it is. */
	ck_assert_int_eq(welcome("n1", 3, ""), 0);
	ck_assert_str_eq(agent.identity.seal, "0123456789abcdef");
}

END_TEST

START_TEST(a_seal_that_cannot_be_kept_ends_the_session)
{
	ck_assert_int_eq(unlinkat(agent.data.root_fd, "identity", 0), 0);
	ck_assert_int_eq(mkdirat(agent.data.root_fd, "identity", 0700), 0);
	hello_says(agent.identity.data_id, NO_SEAL);
	ck_assert_int_lt(welcome("n1", 3, SEAL), 0);
	ck_assert_int_ne(err.code, UD_EPROTO);
	ck_assert(!session.welcomed);
	ck_assert_str_eq(agent.identity.seal, NO_SEAL);
}

END_TEST

START_TEST(seals_that_are_none_close)
{
	hello_says(agent.identity.data_id, NO_SEAL);
	ck_assert_int_lt(welcome("n1", 3, ",\"seal\":\"0123\""), 0);
	ck_assert_int_lt(welcome("n1", 3, ",\"seal\":\"0123456789ABCDEF\""), 0);
	ck_assert_int_lt(welcome("n1", 3, ",\"seal\":7"), 0);
	ck_assert_int_lt(welcome("n1", 0, SEAL), 0);
	ck_assert_int_lt(welcome("n1", -3, SEAL), 0);
	ck_assert_str_eq(agent.identity.seal, NO_SEAL);
}

END_TEST

static const char *const damaged[] = {
	"", "\n", GOOD_ID, GOOD_ID " " NO_SEAL, GOOD_ID " " NO_SEAL "\n\n", GOOD_ID "  000000000000000\n",
	"0123456789ABCDEF0123456789abcdef " NO_SEAL "\n", GOOD_ID " 00000000000000g0\n", "../../../../../../../../etc/passwd 0000000000000000\n",
};

START_TEST(damaged_files_are_refused_and_kept)
{
	const char *text = damaged[_i];
	Identity	again;
	struct stat info;

	put(text, strlen(text));
	ck_assert_int_eq(identity_open(&agent.data, &again, &err), UD_EINVAL);
	ck_assert_ptr_nonnull(strstr(err.message, "accept_machine"));
	ck_assert_int_eq(fstatat(agent.data.root_fd, "identity", &info, 0), 0);
	ck_assert_int_eq(info.st_size, (off_t) strlen(text));
}

END_TEST

START_TEST(links_and_pipes_are_refused)
{
	Identity	again;

	ck_assert_int_eq(unlinkat(agent.data.root_fd, "identity", 0), 0);
	ck_assert_int_eq(symlinkat("/etc/hostname", agent.data.root_fd, "identity"), 0);
	ck_assert_int_eq(identity_open(&agent.data, &again, &err), UD_EINVAL);
	ck_assert_int_eq(unlinkat(agent.data.root_fd, "identity", 0), 0);
	ck_assert_int_eq(mkfifoat(agent.data.root_fd, "identity", 0600), 0);
	ck_assert_int_eq(identity_open(&agent.data, &again, &err), UD_EINVAL);
}

END_TEST

START_TEST(a_node_is_its_number_and_not_its_name)
{
	Fence		fence = {INT64_C(0x00f3a1b2c3d4e5f6), 7, 1};
	Attempt    *attempt = attempt_add(&agent, &fence, "n1");

	attempt->state = UD_ATTEMPT_RUNNING;
	attempt->node_id = 3;
	hello_says(agent.identity.data_id, NO_SEAL);
	ck_assert_int_eq(welcome("n2", 3, ""), 0);
	ck_assert_msg(!attempt->held, "a new name made it another node's");
	session_open(&session);
	hello_says(agent.identity.data_id, NO_SEAL);
	ck_assert_int_eq(welcome("n1", 4, ""), 0);
	ck_assert_msg(attempt->held, "another node of that name took it");
	/* One of an earlier agent has its name only. */
	attempt->node_id = 0;
	session_open(&session);
	hello_says(agent.identity.data_id, NO_SEAL);
	ck_assert_int_eq(welcome("n1", 4, ""), 0);
	ck_assert(!attempt->held);
}

END_TEST

int
main(void)
{
	Suite	   *suite = suite_create("identity");
	TCase	   *tests = tcase_create("identity");
	SRunner    *runner;
	int			failed;

	tcase_add_checked_fixture(tests, setup, teardown);
	tcase_add_test(tests, made_once_and_kept);
	tcase_add_test(tests, a_welcome_seals_before_anything_is_said);
	tcase_add_test(tests, a_seal_that_cannot_be_kept_ends_the_session);
	tcase_add_test(tests, seals_that_are_none_close);
	tcase_add_loop_test(tests, damaged_files_are_refused_and_kept, 0, (int) (sizeof(damaged) / sizeof(damaged[0])));
	tcase_add_test(tests, links_and_pipes_are_refused);
	tcase_add_test(tests, a_node_is_its_number_and_not_its_name);
	suite_add_tcase(suite, tests);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
