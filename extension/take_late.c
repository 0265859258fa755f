/*
 * take_late.c
 *	  A report about an attempt that is not the live one: refused.
 *
 * One that says an end is acknowledged when the attempt ended here too, and
 * confirms that nothing of it runs; any other is answered "stale".  What comes
 * of an attempt that was ended without its node changes nothing, and is told in
 * an event, once for each state: people see what the second run was for.
 */
#include "unidesk.h"

#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "storage/lock.h"
#include "storage/lockdefs.h"

#include "common/protocol.h"
#include "shared.h"
#include "take_report.h"

/* Key space of our advisory locks: "log "; the last number of the tag is one
 * that no SQL function takes, or anybody could hold up a log. */
#define HISTORY_LOCK_CLASS 0x6c6f6720

bool
unidesk_try_lock_history(int64 task_id)
{
	LOCKTAG		tag;

	SET_LOCKTAG_ADVISORY(tag, MyDatabaseId, HISTORY_LOCK_CLASS, (uint32) task_id, 3);
	return LockAcquire(&tag, ExclusiveLock, false, true) != LOCKACQUIRE_NOT_AVAIL;
}

/* Nothing of an ended attempt runs any more: free what it held. */
static void
confirm_end(const UnideskMessage *message)
{
	static SPIPlanPtr plan;
	UnideskArgs args = {0};

	unidesk_arg_int64(&args, message->incarnation);
	unidesk_arg_int64(&args, message->task);
	unidesk_arg_int32(&args, message->attempt);
	unidesk_arg_int32(&args, message->node_id);
	if (unidesk_execute(&plan,
						"DELETE FROM unidesk_data.held WHERE incarnation = $1 AND task_id = $2"
						" AND attempt = $3 AND node_id = $4 AND left_on IS NULL", &args) > 0)
		unidesk_note_node(message->node_id);
}

/* Did this attempt run on this node and end?  *last: and its task with it. */
static bool
is_ended_attempt(const UnideskMessage *message, bool *last)
{
	static SPIPlanPtr plan;
	UnideskArgs args = {0};

	unidesk_arg_int64(&args, message->task);
	unidesk_arg_int32(&args, message->attempt);
	unidesk_arg_int64(&args, message->incarnation);
	unidesk_arg_int32(&args, message->node_id);
	if (unidesk_execute(&plan,
						"SELECT NOT EXISTS (SELECT FROM unidesk_data.live WHERE task_id = $1)"
						" FROM (SELECT FROM unidesk_data.task WHERE id = $1 AND attempts = $2"
						" AND incarnation = $3 AND node_id = $4 AND state IS NOT NULL"
						" UNION ALL SELECT FROM unidesk_data.attempt WHERE task_id = $1 AND attempt = $2"
						" AND incarnation = $3 AND node_id = $4) AS ended", &args) == 0)
		return false;
	*last = DatumGetBool(unidesk_column(0, 1, NULL));
	return true;
}

/*
 * Was it ended by others than its node, or as lost, and is this state not told
 * yet?  A node that repeats the end it reported itself is not late.
 */
static bool
is_news(const UnideskMessage *message)
{
	static SPIPlanPtr plan;
	UnideskArgs args = {0};

	unidesk_arg_int64(&args, message->task);
	unidesk_arg_int32(&args, message->attempt);
	unidesk_arg_int64(&args, message->incarnation);
	unidesk_arg_int32(&args, message->node_id);
	unidesk_arg_int16(&args, message->state);
	return unidesk_execute(&plan,
						   "SELECT FROM unidesk_data.attempt a JOIN unidesk_data.task_event e ON e.task_id = a.task_id"
						   " AND e.attempt = a.attempt AND e.attempt_state = a.state AND NOT unidesk_data._is_note(e.data)"
						   " WHERE a.task_id = $1 AND a.attempt = $2 AND a.incarnation = $3 AND a.node_id = $4"
						   " AND (e.actor_kind <> 2 OR (a.state = 12 AND $5 <> 12))"
						   " AND NOT EXISTS (SELECT FROM unidesk_data.task_event x WHERE x.task_id = $1 AND x.attempt = $2"
						   " AND x.attempt_state = $5 AND x.data LIKE 'late: %')", &args) > 0;
}

static char *
late_text(int state, const UnideskReport *report)
{
	StringInfoData text;

	initStringInfo(&text);
	appendStringInfo(&text, "late: %s", ud_attempt_state_name(state));
	if (report->has_exit_code)
		appendStringInfo(&text, ", exit code %d", report->exit_code);
	return text.data;
}

/* The task is over: its last number stands in its events alone. */
static void
tell_of_ended(const UnideskMessage *message, const UnideskReport *report)
{
	static SPIPlanPtr plan;
	UnideskArgs args = {0};

	unidesk_arg_time(&args, unidesk_now());
	unidesk_arg_int64(&args, message->task);
	unidesk_arg_int32(&args, message->attempt);
	unidesk_arg_int16(&args, message->state);
	unidesk_arg_int16(&args, report->reason);
	unidesk_arg_int16(&args, UNIDESK_ACTOR_NODE);
	unidesk_arg_int32(&args, message->node_id);
	unidesk_arg_text(&args, late_text(message->state, report));
	unidesk_execute(&plan,
					"INSERT INTO unidesk_data.task_event (at, task_id, seq, attempt, task_state, attempt_state, reason,"
					" actor_kind, actor_id, data)"
					" SELECT $1, $2, (SELECT max(e.seq) + 1 FROM unidesk_data.task_event e WHERE e.task_id = $2), $3, t.state, $4, $5,"
					" $6, $7, $8 FROM unidesk_data.task t WHERE t.id = $2 AND t.state IS NOT NULL", &args);
}

bool
unidesk_tell_late(UnideskDoor *door, const UnideskMessage *message, const UnideskReport *report, UnideskLive *live)
{
	UnideskActor node = {UNIDESK_ACTOR_NODE, message->node_id};

	if (!is_news(message))
		return true;
	if (live != NULL && !UNIDESK_TASK_IS_TERMINAL(live->state))
	{
		unidesk_task_note(door, live, message->attempt, message->state, report->reason,
						  late_text(message->state, report), node);
		return true;
	}
	if (!unidesk_try_lock_history(message->task))
		return false;
	/* Another one may have told before the lock was free. */
	if (is_news(message))
		tell_of_ended(message, report);
	return true;
}

void
unidesk_take_late(ReturnSetInfo *result, UnideskDoor *door, const UnideskMessage *message,
				  const UnideskReport *report, UnideskLive *live)
{
	bool		last;

	if (!unidesk_tell_late(door, message, report, live))
	{
		unidesk_out_busy(result, message);
		return;
	}
	if (UD_ATTEMPT_IS_TERMINAL(message->state))
	{
		confirm_end(message);
		if (is_ended_attempt(message, &last))
		{
			unidesk_acknowledge(result, message, message->state, UD_FLAG_REMOVE | (last ? UD_FLAG_LAST : 0));
			return;
		}
	}
	unidesk_acknowledge(result, message, message->state, UD_FLAG_STALE);
}
