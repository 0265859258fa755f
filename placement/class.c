/*
 * class.c
 *	  The identity of a demand: SipHash-2-4 with 128 bits of output.
 *
 * Tasks of one class are placed as if they were the same, so two demands must
 * not share a class by accident or by a user's effort; a keyed mixing of this
 * strength costs nothing beside the row it is stored in.
 */
#include "placement/placement.h"

#include <string.h>

#define CLASS_KEY "unidesk.demand.1"

typedef struct SipState
{
	uint64_t	v0;
	uint64_t	v1;
	uint64_t	v2;
	uint64_t	v3;
	uint64_t	word;			/* the word that is being filled */
	uint64_t	total;			/* bytes so far */
} SipState;

static uint64_t
rotate(uint64_t x, int bits)
{
	return x << bits | x >> (64 - bits);
}

static uint64_t
read_u64(const uint8_t *in)
{
	uint64_t	value = 0;

	for (int i = 7; i >= 0; i--)
		value = value << 8 | in[i];
	return value;
}

static void
sip_rounds(SipState *s, int rounds)
{
	while (rounds-- > 0)
	{
		s->v0 += s->v1;
		s->v2 += s->v3;
		s->v1 = rotate(s->v1, 13) ^ s->v0;
		s->v3 = rotate(s->v3, 16) ^ s->v2;
		s->v0 = rotate(s->v0, 32);
		s->v2 += s->v1;
		s->v0 += s->v3;
		s->v1 = rotate(s->v1, 17) ^ s->v2;
		s->v3 = rotate(s->v3, 21) ^ s->v0;
		s->v2 = rotate(s->v2, 32);
	}
}

static void
sip_init(SipState *s, const uint8_t key[16])
{
	uint64_t	k0 = read_u64(key);
	uint64_t	k1 = read_u64(key + 8);

	s->v0 = k0 ^ UINT64_C(0x736f6d6570736575);
	s->v1 = k1 ^ UINT64_C(0x646f72616e646f6d) ^ 0xee;
	s->v2 = k0 ^ UINT64_C(0x6c7967656e657261);
	s->v3 = k1 ^ UINT64_C(0x7465646279746573);
	s->word = 0;
	s->total = 0;
}

static void
sip_word(SipState *s, uint64_t word)
{
	s->v3 ^= word;
	sip_rounds(s, 2);
	s->v0 ^= word;
}

static void
sip_update(SipState *s, const void *data, size_t size)
{
	const uint8_t *in = data;

	for (size_t i = 0; i < size; i++)
	{
		s->word |= (uint64_t) in[i] << (8 * (s->total % 8));
		s->total++;
		if (s->total % 8 == 0)
		{
			sip_word(s, s->word);
			s->word = 0;
		}
	}
}

static PlacementClass
sip_final(SipState *s)
{
	PlacementClass result;

	sip_word(s, s->word | s->total << 56);
	s->v2 ^= 0xee;
	sip_rounds(s, 4);
	result.low = s->v0 ^ s->v1 ^ s->v2 ^ s->v3;
	s->v1 ^= 0xdd;
	sip_rounds(s, 4);
	result.high = s->v0 ^ s->v1 ^ s->v2 ^ s->v3;
	return result;
}

PlacementClass
placement_siphash(const uint8_t key[16], const void *data, size_t size)
{
	SipState	state;

	sip_init(&state, key);
	sip_update(&state, data, size);
	return sip_final(&state);
}

static void
update_number(SipState *s, uint64_t value, int bytes)
{
	uint8_t		out[8];

	for (int i = 0; i < bytes; i++)
		out[i] = (uint8_t) (value >> (8 * i));
	sip_update(s, out, (size_t) bytes);
}

PlacementClass
placement_class(const PlacementDemand *demand)
{
	SipState	state;

	sip_init(&state, (const uint8_t *) CLASS_KEY);
	update_number(&state, (uint32_t) demand->cpus_milli, 4);
	update_number(&state, (uint64_t) demand->memory, 8);
	update_number(&state, (uint32_t) demand->gpus, 4);
	update_number(&state, (uint32_t) demand->excluded_node, 4);
	if (demand->labels != NULL)
		sip_update(&state, demand->labels, strlen(demand->labels));
	if (demand->only_node != 0)
	{
		/* No label holds a zero byte. */
		update_number(&state, 0, 1);
		update_number(&state, (uint32_t) demand->only_node, 4);
	}
	return sip_final(&state);
}
