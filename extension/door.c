/*
 * door.c
 *	  The one door for state: what moves are made of, and what follows from them.
 *
 * A move is looked up in the transition tables, made on the row in memory, and
 * told in one event; door_write.c writes both when the door is closed.
 *
 *	attempt ends as			the task becomes
 *	succeeded				succeeded
 *	cancelled				cancelled
 *	timed_out				failed
 *	failed					queued while its retries last, else failed
 *	lost					by on_lost: queued or failed
 *	rejected				queued; costs none of the task's own retries
 *	preempted				queued, or held when that was asked for; costs nothing
 *
 * An ordinary task has four events: submitted, placed, running, ended.  The
 * steps up to preparing are part of the event that follows them; until then
 * the row alone says how far the preparation is.
 *
 * A retry counts against max_retries when its reason counts; reasons of
 * infrastructure have a bound of their own, unidesk.infra_retries.
 */
#include "unidesk.h"

#include "common/protocol.h"
#include "common/reasons.h"
#include "door_write.h"

#define BACKOFF_DOUBLINGS_MAX 6

UnideskDoor *
unidesk_door_open(void)
{
	return palloc0(sizeof(UnideskDoor));
}

void
unidesk_door_flush(UnideskDoor *door)
{
	unidesk_door_write(door);
	memset(door, 0, sizeof(UnideskDoor));
}

void
unidesk_door_close(UnideskDoor *door)
{
	unidesk_door_flush(door);
	pfree(door);
}

static void
make_room(void **items, int count, int *room, Size size)
{
	if (count < *room)
		return;
	*room = Max(8, *room * 2);
	*items = *items == NULL ? palloc(size * *room) : repalloc(*items, size * *room);
}

/* The row has to be written. */
static void
touch(UnideskDoor *door, UnideskLive *live)
{
	live->state_at = unidesk_now();
	if (live->dirty)
		return;
	live->dirty = true;
	make_room((void **) &door->lives, door->live_count, &door->live_room, sizeof(UnideskLive *));
	door->lives[door->live_count++] = live;
}

/* Tell what happened; the row follows. */
static void
tell(UnideskDoor *door, UnideskLive *live, int task_state, int attempt_state, int reason,
	 UnideskActor actor, const int16 *path, int path_length)
{
	DoorEvent  *event;

	make_room((void **) &door->events, door->event_count, &door->event_room, sizeof(DoorEvent));
	event = &door->events[door->event_count++];
	event->at = unidesk_now();
	event->task_id = live->task_id;
	event->seq = ++live->seq;
	event->attempt = live->attempt;
	event->task_state = task_state;
	event->attempt_state = attempt_state;
	event->reason = reason;
	event->actor = actor;
	event->step_count = path_length;
	if (path_length > 0)
		memcpy(event->steps, path, sizeof(int16) * path_length);
	touch(door, live);
}

static void
add_ending(DoorEndings *endings, const UnideskLive *live, int state, int reason, const UnideskReport *report)
{
	DoorEnding *ending;

	make_room((void **) &endings->items, endings->count, &endings->room, sizeof(DoorEnding));
	ending = &endings->items[endings->count++];
	ending->live = *live;
	ending->state = state;
	ending->reason = reason;
	ending->at = unidesk_now();
	ending->report = report;
}

/* A move that leaves the attempt alive. */
static void
progress(UnideskDoor *door, UnideskLive *live, int to, const UnideskReport *report,
		 const int16 *path, int path_length, UnideskActor actor)
{
	for (int i = 0; i < path_length; i++)
		if (path[i] == UD_ATTEMPT_RUNNING && live->started_at == 0)
			live->started_at = unidesk_now();
	live->attempt_state = to;
	if (report != NULL && report->phase != 0)
		live->phase = report->phase;
	tell(door, live, UNIDESK_TASK_ACTIVE, to, live->want_reason, actor, path, path_length);
}

static void
end_task(UnideskDoor *door, UnideskLive *live, int to, int reason, const UnideskReport *report)
{
	live->state = to;
	live->reason = reason;
	add_ending(&door->tasks, live, to, reason, report);
}

/* Back into the queue, or held, without an attempt. */
static void
requeue(UnideskLive *live, int to, int reason, int wait_s, int32 excluded_node)
{
	live->state = to;
	live->reason = reason;
	live->not_before = unidesk_now() + (TimestampTz) wait_s * USECS_PER_SEC;
	live->excluded_node = excluded_node;
	live->requeued = true;
	live->node_id = 0;
	live->incarnation = 0;
	live->attempt_state = live->phase = live->want = live->want_final = live->want_reason = 0;
	live->gpu_mask = 0;
	live->placed_at = live->started_at = 0;
	live->needs_order = false;
}

static int
backoff_s(int failures)
{
	int			doublings = Min(failures - 1, BACKOFF_DOUBLINGS_MAX);

	return failures <= 0 ? 0 : unidesk_retry_backoff << doublings;
}

/* What becomes of the task: a terminal state, queued, or held. */
static int
task_after(UnideskLive *live, int attempt_state, int reason, int *wait_s, int *excluded_node)
{
	*wait_s = 0;
	*excluded_node = 0;
	switch (attempt_state)
	{
		case UD_ATTEMPT_SUCCEEDED:
			return UNIDESK_TASK_SUCCEEDED;
		case UD_ATTEMPT_CANCELLED:
			return UNIDESK_TASK_CANCELLED;
		case UD_ATTEMPT_TIMED_OUT:
			return UNIDESK_TASK_FAILED;
		case UD_ATTEMPT_PREEMPTED:
			return reason == UD_REASON_CTL_HELD ? UNIDESK_TASK_HELD : UNIDESK_TASK_QUEUED;
		case UD_ATTEMPT_LOST:
			if (live->on_lost == UNIDESK_ON_LOST_FAIL)
				return UNIDESK_TASK_FAILED;
			break;
		case UD_ATTEMPT_REJECTED:
			break;				/* also when withdrawn: an agent may ignore
								 * all it gets */
	}
	if (!ud_reason_is_retryable(reason))
		return UNIDESK_TASK_FAILED;
	if (ud_reason_counts(reason))
	{
		if (live->user_failures >= live->max_retries)
			return UNIDESK_TASK_FAILED;
		*wait_s = backoff_s(++live->user_failures);
	}
	else
	{
		if (live->infra_failures >= unidesk_infra_retries)
			return UNIDESK_TASK_FAILED;
		*wait_s = backoff_s(++live->infra_failures);
		*excluded_node = attempt_state == UD_ATTEMPT_LOST ? 0 : live->node_id;
	}
	return UNIDESK_TASK_QUEUED;
}

static int
ending_reason(UnideskLive *live, int to, const UnideskReport *report)
{
	if (to == UD_ATTEMPT_SUCCEEDED)
		return UD_REASON_NONE;
	if (live->want == UD_WANT_STOP && live->want_final == to)
		return live->want_reason;
	if (report != NULL && report->reason != 0)
		return report->reason;
	switch (to)
	{
		case UD_ATTEMPT_TIMED_OUT:
			return UD_REASON_RUN_TIMEOUT;
		case UD_ATTEMPT_LOST:
			return UD_REASON_NODE_CONTAINER_GONE;
		case UD_ATTEMPT_REJECTED:
			return UD_REASON_NODE_REJECTED;
		default:
			if (report != NULL && report->oom)
				return UD_REASON_RUN_OOM;
			return report != NULL && report->has_exit_code ? UD_REASON_RUN_EXIT_CODE : UD_REASON_NODE_AGENT_ERROR;
	}
}

static void
end_attempt(UnideskDoor *door, UnideskLive *live, int to, const UnideskReport *report, bool confirmed,
			int by, UnideskActor actor, const int16 *path, int path_length)
{
	int			reason = ending_reason(live, to, report);
	int			wait_s;
	int			excluded_node;
	int			task_state = task_after(live, to, reason, &wait_s, &excluded_node);

	/* In finishing its container is gone and its allocation with it. */
	bool		holds = !confirmed && live->attempt_state != UD_ATTEMPT_FINISHING;

	unidesk_check_task_move(live->state, task_state, by);
	for (int i = 0; i < path_length; i++)
		if (path[i] == UD_ATTEMPT_RUNNING && live->started_at == 0)

			/*
			 * Start and end came in one report: the run's time tells the
			 * start.
			 */
			live->started_at = unidesk_now() -
				(report != NULL ? Max(report->stage_ms[UNIDESK_STAGES - 1], 0) : 0) * INT64CONST(1000);
	tell(door, live, task_state, to, reason, actor, path, path_length);
	if (to != UD_ATTEMPT_SUCCEEDED)
		add_ending(&door->attempts, live, to, reason, report);
	if (holds)
		add_ending(&door->held, live, to, reason, report);
	if (UNIDESK_TASK_IS_TERMINAL(task_state))
		end_task(door, live, task_state, reason, report);
	else
		requeue(live, task_state, reason, wait_s, excluded_node);
}

bool
unidesk_attempt_move(UnideskDoor *door, UnideskLive *live, int to, const UnideskReport *report,
					 bool confirmed, int by, UnideskActor actor)
{
	int16		path[UNIDESK_PATH_MAX];
	int			length;
	bool		ran;

	Assert(live->state == UNIDESK_TASK_ACTIVE);
	/* In stopping the exit code is kept, the final state is what was asked. */
	if (live->attempt_state == UD_ATTEMPT_STOPPING && UD_ATTEMPT_IS_TERMINAL(to) && to != UD_ATTEMPT_LOST)
		to = live->want_final;
	if (to == live->attempt_state)
	{
		/* No move, but its preparation may have gone on. */
		if (report != NULL && report->phase != 0 && report->phase != live->phase)
		{
			live->phase = report->phase;
			touch(door, live);
		}
		return false;
	}
	ran = report != NULL && (report->has_exit_code || report->log_end >= 0) && UD_ATTEMPT_IS_TERMINAL(to);
	length = unidesk_attempt_path(live->attempt_state, to, ran, by, path);
	if (length == 0)
		return false;
	if (to <= UD_ATTEMPT_PREPARING)
	{
		/* Told by the next event, which walks from assigned. */
		live->attempt_state = to;
		if (report != NULL && report->phase != 0)
			live->phase = report->phase;
		touch(door, live);
		return true;
	}
	if (live->attempt_state <= UD_ATTEMPT_PREPARING)
		length = unidesk_attempt_path(UD_ATTEMPT_ASSIGNED, to, ran, by, path);
	if (UD_ATTEMPT_IS_TERMINAL(to))
		end_attempt(door, live, to, report, confirmed, by, actor, path, length);
	else
	{
		/*
		 * An agent stops what nobody asked it to only when the run limit is
		 * over.
		 */
		if (to == UD_ATTEMPT_STOPPING && live->want != UD_WANT_STOP)
		{
			live->want = UD_WANT_STOP;
			live->want_final = UD_ATTEMPT_TIMED_OUT;
			live->want_reason = UD_REASON_RUN_TIMEOUT;
		}
		progress(door, live, to, report, path, length, actor);
	}
	return true;
}

/*
 * Does the stop that is under way give way to another?  What a person asks for
 * goes before a stop after which the task would run again or wait; a cancel,
 * and a limit that is over, stay.
 */
static bool
gives_way(const UnideskLive *live, int final, int reason, int by)
{
	if (by != UNIDESK_BY_PERSON || (live->want_final == final && live->want_reason == reason))
		return false;
	return live->want_final == UD_ATTEMPT_REJECTED || live->want_final == UD_ATTEMPT_PREEMPTED;
}

bool
unidesk_attempt_stop(UnideskDoor *door, UnideskLive *live, int final, int reason, int by, UnideskActor actor)
{
	int16		path[UNIDESK_PATH_MAX] = {UD_ATTEMPT_STOPPING};

	if (live->want == UD_WANT_STOP ? !gives_way(live, final, reason, by) :
		unidesk_attempt_path(live->attempt_state, UD_ATTEMPT_STOPPING, false, by, path) == 0)
		return false;
	live->attempt_state = UD_ATTEMPT_STOPPING;
	live->want = UD_WANT_STOP;
	live->want_final = final;
	live->want_reason = reason;
	live->needs_order = true;
	tell(door, live, UNIDESK_TASK_ACTIVE, UD_ATTEMPT_STOPPING, reason, actor, path, 1);
	return true;
}

void
unidesk_task_move(UnideskDoor *door, UnideskLive *live, int to, int reason, int by, UnideskActor actor)
{
	Assert(live->state != UNIDESK_TASK_ACTIVE);
	unidesk_check_task_move(live->state, to, by);
	tell(door, live, to, 0, reason, actor, NULL, 0);
	if (UNIDESK_TASK_IS_TERMINAL(to))
		end_task(door, live, to, reason, NULL);
	live->requeued = to == UNIDESK_TASK_QUEUED;
	live->state = to;
	live->reason = reason;
}
