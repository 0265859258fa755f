/*
 * check_session.c
 *	  The protocol without a network: frames in, frames out, on a real data
 *	  directory; and that directory against what a hostile task may do to it.
 */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/attempt.h"
#include "agent/json.h"
#include "agent/lease.h"
#include "agent/remove_tree.h"
#include "agent/session.h"
#include "common/log.h"
#include "common/run_files.h"

#define INCARNATION INT64_C(0x00f3a1b2c3d4e5f6)
#define WELCOME "{\"incarnation\":\"00f3a1b2c3d4e5f6\",\"node\":\"n1\",\"limits\":{\"beat_s\":15,\"report_repeat_s\":100}}"
#define SESSION_NUMBER 42

static char directory[64];
static AgentConfig config;
static Agent agent;
static Session session;
static UdBuf frame;
static char inside[DATA_NAME_BYTES + 16];
static UdError err;

static void
setup(void)
{
	ud_log_setup("check_session", UD_LOG_ERROR + 1);
	strcpy(directory, "/tmp/check_session.XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(directory));
	memset(&agent, 0, sizeof(agent));
	agent.config = &config;
	pthread_mutex_init(&agent.lock, NULL);
	pthread_cond_init(&agent.changed, NULL);
	ck_assert_msg(data_open(&agent.data, directory, ud_strdup(directory), 0, "/bin/true", &err) == 0, "%s", err.message);
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
	ud_buf_release(&frame);
	data_close(&agent.data);
	ck_assert_int_eq(remove_tree(AT_FDCWD, directory), 0);
}

static int
deliver(int type, int state, int flags, const Fence *fence, uint32_t sequence, int64_t value, const char *body)
{
	UdBuf		bytes = {0};
	UdEnvelope	envelope = {
		.type = (uint16_t) type,
		.state = (uint8_t) state,
		.flags = (uint8_t) flags,
		.incarnation = fence ? fence->incarnation : 0,
		.task = fence ? fence->task : 0,
		.attempt = fence ? fence->attempt : 0,
		.sequence = sequence,
		.value = value,
	};
	UdHeader	header = {
		.version = UD_PROTOCOL_VERSION,
		.message_count = 1,
		.session = SESSION_NUMBER,
	};
	int			result;

	ud_buf_reserve(&bytes, UD_HEADER_BYTES);
	bytes.len = UD_HEADER_BYTES;
	session_append_message(&bytes, &envelope, body, strlen(body));
	header.frame_bytes = (uint32_t) bytes.len;
	ud_header_write(bytes.data, &header);
	result = session_receive(&session, bytes.data, bytes.len, &err);
	ud_buf_release(&bytes);
	return result;
}

/* The next frame's only or first message; type 0 when there is no frame. */
static UdEnvelope
next(const uint8_t **body)
{
	UdFrameReader reader;
	UdEnvelope	envelope = {0};
	int64_t		again_us;

	ud_buf_reset(&frame);
	if (!session_next_frame(&session, &frame, &again_us))
	{
		if (again_us == 0)
			return envelope;
		usleep((useconds_t) again_us + 1000);
		if (!session_next_frame(&session, &frame, &again_us))
			return envelope;
	}
	ck_assert_int_eq(ud_frame_begin(&reader, frame.data, frame.len), 0);
	ck_assert_int_eq(ud_frame_next(&reader, &envelope, body), 1);
	return envelope;
}

static void
welcome(void)
{
	const uint8_t *body;

	ck_assert_uint_eq(next(&body).type, UD_MSG_HELLO);
	ck_assert_int_eq(deliver(UD_MSG_WELCOME, 0, 0, NULL, 0, 0, WELCOME), 0);
}

/* The time after which a report is repeated has passed. */
static void
pass_time(Attempt *attempt)
{
	attempt->report_sent_ns -= 200 * NS_PER_S;
}

static Attempt *
add(int64_t task, int state)
{
	Fence		fence = {INCARNATION, task, 1};
	Attempt    *attempt = attempt_add(&agent, &fence, "n1");

	attempt->state = state;
	attempt->report_dirty = true;
	return attempt;
}

START_TEST(hello_comes_first_and_alone)
{
	const uint8_t *body;
	UdEnvelope	envelope;
	struct json_object *hello;
	struct json_object *list;
	UdHeader	header;
	Attempt    *attempt = add(7, UD_ATTEMPT_RUNNING);

	attempt->cpus_milli = 1500;
	attempt->memory = 64;
	attempt->gpus = ud_calloc(2, sizeof(char *));
	attempt->gpus[0] = (char *) "GPU-1";
	session_tick(&session);
	envelope = next(&body);
	ck_assert_uint_eq(envelope.type, UD_MSG_HELLO);
	ud_header_read(frame.data, &header);
	ck_assert_uint_eq(header.session, 0);
	ck_assert_uint_eq(header.message_count, 1);
	hello = json_parse_object(body, envelope.body_bytes, &err);
	ck_assert_ptr_nonnull(hello);
	ck_assert(json_object_object_get_ex(hello, "attempts", &list));
	ck_assert_str_eq(json_object_to_json_string_ext(list, JSON_C_TO_STRING_PLAIN),
					 "[{\"incarnation\":\"00f3a1b2c3d4e5f6\",\"task\":7,\"attempt\":1,\"state\":\"running\","
					 "\"cpus_milli\":1500,\"memory\":64,\"gpus\":[\"GPU-1\"]}]");
	json_object_put(hello);
	/* Nothing more before the welcome, then a beat and a report. */
	session_tick(&session);
	ck_assert_uint_eq(next(&body).type, 0);
	ck_assert_int_eq(deliver(UD_MSG_WELCOME, 0, 0, NULL, 0, 0, WELCOME), 0);
	session_tick(&session);
	ck_assert_uint_eq(next(&body).type, UD_MSG_BEAT);
	ud_header_read(frame.data, &header);
	ck_assert_uint_eq(header.session, SESSION_NUMBER);
	ck_assert_uint_eq(header.message_count, 2);
}

END_TEST

START_TEST(protocol_errors_close)
{
	uint8_t		bytes[UD_HEADER_BYTES + UD_ENVELOPE_BYTES] = {0};

	ck_assert_int_lt(deliver(UD_MSG_DESIRED, UD_WANT_RUN, 0, NULL, 0, 0, ""), 0);
	ck_assert_int_lt(deliver(UD_MSG_WELCOME, 0, 0, NULL, 0, 0, "{}"), 0);
	ck_assert_int_lt(session_receive(&session, bytes, 0, &err), 0);
	ck_assert_int_lt(session_receive(&session, bytes, sizeof(bytes), &err), 0);
	welcome();
	ck_assert_int_lt(deliver(UD_MSG_WELCOME, 0, 0, NULL, 0, 0, WELCOME), 0);
}

END_TEST

START_TEST(unknown_types_are_answered)
{
	const uint8_t *body;

	welcome();
	ck_assert_int_eq(deliver(4711, 0, 0, NULL, 0, 0, "{}"), 0);
	ck_assert_uint_eq(next(&body).type, UD_MSG_AGENT_ERROR);
	ck_assert_int_eq(deliver(UD_MSG_CREDENTIAL, 0, 0, NULL, 0, 0, ""), 0);
	ck_assert_uint_eq(next(&body).type, 0);
}

END_TEST

START_TEST(reports_repeat_until_the_server_is_as_far)
{
	const uint8_t *body;
	UdEnvelope	envelope;
	Attempt    *attempt = add(1, UD_ATTEMPT_RUNNING);

	welcome();
	envelope = next(&body);
	ck_assert_uint_eq(envelope.type, UD_MSG_REPORT);
	ck_assert_uint_eq(envelope.state, UD_ATTEMPT_RUNNING);
	ck_assert_uint_eq(envelope.sequence, 1);
	ck_assert_uint_eq(next(&body).type, 0);
	/* The server is behind: repeated with a higher number. */
	deliver(UD_MSG_REPORT_ACK, UD_ATTEMPT_ACCEPTED, 0, &attempt->fence, 1, 0, "");
	pass_time(attempt);
	ck_assert_uint_eq(next(&body).sequence, 2);
	deliver(UD_MSG_REPORT_ACK, UD_ATTEMPT_RUNNING, 0, &attempt->fence, 2, 0, "");
	pass_time(attempt);
	ck_assert_uint_eq(next(&body).type, 0);
	/* A changed state is reported; an answer to an older report is not its. */
	agent_lock(&agent);
	attempt_set_state(attempt, UD_ATTEMPT_SUCCEEDED);
	agent_unlock(&agent);
	ck_assert_uint_eq(next(&body).sequence, 3);
	deliver(UD_MSG_REPORT_ACK, UD_ATTEMPT_LOST, 0, &attempt->fence, 2, 0, "");
	ck_assert(!attempt->report_settled);
	pass_time(attempt);
	ck_assert_uint_eq(next(&body).sequence, 4);
	deliver(UD_MSG_REPORT_ACK, UD_ATTEMPT_LOST, UD_FLAG_REMOVE, &attempt->fence, 4, 0, "");
	ck_assert(attempt->remove_acked);
	pass_time(attempt);
	ck_assert_uint_eq(next(&body).type, 0);
}

END_TEST

START_TEST(remove_waits_for_the_end_and_stale_discards)
{
	const uint8_t *body;
	Attempt    *attempt = add(1, UD_ATTEMPT_RUNNING);

	welcome();
	next(&body);
	/* A server that says remove while it runs is not obeyed blindly. */
	deliver(UD_MSG_REPORT_ACK, UD_ATTEMPT_RUNNING, UD_FLAG_REMOVE, &attempt->fence, 1, 0, "");
	ck_assert(!attempt->remove_acked);
	deliver(UD_MSG_REPORT_ACK, UD_ATTEMPT_RUNNING, UD_FLAG_STALE, &attempt->fence, 1, 0, "");
	ck_assert(attempt->discard);
	ck_assert(atomic_load(&attempt->interrupt));
	pass_time(attempt);
	ck_assert_uint_eq(next(&body).type, 0);
}

END_TEST

START_TEST(other_incarnations_and_nodes_are_held)
{
	const uint8_t *body;
	UdEnvelope	envelope;
	Fence		other = {INCARNATION + 1, 1, 1};
	Fence		ours = {INCARNATION, 2, 1};
	Attempt    *first = attempt_add(&agent, &other, "n1");
	Attempt    *second = attempt_add(&agent, &ours, "n2");

	first->state = UD_ATTEMPT_RUNNING;
	second->state = UD_ATTEMPT_RUNNING;
	welcome();
	ck_assert(first->held);
	ck_assert(second->held);
	ck_assert_uint_eq(next(&body).type, 0);
	/* Asked about by its own fence it is stopped. */
	deliver(UD_MSG_DESIRED, UD_WANT_STOP, 0, &other, 0, 5, "{\"final\":\"cancelled\"}");
	ck_assert(first->stop_wanted);
	ck_assert(!second->stop_wanted);
	/* An order to run for another incarnation is refused. */
	other.task = 9;
	deliver(UD_MSG_DESIRED, UD_WANT_RUN, 0, &other, 0, 6, "{}");
	envelope = next(&body);
	ck_assert_uint_eq(envelope.type, UD_MSG_AGENT_ERROR);
	ck_assert_ptr_nonnull(memmem(body, envelope.body_bytes, "another incarnation", 19));
	ck_assert_int_eq(agent.attempt_count, 2);
	/* One that is here goes on when the server names it, also after this. */
	deliver(UD_MSG_DESIRED, UD_WANT_RUN, 0, &ours, 0, 7, "{\"grace_s\":3}");
	ck_assert(!second->held);
	ck_assert_double_eq(second->grace_s, 3);
	ck_assert_uint_eq(next(&body).type, UD_MSG_REPORT);
	session_close(&session);
	session_open(&session);
	welcome();
	ck_assert(!second->held);
}

END_TEST

START_TEST(older_revisions_are_ignored)
{
	Attempt    *attempt = add(1, UD_ATTEMPT_RUNNING);

	welcome();
	deliver(UD_MSG_DESIRED, UD_WANT_RUN, 0, &attempt->fence, 0, 10, "{\"grace_s\":11}");
	ck_assert_double_eq(attempt->grace_s, 11);
	deliver(UD_MSG_DESIRED, UD_WANT_STOP, 0, &attempt->fence, 0, 9, "{\"final\":\"cancelled\"}");
	ck_assert(!attempt->stop_wanted);
	ck_assert_int_eq(session.last_rev, 10);
	/* A full list counts as seen when it is complete. */
	deliver(UD_MSG_DESIRED_FULL, 0, 0, NULL, 2, 20, "");
	ck_assert_int_eq(session.last_rev, 10);
	deliver(UD_MSG_DESIRED, UD_WANT_RUN, 0, &attempt->fence, 0, 12, "{}");
	ck_assert_int_eq(session.last_rev, 10);
	deliver(UD_MSG_DESIRED, UD_WANT_RUN, 0, &attempt->fence, 0, 13, "{}");
	ck_assert_int_eq(session.last_rev, 20);
	/* What runs and is not named goes on. */
	deliver(UD_MSG_DESIRED_FULL, 0, 0, NULL, 0, 30, "");
	ck_assert_int_eq(session.last_rev, 30);
	ck_assert(!attempt->discard && !attempt->stop_wanted);
}

END_TEST

/* A restored server counts on from an earlier number. */
START_TEST(revisions_are_of_one_incarnation)
{
	Attempt    *attempt = add(1, UD_ATTEMPT_RUNNING);
	const uint8_t *body;

	welcome();
	deliver(UD_MSG_DESIRED, UD_WANT_RUN, 0, &attempt->fence, 0, 500, "{\"grace_s\":11}");
	session_close(&session);
	session_open(&session);
	welcome();
	ck_assert_int_eq(attempt->rev, 500);
	session_close(&session);
	session_open(&session);
	ck_assert_uint_eq(next(&body).type, UD_MSG_HELLO);
	deliver(UD_MSG_WELCOME, 0, 0, NULL, 0, 0, "{\"incarnation\":\"0000000000000001\",\"node\":\"n1\"}");
	ck_assert_int_eq(session.last_rev, 0);
	ck_assert(attempt->held);
	deliver(UD_MSG_DESIRED, UD_WANT_RUN, 0, &attempt->fence, 0, 7, "{\"grace_s\":12}");
	ck_assert(!attempt->held);
	ck_assert_double_eq(attempt->grace_s, 12);
	ck_assert_int_eq(session.last_rev, 7);
}

END_TEST

START_TEST(only_our_beats_renew_leases)
{
	Attempt    *attempt = add(1, UD_ATTEMPT_RUNNING);
	const uint8_t *body;
	UdControl	control;
	UdBuf		bytes = {0};
	UdEnvelope	beat;
	int64_t		limit;

	attempt->ran = true;
	attempt->lease_s.set = true;
	attempt->lease_s.value = 100;
	ck_assert_int_eq(data_make_attempt(&agent.data, attempt->name, &err), 0);
	welcome();
	session_tick(&session);
	beat = next(&body);
	ck_assert_uint_eq(beat.type, UD_MSG_BEAT);
	deliver(UD_MSG_BEAT_ACK, 0, 0, NULL, beat.sequence + 1, 0, "");
	deliver(UD_MSG_BEAT_ACK, 0, 0, NULL, beat.sequence + SESSION_BEATS, 0, "");
	deliver(UD_MSG_BEAT_ACK, 0, 0, NULL, 0, 0, "");
	ck_assert_int_eq(data_read_run(&agent.data, attempt->name, UD_RUN_CONTROL, 200, &bytes, &err), UD_ENOENT);
	deliver(UD_MSG_BEAT_ACK, 0, 0, NULL, beat.sequence, 0, "");
	ck_assert_int_eq(data_read_run(&agent.data, attempt->name, UD_RUN_CONTROL, 200, &bytes, &err), 0);
	ck_assert_uint_eq(bytes.len, sizeof(control));
	memcpy(&control, bytes.data, sizeof(control));
	ck_assert_int_eq(control.deadline_boot_ns, agent.lease_base_ns + 40 * NS_PER_S);
	ck_assert_int_le(agent.lease_base_ns, clock_boot_ns());
	ck_assert_int_ge(data_alive_age_s(directory, &limit), 0);
	ck_assert_int_eq(limit, 60);
	ud_buf_release(&bytes);
}

END_TEST

/* A log of count bytes in records of 1000. */
static void
write_log(Attempt *attempt, int count)
{
	char		path[200];
	int			fd;

	ck_assert_int_eq(data_make_attempt(&agent.data, attempt->name, &err), 0);
	snprintf(path, sizeof(path), "%s/run/%s/log", directory, attempt->name);
	fd = open(path, O_WRONLY | O_CREAT, 0644);
	for (int offset = 0; offset < count; offset += 1000)
	{
		struct
		{
			UdLogRecord record;
			char		payload[1000];
		}			all = {0};

		all.record.magic = UD_LOG_RECORD_MAGIC;
		all.record.length = 1000;
		all.record.offset = (uint64_t) offset;
		all.record.stream = UD_LOG_STDOUT;
		ck_assert_int_eq(write(fd, &all, sizeof(UdLogRecord) + 1000), sizeof(UdLogRecord) + 1000);
	}
	close(fd);
	attempt->ran = true;
}

START_TEST(logs_ask_first_and_keep_to_the_credit)
{
	Attempt    *attempt = add(1, UD_ATTEMPT_RUNNING);
	const uint8_t *body;
	UdEnvelope	envelope;
	int64_t		sent = 0;

	write_log(attempt, 100000);
	welcome();
	next(&body);
	envelope = next(&body);
	ck_assert_uint_eq(envelope.type, UD_MSG_LOG);
	ck_assert_uint_eq(envelope.state, UD_LOG_STDOUT);
	ck_assert_int_eq(envelope.value, 0);
	ck_assert_uint_eq(next(&body).type, 0);
	/* The server has 50 500 bytes already and allows 2 000 more. */
	deliver(UD_MSG_LOG_ACK, 0, 0, &attempt->fence, 2000, 50500, "");
	envelope = next(&body);
	ck_assert_int_eq(envelope.value, 50500);
	ck_assert_uint_eq(envelope.body_bytes, 2000);
	ck_assert_uint_eq(next(&body).type, 0);
	deliver(UD_MSG_LOG_ACK, 0, 0, &attempt->fence, 0, 52500, "");
	ck_assert_uint_eq(next(&body).type, 0);
	deliver(UD_MSG_LOG_ACK, 0, 0, &attempt->fence, 1000000, 52500, "");
	envelope = next(&body);
	ck_assert_int_eq(envelope.value, 52500);
	sent = envelope.value + envelope.body_bytes;
	ck_assert_int_eq(sent, 100000);
	ck_assert_uint_eq(next(&body).type, 0);
}

END_TEST

/* A server whose disk is full gives no credit; it is asked until it does. */
START_TEST(without_credit_the_log_waits_and_is_offered_again)
{
	Attempt    *attempt = add(1, UD_ATTEMPT_SUCCEEDED);
	const uint8_t *body;
	UdEnvelope	envelope;

	write_log(attempt, 10000);
	attempt->ended = true;
	welcome();
	next(&body);
	next(&body);
	deliver(UD_MSG_REPORT_ACK, UD_ATTEMPT_SUCCEEDED, UD_FLAG_REMOVE, &attempt->fence, 1, 0, "");
	deliver(UD_MSG_LOG_ACK, 0, 0, &attempt->fence, 5000, 3000, "");
	envelope = next(&body);
	ck_assert_int_eq(envelope.value, 3000);
	ck_assert_uint_eq(envelope.body_bytes, 5000);
	/* Refused: as often as that may be, nothing is given up. */
	for (int i = 0; i < 6; i++)
	{
		deliver(UD_MSG_LOG_ACK, 0, 0, &attempt->fence, 0, 3000, "");
		ck_assert_uint_eq(next(&body).type, 0);
		attempt->log.last_ack_ns -= 31 * NS_PER_S;
		envelope = next(&body);
		ck_assert_uint_eq(envelope.type, UD_MSG_LOG);
		ck_assert_int_eq(envelope.value, 0);
		ck_assert_uint_eq(next(&body).type, 0);
	}
	ck_assert(!attempt->remove_now);
	deliver(UD_MSG_LOG_ACK, 0, 0, &attempt->fence, 100000, 3000, "");
	envelope = next(&body);
	ck_assert_int_eq(envelope.value, 3000);
	ck_assert_uint_eq(envelope.body_bytes, 7000);
	deliver(UD_MSG_LOG_ACK, 0, 0, &attempt->fence, 100000, 10000, "");
	ck_assert_uint_eq(next(&body).type, 0);
	ck_assert(attempt->remove_now);
}

END_TEST

START_TEST(removed_when_result_and_log_are_acknowledged)
{
	Attempt    *attempt = add(1, UD_ATTEMPT_SUCCEEDED);
	const uint8_t *body;

	write_log(attempt, 2000);
	attempt->ended = true;
	welcome();
	next(&body);
	next(&body);
	deliver(UD_MSG_REPORT_ACK, UD_ATTEMPT_SUCCEEDED, UD_FLAG_REMOVE, &attempt->fence, 1, 0, "");
	ck_assert_uint_eq(next(&body).type, 0);
	ck_assert(!attempt->remove_now);
	deliver(UD_MSG_LOG_ACK, 0, 0, &attempt->fence, 4096, 1500, "");
	ck_assert_uint_eq(next(&body).type, UD_MSG_LOG);
	ck_assert_uint_eq(next(&body).type, 0);
	ck_assert(!attempt->remove_now);
	deliver(UD_MSG_LOG_ACK, 0, 0, &attempt->fence, 4096, 2000, "");
	ck_assert_uint_eq(next(&body).type, 0);
	ck_assert(attempt->remove_now);
}

END_TEST

START_TEST(random_frames_never_break_the_session)
{
	uint8_t		bytes[200];
	const uint8_t *body;

	srandom((unsigned) _i);
	add(1, UD_ATTEMPT_RUNNING);
	welcome();
	for (int i = 0; i < 200; i++)
	{
		size_t		len = UD_HEADER_BYTES + UD_ENVELOPE_BYTES + (size_t) random() % 60;
		UdHeader	header = {
			.version = UD_PROTOCOL_VERSION,
			.message_count = (uint16_t) (1 + random() % 2),
			.frame_bytes = (uint32_t) len,
			.session = SESSION_NUMBER,
		};
		UdEnvelope	envelope = {
			.type = (uint16_t) (random() % 2 ? 129 + random() % 12 : random()),
			.state = UD_WANT_REMOVE,
			.flags = (uint8_t) random(),
			.body_bytes = (uint32_t) (len - UD_HEADER_BYTES - UD_ENVELOPE_BYTES - (size_t) random() % 2),
			.incarnation = random() % 2 ? INCARNATION : random(),
			.task = random() % 3,
			.attempt = (int32_t) (random() % 3),
			.sequence = (uint32_t) random(),
			.value = random() - RAND_MAX / 2,
		};

		for (size_t at = 0; at < sizeof(bytes); at++)
			bytes[at] = (uint8_t) random();
		ud_header_write(bytes, &header);
		ud_envelope_write(bytes + UD_HEADER_BYTES, &envelope);
		if (session_receive(&session, bytes, len, &err) < 0)
			ck_assert_str_ne(err.message, "");
		next(&body);
	}
}

END_TEST

/* A restart's window: the server has not been heard of yet. */
START_TEST(before_the_welcome_deadlines_stay)
{
	Attempt    *attempt = add(1, UD_ATTEMPT_RUNNING);
	UdControl	control = {
		.magic = UD_CONTROL_MAGIC,
		.has_lease = 1,
		.deadline_boot_ns = 123 * NS_PER_S,
		.written_boot_ns = 100 * NS_PER_S,
		.written_realtime_ns = 5000 * NS_PER_S,
	};
	UdControl	now;
	UdBuf		bytes = {0};

	strcpy(control.boot_id, clock_boot_id());
	ck_assert_int_eq(data_make_attempt(&agent.data, attempt->name, &err), 0);
	ck_assert_int_eq(data_update_run(&agent.data, attempt->name, UD_RUN_CONTROL, &control, sizeof(control), &err), 0);
	attempt->lease_s.set = true;
	attempt->lease_s.value = 7200;
	attempt->grace_s = 7;
	attempt->intent = STOP_WANTED;
	attempt_write_control(attempt);
	ck_assert_int_eq(data_read_run(&agent.data, attempt->name, UD_RUN_CONTROL, 200, &bytes, &err), 0);
	ck_assert_uint_eq(bytes.len, sizeof(now));
	memcpy(&now, bytes.data, sizeof(now));
	control.stop_announced = 1;
	control.grace_s = 7;
	ck_assert_mem_eq(&now, &control, sizeof(now));
	ud_buf_release(&bytes);
}

END_TEST

START_TEST(an_unknown_attempt_without_spec_is_lost)
{
	const uint8_t *body;
	UdEnvelope	envelope;
	Fence		fence = {INCARNATION, 9, 1};

	welcome();
	deliver(UD_MSG_DESIRED, UD_WANT_RUN, 0, &fence, 0, 5, "{\"lease_s\":60,\"spec\":null}");
	envelope = next(&body);
	ck_assert_uint_eq(envelope.type, UD_MSG_REPORT);
	ck_assert_uint_eq(envelope.state, UD_ATTEMPT_LOST);
	ck_assert_ptr_nonnull(memmem(body, envelope.body_bytes, "node.container_gone", 19));
	/* Its worker waits for the answer. */
	agent_lock(&agent);
	atomic_store(&agent.exiting, true);
	pthread_cond_broadcast(&agent.changed);
	while (agent.worker_count > 0)
		agent_wait_changed(&agent, 1000);
	agent_unlock(&agent);
}

END_TEST

START_TEST(what_was_removed_is_not_begun_again)
{
	Attempt    *attempt = add(1, UD_ATTEMPT_SUCCEEDED);
	Fence		fence = attempt->fence;

	welcome();
	agent_lock(&agent);
	attempt->gone = true;
	agent_unlock(&agent);
	deliver(UD_MSG_DESIRED, UD_WANT_RUN, 0, &fence, 0, 5, "{\"spec\":null}");
	ck_assert_int_eq(agent.attempt_count, 0);
}

END_TEST

/* The server frees what an attempt held when it hears that it is gone. */
START_TEST(an_engine_that_changed_is_told_once)
{
	const uint8_t *body;
	UdEnvelope	envelope;
	struct json_object *inventory;
	const char *version = NULL;
	bool		live_restore = false;

	/* Before the hello, which says so; and between it and the welcome. */
	agent.info_changes = 5;
	ck_assert_uint_eq(next(&body).type, UD_MSG_HELLO);
	snprintf(agent.info.version, sizeof(agent.info.version), "99.1");
	agent.info.live_restore = true;
	agent.info_changes++;
	session_tick(&session);
	ck_assert_uint_eq(next(&body).type, 0);
	ck_assert_int_eq(deliver(UD_MSG_WELCOME, 0, 0, NULL, 0, 0, WELCOME), 0);
	session.next_beat_ns = INT64_MAX;
	session_tick(&session);
	envelope = next(&body);
	ck_assert_uint_eq(envelope.type, UD_MSG_INVENTORY);
	inventory = json_parse_object(body, envelope.body_bytes, &err);
	ck_assert_ptr_nonnull(inventory);
	ck_assert_int_eq(json_get_text(inventory, "engine_version", 64, &version, &err), 1);
	ck_assert_str_eq(version, "99.1");
	ck_assert_int_eq(json_get_bool(inventory, "live_restore", &live_restore, &err), 1);
	ck_assert(live_restore);
	json_object_put(inventory);
	session_tick(&session);
	ck_assert_uint_eq(next(&body).type, 0);
}

END_TEST

/* Not only with the next beat, and before what came of it. */
START_TEST(an_engine_that_went_down_is_told_at_once)
{
	const uint8_t *body;
	UdEnvelope	envelope;
	Attempt    *attempt = add(1, UD_ATTEMPT_ASSIGNED);

	atomic_store(&agent.engine_ok, true);
	welcome();
	session_tick(&session);
	while (next(&body).type != 0)
		;
	session.next_beat_ns = INT64_MAX;
	session_tick(&session);
	ck_assert_uint_eq(next(&body).type, 0);
	for (int i = 0; i < 2; i++)
	{
		atomic_store(&agent.engine_ok, i == 1);
		agent_lock(&agent);
		attempt->state = UD_ATTEMPT_REJECTED;
		attempt->report_dirty = true;
		agent_unlock(&agent);
		/* No tick in between: the link may be writable already. */
		envelope = next(&body);
		ck_assert_uint_eq(envelope.type, UD_MSG_INVENTORY);
		ck_assert_ptr_nonnull(memmem(body, envelope.body_bytes, i == 1 ? "\"engine\":\"ok\"" : "\"engine\":\"down\"", i == 1 ? 13 : 15));
		while (next(&body).type != 0)
			;
		session.next_beat_ns = INT64_MAX;
	}
}

END_TEST

START_TEST(what_was_ordered_away_is_told_when_gone)
{
	const uint8_t *body;
	Attempt    *attempt = add(1, UD_ATTEMPT_RUNNING);
	Fence		fence = attempt->fence;

	welcome();
	session.next_beat_ns = INT64_MAX;
	next(&body);
	deliver(UD_MSG_DESIRED, UD_WANT_REMOVE, 0, &fence, 0, 0, "");
	session_tick(&session);
	ck_assert_uint_eq(next(&body).type, 0);
	agent_lock(&agent);
	attempt->gone = true;
	agent_unlock(&agent);
	session_tick(&session);
	ck_assert_uint_eq(next(&body).type, UD_MSG_INVENTORY);
	session_tick(&session);
	ck_assert_uint_eq(next(&body).type, 0);
}

END_TEST

/* What is in the next frame, as text. */
static const char *
next_text(int type)
{
	static char text[4096];
	const uint8_t *body;
	UdEnvelope	envelope = next(&body);

	ck_assert_uint_eq(envelope.type, type);
	ck_assert_uint_lt(envelope.body_bytes, sizeof(text));
	memcpy(text, body, envelope.body_bytes);
	text[envelope.body_bytes] = '\0';
	return text;
}

static bool
saved(const char *name)
{
	return faccessat(agent.data.checkpoint_fd, name, F_OK, AT_SYMLINK_NOFOLLOW) == 0;
}

START_TEST(checkpoints_stay_until_the_server_says_so)
{
	Fence		whole = {INCARNATION, 7, 0};
	Fence		other = {INCARNATION, 8, 0};
	char		name[DATA_NAME_BYTES];
	char		empty[DATA_NAME_BYTES];
	char		gone[DATA_NAME_BYTES + 8];
	char		listed[64];
	Attempt    *attempt = add(7, UD_ATTEMPT_RUNNING);
	const uint8_t *body;
	const char *text;

	data_write_checkpoint_name(INCARNATION, 7, name);
	data_write_checkpoint_name(INCARNATION, 8, empty);
	snprintf(gone, sizeof(gone), "%s.gone", name);
	snprintf(listed, sizeof(listed), "\"task\":7,\"age_s\":");
	ck_assert_int_eq(data_make_checkpoint(&agent.data, name, &err), 0);
	/* The next attempt finds it, and nobody else's directory counts. */
	ck_assert_int_eq(data_make_checkpoint(&agent.data, name, &err), 0);
	ck_assert_int_eq(data_make_checkpoint(&agent.data, empty, &err), 0);
	ck_assert_int_eq(mkdirat(agent.data.checkpoint_fd, "stranger", 0700), 0);
	ck_assert(!data_checkpoint_is_used(&agent.data, name));
	ck_assert(!data_checkpoint_is_used(&agent.data, "none"));
	ck_assert_int_eq(mkdirat(agent.data.checkpoint_fd, strcat(strcpy(inside, name), "/.hidden"), 0700), 0);
	ck_assert(data_checkpoint_is_used(&agent.data, name));
	data_leave_checkpoint(&agent.data, name);
	data_leave_checkpoint(&agent.data, empty);
	ck_assert(saved(name));
	ck_assert(!saved(empty));
	/* That of an attempt is not listed, nor removed. */
	text = next_text(UD_MSG_HELLO);
	ck_assert_ptr_null(strstr(text, "checkpoints"));
	ck_assert_int_eq(deliver(UD_MSG_WELCOME, 0, 0, NULL, 0, 0, WELCOME), 0);
	next_text(UD_MSG_REPORT);
	session.next_beat_ns = INT64_MAX;
	deliver(UD_MSG_DESIRED, UD_WANT_REMOVE, 0, &whole, 0, 0, "{}");
	ck_assert(saved(name));
	ck_assert(!attempt->discard);
	/* Without one it is listed, now and then by itself. */
	agent_lock(&agent);
	attempt->gone = true;
	agent_unlock(&agent);
	session_tick(&session);
	ck_assert_uint_eq(next(&body).type, 0);
	session.next_checkpoints_ns = 0;
	session_tick(&session);
	text = next_text(UD_MSG_INVENTORY);
	ck_assert_ptr_nonnull(strstr(text, listed));
	ck_assert_ptr_null(strstr(text, "stranger"));
	session_tick(&session);
	ck_assert_uint_eq(next(&body).type, 0);
	/* Another's is none of its business; an order to run needs a whole fence. */
	deliver(UD_MSG_DESIRED, UD_WANT_REMOVE, 0, &other, 0, 0, "{}");
	ck_assert(saved(name));
	deliver(UD_MSG_DESIRED, UD_WANT_STOP, 0, &whole, 0, 0, "{}");
	next_text(UD_MSG_AGENT_ERROR);
	ck_assert(saved(name));
	deliver(UD_MSG_DESIRED, UD_WANT_REMOVE, 0, &whole, 0, 0, "{}");
	ck_assert(!saved(name));
	ck_assert(saved(gone));
	data_remove_dropped(&agent.data);
	ck_assert(!saved(gone));
	ck_assert(saved("stranger"));
	ck_assert(!data_has_checkpoints(&agent.data));
}

END_TEST

START_TEST(the_last_acknowledgement_ends_the_checkpoint)
{
	Attempt    *attempt = add(1, UD_ATTEMPT_RUNNING);

	welcome();
	next_text(UD_MSG_REPORT);
	deliver(UD_MSG_REPORT_ACK, UD_ATTEMPT_RUNNING, UD_FLAG_LAST, &attempt->fence, 1, 0, "");
	ck_assert(!attempt->last);
	attempt->state = UD_ATTEMPT_FAILED;
	deliver(UD_MSG_REPORT_ACK, UD_ATTEMPT_FAILED, UD_FLAG_REMOVE, &attempt->fence, 1, 0, "");
	ck_assert(attempt->remove_acked);
	ck_assert(!attempt->last);
	deliver(UD_MSG_REPORT_ACK, UD_ATTEMPT_FAILED, UD_FLAG_REMOVE | UD_FLAG_LAST, &attempt->fence, 1, 0, "");
	ck_assert(attempt->last);
}

END_TEST

START_TEST(a_log_nobody_wants_is_given_up)
{
	Attempt    *attempt = add(1, UD_ATTEMPT_SUCCEEDED);
	const uint8_t *body;

	write_log(attempt, 9000);
	attempt->ended = true;
	welcome();
	next(&body);
	deliver(UD_MSG_REPORT_ACK, UD_ATTEMPT_SUCCEEDED, UD_FLAG_REMOVE, &attempt->fence, 1, 0, "");
	for (int i = 0; i < 4; i++)
	{
		UdEnvelope	envelope = next(&body);

		ck_assert(!attempt->remove_now);
		ck_assert_uint_eq(envelope.type, UD_MSG_LOG);
		ck_assert_int_eq(envelope.value, 0);
		deliver(UD_MSG_LOG_ACK, 0, 0, &attempt->fence, 65536, 3000, "");
		if (i == 3)
			break;
		ck_assert_int_eq(next(&body).value, 3000);
		deliver(UD_MSG_LOG_ACK, 0, 0, &attempt->fence, 65536, 3000, "");
		/* Silence makes it ask again, but is no answer. */
		attempt->log.last_ack_ns -= 100 * NS_PER_S;
	}
	ck_assert_uint_eq(next(&body).type, 0);
	ck_assert(attempt->remove_now);
}

END_TEST

/* The file's number, and that it holds one byte c. */
static ino_t
number_of(const char *name, char c)
{
	UdBuf		bytes = {0};
	char		path[200];
	struct stat info;

	ck_assert_int_eq(data_read_run(&agent.data, name, "control", 10, &bytes, &err), 0);
	ck_assert_uint_eq(bytes.len, 1);
	ck_assert_int_eq(bytes.data[0], c);
	ud_buf_release(&bytes);
	snprintf(path, sizeof(path), "%s/run/%s/control", directory, name);
	ck_assert_int_eq(lstat(path, &info), 0);
	ck_assert(S_ISREG(info.st_mode));
	return info.st_ino;
}

START_TEST(control_needs_no_new_block)
{
	const char *name = "00000000-1-1";
	char		path[200];
	char		spare[200];
	char		victim[200];
	struct stat info;
	ino_t		first;
	ino_t		second;

	ck_assert_int_eq(data_make_attempt(&agent.data, name, &err), 0);
	snprintf(path, sizeof(path), "%s/run/%s/control", directory, name);
	snprintf(spare, sizeof(spare), "%s/run/%s/.control.spare", directory, name);
	snprintf(victim, sizeof(victim), "%s/victim", directory);
	ck_assert_int_eq(data_update_run(&agent.data, name, "control", "a", 1, &err), 0);
	first = number_of(name, 'a');
	ck_assert_int_eq(data_update_run(&agent.data, name, "control", "b", 1, &err), 0);
	second = number_of(name, 'b');
	ck_assert_uint_ne(first, second);
	ck_assert_int_eq(data_update_run(&agent.data, name, "control", "c", 1, &err), 0);
	ck_assert_uint_eq(number_of(name, 'c'), first);
	/* The task removes what it can, or puts something else there. */
	ck_assert_int_eq(unlink(path), 0);
	ck_assert_int_eq(data_update_run(&agent.data, name, "control", "d", 1, &err), 0);
	number_of(name, 'd');
	ck_assert_int_eq(close(open(victim, O_WRONLY | O_CREAT, 0600)), 0);
	ck_assert_int_eq(unlink(spare), 0);
	ck_assert_int_eq(symlink(victim, spare), 0);
	ck_assert_int_eq(data_update_run(&agent.data, name, "control", "e", 1, &err), 0);
	number_of(name, 'e');
	ck_assert_int_eq(unlink(spare), 0);
	ck_assert_int_eq(truncate(victim, 1), 0);
	ck_assert_int_eq(link(victim, spare), 0);
	ck_assert_int_eq(data_update_run(&agent.data, name, "control", "f", 1, &err), 0);
	number_of(name, 'f');
	ck_assert_int_eq(stat(victim, &info), 0);
	ck_assert_uint_eq(info.st_nlink, 1);
	ck_assert_int_eq(unlink(spare), 0);
	ck_assert_int_eq(mkfifo(spare, 0600), 0);
	ck_assert_int_eq(data_update_run(&agent.data, name, "control", "g", 1, &err), 0);
	number_of(name, 'g');
	ck_assert_int_eq(unlink(spare), 0);
	ck_assert_int_eq(mkdir(spare, 0700), 0);
	ck_assert_int_eq(data_update_run(&agent.data, name, "control", "h", 1, &err), 0);
	number_of(name, 'h');
}

END_TEST

START_TEST(hostile_run_directories)
{
	const char *name = "00000000-1-1";
	char		path[200];
	char		victim[200];
	UdBuf		bytes = {0};
	struct stat info;
	int			fd;

	ck_assert_int_eq(data_make_attempt(&agent.data, name, &err), 0);
	snprintf(victim, sizeof(victim), "%s/victim", directory);
	fd = open(victim, O_WRONLY | O_CREAT, 0600);
	ck_assert_int_eq(write(fd, "secret", 6), 6);
	close(fd);
	/* Links where the agent reads and writes. */
	snprintf(path, sizeof(path), "%s/run/%s/exit", directory, name);
	ck_assert_int_eq(symlink(victim, path), 0);
	ck_assert_int_lt(data_read_run(&agent.data, name, "exit", 100, &bytes, &err), 0);
	snprintf(path, sizeof(path), "%s/run/%s/.control.new", directory, name);
	ck_assert_int_eq(symlink(victim, path), 0);
	ck_assert_int_eq(data_write_run(&agent.data, name, "control", "x", 1, &err), 0);
	snprintf(path, sizeof(path), "%s/run/%s/control", directory, name);
	ck_assert_int_eq(lstat(path, &info), 0);
	ck_assert(S_ISREG(info.st_mode));
	ck_assert_int_eq(stat(victim, &info), 0);
	ck_assert_int_eq(info.st_size, 6);
	/* A pipe nobody writes to must not hold the agent. */
	snprintf(path, sizeof(path), "%s/run/%s/log", directory, name);
	ck_assert_int_eq(mkfifo(path, 0600), 0);
	ck_assert_int_lt(data_open_run(&agent.data, name, "log", &fd, &err), 0);
	/* Too long is an error, not memory. */
	ck_assert_int_lt(data_read_run(&agent.data, name, "control", 0, &bytes, &err), 0);
	ud_buf_release(&bytes);
	/* A link in the tree goes, what it leads to stays. */
	snprintf(path, sizeof(path), "%s/tree/%s/out", directory, name);
	ck_assert_int_eq(symlink(directory, path), 0);
	ck_assert_int_eq(data_remove_attempt(&agent.data, name, &err), 0);
	ck_assert_int_eq(stat(victim, &info), 0);
	ck_assert_int_lt(data_open_run(&agent.data, name, "log", &fd, &err), 0);
	ck_assert_int_eq(data_remove_attempt(&agent.data, name, &err), 0);
}

END_TEST

START_TEST(trees_of_any_depth_are_removed)
{
	const char *name = "00000000-1-1";
	int			depth = 400;
	struct rlimit few = {
		.rlim_cur = 128,
		.rlim_max = 128,
	};
	int			at;

	ck_assert_int_eq(data_make_attempt(&agent.data, name, &err), 0);
	at = openat(agent.data.tree_fd, name, O_DIRECTORY);
	for (int i = 0; i < depth; i++)
	{
		int			below;

		ck_assert_int_eq(mkdirat(at, "d", 0700), 0);
		ck_assert_int_eq(mkdirat(at, ".unidesk-remove-0", 0700), 0);
		below = openat(at, "d", O_DIRECTORY);
		close(at);
		at = below;
	}
	close(at);
	/* One descriptor per level would not do. */
	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &few), 0);
	ck_assert_msg(data_remove_attempt(&agent.data, name, &err) == 0, "%s", err.message);
	ck_assert_int_lt(openat(agent.data.tree_fd, name, O_DIRECTORY), 0);
	ck_assert_int_eq(errno, ENOENT);
}

END_TEST

START_TEST(one_agent_per_data_directory)
{
	DataDir		second;

	ck_assert_int_eq(data_open(&second, directory, NULL, 0, "/bin/true", &err), UD_EEXIST);
	ck_assert_ptr_nonnull(strstr(err.message, "another agent"));
	data_close(&second);
}

END_TEST

int
main(void)
{
	Suite	   *suite = suite_create("session");
	TCase	   *tests = tcase_create("session");
	SRunner    *runner;
	int			failed;

	tcase_add_checked_fixture(tests, setup, teardown);
	/* A busy disk is no failure. */
	tcase_set_timeout(tests, 60);
	tcase_add_test(tests, hello_comes_first_and_alone);
	tcase_add_test(tests, protocol_errors_close);
	tcase_add_test(tests, unknown_types_are_answered);
	tcase_add_test(tests, reports_repeat_until_the_server_is_as_far);
	tcase_add_test(tests, remove_waits_for_the_end_and_stale_discards);
	tcase_add_test(tests, other_incarnations_and_nodes_are_held);
	tcase_add_test(tests, older_revisions_are_ignored);
	tcase_add_test(tests, revisions_are_of_one_incarnation);
	tcase_add_test(tests, only_our_beats_renew_leases);
	tcase_add_test(tests, logs_ask_first_and_keep_to_the_credit);
	tcase_add_test(tests, without_credit_the_log_waits_and_is_offered_again);
	tcase_add_test(tests, removed_when_result_and_log_are_acknowledged);
	tcase_add_test(tests, before_the_welcome_deadlines_stay);
	tcase_add_test(tests, an_unknown_attempt_without_spec_is_lost);
	tcase_add_test(tests, what_was_removed_is_not_begun_again);
	tcase_add_test(tests, an_engine_that_changed_is_told_once);
	tcase_add_test(tests, an_engine_that_went_down_is_told_at_once);
	tcase_add_test(tests, what_was_ordered_away_is_told_when_gone);
	tcase_add_test(tests, checkpoints_stay_until_the_server_says_so);
	tcase_add_test(tests, the_last_acknowledgement_ends_the_checkpoint);
	tcase_add_test(tests, a_log_nobody_wants_is_given_up);
	tcase_add_test(tests, control_needs_no_new_block);
	tcase_add_loop_test(tests, random_frames_never_break_the_session, 0, 20);
	tcase_add_test(tests, hostile_run_directories);
	tcase_add_test(tests, trees_of_any_depth_are_removed);
	tcase_add_test(tests, one_agent_per_data_directory);
	suite_add_tcase(suite, tests);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
