/*
 * identity.c
 *	  Which machine a node's agent is, and what becomes of the attempts of the
 *	  machine before it.
 *
 * Attempts that are left behind stay active: the old machine may be inside
 * their leases and run them.  Time decides (watch.c), by the last contact with
 * the old machine; they end as lost with node.replaced, unconfirmed.  Until the
 * old machine returns, or an administrator says accept_machine, what they hold
 * stays held.
 */
#include "unidesk.h"

#include "catalog/pg_type.h"
#include "fmgr.h"

#include "common/reasons.h"
#include "door.h"
#include "identity.h"
#include "memory.h"
#include "shared.h"
#include "transition.h"

/* More is as good as for ever. */
#define UP_S_MAX (INT64CONST(100) * 366 * 86400)

static bool
same_text(const char *a, const char *b)
{
	return a != NULL && b != NULL && strcmp(a, b) == 0;
}

/*
 * An agent that was updated brings a data id for the first time; one that was
 * set back to a version without it cannot be known again.
 */
bool
unidesk_same_machine(const UnideskMachine *before, const UnideskMachine *comes)
{
	return before->engine_id == NULL ||
		(same_text(before->engine_id, comes->engine_id) &&
		 (before->data_id == NULL || same_text(before->data_id, comes->data_id)));
}

/* Tell people, but not again and again of one that keeps trying. */
static void
tell_once(int32 node_id, const char *what, const char *data)
{
	static SPIPlanPtr plan;
	UnideskActor actor = {UNIDESK_ACTOR_NODE, node_id};
	UnideskArgs args = {0};

	unidesk_arg_int32(&args, node_id);
	unidesk_arg_text(&args, what);
	if (unidesk_execute(&plan,
						"SELECT FROM (SELECT e.what FROM unidesk_data.node_event e WHERE e.node_id = $1"
						" ORDER BY e.at DESC LIMIT 1) AS last WHERE last.what = $2", &args) == 0)
		unidesk_node_event(node_id, what, data, actor);
}

/*
 * Is whoever has the node's session another one than the machine that comes,
 * although that has the same engine and data directory?  Restarted or plugged
 * in again, a machine need not wait for its own old session.  But what is up
 * since before the last beat of another boot is a copy beside the one that
 * beats.  Without a data id only the boot tells.
 */
static bool
session_is_of_another(int32 node_id, const UnideskNodeRow *node, const UnideskMachine *comes)
{
	UnideskBeat beat;
	int64		up_s;

	if (node->session == 0 || same_text(node->machine.boot_id, comes->boot_id) ||
		!unidesk_beat_get(node_id, &beat) || beat.session != node->session ||
		beat.last_seen + unidesk_session_silent_after_used() * USECS_PER_SEC < unidesk_now())
		return false;
	up_s = Min(comes->up_s, UP_S_MAX);
	return comes->data_id == NULL || node->machine.data_id == NULL ||
		(up_s >= 0 && unidesk_now() - up_s * USECS_PER_SEC < beat.last_seen);
}

const char *
unidesk_refuse_machine(int32 node_id, const UnideskNodeRow *node, const UnideskMachine *comes)
{
	const UnideskMachine *before = &node->machine;
	bool		same_disk = same_text(before->data_id, comes->data_id);
	bool		refused;

	if (node->accepts_any || before->engine_id == NULL)
		return NULL;
	if (same_disk && node->seal_counts && comes->seal != before->seal && comes->seal != node->seal_before)
	{
		tell_once(node_id, "copied", "a copy of its data directory was refused");
		return "this data directory is a copy of one that has gone on elsewhere: empty it, or let an administrator call unidesk.accept_machine";
	}
	if (unidesk_same_machine(before, comes))
		refused = session_is_of_another(node_id, node, comes);
	else
		/* Also between two sessions the old one may be about to return. */
		refused = unidesk_last_contact(node_id) + unidesk_session_silent_after_used() * USECS_PER_SEC >= unidesk_now();
	if (!refused)
		return NULL;
	tell_once(node_id, "duplicate", "another machine used this node's token");
	return "this node is connected from another machine";
}

/*
 * $1 node, $2 body, $3 and $4 the machine before (data id, engine), $5 and $6
 * the one that comes.  A container stays in its engine: what the inventory has
 * of that engine is the new machine's too.
 */
#define MACHINES \
	"inventory AS (SELECT ('x' || i.incarnation)::bit(64)::bigint AS incarnation, i.task, i.attempt" \
	" FROM jsonb_to_recordset($2 -> 'attempts') AS i (incarnation text, task bigint, attempt integer)" \
	" WHERE i.incarnation ~ '^[0-9a-f]{16}$' AND $4 = $6)," \
	" m AS (SELECT unidesk_data._machine($3, $4) AS before, unidesk_data._machine($5, $6) AS comes)"
#define LEFT_ON(row) \
	"CASE WHEN " row ".left_on = m.comes OR EXISTS (SELECT FROM inventory i WHERE i.incarnation = " row ".incarnation" \
	" AND i.task = " row ".task_id AND i.attempt = " row ".attempt) THEN NULL ELSE coalesce(" row ".left_on, m.before) END"

static bool
lock_attempts(int32 node_id)
{
	static SPIPlanPtr lock_plan;
	static SPIPlanPtr count_plan;
	UnideskArgs args = {0};
	uint64		locked;

	unidesk_arg_int32(&args, node_id);
	locked = unidesk_execute(&lock_plan,
							 "SELECT FROM unidesk_data.live WHERE state = 4 AND node_id = $1"
							 " ORDER BY task_id FOR NO KEY UPDATE SKIP LOCKED", &args);
	return unidesk_execute(&count_plan, "SELECT FROM unidesk_data.live WHERE state = 4 AND node_id = $1", &args) == locked;
}

/* Tell people of attempts whose rows this transaction has locked. */
static void
tell_of_left(int64 *tasks, int count, int32 node_id)
{
	UnideskActor actor = {UNIDESK_ACTOR_NODE, node_id};
	UnideskLive *lives = palloc(sizeof(UnideskLive) * (count + 1));
	UnideskLock *locks = palloc(sizeof(UnideskLock) * (count + 1));
	UnideskDoor *door = unidesk_door_open();

	qsort(tasks, count, sizeof(int64), unidesk_compare_ids);
	unidesk_live_lock_many(tasks, count, lives, locks);
	for (int i = 0; i < count; i++)
		if (locks[i] == UNIDESK_LOCKED)
			unidesk_task_note(door, &lives[i], lives[i].attempt, lives[i].attempt_state, UD_REASON_NODE_REPLACED,
							  lives[i].left ? "left: another machine took its node's place; it is lost when its lease is over, or after unidesk.left_limit" :
							  "left: its machine has returned", actor);
	unidesk_door_close(door);
}

static int
leave_attempts(int32 node_id, UnideskArgs *args)
{
	static SPIPlanPtr live_plan;
	static SPIPlanPtr held_plan;
	int64	   *tasks;
	int			count;
	int			left = 0;

	unidesk_execute(&live_plan, "WITH " MACHINES ","
					" changed AS (SELECT l.task_id, " LEFT_ON("l") " AS left_on FROM unidesk_data.live l, m"
					" WHERE l.state = 4 AND l.node_id = $1)"
					" UPDATE unidesk_data.live l SET left_on = c.left_on,"
					" left_at = CASE WHEN c.left_on IS NOT NULL THEN coalesce(l.left_at, $7) END"
					" FROM changed c WHERE c.task_id = l.task_id AND c.left_on IS DISTINCT FROM l.left_on"
					" RETURNING l.task_id, l.left_on IS NOT NULL", args);
	count = (int) SPI_processed;
	tasks = palloc(sizeof(int64) * (count + 1));
	for (int row = 0; row < count; row++)
	{
		tasks[row] = unidesk_column_int64(row, 1);
		unidesk_note_task(tasks[row]);
		left += DatumGetBool(unidesk_column(row, 2, NULL)) ? 1 : 0;
	}
	tell_of_left(tasks, count, node_id);
	unidesk_execute(&held_plan, "WITH " MACHINES
					" UPDATE unidesk_data.held h SET left_on = " LEFT_ON("h") " FROM m WHERE h.node_id = $1", args);
	return left;
}

bool
unidesk_change_machine(int32 node_id, const UnideskNodeRow *node, const UnideskMachine *comes, Datum body)
{
	UnideskActor actor = {UNIDESK_ACTOR_NODE, node_id};
	const UnideskMachine *before = &node->machine;
	UnideskArgs args = {0};
	int			left;

	if (unidesk_same_machine(before, comes))
		return true;
	if (!lock_attempts(node_id))
		return false;
	unidesk_arg_int32(&args, node_id);
	unidesk_arg(&args, JSONBOID, body);
	unidesk_arg_text(&args, before->data_id);
	unidesk_arg_text(&args, before->engine_id);
	unidesk_arg_text(&args, comes->data_id);
	unidesk_arg_text(&args, comes->engine_id);
	unidesk_arg_time(&args, unidesk_last_contact(node_id));
	left = leave_attempts(node_id, &args);
	unidesk_node_event(node_id, "replaced",
					   psprintf("another machine took its place; %d attempts of the one before wait for the end of their leases", left),
					   actor);
	return true;
}

int64
unidesk_new_seal(void)
{
	int64		seal = 0;

	while (seal == 0)
	{
		if (!pg_strong_random(&seal, sizeof(seal)))
			ereport(ERROR,
					(errcode(ERRCODE_INTERNAL_ERROR),
					 errmsg("no random numbers could be had")));
		seal &= PG_INT64_MAX;
	}
	return seal;
}

void
unidesk_confirm_seal(int32 node_id, int64 session)
{
	static SPIPlanPtr plan;
	UnideskArgs args = {0};

	unidesk_arg_int32(&args, node_id);
	unidesk_arg_int64(&args, session);
	/* Somebody holds the row: the next beat tries again. */
	unidesk_execute(&plan,
					"WITH free AS (SELECT id FROM unidesk_data.node WHERE id = $1 AND session = $2 AND seal_before IS NOT NULL"
					" FOR NO KEY UPDATE SKIP LOCKED),"
					" done AS (UPDATE unidesk_data.node n SET seal_before = NULL FROM free WHERE n.id = free.id RETURNING n.id)"
					" SELECT EXISTS (SELECT FROM done)"
					" OR EXISTS (SELECT FROM unidesk_data.node WHERE id = $1 AND seal_before IS NULL)", &args);
	if (DatumGetBool(unidesk_column(0, 1, NULL)))
		unidesk_beat_confirm(node_id, session);
}

PG_FUNCTION_INFO_V1(unidesk_end_left);

/*
 * unidesk._end_left(node): the machines before the present one run nothing any
 * more; returns how many attempts that ended.
 */
Datum
unidesk_end_left(PG_FUNCTION_ARGS)
{
	static SPIPlanPtr plan;
	UnideskActor actor = {UNIDESK_ACTOR_SYSTEM, 0};
	UnideskArgs args = {0};
	UnideskDoor *door;
	UnideskLive *lives;
	int64	   *tasks;
	uint64		count;
	int			ended = 0;

	SPI_connect();
	unidesk_arg_int32(&args, PG_GETARG_INT32(0));
	count = unidesk_execute(&plan,
							"SELECT task_id FROM unidesk_data.live WHERE state = 4 AND node_id = $1"
							" AND left_on IS NOT NULL ORDER BY task_id", &args);
	tasks = palloc(sizeof(int64) * (count + 1));
	lives = palloc(sizeof(UnideskLive) * (count + 1));
	for (uint64 i = 0; i < count; i++)
		tasks[i] = unidesk_column_int64(i, 1);
	count = unidesk_live_lock_waiting(tasks, (int) count, lives);
	door = unidesk_door_open();
	for (uint64 i = 0; i < count; i++)
	{
		UnideskLive *live = &lives[i];

		/* Its row may have changed while we waited for it. */
		if (live->state != UNIDESK_TASK_ACTIVE || !live->left || live->node_id != PG_GETARG_INT32(0))
			continue;
		if (unidesk_attempt_end_without_node(door, live, UD_ATTEMPT_LOST, UD_REASON_NODE_REPLACED, true, UNIDESK_BY_WORKER, actor))
			ended++;
	}
	unidesk_door_close(door);
	SPI_finish();
	PG_RETURN_INT32(ended);
}
