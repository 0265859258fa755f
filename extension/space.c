/*
 * space.c
 *	  Room on the database's volume: measured by the keeper, asked by whoever
 *	  is about to write.
 *
 * A level is entered when its threshold is reached and left two points below
 * it, so that it does not flap.  What is refused can wait: log bytes stay on
 * their nodes, tasks with whoever submits them.  Results and states are never
 * refused, and the room above the last threshold is theirs.
 */
#include "unidesk.h"

#include <ftw.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "port/atomics.h"
#include "storage/shmem.h"
#include "utils/builtins.h"

#include "shared.h"
#include "space.h"

#define HYSTERESIS_POINTS 2
/* What a byte of log, and a task with its end, cost in table, index and WAL. */
#define BYTES_PER_LOG_BYTE 2
#define BYTES_PER_TASK 4096
/* A merged byte in its block, and in WAL once or, after a checkpoint, twice. */
#define BYTES_PER_MERGED_BYTE 3
/* A piece of work is a 64th of the volume, within these. */
#define SHARE_BYTES_MIN ((int64) 2 * 1024 * 1024)
#define SHARE_BYTES_MAX ((int64) 64 * 1024 * 1024)
/* Log that comes in faster than it is merged waits when it is so much. */
#define INTAKE_SHARES_MAX 4
/* Counting the files of a declared volume takes milliseconds. */
#define COUNT_EVERY_US (10 * USECS_PER_SEC)

typedef struct SpaceState
{
	pg_atomic_uint32 level;
	pg_atomic_uint32 mock_percent;	/* 0: measure; for tests */
	pg_atomic_uint64 used;
	pg_atomic_uint64 size;
	pg_atomic_uint64 pending;	/* to be written since the measurement */
	pg_atomic_uint64 intake;	/* log bytes taken in since the last merge
								 * began */
} SpaceState;

static SpaceState *space;

Size
unidesk_space_bytes(void)
{
	return sizeof(SpaceState);
}

void
unidesk_space_startup(void)
{
	bool		found;

	space = ShmemInitStruct("unidesk space", sizeof(SpaceState), &found);
	if (found)
		return;
	pg_atomic_init_u32(&space->level, UNIDESK_SPACE_FINE);
	pg_atomic_init_u32(&space->mock_percent, 0);
	pg_atomic_init_u64(&space->used, 0);
	pg_atomic_init_u64(&space->size, 0);
	pg_atomic_init_u64(&space->pending, 0);
	pg_atomic_init_u64(&space->intake, 0);
}

static const char *
level_name(UnideskSpaceLevel level)
{
	switch (level)
	{
#define X(name, number, text) case UNIDESK_SPACE_##name: return text;
			UNIDESK_SPACE_LEVELS(X)
#undef X
	}
	return NULL;
}

/* One volume. */
typedef struct Volume
{
	uint64		used;
	uint64		size;
} Volume;

/* As df counts: what is reserved for root is nobody's. */
static bool
file_system(const char *path, Volume *volume)
{
	struct statvfs fs;

	if (statvfs(path, &fs) != 0)
	{
		ereport(WARNING,
				(errcode_for_file_access(),
				 errmsg("the room on the file system of \"%s\" cannot be told: %m", path)));
		return false;
	}
	volume->used = (uint64) (fs.f_blocks - fs.f_bfree) * fs.f_frsize;
	volume->size = volume->used + (uint64) fs.f_bavail * fs.f_frsize;
	return true;
}

static uint64 counted;

static int
count_file(const char *path, const struct stat *status, int type, struct FTW *ftw)
{
	counted += (uint64) status->st_blocks * 512;
	return 0;
}

/* All files of the cluster, where its limit is only declared. */
static uint64
count_files(void)
{
	static TimestampTz last;
	TimestampTz now = GetCurrentTimestamp();

	if (last == 0 || now < last || now - last >= COUNT_EVERY_US)
	{
		last = now;
		counted = 0;
		/* A file that goes meanwhile counts nothing. */
		(void) nftw(DataDir, count_file, 16, FTW_PHYS);
		(void) nftw("pg_wal/.", count_file, 16, FTW_PHYS | FTW_MOUNT);
	}
	return counted;
}

static double
share(const Volume *volume)
{
	return volume->size > 0 ? (double) volume->used / volume->size : 0;
}

/* The fullest of the volumes that the cluster lies on. */
static Volume
fullest(void)
{
	Volume		worst = {0};
	Volume		other;

	if (file_system(DataDir, &other))
		worst = other;
	if (file_system("pg_wal/.", &other) && share(&other) > share(&worst))
		worst = other;
	if (unidesk_volume_size > 0)
	{
		other.used = count_files();
		other.size = (uint64) unidesk_volume_size * 1024 * 1024;
		if (share(&other) > share(&worst))
			worst = other;
	}
	return worst;
}

/* The level for this share, given the one that was. */
static UnideskSpaceLevel
choose_level(double percent, UnideskSpaceLevel was)
{
	const int	thresholds[] = {0, unidesk_disk_warn, unidesk_disk_stop_logs, unidesk_disk_stop_submits};

	for (int level = UNIDESK_SPACE_NO_SUBMITS; level > UNIDESK_SPACE_FINE; level--)
		if (percent >= thresholds[level] - (was >= level ? HYSTERESIS_POINTS : 0))
			return level;
	return UNIDESK_SPACE_FINE;
}

bool
unidesk_space_measure(void)
{
	Volume		volume = fullest();
	uint32		mock = unidesk_mock_clock ? pg_atomic_read_u32(&space->mock_percent) : 0;
	UnideskSpaceLevel was = pg_atomic_read_u32(&space->level);
	UnideskSpaceLevel level;
	double		percent;

	if (mock != 0)
		volume.used = volume.size / 100 * mock;
	percent = mock != 0 ? mock : share(&volume) * 100;
	/* Nothing at the start can be taken for the end of a state before it. */
	pg_atomic_write_u64(&space->pending, 0);
	pg_atomic_write_u64(&space->used, volume.used);
	pg_atomic_write_u64(&space->size, volume.size);
	level = choose_level(percent, was);
	pg_atomic_write_u32(&space->level, level);
	if (level > was)
		ereport(WARNING,
				(errcode(ERRCODE_DISK_FULL),
				 errmsg("the database's volume is %.0f %% full: %s", percent,
						level == UNIDESK_SPACE_WARN ? "the oldest logs are removed early" :
						level == UNIDESK_SPACE_NO_LOGS ? "no log bytes are taken, nodes keep them" :
						"no tasks are taken and none are placed; results still are"),
				 errhint("SELECT * FROM unidesk.storage shows what takes the room; unidesk.set_retention sets how much logs may take.")));
	else if (level < was)
		ereport(LOG,
				(errmsg("the database's volume is %.0f %% full: its level is \"%s\" again",
						percent, level_name(level))));
	return level != was;
}

UnideskSpaceLevel
unidesk_space_level(void)
{
	return pg_atomic_read_u32(&space->level);
}

void
unidesk_space_get(uint64 *used, uint64 *size)
{
	*used = pg_atomic_read_u64(&space->used);
	*size = pg_atomic_read_u64(&space->size);
}

int64
unidesk_space_share(void)
{
	return Max(Min((int64) pg_atomic_read_u64(&space->size) / 64, SHARE_BYTES_MAX), SHARE_BYTES_MIN);
}

/* Is there room for bytes below the threshold of a level?  They are counted. */
static bool
take(uint64 bytes, UnideskSpaceLevel level, int threshold)
{
	uint64		size = pg_atomic_read_u64(&space->size);
	uint64		pending;

	if (unidesk_space_level() >= level)
		return false;
	pending = pg_atomic_add_fetch_u64(&space->pending, bytes);
	if (size == 0 || pg_atomic_read_u64(&space->used) + pending < size / 100 * threshold)
		return true;
	/* Perhaps less was written than was counted: let it measure again. */
	pg_atomic_sub_fetch_u64(&space->pending, bytes);
	unidesk_wake_keeper();
	return false;
}

bool
unidesk_space_take_logs(uint64 bytes)
{
	uint64		intake = pg_atomic_read_u64(&space->intake) + bytes;
	int64		share_bytes = unidesk_space_share();

	/* Merging has to copy what came in: it must not be much at a time. */
	if (intake > share_bytes)
		unidesk_wake_keeper();
	if (intake > INTAKE_SHARES_MAX * share_bytes)
		return false;
	pg_atomic_add_fetch_u64(&space->intake, bytes);
	return take(bytes * BYTES_PER_LOG_BYTE, UNIDESK_SPACE_NO_LOGS, unidesk_disk_stop_logs);
}

void
unidesk_space_intake_begins(void)
{
	pg_atomic_write_u64(&space->intake, 0);
}

bool
unidesk_space_take_merge(uint64 bytes)
{
	return take(bytes * BYTES_PER_MERGED_BYTE, UNIDESK_SPACE_NO_SUBMITS + 1, unidesk_disk_stop_submits);
}

void
unidesk_space_take_tasks(int count)
{
	if (take((uint64) count * BYTES_PER_TASK, UNIDESK_SPACE_NO_SUBMITS, unidesk_disk_stop_submits))
		return;
	ereport(ERROR,
			(errcode(ERRCODE_DISK_FULL),
			 errmsg("the database's volume is almost full: no tasks are taken"),
			 errhint("Nothing was stored. Submit again later; an administrator makes room: SELECT * FROM unidesk.storage.")));
}

bool
unidesk_space_may_place(void)
{
	return unidesk_space_level() < UNIDESK_SPACE_NO_SUBMITS;
}

PG_FUNCTION_INFO_V1(unidesk_volume);

/* unidesk._volume(): used, size, level of the volume. */
Datum
unidesk_volume(PG_FUNCTION_ARGS)
{
	TupleDesc	row;
	Datum		values[3];
	bool		nulls[3] = {false};
	uint64		used;
	uint64		size;

	if (get_call_result_type(fcinfo, NULL, &row) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "unidesk._volume returns a row");
	unidesk_space_get(&used, &size);
	values[0] = Int64GetDatum((int64) used);
	values[1] = Int64GetDatum((int64) size);
	values[2] = CStringGetTextDatum(level_name(unidesk_space_level()));
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(row), values, nulls)));
}

PG_FUNCTION_INFO_V1(unidesk_mock_volume);

/* unidesk._mock_volume(percent): how full the volume seems; NULL: as it is. */
Datum
unidesk_mock_volume(PG_FUNCTION_ARGS)
{
	if (!unidesk_mock_clock)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("the mock clock is off"),
				 errhint("Set unidesk.mock_clock = on and restart the server; tests only.")));
	if (!PG_ARGISNULL(0) && (PG_GETARG_INT32(0) < 1 || PG_GETARG_INT32(0) > 100))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("percent is out of range: %d", PG_GETARG_INT32(0)),
				 errhint("Give a number from 1 to 100, or NULL for the volume as it is.")));
	pg_atomic_write_u32(&space->mock_percent, PG_ARGISNULL(0) ? 0 : PG_GETARG_INT32(0));
	PG_RETURN_VOID();
}
