/*
 * take_report.c
 *	  A report: how far an attempt has come, as a level.
 *
 * The fence decides.  A report about the live attempt moves it through the
 * door; any other goes to take_late.c.
 */
#include "unidesk.h"

#include "access/xact.h"

#include "common/reasons.h"
#include "door.h"
#include "take_report.h"
#include "transition.h"

void
unidesk_acknowledge(ReturnSetInfo *result, const UnideskMessage *message, int state, int flags)
{
	UnideskOut	out = unidesk_answer(message, UD_MSG_REPORT_ACK);

	out.state = state;
	out.flags = flags;
	unidesk_out(result, &out);
}

/*
 * What the agent may claim: a success needs exit code 0, and a stop must have
 * been asked for (the run limit alone is the agent's to enforce).  By a success
 * it says that no signal of a stop was sent before: one that was asked for
 * meanwhile does not undo it.
 */
static int
credible_state(const UnideskLive *live, int state, UnideskReport *report)
{
	bool		asked = live->want == UD_WANT_STOP && live->want_final == state;

	switch (state)
	{
		case UD_ATTEMPT_SUCCEEDED:
			if (report->has_exit_code && report->exit_code == 0)
				return state;
			break;
		case UD_ATTEMPT_CANCELLED:
		case UD_ATTEMPT_PREEMPTED:
			if (asked)
				return state;
			break;
		case UD_ATTEMPT_REJECTED:
			if (asked || live->attempt_state == UD_ATTEMPT_ASSIGNED)
				return state;
			break;
		default:
			return state;
	}
	report->reason = UD_REASON_NODE_AGENT_ERROR;
	return UD_ATTEMPT_FAILED;
}

/* A state that a later walk cannot reach from where the attempt is. */
static int
reachable_state(const UnideskLive *live, int state)
{
	int16		path[UNIDESK_PATH_MAX];

	if (!UD_ATTEMPT_IS_TERMINAL(state) || live->attempt_state == UD_ATTEMPT_STOPPING)
		return state;
	if (unidesk_attempt_path(live->attempt_state, state, false, UNIDESK_BY_AGENT, path) > 0)
		return state;
	/* For example "lost" of an attempt that was never more than assigned. */
	return UD_ATTEMPT_FAILED;
}

static void
report_live(ReturnSetInfo *result, UnideskDoor *door, const UnideskMessage *message,
			UnideskLive *live, UnideskReport *report)
{
	UnideskActor node = {UNIDESK_ACTOR_NODE, message->node_id};
	int			state = credible_state(live, message->state, report);

	state = reachable_state(live, state);
	unidesk_attempt_move(door, live, state, report, true, UNIDESK_BY_AGENT, node);
	/* The move may have ended the attempt under another name. */
	if (UNIDESK_TASK_IS_TERMINAL(live->state))
		unidesk_acknowledge(result, message, message->state, UD_FLAG_REMOVE | UD_FLAG_LAST);
	else if (live->state != UNIDESK_TASK_ACTIVE)
		unidesk_acknowledge(result, message, message->state, UD_FLAG_REMOVE);
	else
		unidesk_acknowledge(result, message, Max(live->attempt_state, Min(message->state, UD_ATTEMPT_STOPPING)), 0);
}

static void
take_report(ReturnSetInfo *result, UnideskDoor *door, const UnideskMessage *message,
			UnideskLock lock, UnideskLive *live)
{
	/* The door keeps it until it is closed. */
	UnideskReport *report = palloc(sizeof(UnideskReport));
	const char *wrong;

	if (message->state <= UD_ATTEMPT_ASSIGNED || message->state > UD_ATTEMPT_REJECTED)
	{
		unidesk_out_error(result, message, "protocol", "a report names no state that an agent may report");
		return;
	}
	wrong = unidesk_report_parse(message->body, message->body_bytes, report);
	if (wrong != NULL)
		unidesk_out_error(result, message, "protocol", wrong);
	else if (lock == UNIDESK_BUSY)
		unidesk_out_busy(result, message);
	else if (lock == UNIDESK_LOCKED && live->state == UNIDESK_TASK_ACTIVE && live->attempt == message->attempt &&
			 live->incarnation == message->incarnation && live->node_id == message->node_id && !live->left)
		report_live(result, door, message, live, report);
	else
	{
		/* It may ask for what the door is about to write. */
		unidesk_door_flush(door);
		unidesk_take_late(result, door, message, report, lock == UNIDESK_LOCKED ? live : NULL);
	}
}

void
unidesk_take_reports(ReturnSetInfo *result, const UnideskMessage *messages, int count)
{
	int64	   *ids = palloc(sizeof(int64) * count);
	UnideskLive *lives = palloc(sizeof(UnideskLive) * count);
	UnideskLock *locks = palloc(sizeof(UnideskLock) * count);
	UnideskDoor *door = unidesk_door_open();
	int			distinct = 0;

	for (int i = 0; i < count; i++)
		ids[i] = messages[i].task;
	qsort(ids, count, sizeof(int64), unidesk_compare_ids);
	for (int i = 0; i < count; i++)
		if (i == 0 || ids[i] != ids[distinct - 1])
			ids[distinct++] = ids[i];
	unidesk_live_lock_many(ids, distinct, lives, locks);
	for (int i = 0; i < count; i++)
	{
		int64	   *id = bsearch(&messages[i].task, ids, distinct, sizeof(int64), unidesk_compare_ids);

		take_report(result, door, &messages[i], locks[id - ids], &lives[id - ids]);
	}
	unidesk_door_close(door);
}
