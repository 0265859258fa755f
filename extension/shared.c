/*
 * shared.c
 *	  Shared memory and what a commit does to it.
 *
 * The commit callback runs after the transaction became visible: an ERROR
 * there is a PANIC.  It therefore only takes a spinlock, sets a latch and
 * broadcasts a condition variable.
 */
#include "unidesk.h"

#include "access/xact.h"
#include "miscadmin.h"
#include "port/atomics.h"
#include "storage/condition_variable.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "storage/lwlock.h"
#include "storage/proc.h"
#include "storage/shmem.h"
#include "storage/spin.h"
#include "utils/wait_event.h"

#include "shared.h"

/* Bridges whose wake-ups are tracked; ids beyond wrap, which only costs a
 * NOTIFY that was not needed. */
#define BRIDGE_SLOTS 64
#define BEAT_LOCKS 16

typedef struct SharedState
{
	slock_t		mutex;			/* guards worker_latch */
	Latch	   *worker_latch;	/* NULL while no worker runs */
	pg_atomic_uint64 passes;
	pg_atomic_uint64 mock_now;
	ConditionVariable tasks_ended;
	pg_atomic_uint32 bridge_waked[BRIDGE_SLOTS];
	LWLockPadded *beat_locks;
	UnideskBeat beats[FLEXIBLE_ARRAY_MEMBER];
} SharedState;

static SharedState *shared;
static bool wake_pending;
static bool ended_pending;

static shmem_request_hook_type previous_request_hook;
static shmem_startup_hook_type previous_startup_hook;

static Size
shared_bytes(void)
{
	return add_size(offsetof(SharedState, beats),
					mul_size(sizeof(UnideskBeat), unidesk_max_nodes + 1));
}

static void
shared_request(void)
{
	if (previous_request_hook)
		previous_request_hook();
	RequestAddinShmemSpace(shared_bytes());
	RequestNamedLWLockTranche("unidesk", BEAT_LOCKS);
}

static void
shared_startup(void)
{
	bool		found;

	if (previous_startup_hook)
		previous_startup_hook();
	LWLockAcquire(AddinShmemInitLock, LW_EXCLUSIVE);
	shared = ShmemInitStruct("unidesk", shared_bytes(), &found);
	if (!found)
	{
		memset(shared, 0, shared_bytes());
		SpinLockInit(&shared->mutex);
		pg_atomic_init_u64(&shared->passes, 0);
		pg_atomic_init_u64(&shared->mock_now, 0);
		ConditionVariableInit(&shared->tasks_ended);
		for (int i = 0; i < BRIDGE_SLOTS; i++)
			pg_atomic_init_u32(&shared->bridge_waked[i], 0);
		shared->beat_locks = GetNamedLWLockTranche("unidesk");
	}
	LWLockRelease(AddinShmemInitLock);
}

void
unidesk_wake_worker(void)
{
	SpinLockAcquire(&shared->mutex);
	if (shared->worker_latch != NULL)
		SetLatch(shared->worker_latch);
	SpinLockRelease(&shared->mutex);
}

static void
transaction_ended(XactEvent event, void *arg)
{
	switch (event)
	{
		case XACT_EVENT_COMMIT:
			if (ended_pending)
				ConditionVariableBroadcast(&shared->tasks_ended);
			if (wake_pending)
				unidesk_wake_worker();
			wake_pending = ended_pending = false;
			break;
		case XACT_EVENT_ABORT:
			wake_pending = ended_pending = false;
			break;
		case XACT_EVENT_PRE_PREPARE:
			if (wake_pending)
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
unidesk_shared_setup(void)
{
	previous_request_hook = shmem_request_hook;
	shmem_request_hook = shared_request;
	previous_startup_hook = shmem_startup_hook;
	shmem_startup_hook = shared_startup;
	RegisterXactCallback(transaction_ended, NULL);
}

void
unidesk_wake_at_commit(bool tasks_ended)
{
	wake_pending = true;
	ended_pending |= tasks_ended;
}

static void
forget_worker(int code, Datum arg)
{
	SpinLockAcquire(&shared->mutex);
	shared->worker_latch = NULL;
	SpinLockRelease(&shared->mutex);
}

void
unidesk_shared_worker_started(void)
{
	before_shmem_exit(forget_worker, (Datum) 0);
	SpinLockAcquire(&shared->mutex);
	shared->worker_latch = MyLatch;
	SpinLockRelease(&shared->mutex);
}

bool
unidesk_shared_worker_alive(void)
{
	bool		alive;

	SpinLockAcquire(&shared->mutex);
	alive = shared->worker_latch != NULL;
	SpinLockRelease(&shared->mutex);
	return alive;
}

void
unidesk_shared_pass_done(void)
{
	pg_atomic_fetch_add_u64(&shared->passes, 1);
}

uint64
unidesk_shared_passes(void)
{
	return pg_atomic_read_u64(&shared->passes);
}

void
unidesk_shared_wait_prepare(void)
{
	ConditionVariablePrepareToSleep(&shared->tasks_ended);
}

void
unidesk_shared_wait_tasks(long timeout_ms)
{
	ConditionVariableTimedSleep(&shared->tasks_ended, timeout_ms, PG_WAIT_EXTENSION);
}

void
unidesk_shared_wait_done(void)
{
	ConditionVariableCancelSleep();
}

static LWLock *
beat_lock(int32 node_id)
{
	return &shared->beat_locks[node_id % BEAT_LOCKS].lock;
}

static bool
beat_exists(int32 node_id)
{
	return node_id > 0 && node_id <= unidesk_max_nodes;
}

void
unidesk_beat_set(int32 node_id, int64 session, TimestampTz at, bool *expired)
{
	UnideskBeat *beat;

	*expired = false;
	if (!beat_exists(node_id))
		return;
	beat = &shared->beats[node_id];
	LWLockAcquire(beat_lock(node_id), LW_EXCLUSIVE);
	beat->session = session;
	if (at > beat->last_seen)
		beat->last_seen = at;
	beat->dirty = true;
	*expired = beat->expired;
	LWLockRelease(beat_lock(node_id));
}

bool
unidesk_beat_get(int32 node_id, UnideskBeat *beat)
{
	if (shared == NULL || !beat_exists(node_id))
		return false;
	LWLockAcquire(beat_lock(node_id), LW_SHARED);
	*beat = shared->beats[node_id];
	LWLockRelease(beat_lock(node_id));
	return beat->last_seen != 0;
}

static void
beat_set_expired(int32 node_id, bool expired)
{
	if (!beat_exists(node_id))
		return;
	LWLockAcquire(beat_lock(node_id), LW_EXCLUSIVE);
	shared->beats[node_id].expired = expired;
	LWLockRelease(beat_lock(node_id));
}

void
unidesk_beat_expire(int32 node_id)
{
	beat_set_expired(node_id, true);
}

void
unidesk_beat_revive(int32 node_id)
{
	beat_set_expired(node_id, false);
}

int
unidesk_beat_take_dirty(int32 *node_ids, TimestampTz *seen, int max)
{
	int			count = 0;

	for (int32 node_id = 1; node_id <= unidesk_max_nodes && count < max; node_id++)
	{
		UnideskBeat *beat = &shared->beats[node_id];

		/* A glance without the lock: a beat missed now is flushed next time. */
		if (!beat->dirty)
			continue;
		LWLockAcquire(beat_lock(node_id), LW_EXCLUSIVE);
		node_ids[count] = node_id;
		seen[count] = beat->last_seen;
		beat->dirty = false;
		LWLockRelease(beat_lock(node_id));
		count++;
	}
	return count;
}

bool
unidesk_bridge_wake_wanted(int32 bridge_id)
{
	return pg_atomic_exchange_u32(&shared->bridge_waked[bridge_id % BRIDGE_SLOTS], 1) == 0;
}

void
unidesk_bridge_pulled(int32 bridge_id)
{
	pg_atomic_write_u32(&shared->bridge_waked[bridge_id % BRIDGE_SLOTS], 0);
}

TimestampTz
unidesk_shared_mock_now(void)
{
	return (TimestampTz) pg_atomic_read_u64(&shared->mock_now);
}

void
unidesk_shared_set_mock_now(TimestampTz now)
{
	pg_atomic_write_u64(&shared->mock_now, (uint64) now);
}
