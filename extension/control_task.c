/*
 * control_task.c
 *	  What people ask of one task: cancel, hold, release, requeue.
 *
 * Each can be asked twice: who asks for what is so already gets the state and
 * changes nothing.  While an attempt is being stopped the last word holds, but
 * for a cancel, after which there is none.
 */
#include "unidesk.h"

#include "fmgr.h"
#include "miscadmin.h"
#include "utils/builtins.h"

#include "common/protocol.h"
#include "common/reasons.h"
#include "control.h"
#include "people.h"
#include "transition.h"

int
unidesk_ended_state(int64 task_id)
{
	static SPIPlanPtr plan;
	UnideskArgs args = {0};

	unidesk_arg_int64(&args, task_id);
	if (unidesk_execute(&plan, "SELECT state FROM unidesk_data.task WHERE id = $1", &args) == 0)
		return 0;
	return unidesk_column_int32(0, 1);
}

static UnideskAnswer
stop(UnideskDoor *door, UnideskLive *live, int final, int reason, UnideskActor actor)
{
	if (unidesk_attempt_stop(door, live, final, reason, UNIDESK_BY_PERSON, actor))
		return UNIDESK_DONE;
	if (live->attempt_state == UD_ATTEMPT_FINISHING)
		return UNIDESK_HAS_RESULT;
	if (live->want_final == final && live->want_reason == reason)
		return UNIDESK_AS_ASKED;
	return live->want_final == UD_ATTEMPT_CANCELLED ? UNIDESK_IS_CANCELLED : UNIDESK_IS_OVERDUE;
}

static UnideskAnswer
move(UnideskDoor *door, UnideskLive *live, int to, int reason, UnideskActor actor)
{
	unidesk_task_move(door, live, to, reason, UNIDESK_BY_PERSON, actor);
	return UNIDESK_DONE;
}

UnideskAnswer
unidesk_ask_cancel(UnideskDoor *door, UnideskLive *live, UnideskActor actor)
{
	if (live->state == UNIDESK_TASK_ACTIVE)
		return stop(door, live, UD_ATTEMPT_CANCELLED, UD_REASON_CTL_CANCELLED, actor);
	return move(door, live, UNIDESK_TASK_CANCELLED, UD_REASON_CTL_CANCELLED, actor);
}

UnideskAnswer
unidesk_ask_hold(UnideskDoor *door, UnideskLive *live, UnideskActor actor)
{
	if (live->state == UNIDESK_TASK_HELD)
		return UNIDESK_AS_ASKED;
	if (live->state == UNIDESK_TASK_ACTIVE)
		return stop(door, live, UD_ATTEMPT_PREEMPTED, UD_REASON_CTL_HELD, actor);
	return move(door, live, UNIDESK_TASK_HELD, UD_REASON_CTL_HELD, actor);
}

UnideskAnswer
unidesk_ask_release(UnideskDoor *door, UnideskLive *live, UnideskActor actor)
{
	if (live->state == UNIDESK_TASK_HELD)
		return move(door, live, UNIDESK_TASK_QUEUED, UD_REASON_NONE, actor);
	/* Not held yet: it goes on to stop, and is queued then. */
	if (live->state == UNIDESK_TASK_ACTIVE && live->want == UD_WANT_STOP && live->want_reason == UD_REASON_CTL_HELD)
		return stop(door, live, UD_ATTEMPT_PREEMPTED, UD_REASON_CTL_REQUEUED, actor);
	if (live->state == UNIDESK_TASK_ACTIVE && live->want == UD_WANT_STOP && live->want_final == UD_ATTEMPT_CANCELLED)
		return UNIDESK_IS_CANCELLED;
	return UNIDESK_AS_ASKED;
}

UnideskAnswer
unidesk_ask_requeue(UnideskDoor *door, UnideskLive *live, UnideskActor actor)
{
	switch (live->state)
	{
		case UNIDESK_TASK_HELD:
			return UNIDESK_IS_HELD;
		case UNIDESK_TASK_BLOCKED:
			return UNIDESK_IS_BLOCKED;
		case UNIDESK_TASK_ACTIVE:
			return stop(door, live, UD_ATTEMPT_PREEMPTED, UD_REASON_CTL_REQUEUED, actor);
	}
	if (live->not_before <= unidesk_now() && live->excluded_node == 0 &&
		live->user_failures == 0 && live->infra_failures == 0)
		return UNIDESK_AS_ASKED;
	live->not_before = 0;
	live->excluded_node = live->user_failures = live->infra_failures = 0;
	return move(door, live, UNIDESK_TASK_QUEUED, UD_REASON_CTL_REQUEUED, actor);
}

/* Why not; a cancel is told and does not fail, for the task does end. */
static void
tell_refusal(int level, UnideskAnswer answer, int64 task_id)
{
	long long	id = (long long) task_id;

	switch (answer)
	{
		case UNIDESK_DONE:
		case UNIDESK_AS_ASKED:
			break;
		case UNIDESK_IS_HELD:
			ereport(level,
					(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
					 errmsg("the task is held"),
					 errhint("SELECT unidesk.release_task(%lld) lets it go on.", id)));
			break;
		case UNIDESK_IS_BLOCKED:
			ereport(level,
					(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
					 errmsg("the task waits for other tasks"),
					 errhint("It is queued when they have ended.")));
			break;
		case UNIDESK_HAS_RESULT:
			ereport(level,
					(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
					 errmsg("the result of the task is in already"),
					 errhint("It is about to end: SELECT unidesk.wait_task(%lld).", id)));
			break;
		case UNIDESK_IS_CANCELLED:
			ereport(level,
					(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
					 errmsg("the task is being cancelled"),
					 errhint("SELECT unidesk.rerun_task(%lld) submits it once more when it has ended.", id)));
			break;
		case UNIDESK_IS_OVERDUE:
			ereport(level,
					(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
					 errmsg("the task is being stopped, because one of its limits is over"),
					 errhint("SELECT * FROM unidesk.attempts WHERE task = %lld shows which.", id)));
			break;
	}
}

/* Ask it of the task that the call names: its state then. */
static Datum
ask_one(FunctionCallInfo fcinfo, const char *name, UnideskAsk ask)
{
	bool		is_cancel = ask == unidesk_ask_cancel;
	UnideskActor actor = {UNIDESK_ACTOR_ACCOUNT, 0};
	UnideskAnswer answer = UNIDESK_AS_ASKED;
	UnideskLive live;
	int64		task_id;
	int			state;

	if (PG_ARGISNULL(0))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("task is missing"),
				 errhint("Give the id that submit_task returned.")));
	PreventCommandIfReadOnly(psprintf("unidesk.%s()", name));
	task_id = PG_GETARG_INT64(0);
	SPI_connect();
	unidesk_check_task_access(task_id, UNIDESK_MEMBER);
	actor.id = unidesk_caller_account();
	if (unidesk_live_lock(task_id, true, &live) == UNIDESK_LOCKED)
	{
		UnideskDoor *door = unidesk_door_open();

		answer = ask(door, &live, actor);
		unidesk_door_close(door);
		state = live.state;
	}
	else
	{
		state = unidesk_ended_state(task_id);
		if (!is_cancel)
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
					 errmsg("the task has ended as %s", unidesk_task_state_name(state)),
					 errhint("SELECT unidesk.rerun_task(%lld) submits it once more.", (long long) task_id)));
	}
	tell_refusal(is_cancel ? NOTICE : ERROR, answer, task_id);
	SPI_finish();
	PG_RETURN_TEXT_P(cstring_to_text(unidesk_task_state_name(state)));
}

PG_FUNCTION_INFO_V1(unidesk_cancel_task);
Datum
unidesk_cancel_task(PG_FUNCTION_ARGS)
{
	return ask_one(fcinfo, "cancel_task", unidesk_ask_cancel);
}

PG_FUNCTION_INFO_V1(unidesk_hold_task);
Datum
unidesk_hold_task(PG_FUNCTION_ARGS)
{
	return ask_one(fcinfo, "hold_task", unidesk_ask_hold);
}

PG_FUNCTION_INFO_V1(unidesk_release_task);
Datum
unidesk_release_task(PG_FUNCTION_ARGS)
{
	return ask_one(fcinfo, "release_task", unidesk_ask_release);
}

PG_FUNCTION_INFO_V1(unidesk_requeue_task);
Datum
unidesk_requeue_task(PG_FUNCTION_ARGS)
{
	return ask_one(fcinfo, "requeue_task", unidesk_ask_requeue);
}
