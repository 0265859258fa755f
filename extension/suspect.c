/*
 * suspect.c
 *	  The one task that makes passes fail: finding it, and leaving it out.
 */
#include "unidesk.h"

#include "utils/hsearch.h"
#include "utils/memutils.h"

#include "suspect.h"

/* The first time; then doubled. */
#define LEAVE_OUT_S 60
#define LEAVE_OUT_MAX_S 960

/* Tasks of one part, in TopMemoryContext. */
typedef struct Suspects
{
	UnideskSuspectPart part;
	int64	   *ids;
	int			count;
	int			room;
} Suspects;

/* A task that is left out, or was. */
typedef struct LeftOut
{
	int64		task_id;		/* key */
	UnideskSuspectPart part;	/* in which it failed */
	TimestampTz until;			/* 0: it takes part again */
	int			wait_s;
} LeftOut;

static Suspects search;			/* one of them is to blame; NONE: no search */
static int	search_tried;		/* so many of them this pass has tried */
static Suspects current;		/* an ERROR now is of these; NONE: it is not */
static UnideskSuspectPart culprit_part;
static HTAB *left_out;
static int	left_out_now;

static void
set_suspects(Suspects *suspects, UnideskSuspectPart part, const int64 *ids, int count)
{
	if (count > suspects->room)
	{
		suspects->ids = suspects->ids == NULL ?
			MemoryContextAlloc(TopMemoryContext, sizeof(int64) * count) :
			repalloc(suspects->ids, sizeof(int64) * count);
		suspects->room = count;
	}
	suspects->part = part;
	suspects->count = count;
	if (count > 0)
		memmove(suspects->ids, ids, sizeof(int64) * count);
}

bool
unidesk_suspect_searching(UnideskSuspectPart part)
{
	return search.part != UNIDESK_SUSPECT_NONE && (part == UNIDESK_SUSPECT_NONE || search.part == part);
}

int
unidesk_suspect_begin(UnideskSuspectPart part, int64 *ids, int count, int max)
{
	if (search.part == part)
	{
		count = search_tried = Min(max, (search.count + 1) / 2);
		memcpy(ids, search.ids, sizeof(int64) * count);
	}
	set_suspects(&current, part, ids, count);
	return count;
}

void
unidesk_suspect_end(void)
{
	current.part = UNIDESK_SUSPECT_NONE;
}

void
unidesk_suspect_committed(void)
{
	search.count -= search_tried;
	if (search.count == 0)
		search.part = UNIDESK_SUSPECT_NONE;
	else
		memmove(search.ids, search.ids + search_tried, sizeof(int64) * search.count);
	search_tried = 0;
}

static const char *
how_of(UnideskSuspectPart part)
{
	switch (part)
	{
		case UNIDESK_SUSPECT_DEADLINES:
			return "skipped: what its time brought about could not be written";
		case UNIDESK_SUSPECT_TELL:
			return "skipped: why it waits could not be written";
		default:
			return "skipped: its order could not be written";
	}
}

bool
unidesk_suspect_failed(bool passing, int64 *culprit, const char **how)
{
	UnideskSuspectPart part = current.part;

	current.part = UNIDESK_SUSPECT_NONE;
	search_tried = 0;
	if (part == UNIDESK_SUSPECT_NONE || passing)
		return part != UNIDESK_SUSPECT_NONE;
	/* Alone, and not for the first time. */
	if (search.part == part && current.count == 1)
	{
		*culprit = current.ids[0];
		*how = how_of(part);
		culprit_part = part;
		set_suspects(&search, UNIDESK_SUSPECT_NONE, NULL, 0);
	}
	else
		set_suspects(&search, part, current.ids, current.count);
	return true;
}

static LeftOut *
find_left_out(int64 task_id)
{
	return left_out == NULL ? NULL : hash_search(left_out, &task_id, HASH_FIND, NULL);
}

int
unidesk_leave_out(int64 task_id)
{
	LeftOut    *entry;
	bool		found;

	if (left_out == NULL)
	{
		HASHCTL		control = {0};

		control.keysize = sizeof(int64);
		control.entrysize = sizeof(LeftOut);
		control.hcxt = TopMemoryContext;
		left_out = hash_create("unidesk left out", 16, &control, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	}
	entry = hash_search(left_out, &task_id, HASH_ENTER, &found);
	entry->wait_s = found ? Min(entry->wait_s * 2, LEAVE_OUT_MAX_S) : LEAVE_OUT_S;
	if (!found || entry->until == 0)
		left_out_now++;
	entry->until = unidesk_now() + entry->wait_s * USECS_PER_SEC;
	entry->part = culprit_part;
	culprit_part = UNIDESK_SUSPECT_NONE;
	return entry->wait_s;
}

TimestampTz
unidesk_left_out_until(int64 task_id)
{
	LeftOut    *entry = left_out_now == 0 ? NULL : find_left_out(task_id);

	return entry == NULL ? 0 : entry->until;
}

bool
unidesk_was_left_out(int64 task_id)
{
	return find_left_out(task_id) != NULL;
}

bool
unidesk_take_in(int64 task_id)
{
	LeftOut    *entry = left_out_now == 0 ? NULL : find_left_out(task_id);

	if (entry == NULL || entry->until == 0)
		return false;
	entry->until = 0;
	left_out_now--;
	if (search.part == UNIDESK_SUSPECT_NONE && entry->part != UNIDESK_SUSPECT_NONE)
		set_suspects(&search, entry->part, &task_id, 1);
	return true;
}
