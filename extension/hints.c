/*
 * hints.c
 *	  Which rows changed, exactly, from every commit to the worker.
 *
 * A backend notes what its transaction touches in a preallocated list.  The
 * commit callback copies the list into a shared ring and sets the worker's
 * latch; it runs after the transaction became visible, so an ERROR in it is a
 * PANIC: it allocates nothing, reads no catalog, and takes one spinlock.  What
 * does not fit becomes "read everything again".  The same commit wakes those who wait
 * for a task's end or follow its log.
 */
#include "unidesk.h"

#include "access/xact.h"
#include "miscadmin.h"
#include "storage/shmem.h"
#include "storage/spin.h"

#include "shared.h"

#define NOTED_MAX 8192
#define RING_SIZE 16384

typedef struct HintRing
{
	slock_t		mutex;
	bool		rescan;			/* hints were lost */
	uint64		head;			/* next to write */
	uint64		tail;			/* next to read */
	UnideskHint ring[RING_SIZE];
} HintRing;

static HintRing *ring;

/* What the current transaction noted. */
static UnideskHint noted[NOTED_MAX];
static int	noted_count;
static bool noted_all;
static bool noted_wake;
static bool noted_ended;

/* A bit for each slot of followers to be woken. */
static bool noted_any_log;
static uint64 noted_logs[UNIDESK_FOLLOW_SLOTS / 64];

Size
unidesk_hints_bytes(void)
{
	return sizeof(HintRing);
}

void
unidesk_hints_startup(void)
{
	bool		found;

	ring = ShmemInitStruct("unidesk hints", sizeof(HintRing), &found);
	if (found)
		return;
	memset(ring, 0, sizeof(HintRing));
	SpinLockInit(&ring->mutex);
}

static void
publish(void)
{
	SpinLockAcquire(&ring->mutex);
	if (noted_all || ring->head - ring->tail + noted_count > RING_SIZE)
		ring->rescan = true;
	else
		for (int i = 0; i < noted_count; i++)
			ring->ring[ring->head++ % RING_SIZE] = noted[i];
	SpinLockRelease(&ring->mutex);
}

static void
wake_followers(void)
{
	for (int slot = 0; slot < UNIDESK_FOLLOW_SLOTS; slot++)
		if (noted_logs[slot / 64] & (UINT64CONST(1) << slot % 64))
			unidesk_shared_wake_followers(slot);
}

static void
forget_noted(void)
{
	noted_count = 0;
	noted_all = noted_wake = noted_ended = false;
	if (noted_any_log)
		memset(noted_logs, 0, sizeof(noted_logs));
	noted_any_log = false;
}

static void
transaction_ended(XactEvent event, void *arg)
{
	switch (event)
	{
		case XACT_EVENT_COMMIT:
			if (noted_count > 0 || noted_all)
				publish();
			if (noted_ended)
				unidesk_shared_tasks_ended();
			if (noted_any_log)
				wake_followers();
			if (noted_wake)
				unidesk_wake_worker();
			forget_noted();
			break;
		case XACT_EVENT_ABORT:
			forget_noted();
			break;
		case XACT_EVENT_PRE_PREPARE:

			/*
			 * COMMIT PREPARED may come from another session, without the
			 * list.
			 */
			if (noted_wake)
				ereport(ERROR,
						(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
						 errmsg("cannot PREPARE a transaction that changed tasks or nodes"),
						 errhint("Use COMMIT.")));
			break;
		default:
			break;
	}
}

void
unidesk_hints_setup(void)
{
	RegisterXactCallback(transaction_ended, NULL);
}

static void
note(UnideskHintKind kind, int64 first, int64 last)
{
	UnideskHint *previous = noted_count > 0 ? &noted[noted_count - 1] : NULL;

	noted_wake = true;
	if (previous != NULL && previous->kind == kind && kind == UNIDESK_HINT_TASKS &&
		first >= previous->first && first <= previous->last + 1)
	{
		previous->last = Max(previous->last, last);
		return;
	}
	if (noted_count == NOTED_MAX)
	{
		noted_all = true;
		return;
	}
	noted[noted_count].kind = kind;
	noted[noted_count].first = first;
	noted[noted_count].last = last;
	noted_count++;
}

void
unidesk_note_task(int64 task_id)
{
	note(UNIDESK_HINT_TASKS, task_id, task_id);
	unidesk_note_log(task_id);
}

void
unidesk_note_tasks(int64 first, int64 last)
{
	note(UNIDESK_HINT_TASKS, first, last);
}

void
unidesk_note_node(int32 node_id)
{
	note(UNIDESK_HINT_NODE, node_id, node_id);
}

void
unidesk_note_all(void)
{
	noted_all = noted_wake = true;
}

void
unidesk_note_wake(void)
{
	noted_wake = true;
}

void
unidesk_note_log(int64 task_id)
{
	int			slot = unidesk_follow_slot(task_id);

	noted_any_log = true;
	noted_logs[slot / 64] |= UINT64CONST(1) << slot % 64;
}

void
unidesk_note_task_ended(void)
{
	noted_ended = true;
}

int
unidesk_hints_take(UnideskHint *hints, int max, bool *rescan)
{
	int			count = 0;

	SpinLockAcquire(&ring->mutex);
	*rescan = ring->rescan;
	ring->rescan = false;
	if (*rescan)
		ring->tail = ring->head;
	while (ring->tail < ring->head && count < max)
		hints[count++] = ring->ring[ring->tail++ % RING_SIZE];
	SpinLockRelease(&ring->mutex);
	return count;
}

bool
unidesk_hints_pending(void)
{
	bool		pending;

	SpinLockAcquire(&ring->mutex);
	pending = ring->rescan || ring->head != ring->tail;
	SpinLockRelease(&ring->mutex);
	return pending;
}
