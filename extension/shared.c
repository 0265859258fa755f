/*
 * shared.c
 *	  Shared memory: its start, the worker's latch, waiters, bridges' wake-ups
 *	  and the mock clock.
 */
#include "unidesk.h"

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
#include "space.h"

/* Bridges whose wake-ups are tracked; ids beyond wrap, which only costs a
 * NOTIFY that was not needed. */
#define BRIDGE_SLOTS 64

/* A wait for passes looks this often. */
#define WAITS_PER_MS 2

typedef struct SharedState
{
	slock_t		mutex;			/* guards the latches */
	Latch	   *worker_latch;	/* NULL while no worker runs */
	Latch	   *keeper_latch;	/* NULL while no keeper runs */
	pg_atomic_uint64 passes;
	pg_atomic_uint64 mock_now;
	pg_atomic_uint64 worker_since;
	ConditionVariable tasks_ended;
	pg_atomic_uint32 bridge_waked[BRIDGE_SLOTS];
	pg_atomic_uint64 memory_differences;
	pg_atomic_uint32 other_version; /* the worker stands still */
	pg_atomic_uint64 tidy_wanted;
	pg_atomic_uint64 tidy_done;
	pg_atomic_uint32 log_intake;
	ConditionVariable followers[UNIDESK_FOLLOW_SLOTS];
} SharedState;

static SharedState *shared;

static shmem_request_hook_type previous_request_hook;
static shmem_startup_hook_type previous_startup_hook;

static void
shared_request(void)
{
	if (previous_request_hook)
		previous_request_hook();
	RequestAddinShmemSpace(sizeof(SharedState));
	RequestAddinShmemSpace(unidesk_beats_bytes());
	RequestAddinShmemSpace(unidesk_hints_bytes());
	RequestAddinShmemSpace(unidesk_recent_bytes());
	RequestAddinShmemSpace(unidesk_space_bytes());
	RequestNamedLWLockTranche("unidesk", UNIDESK_BEAT_LOCKS + 1);
}

static void
shared_startup(void)
{
	LWLockPadded *locks;
	bool		found;

	if (previous_startup_hook)
		previous_startup_hook();
	LWLockAcquire(AddinShmemInitLock, LW_EXCLUSIVE);
	shared = ShmemInitStruct("unidesk", sizeof(SharedState), &found);
	if (!found)
	{
		memset(shared, 0, sizeof(SharedState));
		SpinLockInit(&shared->mutex);
		pg_atomic_init_u64(&shared->passes, 0);
		pg_atomic_init_u64(&shared->mock_now, 0);
		pg_atomic_init_u64(&shared->worker_since, 0);
		ConditionVariableInit(&shared->tasks_ended);
		for (int i = 0; i < BRIDGE_SLOTS; i++)
			pg_atomic_init_u32(&shared->bridge_waked[i], 0);
		pg_atomic_init_u64(&shared->memory_differences, 0);
		pg_atomic_init_u32(&shared->other_version, 0);
		pg_atomic_init_u64(&shared->tidy_wanted, 0);
		pg_atomic_init_u64(&shared->tidy_done, 0);
		pg_atomic_init_u32(&shared->log_intake, 0);
		for (int i = 0; i < UNIDESK_FOLLOW_SLOTS; i++)
			ConditionVariableInit(&shared->followers[i]);
	}
	locks = GetNamedLWLockTranche("unidesk");
	unidesk_beats_startup(locks);
	unidesk_hints_startup();
	unidesk_recent_startup(&locks[UNIDESK_BEAT_LOCKS].lock);
	unidesk_space_startup();
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

void
unidesk_wake_keeper(void)
{
	SpinLockAcquire(&shared->mutex);
	if (shared->keeper_latch != NULL)
		SetLatch(shared->keeper_latch);
	SpinLockRelease(&shared->mutex);
}

void
unidesk_shared_setup(void)
{
	previous_request_hook = shmem_request_hook;
	shmem_request_hook = shared_request;
	previous_startup_hook = shmem_startup_hook;
	shmem_startup_hook = shared_startup;
	unidesk_hints_setup();
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
	pg_atomic_write_u64(&shared->worker_since, (uint64) unidesk_now());
	before_shmem_exit(forget_worker, (Datum) 0);
	unidesk_shared_set_other_version(false);
	SpinLockAcquire(&shared->mutex);
	shared->worker_latch = MyLatch;
	SpinLockRelease(&shared->mutex);
}

TimestampTz
unidesk_shared_worker_since(void)
{
	return (TimestampTz) pg_atomic_read_u64(&shared->worker_since);
}

void
unidesk_shared_set_other_version(bool other)
{
	pg_atomic_write_u32(&shared->other_version, other);
}

static void
forget_keeper(int code, Datum arg)
{
	SpinLockAcquire(&shared->mutex);
	shared->keeper_latch = NULL;
	SpinLockRelease(&shared->mutex);
}

void
unidesk_shared_keeper_started(void)
{
	before_shmem_exit(forget_keeper, (Datum) 0);
	SpinLockAcquire(&shared->mutex);
	shared->keeper_latch = MyLatch;
	SpinLockRelease(&shared->mutex);
}

bool
unidesk_shared_worker_alive(void)
{
	bool		alive;

	SpinLockAcquire(&shared->mutex);
	alive = shared->worker_latch != NULL;
	SpinLockRelease(&shared->mutex);
	return alive && pg_atomic_read_u32(&shared->other_version) == 0;
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

bool
unidesk_shared_wait_passes(int count, int timeout_ms)
{
	uint64		wanted = unidesk_shared_passes() + count;

	for (int64 i = 0; unidesk_shared_passes() < wanted; i++)
	{
		if (i >= (int64) timeout_ms * WAITS_PER_MS)
			return false;
		unidesk_wake_worker();
		pg_usleep(1000 / WAITS_PER_MS);
		CHECK_FOR_INTERRUPTS();
	}
	return true;
}

void
unidesk_shared_memory_differed(void)
{
	pg_atomic_fetch_add_u64(&shared->memory_differences, 1);
}

uint64
unidesk_shared_memory_differences(void)
{
	return pg_atomic_read_u64(&shared->memory_differences);
}

/* From a commit callback: nothing in here may raise. */
void
unidesk_shared_tasks_ended(void)
{
	ConditionVariableBroadcast(&shared->tasks_ended);
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

int
unidesk_follow_slot(int64 task_id)
{
	return (uint64) task_id % UNIDESK_FOLLOW_SLOTS;
}

/* From a commit callback: nothing in here may raise. */
void
unidesk_shared_wake_followers(int slot)
{
	ConditionVariableBroadcast(&shared->followers[slot]);
}

void
unidesk_shared_follow_prepare(int slot)
{
	ConditionVariablePrepareToSleep(&shared->followers[slot]);
}

void
unidesk_shared_follow(int slot, long timeout_ms)
{
	ConditionVariableTimedSleep(&shared->followers[slot], timeout_ms, PG_WAIT_EXTENSION);
}

bool
unidesk_bridge_wake_wanted(int32 bridge_id)
{
	return pg_atomic_exchange_u32(&shared->bridge_waked[(uint32) bridge_id % BRIDGE_SLOTS], 1) == 0;
}

void
unidesk_bridge_pulled(int32 bridge_id)
{
	pg_atomic_write_u32(&shared->bridge_waked[(uint32) bridge_id % BRIDGE_SLOTS], 0);
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

uint64
unidesk_shared_want_tidy(void)
{
	return pg_atomic_add_fetch_u64(&shared->tidy_wanted, 1);
}

uint64
unidesk_shared_tidy_wanted(void)
{
	return pg_atomic_read_u64(&shared->tidy_wanted);
}

uint64
unidesk_shared_tidy_done(void)
{
	return pg_atomic_read_u64(&shared->tidy_done);
}

void
unidesk_shared_set_tidy_done(uint64 number)
{
	pg_atomic_write_u64(&shared->tidy_done, number);
}

int
unidesk_shared_log_intake(void)
{
	return pg_atomic_read_u32(&shared->log_intake);
}

void
unidesk_shared_set_log_intake(int segment)
{
	pg_atomic_write_u32(&shared->log_intake, segment);
}
