/*
 * update.h
 *	  Orders to nodes to replace their agents, and the agents' answers.
 */
#ifndef UNIDESK_UPDATE_H
#define UNIDESK_UPDATE_H

#include "message.h"

/*
 * SQL: is what a hello or inventory says of an update absent, or an answer to
 * an order?  Longer texts, or such with control characters, no agent sends.
 */
#define UNIDESK_UPDATE_ANSWER_IS_FINE(body) \
	"NOT " body " ? 'update' OR coalesce(" body " #>> '{update,incarnation}' ~ '^[0-9a-f]{16}$'" \
	" AND " body " #>> '{update,order}' ~ '^[1-9][0-9]{0,8}$'" \
	" AND " body " #>> '{update,state}' IN ('begun', 'applied', 'failed', 'refused')" \
	" AND length(coalesce(" body " #>> '{update,message}', '')) <= 1000" \
	" AND coalesce(" body " #>> '{update,message}', '') !~ '[[:cntrl:]]', false)"

/*
 * The answer that a hello or inventory (checked as above) carries is taken,
 * and an order that this session has not been told yet is sent.
 */
extern void unidesk_take_update(ReturnSetInfo *result, const UnideskMessage *message, int64 session, Datum body);

#endif							/* UNIDESK_UPDATE_H */
