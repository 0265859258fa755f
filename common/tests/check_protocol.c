/*
 * check_protocol.c
 *	  Frames as they are written and as hostile peers write them; the closed
 *	  lists of names; the buffer.
 */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "common/buf.h"
#include "common/error.h"
#include "common/protocol.h"
#include "common/reasons.h"

/* A frame of count messages with these bodies, as a peer would send it. */
static void
make_frame(UdBuf *out, const char *const *bodies, int count)
{
	UdHeader	header = {
		.version = UD_PROTOCOL_VERSION,
		.message_count = (uint16_t) count,
		.session = 0x0102030405060708,
	};

	ud_buf_reserve(out, UD_HEADER_BYTES);
	out->len = UD_HEADER_BYTES;
	for (int i = 0; i < count; i++)
	{
		UdEnvelope	envelope = {
			.type = UD_MSG_REPORT,
			.state = UD_ATTEMPT_RUNNING,
			.flags = 0x80,
			.body_bytes = (uint32_t) strlen(bodies[i]),
			.incarnation = INT64_MIN,
			.task = INT64_MAX,
			.attempt = -7,
			.sequence = UINT32_MAX,
			.value = -1,
		};
		uint8_t		bytes[UD_ENVELOPE_BYTES];

		ud_envelope_write(bytes, &envelope);
		ud_buf_append(out, bytes, sizeof(bytes));
		ud_buf_append(out, bodies[i], strlen(bodies[i]));
	}
	header.frame_bytes = (uint32_t) out->len;
	ud_header_write(out->data, &header);
}

/* Messages that a reader finds, -1 when it refuses the frame. */
static int
count_messages(const uint8_t *frame, size_t len)
{
	UdFrameReader reader;
	UdEnvelope	envelope;
	const uint8_t *body;
	int			count = 0;
	int			got;

	if (ud_frame_begin(&reader, frame, len) < 0)
		return -1;
	while ((got = ud_frame_next(&reader, &envelope, &body)) > 0)
		count++;
	return got < 0 ? -1 : count;
}

START_TEST(a_frame_comes_back_as_it_was)
{
	const char *bodies[] = {"{}", "", "third"};
	UdBuf		frame = {0};
	UdFrameReader reader;
	UdEnvelope	e;
	const uint8_t *body;

	make_frame(&frame, bodies, 3);
	ck_assert_int_eq(ud_frame_begin(&reader, frame.data, frame.len), 0);
	ck_assert_uint_eq(reader.header.session, 0x0102030405060708);
	for (int i = 0; i < 3; i++)
	{
		ck_assert_int_eq(ud_frame_next(&reader, &e, &body), 1);
		ck_assert_uint_eq(e.type, UD_MSG_REPORT);
		ck_assert_uint_eq(e.state, UD_ATTEMPT_RUNNING);
		ck_assert_uint_eq(e.flags, 0x80);
		ck_assert_int_eq(e.incarnation, INT64_MIN);
		ck_assert_int_eq(e.task, INT64_MAX);
		ck_assert_int_eq(e.attempt, -7);
		ck_assert_uint_eq(e.sequence, UINT32_MAX);
		ck_assert_int_eq(e.value, -1);
		ck_assert_uint_eq(e.body_bytes, strlen(bodies[i]));
		ck_assert_int_eq(memcmp(body, bodies[i], e.body_bytes), 0);
	}
	ck_assert_int_eq(ud_frame_next(&reader, &e, &body), 0);
	ud_buf_release(&frame);
}

END_TEST

START_TEST(integers_are_little_endian)
{
	uint8_t		bytes[UD_HEADER_BYTES];
	UdHeader	header = {
		.version = 1,
		.message_count = 0x0201,
		.frame_bytes = 0x06050403,
		.session = 0x0e0d0c0b0a090807,
	};

	ud_header_write(bytes, &header);
	ck_assert_uint_eq(bytes[0], 1);
	ck_assert_uint_eq(bytes[1], 0);
	for (int i = 2; i < UD_HEADER_BYTES; i++)
		ck_assert_uint_eq(bytes[i], i - 1);
}

END_TEST

START_TEST(another_version_is_known_by_its_header)
{
	const char *bodies[] = {"one"};
	UdBuf		frame = {0};
	UdFrameReader reader;

	make_frame(&frame, bodies, 1);
	ck_assert_int_eq(ud_frame_is_other_version(frame.data, frame.len), 0);
	for (int version = 0; version < 256; version++)
	{
		frame.data[0] = (uint8_t) version;
		ck_assert_int_eq(ud_frame_is_other_version(frame.data, frame.len), version != UD_PROTOCOL_VERSION);
		ck_assert_int_eq(ud_frame_begin(&reader, frame.data, frame.len) == 0, version == UD_PROTOCOL_VERSION);
		/* Of noise nobody can say what it is. */
		ck_assert_int_eq(ud_frame_is_other_version(frame.data, frame.len - 1), 0);
		ck_assert_int_eq(ud_frame_is_other_version(frame.data, UD_HEADER_BYTES - 1), 0);
	}
	ud_buf_release(&frame);
}

END_TEST

/* Every length at which a frame may be cut, and every wrong length it may claim. */
START_TEST(a_cut_frame_is_refused)
{
	const char *bodies[] = {"one", "two"};
	UdBuf		frame = {0};

	make_frame(&frame, bodies, 2);
	ck_assert_int_eq(count_messages(frame.data, frame.len), 2);
	for (size_t len = 0; len < frame.len; len++)
	{
		/* A copy of exactly that size: reading beyond it is an error. */
		uint8_t    *cut = ud_malloc(len);
		UdHeader	header;

		memcpy(cut, frame.data, len);
		ck_assert_int_eq(count_messages(cut, len), -1);
		if (len >= UD_HEADER_BYTES)
		{
			ud_header_read(cut, &header);
			header.frame_bytes = (uint32_t) len;
			ud_header_write(cut, &header);
			ck_assert_int_eq(count_messages(cut, len), -1);
		}
		free(cut);
	}
	ud_buf_release(&frame);
}

END_TEST

START_TEST(a_lying_frame_is_refused)
{
	const char *bodies[] = {"one", "two"};
	UdBuf		frame = {0};
	UdEnvelope	envelope;

	make_frame(&frame, bodies, 2);
	frame.data[0] = UD_PROTOCOL_VERSION + 1;
	ck_assert_int_eq(count_messages(frame.data, frame.len), -1);
	frame.data[0] = UD_PROTOCOL_VERSION;
	/* More messages than there are, fewer, none. */
	for (int count = 0; count <= 3; count++)
	{
		frame.data[2] = (uint8_t) count;
		ck_assert_int_eq(count_messages(frame.data, frame.len), count == 2 ? 2 : -1);
	}
	frame.data[2] = 2;
	/* A body that claims to be longer than the frame, or than any may be. */
	ud_envelope_read(frame.data + UD_HEADER_BYTES, &envelope);
	envelope.body_bytes = 1000;
	ud_envelope_write(frame.data + UD_HEADER_BYTES, &envelope);
	ck_assert_int_eq(count_messages(frame.data, frame.len), -1);
	envelope.body_bytes = UINT32_MAX;
	ud_envelope_write(frame.data + UD_HEADER_BYTES, &envelope);
	ck_assert_int_eq(count_messages(frame.data, frame.len), -1);
	ud_buf_release(&frame);
}

END_TEST

START_TEST(names_and_numbers_agree)
{
	ck_assert_str_eq(ud_message_type_name(UD_MSG_DESIRED), "desired");
	ck_assert_ptr_null(ud_message_type_name(0));
	ck_assert_ptr_null(ud_message_type_name(77));
	ck_assert_ptr_null(ud_attempt_state_name(0));
	ck_assert_ptr_null(ud_attempt_state_name(14));
	ck_assert_int_eq(ud_attempt_state_number("nowhere"), 0);
	for (int state = UD_ATTEMPT_ASSIGNED; state <= UD_ATTEMPT_REJECTED; state++)
		ck_assert_int_eq(ud_attempt_state_number(ud_attempt_state_name(state)), state);
}

END_TEST

START_TEST(reasons_are_a_closed_list)
{
	static const int all[] = {
#define X(name, number, text, retryable, counts) number,
		UD_REASONS(X)
#undef X
	};
	const int	count = sizeof(all) / sizeof(all[0]);

	for (int i = 0; i < count; i++)
	{
		ck_assert_int_eq(ud_reason_number(ud_reason_text(all[i])), all[i]);
		for (int j = 0; j < i; j++)
		{
			ck_assert_int_ne(all[i], all[j]);
			ck_assert_str_ne(ud_reason_text(all[i]), ud_reason_text(all[j]));
		}
	}
	ck_assert_int_eq(ud_reason_number("no.such"), -1);
	ck_assert_str_eq(ud_reason_text(-1), "");
	/* What the infrastructure does never uses up a task's own retries. */
	ck_assert_int_eq(ud_reason_counts(UD_REASON_NODE_LEASE_OVER), 0);
	ck_assert_int_eq(ud_reason_is_retryable(UD_REASON_NODE_LEASE_OVER), 1);
	ck_assert_int_eq(ud_reason_counts(UD_REASON_RUN_EXIT_CODE), 1);
}

END_TEST

START_TEST(a_buffer_keeps_what_is_put_in)
{
	UdBuf		buf = {0};

	for (int i = 0; i < 1000; i++)
		ud_buf_printf(&buf, "%d,", i);
	ck_assert_int_eq(strncmp(ud_buf_text(&buf), "0,1,2,", 6), 0);
	ud_buf_consume(&buf, 4);
	ck_assert_int_eq(strncmp(ud_buf_text(&buf), "2,3,", 4), 0);
	ud_buf_consume(&buf, buf.len + 10);
	ck_assert_uint_eq(buf.len, 0);
	ck_assert_str_eq(ud_buf_text(&buf), "");
	ud_buf_release(&buf);
	ck_assert_ptr_null(buf.data);
}

END_TEST

START_TEST(an_error_fits_its_place)
{
	UdError		err;
	char		longer[2000];

	memset(longer, 'x', sizeof(longer) - 1);
	longer[sizeof(longer) - 1] = '\0';
	ck_assert_int_eq(ud_error(&err, UD_EIO, UD_REASON_NODE_ENGINE_ERROR, "%s", longer), UD_EIO);
	ck_assert_int_eq(err.code, UD_EIO);
	ck_assert_int_eq(err.reason, UD_REASON_NODE_ENGINE_ERROR);
	ck_assert_uint_eq(strlen(err.message), sizeof(err.message) - 1);
	ck_assert_int_eq(ud_error(NULL, UD_EINVAL, 0, "nobody listens"), UD_EINVAL);
}

END_TEST

int
main(void)
{
	Suite	   *suite = suite_create("common");
	TCase	   *frames = tcase_create("frames");
	TCase	   *lists = tcase_create("lists");
	TCase	   *basics = tcase_create("basics");
	SRunner    *runner;
	int			failed;

	tcase_add_test(frames, a_frame_comes_back_as_it_was);
	tcase_add_test(frames, integers_are_little_endian);
	tcase_add_test(frames, another_version_is_known_by_its_header);
	tcase_add_test(frames, a_cut_frame_is_refused);
	tcase_add_test(frames, a_lying_frame_is_refused);
	tcase_add_test(lists, names_and_numbers_agree);
	tcase_add_test(lists, reasons_are_a_closed_list);
	tcase_add_test(basics, a_buffer_keeps_what_is_put_in);
	tcase_add_test(basics, an_error_fits_its_place);
	suite_add_tcase(suite, frames);
	suite_add_tcase(suite, lists);
	suite_add_tcase(suite, basics);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? 0 : 1;
}
