/*
 * take_beat.c
 *	  A beat: the node is there.
 *
 * Beats touch shared memory only, unless they bring news of the engine; the
 * worker writes them to node_live in batches.  A session's first one shows that its welcome has arrived.  The acknowledgement renews the leases on the node, so it must
 * come from here and from nowhere else.
 */
#include "unidesk.h"

#include "engine.h"
#include "identity.h"
#include "message.h"
#include "report.h"
#include "shared.h"

void
unidesk_take_beat(ReturnSetInfo *result, const UnideskMessage *message)
{
	UnideskOut	ack = unidesk_answer(message, UD_MSG_BEAT_ACK);
	UnideskEngine engine = unidesk_beat_parse(message->body, message->body_bytes);
	UnideskBeat beat;
	bool		expired;

	unidesk_beat_set(message->node_id, message->session, message->sequence, message->value, unidesk_now(), &expired);
	if (!unidesk_beat_get(message->node_id, &beat) || beat.confirmed != message->session)
		unidesk_confirm_seal(message->node_id, message->session);
	unidesk_take_engine(message->node_id, message->session, message->sequence, engine);
	if (expired)
	{
		/* Called offline while its socket lived: back only by an inventory. */
		UnideskOut	request = unidesk_answer(message, UD_MSG_INVENTORY_REQUEST);

		unidesk_out(result, &request);
		return;
	}
	unidesk_out(result, &ack);
}
