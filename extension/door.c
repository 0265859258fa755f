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
 * An attempt that is being stopped ends as that was asked for, whatever its
 * exit code, but for two ends: lost, and succeeded, which says that it had
 * ended by itself before it was sent any signal.
 *
 * One that failed with the task's restart_exit_code said "saved, start me
 * again": the task is queued at once and no retry is used up.  What it saved
 * lies on its node, so the next attempt goes there (checkpoint_node), until
 * the node is lost or cannot be had for unidesk.checkpoint_wait.
 *
 * An ordinary task has four events: submitted, placed, running, ended.  The
 * steps up to preparing are part of the event that follows them; until then
 * the row alone says how far the preparation is.
 *
 * A retry counts against max_retries when its reason counts; reasons of
 * infrastructure have a bound of their own, unidesk.infra_retries, but one
 * that never began because its node's engine was down costs nothing.
 */
#include "unidesk.h"

#include "common/pg_prng.h"

#include "common/protocol.h"
#include "common/reasons.h"
#include "door_write.h"
#include "engine.h"
#include "shared.h"

/* More than any setting of the longest wait allows. */
#define BACKOFF_DOUBLINGS_MAX 20

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
mark(UnideskDoor *door, UnideskLive *live)
{
	if (live->dirty)
		return;
	live->dirty = true;
	make_room((void **) &door->lives, door->live_count, &door->live_room, sizeof(UnideskLive *));
	door->lives[door->live_count++] = live;
}

/* The same, and it moved. */
static void
touch(UnideskDoor *door, UnideskLive *live)
{
	live->state_at = unidesk_now();
	mark(door, live);
}

static DoorEvent *
add_event(UnideskDoor *door, UnideskLive *live, int task_state, int attempt_state, int reason, UnideskActor actor)
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
	event->step_count = 0;
	event->data = NULL;
	return event;
}

/* Tell what happened; the row follows.  The event may be added to. */
static DoorEvent *
tell(UnideskDoor *door, UnideskLive *live, int task_state, int attempt_state, int reason,
	 UnideskActor actor, const int16 *path, int path_length)
{
	DoorEvent  *event = add_event(door, live, task_state, attempt_state, reason, actor);

	event->step_count = path_length;
	if (path_length > 0)
		memcpy(event->steps, path, sizeof(int16) * path_length);
	touch(door, live);
	return event;
}

void
unidesk_task_note(UnideskDoor *door, UnideskLive *live, int attempt, int attempt_state,
				  int reason, const char *text, UnideskActor actor)
{
	DoorEvent  *event = add_event(door, live, live->state, attempt_state, reason, actor);

	event->attempt = attempt;
	event->data = text;

	mark(door, live);
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

	/*
	 * A node is asked what it has, and told that it needs the checkpoint no
	 * more.
	 */
	if (live->checkpoint_node != 0 && live->checkpoint_node != live->node_id)
		unidesk_beat_expire(live->checkpoint_node);
}

/* What comes after an attempt, beside the state of its task. */
typedef struct Sequel
{
	int64		wait_us;		/* before the next attempt */
	int32		excluded_node;	/* which does not get it at first */
	bool		given_up;		/* unidesk.infra_retries are used up */
} Sequel;

/* Back into the queue, or held, without an attempt. */
static void
requeue(UnideskLive *live, int to, int reason, const Sequel *sequel)
{
	live->state = to;
	live->reason = reason;
	live->not_before = unidesk_now() + sequel->wait_us;
	live->excluded_node = sequel->excluded_node;
	live->requeued = true;
	live->node_id = 0;
	live->incarnation = 0;
	live->attempt_state = live->phase = live->want = live->want_final = live->want_reason = 0;
	live->gpu_mask = 0;
	live->placed_at = live->started_at = 0;
	live->needs_order = false;
}

/*
 * The wait before the next attempt: it doubles with each failure up to a
 * limit, and its last part is left to chance, or what failed together would
 * come back together.  At 50 % that is the "equal jitter" of "Exponential
 * Backoff And Jitter" (AWS Architecture Blog, 2015).  What a server asked for
 * is not undercut.
 */
static int64
backoff_us(int failures, int asked_s)
{
	int64		window_s = Min((int64) unidesk_retry_backoff << Min(failures - 1, BACKOFF_DOUBLINGS_MAX),
							   unidesk_retry_backoff_max);
	int64		chance = window_s * USECS_PER_SEC * unidesk_retry_jitter / 100;

	return Max(window_s * USECS_PER_SEC - chance, asked_s * USECS_PER_SEC) +
		(int64) (chance * pg_prng_double(&pg_global_prng_state));
}

/*
 * Whether the next attempt had better run elsewhere.  A node that was silent
 * gets nothing until it is back, and is then as good as any; so is one that
 * after a restore or a restart has not what the rows say.  One that saw a
 * container vanish while it watched is not.
 */
static bool
is_fault_of_node(int attempt_state, const UnideskReport *report)
{
	return attempt_state != UD_ATTEMPT_LOST || (report != NULL && report->reason == UD_REASON_NODE_CONTAINER_GONE);
}

/* Does max_retries apply to how it ended? */
static bool
may_retry(const UnideskLive *live, const UnideskReport *report)
{
	int			code;

	if (!live->has_retry_on)
		return true;
	if (report == NULL || !report->has_exit_code)
		return false;
	code = report->exit_code & 255;
	return (live->retry_on[code / 64] >> (code % 64) & 1) != 0;
}

/*
 * It could not begin because its node's engine was down.  That uses up
 * nothing, or an engine that is away for an hour would end the task; and the
 * node needs no exclusion: it gets nothing until the engine is back, and is
 * then as good as any.
 */
static bool
is_kept_by_engine(const UnideskLive *live, int reason)
{
	return reason == UD_REASON_NODE_ENGINE_ERROR && live->started_at == 0 &&
		unidesk_engine_was_down(live->node_id, live->placed_at);
}

/* It saved what it has and wants to go on from there. */
static int
after_checkpoint(UnideskLive *live, Sequel *sequel)
{
	if (live->restarts >= unidesk_checkpoint_restarts)
		return UNIDESK_TASK_FAILED;
	live->restarts++;
	/* One that only spins must not keep everybody busy. */
	if (unidesk_now() - live->started_at < unidesk_checkpoint_min_run * USECS_PER_SEC)
		sequel->wait_us = backoff_us(1, 0);
	return UNIDESK_TASK_QUEUED;
}

/* What becomes of the task: a terminal state, queued, or held. */
static int
task_after(UnideskLive *live, int attempt_state, int reason, const UnideskReport *report, Sequel *sequel)
{
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
	if (reason == UD_REASON_RUN_CHECKPOINTED)
		return after_checkpoint(live, sequel);
	if (!ud_reason_is_retryable(reason))
		return UNIDESK_TASK_FAILED;
	if (ud_reason_counts(reason))
	{
		if (live->user_failures >= live->max_retries || !may_retry(live, report))
			return UNIDESK_TASK_FAILED;
		sequel->wait_us = backoff_us(++live->user_failures, 0);
	}
	else if (is_kept_by_engine(live, reason))
		sequel->wait_us = backoff_us(live->infra_failures + 1, 0);
	else
	{
		sequel->given_up = live->infra_failures >= unidesk_infra_retries;
		if (sequel->given_up)
			return UNIDESK_TASK_FAILED;
		sequel->wait_us = backoff_us(++live->infra_failures, report != NULL ? report->retry_after_s : 0);
		sequel->excluded_node = is_fault_of_node(attempt_state, report) ? live->node_id : 0;
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
	if (to == UD_ATTEMPT_FAILED && report != NULL && report->reason == UD_REASON_RUN_EXIT_CODE &&
		report->has_exit_code && live->restart_exit_code != 0 && report->exit_code == live->restart_exit_code)
		return UD_REASON_RUN_CHECKPOINTED;
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

/* For the event: when the next attempt may begin, in UTC, and how many failed. */
static const char *
retry_data(const UnideskLive *live)
{
	struct pg_tm tm;
	fsec_t		fsec;

	if (timestamp2tm(live->not_before, NULL, &tm, &fsec, NULL, NULL) != 0)
		elog(ERROR, "the time of a retry is out of range");
	return psprintf("{\"not_before\": \"%04d-%02d-%02dT%02d:%02d:%02d.%03dZ\", \"user_failures\": %d, \"infra_failures\": %d}",
					tm.tm_year, tm.tm_mon, tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec, fsec / 1000,
					live->user_failures, live->infra_failures);
}

/* The report of a last attempt, its message led by why it is the last. */
static const UnideskReport *
report_given_up(const UnideskLive *live, const UnideskReport *report)
{
	UnideskReport *copy = palloc(sizeof(UnideskReport));
	int			attempts = live->infra_failures + 1;

	if (report != NULL)
		*copy = *report;
	else
		unidesk_report_init(copy);
	copy->message = psprintf("gave up: %d attempt%s ended for reasons of infrastructure, and unidesk.infra_retries allows %d retr%s%s%s",
							 attempts, attempts == 1 ? "" : "s", unidesk_infra_retries, unidesk_infra_retries == 1 ? "y" : "ies",
							 copy->message != NULL ? "; the last: " : "", copy->message != NULL ? copy->message : "");
	return copy;
}

void
unidesk_checkpoint_give_up(UnideskDoor *door, UnideskLive *live, int32 node_id, UnideskActor actor)
{
	static SPIPlanPtr plan;
	UnideskArgs args = {0};

	live->checkpoint_node = 0;
	live->reason = UD_REASON_NOMATCH_CHECKPOINT_NODE;
	tell(door, live, live->state, 0, live->reason, actor, NULL, 0)->data =
		psprintf("what it saved on node %s is out of reach: it starts from an empty checkpoint", unidesk_node_name(node_id));
	unidesk_arg_int64(&args, live->task_id);
	unidesk_execute(&plan, "UPDATE unidesk_data.live SET checkpoint_node = NULL WHERE task_id = $1", &args);
}

/*
 * Before a task goes back into the queue: where its next attempt finds what
 * this one saved.  True when that is out of reach, if there is anything.
 */
static bool
follow_checkpoint(UnideskLive *live, const UnideskReport *report, bool confirmed)
{
	bool		may_have_saved = live->restart_exit_code != 0 && live->started_at != 0;

	if (report != NULL && report->checkpoint == UNIDESK_CHECKPOINT_THERE)
		live->checkpoint_node = live->node_id;
	else if (report != NULL && report->checkpoint == UNIDESK_CHECKPOINT_NONE)
		live->checkpoint_node = 0;
	else if (may_have_saved)
		/* Its node did not say; it knows when it prepares the next. */
		live->checkpoint_node = live->node_id;
	/* A node where nothing goes well does not keep it for ever. */
	return live->checkpoint_node != 0 && (!confirmed || live->infra_failures * 2 > unidesk_infra_retries);
}

/* Start and end came in one report: the run's time tells the start. */
static void
tell_start(UnideskLive *live, int to, const UnideskReport *report, const int16 *path, int path_length)
{
	bool		ran = to == UD_ATTEMPT_SUCCEEDED;

	for (int i = 0; i < path_length; i++)
		ran = ran || path[i] == UD_ATTEMPT_RUNNING;
	if (ran && live->started_at == 0)
		live->started_at = unidesk_now() -
			(report != NULL ? Max(report->stage_ms[UNIDESK_STAGES - 1], 0) : 0) * INT64CONST(1000);
}

static void
end_attempt(UnideskDoor *door, UnideskLive *live, int to, const UnideskReport *report, bool confirmed,
			int by, UnideskActor actor, const int16 *path, int path_length)
{
	int			reason = ending_reason(live, to, report);
	Sequel		sequel = {0};
	int			task_state;
	int32		node_id = live->node_id;
	bool		out_of_reach;
	DoorEvent  *event;

	/* In finishing its container is gone and its allocation with it. */
	bool		holds = !confirmed && live->attempt_state != UD_ATTEMPT_FINISHING;

	tell_start(live, to, report, path, path_length);
	task_state = task_after(live, to, reason, report, &sequel);
	unidesk_check_task_move(live->state, task_state, by);
	event = tell(door, live, task_state, to, reason, actor, path, path_length);
	if (to != UD_ATTEMPT_SUCCEEDED)
		add_ending(&door->attempts, live, to, reason, report);
	else if (live->want == UD_WANT_STOP)
		event->data = psprintf("it had ended by itself before a signal of the stop (%s) was sent", ud_reason_text(live->want_reason));
	if (holds)
		add_ending(&door->held, live, to, reason, report);
	if (UNIDESK_TASK_IS_TERMINAL(task_state))
	{
		if (sequel.given_up)
			report = report_given_up(live, report);
		end_task(door, live, task_state, reason, report);
		return;
	}
	out_of_reach = follow_checkpoint(live, report, confirmed);
	/* Where its checkpoint is, it is never kept away from. */
	if (!out_of_reach && live->checkpoint_node == sequel.excluded_node)
		sequel.excluded_node = 0;
	if (live->checkpoint_node != 0)
		node_id = live->checkpoint_node;
	requeue(live, task_state, reason, &sequel);
	if (task_state == UNIDESK_TASK_QUEUED)
		event->data = retry_data(live);
	if (out_of_reach)
		unidesk_checkpoint_give_up(door, live, node_id, actor);
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
	if (live->attempt_state == UD_ATTEMPT_STOPPING && UD_ATTEMPT_IS_TERMINAL(to) &&
		to != UD_ATTEMPT_LOST && to != UD_ATTEMPT_SUCCEEDED)
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
		 * over, or it makes no progress.
		 */
		if (to == UD_ATTEMPT_STOPPING && live->want != UD_WANT_STOP)
		{
			live->want = UD_WANT_STOP;
			live->want_final = UD_ATTEMPT_TIMED_OUT;
			live->want_reason = report != NULL && report->reason == UD_REASON_RUN_NO_PROGRESS ?
				UD_REASON_RUN_NO_PROGRESS : UD_REASON_RUN_TIMEOUT;
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

bool
unidesk_attempt_end_without_node(UnideskDoor *door, UnideskLive *live, int to, int reason,
								 bool confirmed, int by, UnideskActor actor)
{
	/* The door keeps it until it is closed. */
	UnideskReport *report = palloc(sizeof(UnideskReport));

	unidesk_report_init(report);
	report->reason = reason;
	return unidesk_attempt_move(door, live, live->attempt_state == UD_ATTEMPT_STOPPING ? live->want_final : to,
								report, confirmed, by, actor);
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
