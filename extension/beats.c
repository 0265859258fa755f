/*
 * beats.c
 *	  Last contact with each node, in shared memory.
 *
 * A fixed array by node id: 10 000 beats cost 2.6 ms and no WAL here, 1.2 MB
 * of WAL as rows.  The worker flushes what changed to node_live in batches.
 */
#include "unidesk.h"

#include "storage/lwlock.h"
#include "storage/shmem.h"

#include "shared.h"

#define BEAT_LOCKS UNIDESK_BEAT_LOCKS

static UnideskBeat *beats;
static LWLockPadded *beat_locks;

Size
unidesk_beats_bytes(void)
{
	return mul_size(sizeof(UnideskBeat), unidesk_max_nodes + 1);
}

void
unidesk_beats_startup(LWLockPadded *locks)
{
	bool		found;

	beats = ShmemInitStruct("unidesk beats", unidesk_beats_bytes(), &found);
	beat_locks = locks;
	if (!found)
		memset(beats, 0, unidesk_beats_bytes());
}

static LWLock *
beat_lock(int32 node_id)
{
	return &beat_locks[node_id % BEAT_LOCKS].lock;
}

static bool
beat_exists(int32 node_id)
{
	return node_id > 0 && node_id <= unidesk_max_nodes;
}

void
unidesk_beat_set(int32 node_id, int64 session, int64 sequence, int64 rev, TimestampTz at, bool *expired)
{
	UnideskBeat *beat;

	*expired = false;
	if (!beat_exists(node_id))
		return;
	beat = &beats[node_id];
	LWLockAcquire(beat_lock(node_id), LW_EXCLUSIVE);
	if (beat->session != session)
	{
		beat->sequence = 0;
		beat->engine = UNIDESK_ENGINE_UNSAID;
	}
	beat->session = session;
	beat->sequence = Max(beat->sequence, sequence);
	beat->rev = rev;
	if (at > beat->last_seen)
		beat->last_seen = at;
	beat->dirty = true;
	*expired = beat->expired;
	LWLockRelease(beat_lock(node_id));
}

bool
unidesk_beat_get(int32 node_id, UnideskBeat *beat)
{
	if (beats == NULL || !beat_exists(node_id))
		return false;
	LWLockAcquire(beat_lock(node_id), LW_SHARED);
	*beat = beats[node_id];
	LWLockRelease(beat_lock(node_id));
	return beat->last_seen != 0;
}

static void
beat_set_expired(int32 node_id, bool expired)
{
	if (!beat_exists(node_id))
		return;
	LWLockAcquire(beat_lock(node_id), LW_EXCLUSIVE);
	beats[node_id].expired = expired;
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

void
unidesk_beat_confirm(int32 node_id, int64 session)
{
	if (!beat_exists(node_id))
		return;
	LWLockAcquire(beat_lock(node_id), LW_EXCLUSIVE);
	beats[node_id].confirmed = session;
	LWLockRelease(beat_lock(node_id));
}

void
unidesk_beat_set_engine(int32 node_id, int64 session, UnideskEngine engine)
{
	if (!beat_exists(node_id))
		return;
	LWLockAcquire(beat_lock(node_id), LW_EXCLUSIVE);
	if (beats[node_id].session == session)
		beats[node_id].engine = engine;
	LWLockRelease(beat_lock(node_id));
}

int
unidesk_beat_take_dirty(int32 *node_ids, TimestampTz *seen, int max)
{
	int			count = 0;

	for (int32 node_id = 1; node_id <= unidesk_max_nodes && count < max; node_id++)
	{
		UnideskBeat *beat = &beats[node_id];

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
