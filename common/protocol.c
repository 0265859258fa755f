/*
 * protocol.c
 *	  Reading and writing frames of unidesk.agent.v1.
 *
 * Free of allocation and of other modules, because the extension links it.
 */
#include "common/protocol.h"

#include <stddef.h>
#include <string.h>

static void
put_le(uint8_t *out, uint64_t value, int bytes)
{
	for (int i = 0; i < bytes; i++)
		out[i] = (uint8_t) (value >> (8 * i));
}

static uint64_t
get_le(const uint8_t *in, int bytes)
{
	uint64_t	value = 0;

	for (int i = 0; i < bytes; i++)
		value |= (uint64_t) in[i] << (8 * i);
	return value;
}

void
ud_header_write(uint8_t *out, const UdHeader *header)
{
	out[0] = header->version;
	out[1] = header->flags;
	put_le(out + 2, header->message_count, 2);
	put_le(out + 4, header->frame_bytes, 4);
	put_le(out + 8, header->session, 8);
}

void
ud_header_read(const uint8_t *in, UdHeader *header)
{
	header->version = in[0];
	header->flags = in[1];
	header->message_count = (uint16_t) get_le(in + 2, 2);
	header->frame_bytes = (uint32_t) get_le(in + 4, 4);
	header->session = get_le(in + 8, 8);
}

void
ud_envelope_write(uint8_t *out, const UdEnvelope *envelope)
{
	put_le(out, envelope->type, 2);
	out[2] = envelope->state;
	out[3] = envelope->flags;
	put_le(out + 4, envelope->body_bytes, 4);
	put_le(out + 8, (uint64_t) envelope->incarnation, 8);
	put_le(out + 16, (uint64_t) envelope->task, 8);
	put_le(out + 24, (uint32_t) envelope->attempt, 4);
	put_le(out + 28, envelope->sequence, 4);
	put_le(out + 32, (uint64_t) envelope->value, 8);
}

void
ud_envelope_read(const uint8_t *in, UdEnvelope *envelope)
{
	envelope->type = (uint16_t) get_le(in, 2);
	envelope->state = in[2];
	envelope->flags = in[3];
	envelope->body_bytes = (uint32_t) get_le(in + 4, 4);
	envelope->incarnation = (int64_t) get_le(in + 8, 8);
	envelope->task = (int64_t) get_le(in + 16, 8);
	envelope->attempt = (int32_t) get_le(in + 24, 4);
	envelope->sequence = (uint32_t) get_le(in + 28, 4);
	envelope->value = (int64_t) get_le(in + 32, 8);
}

int
ud_frame_begin(UdFrameReader *reader, const uint8_t *frame, uint64_t len)
{
	if (len < UD_HEADER_BYTES || len > UD_FRAME_BYTES_MAX)
		return -1;
	ud_header_read(frame, &reader->header);
	if (reader->header.version != UD_PROTOCOL_VERSION ||
		reader->header.frame_bytes != len ||
		reader->header.message_count == 0 ||
		reader->header.message_count > UD_FRAME_MESSAGES_MAX)
		return -1;
	reader->next = frame + UD_HEADER_BYTES;
	reader->end = frame + len;
	reader->messages_left = reader->header.message_count;
	return 0;
}

int
ud_frame_is_other_version(const uint8_t *frame, uint64_t len)
{
	UdHeader	header;

	if (len < UD_HEADER_BYTES || len > UD_FRAME_BYTES_MAX)
		return 0;
	ud_header_read(frame, &header);
	return header.version != UD_PROTOCOL_VERSION && header.frame_bytes == len;
}

int
ud_frame_next(UdFrameReader *reader, UdEnvelope *envelope, const uint8_t **body)
{
	size_t		left = (size_t) (reader->end - reader->next);

	if (reader->messages_left == 0)
		return left == 0 ? 0 : -1;
	if (left < UD_ENVELOPE_BYTES)
		return -1;
	ud_envelope_read(reader->next, envelope);
	left -= UD_ENVELOPE_BYTES;
	if (envelope->body_bytes > UD_BODY_BYTES_MAX || envelope->body_bytes > left)
		return -1;
	*body = reader->next + UD_ENVELOPE_BYTES;
	reader->next = *body + envelope->body_bytes;
	reader->messages_left--;
	return 1;
}

const char *
ud_message_type_name(int type)
{
	switch (type)
	{
#define X(name, number, text) case number: return text;
			UD_MESSAGE_TYPES(X)
#undef X
	}
	return NULL;
}

const char *
ud_attempt_state_name(int state)
{
	switch (state)
	{
#define X(name, number, text) case number: return text;
			UD_ATTEMPT_STATES(X)
#undef X
	}
	return NULL;
}

int
ud_attempt_state_number(const char *name)
{
#define X(state, number, text) if (strcmp(name, text) == 0) return number;
	UD_ATTEMPT_STATES(X)
#undef X
		return 0;
}
