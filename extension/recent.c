/*
 * recent.c
 *	  The newest orders, so that a bridge finds their rows by key.
 *
 * live.order_no has no index, since it would be written with every state; this
 * ring of (bridge, order, task) takes its place.  The worker alone appends,
 * after the orders' commit and in their order.
 */
#include "unidesk.h"

#include "storage/lwlock.h"
#include "storage/shmem.h"

#include "shared.h"

#define RECENT_SIZE 16384

typedef struct Recent
{
	int64		order_no;
	int64		task_id;
	int32		bridge_id;
} Recent;

typedef struct RecentRing
{
	int64		forgotten;		/* orders up to this one are not in the ring */
	uint64		head;			/* next to write; the RECENT_SIZE before it
								 * hold */
	uint64		start;			/* first that was written since the last reset */
	Recent		ring[RECENT_SIZE];
} RecentRing;

static RecentRing *recent;
static LWLock *recent_lock;

Size
unidesk_recent_bytes(void)
{
	return sizeof(RecentRing);
}

void
unidesk_recent_startup(LWLock *lock)
{
	bool		found;

	recent_lock = lock;
	recent = ShmemInitStruct("unidesk recent orders", sizeof(RecentRing), &found);
	if (found)
		return;
	memset(recent, 0, sizeof(RecentRing));
	recent->forgotten = PG_INT64_MAX;
}

void
unidesk_recent_add(int32 bridge_id, int64 order_no, int64 task_id)
{
	Recent	   *slot;

	LWLockAcquire(recent_lock, LW_EXCLUSIVE);
	slot = &recent->ring[recent->head % RECENT_SIZE];
	if (recent->head - recent->start >= RECENT_SIZE)
	{
		recent->forgotten = slot->order_no;
		recent->start = recent->head - RECENT_SIZE + 1;
	}
	slot->bridge_id = bridge_id;
	slot->order_no = order_no;
	slot->task_id = task_id;
	recent->head++;
	LWLockRelease(recent_lock);
}

void
unidesk_recent_forget(int64 order_no)
{
	LWLockAcquire(recent_lock, LW_EXCLUSIVE);
	recent->forgotten = order_no;
	recent->start = recent->head;
	LWLockRelease(recent_lock);
}

int64
unidesk_recent_newest(void)
{
	int64		newest = 0;

	LWLockAcquire(recent_lock, LW_SHARED);
	if (recent->head > recent->start)
		newest = recent->ring[(recent->head - 1) % RECENT_SIZE].order_no;
	else if (recent->forgotten != PG_INT64_MAX)
		newest = recent->forgotten;
	LWLockRelease(recent_lock);
	return newest;
}

int
unidesk_recent_find(int32 bridge_id, int64 cursor, int64 *tasks, int max)
{
	int			count = 0;

	LWLockAcquire(recent_lock, LW_SHARED);
	if (cursor < recent->forgotten)
		count = -1;
	/* From the newest back: a bridge that keeps up reads few. */
	for (uint64 i = recent->head; count >= 0 && i > recent->start; i--)
	{
		const Recent *r = &recent->ring[(i - 1) % RECENT_SIZE];

		if (r->order_no <= cursor)
			break;
		if (bridge_id != 0 && r->bridge_id != bridge_id)
			continue;
		if (count == max)
			count = -1;
		else
			tasks[count++] = r->task_id;
	}
	LWLockRelease(recent_lock);
	return count;
}
