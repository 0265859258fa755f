/*
 * message.h
 *	  Messages between the bridge and the extension: what came in, what goes out.
 *
 * docs/bridge-api.md says what the kinds mean.
 */
#ifndef UNIDESK_MESSAGE_H
#define UNIDESK_MESSAGE_H

#include "unidesk.h"

#include "fmgr.h"
#include "nodes/execnodes.h"

#include "common/protocol.h"

/* One message of a batch from agents. */
typedef struct UnideskMessage
{
	int			number;			/* in the batch, counted from 1 */
	int32		conn;			/* the bridge's number of the connection */
	int32		node_id;		/* proved by the connection's token */
	bytea	   *token_hash;		/* NULL but for hello */
	int64		session;
	int			type;
	int			state;
	int			flags;
	int64		incarnation;
	int64		task;
	int32		attempt;
	int64		sequence;
	int64		value;
	const char *body;
	int			body_bytes;
} UnideskMessage;

/* Kinds of rows that go back to the bridge. */
typedef enum UnideskOutKind
{
	UNIDESK_OUT_SEND = 0,
	UNIDESK_OUT_SESSION = 1,
	UNIDESK_OUT_CLOSE = 2,
	UNIDESK_OUT_BUSY = 3,
	UNIDESK_OUT_CURSOR = 4
} UnideskOutKind;

typedef struct UnideskOut
{
	UnideskOutKind kind;
	int32		conn;
	int64		session;
	int			type;
	int			state;
	int			flags;
	int64		incarnation;
	int64		task;
	int32		attempt;
	int64		sequence;
	int64		value;
	const char *body;			/* NULL for none */
	int			body_bytes;
} UnideskOut;

extern void unidesk_out(ReturnSetInfo *result, const UnideskOut *out);

/* An answer to one message: same connection, session and fence. */
extern UnideskOut unidesk_answer(const UnideskMessage *message, int type);
extern void unidesk_out_busy(ReturnSetInfo *result, const UnideskMessage *message);
extern void unidesk_out_close(ReturnSetInfo *result, const UnideskMessage *message, int code, const char *why);
extern void unidesk_out_error(ReturnSetInfo *result, const UnideskMessage *message, const char *reason, const char *text);

/* One file each; all expect an open SPI connection. */
extern void unidesk_take_hello(ReturnSetInfo *result, const UnideskMessage *message, int32 bridge_id);
extern void unidesk_take_inventory(ReturnSetInfo *result, const UnideskMessage *message);
extern void unidesk_take_beat(ReturnSetInfo *result, const UnideskMessage *message);

/* The checkpoints that an inventory lists: those nobody needs are to be removed. */
extern void unidesk_take_checkpoints(ReturnSetInfo *result, const UnideskMessage *message, int64 session, Datum inventory);

/* count reports of any nodes; busy ones hold back those of their task behind them. */
extern void unidesk_take_reports(ReturnSetInfo *result, const UnideskMessage *messages, int count);

/*
 * Only one transaction at a time appends to a task's log, or tells of a task
 * that has ended and so has no row to lock.  False: another one does.
 */
extern bool unidesk_try_lock_history(int64 task_id);

/* count consecutive log messages of one attempt. */
extern void unidesk_take_log(ReturnSetInfo *result, const UnideskMessage *messages, int count);

/* Elements of an array that a bridge may send at once. */
#define UNIDESK_BATCH_MAX 100000

/*
 * First in each function that the bridge calls: raises for a NULL argument
 * and in a transaction that cannot write.
 */
extern void unidesk_bridge_begin(FunctionCallInfo fcinfo, const char *function);

/* Elements of array argument n; raises unless it is a list.  nulls NULL: none
 * may be NULL. */
extern int	unidesk_bridge_array(FunctionCallInfo fcinfo, int n, const char *function, Datum **values, bool **nulls);
extern void unidesk_bridge_same_length(int count, int other, const char *function);

#endif							/* UNIDESK_MESSAGE_H */
