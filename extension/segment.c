/*
 * segment.c
 *	  Small chunks of log become compressed blocks.
 *
 * New chunks go to one of a few partitions of log_chunk, the intake.  When it
 * is large or old the next one takes over, and the keeper merges what is in
 * the others: attempt by attempt, all chunks that no block covers yet become
 * blocks of up to 256 kB, which TOAST compresses.  The merged partition is
 * then emptied by TRUNCATE: no row is deleted, nothing is left to vacuum, and
 * the file system gets its room back at once.
 *
 * A chunk counts as covered when it begins before the end of its attempt's
 * last block.  Blocks and chunks are read by one snapshot, which sees either
 * the blocks or not, so readers find the same bytes at each moment.  TRUNCATE
 * ignores snapshots; so it waits until none is left that is older than the
 * blocks.  Under its lock it looks for chunks that are not covered: a writer
 * may have chosen the partition just before it ceased to be the intake.
 */
#include "unidesk.h"

#include "access/table.h"
#include "access/transam.h"
#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "storage/lmgr.h"
#include "storage/procarray.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"

#include "keeper.h"
#include "shared.h"
#include "space.h"

/* What one transaction merges. */
#define STEP_ATTEMPTS 50
#define STEP_BYTES (4 * 1024 * 1024)
#define STEP_CHUNKS 4096
/* Less than this of a task that still writes moves on. */
#define REST_BYTES_MAX (8 * 1024)

/* Where a segment is between intake and empty. */
typedef struct Segment
{
	int64		task_id;		/* merged up to this attempt */
	int32		attempt;
	bool		merged;			/* all of it */
	TransactionId next_xid;		/* when it was: older snapshots may need it */
} Segment;

static Segment segments[UNIDESK_LOG_SEGMENTS];
static TimestampTz intake_since;
static bool hurry;

/* One attempt's chunks on their way into blocks. */
typedef struct Merge
{
	int64		task_id;
	int32		attempt;
	int32		project_id;
	bool		ended;
	int64		offset;			/* of the first byte in the buffer */
	int			length;
	int			run_count;
	Datum	   *runs;			/* length * 4 + stream */
	int			last_stream;
	char	   *bytes;
} Merge;

void
unidesk_segment_failed(void)
{
	memset(segments, 0, sizeof(segments));
}

void
unidesk_segment_hurry(void)
{
	hurry = true;
}

static Oid
segment_oid(int segment)
{
	return get_relname_relid(psprintf("log_chunk_%d", segment), get_namespace_oid("unidesk_data", false));
}

/* Bytes with TOAST and index; 0 when there is no row. */
static int64
segment_bytes(int segment)
{
	static SPIPlanPtr plan;
	UnideskArgs args = {0};

	unidesk_arg(&args, OIDOID, ObjectIdGetDatum(segment_oid(segment)));
	unidesk_execute(&plan, "SELECT CASE WHEN pg_relation_size($1::regclass) > 0 THEN pg_total_relation_size($1::regclass) ELSE 0 END", &args);
	return unidesk_column_int64(0, 1);
}

/* The next segment without a row; -1 while all wait for some snapshot. */
static int
empty_segment(void)
{
	for (int i = 1; i < UNIDESK_LOG_SEGMENTS; i++)
	{
		int			segment = (unidesk_shared_log_intake() + i) % UNIDESK_LOG_SEGMENTS;

		if (segment_bytes(segment) == 0)
			return segment;
	}
	return -1;
}

bool
unidesk_segment_begin(void)
{
	int			intake = unidesk_shared_log_intake();
	int			next;
	int64		bytes = segment_bytes(intake);
	bool		full = bytes > unidesk_space_share();

	if (bytes == 0 || intake_since == 0)
		intake_since = unidesk_now();
	if (bytes == 0)
		return false;
	if (!full && !hurry && unidesk_now() - intake_since < unidesk_log_compact_after * USECS_PER_SEC)
		return false;
	next = empty_segment();
	if (next < 0)
		return false;			/* the intake grows on */
	memset(&segments[intake], 0, sizeof(Segment));
	memset(&segments[next], 0, sizeof(Segment));
	unidesk_shared_set_log_intake(next);
	unidesk_space_intake_begins();
	intake_since = unidesk_now();
	hurry = false;
	return true;
}

static void
write_block(Merge *merge)
{
	static SPIPlanPtr plan;
	UnideskArgs args = {0};
	bytea	   *bytes = (bytea *) (merge->bytes - VARHDRSZ);

	if (merge->length == 0)
		return;
	SET_VARSIZE(bytes, VARHDRSZ + merge->length);
	unidesk_arg_time(&args, unidesk_now());
	unidesk_arg_int32(&args, unidesk_log_keep);
	unidesk_arg_int64(&args, merge->task_id);
	unidesk_arg_int32(&args, merge->attempt);
	unidesk_arg_int64(&args, merge->offset);
	unidesk_arg_int32(&args, merge->length);
	unidesk_arg_int32(&args, merge->project_id);
	unidesk_arg_array(&args, INT4OID, merge->runs, NULL, merge->run_count);
	unidesk_arg(&args, BYTEAOID, PointerGetDatum(bytes));
	unidesk_execute(&plan,
					"INSERT INTO unidesk_data.log_block (expires, at, task_id, attempt, \"offset\", length, project_id, runs, bytes)"
					" SELECT ($1 AT TIME ZONE 'UTC')::date + coalesce((SELECT r.keep_days FROM unidesk_data.retention r"
					" WHERE r.project_id = $7), $2), $1, $3, $4, $5, $6, $7, $8, $9", &args);
	merge->offset += merge->length;
	merge->length = merge->run_count = 0;
}

static void
add_to_block(Merge *merge, int64 offset, int stream, const char *data, int length)
{
	if (merge->length == 0 || offset != merge->offset + merge->length || merge->length + length > UNIDESK_LOG_BLOCK_BYTES_MAX)
	{
		write_block(merge);
		merge->offset = offset;
	}
	if (merge->run_count > 0 && stream == merge->last_stream)
		merge->runs[merge->run_count - 1] = Int32GetDatum(DatumGetInt32(merge->runs[merge->run_count - 1]) + length * 4);
	else
		merge->runs[merge->run_count++] = Int32GetDatum(length * 4 + stream);
	merge->last_stream = stream;
	memcpy(merge->bytes + merge->length, data, length);
	merge->length += length;
}

/*
 * A few bytes of a task that still writes move on, so that a slow log does not
 * become many small blocks; few, since all tasks may have some.
 */
static void
move_rest(const Merge *merge, int segment)
{
	static SPIPlanPtr plan;
	UnideskArgs args = {0};

	unidesk_arg_int64(&args, merge->task_id);
	unidesk_arg_int32(&args, merge->attempt);
	unidesk_arg_int64(&args, merge->offset);
	unidesk_arg_int16(&args, segment);
	unidesk_arg_int16(&args, unidesk_shared_log_intake());
	unidesk_execute(&plan,
					"UPDATE unidesk_data.log_chunk SET segment = $5 WHERE segment = $4"
					" AND task_id = $1 AND attempt = $2 AND \"offset\" >= $3", &args);
}

/* Merge chunks of one attempt; returns bytes read, *more when that was not all. */
static int64
merge_attempt(Merge *merge, int segment, bool *more)
{
	static SPIPlanPtr plan;
	UnideskArgs args = {0};
	SPITupleTable *chunks;
	uint64		count;
	uint64		i;
	int64		bytes = 0;

	unidesk_arg_int64(&args, merge->task_id);
	unidesk_arg_int32(&args, merge->attempt);
	unidesk_arg_int32(&args, STEP_CHUNKS);
	count = unidesk_execute(&plan,
							"SELECT \"offset\", stream, bytes FROM unidesk_data.log_chunk"
							" WHERE task_id = $1 AND attempt = $2 AND \"offset\" >= coalesce("
							"(SELECT max(\"offset\" + length) FROM unidesk_data.log_block WHERE task_id = $1 AND attempt = $2), 0)"
							" ORDER BY \"offset\" LIMIT $3", &args);
	chunks = SPI_tuptable;
	merge->length = merge->run_count = 0;
	for (i = 0; i < count && bytes < STEP_BYTES; i++)
	{
		Datum		stored;
		bytea	   *chunk;
		int64		offset;
		int			stream;

		SPI_tuptable = chunks;
		offset = unidesk_column_int64(i, 1);
		stream = unidesk_column_int32(i, 2);
		stored = unidesk_column(i, 3, NULL);
		chunk = DatumGetByteaP(stored);
		add_to_block(merge, offset, stream, VARDATA(chunk), VARSIZE(chunk) - VARHDRSZ);
		bytes += VARSIZE(chunk) - VARHDRSZ;
		/* One of some 130 to 2000 bytes lies in the row as it is: no copy. */
		if (chunk != (bytea *) DatumGetPointer(stored))
			pfree(chunk);
	}
	SPI_freetuptable(chunks);
	*more = i < count || count == STEP_CHUNKS;
	/* So many small chunks are a block, or it would never go on. */
	if (count == STEP_CHUNKS || (!*more && (merge->ended || merge->length > REST_BYTES_MAX)))
		write_block(merge);
	else if (!*more && merge->length > 0)
		move_rest(merge, segment);
	return bytes;
}

/* Merge attempts of one segment; marks it when that was all. */
static void
merge_segment(int segment)
{
	static SPIPlanPtr plan;
	UnideskArgs args = {0};
	Segment    *s = &segments[segment];
	Merge	   *list;
	uint64		count;
	int64		bytes = 0;
	char	   *buffer = palloc(VARHDRSZ + UNIDESK_LOG_BLOCK_BYTES_MAX);
	Datum	   *runs = palloc(sizeof(Datum) * UNIDESK_LOG_BLOCK_BYTES_MAX);

	unidesk_arg_int16(&args, segment);
	unidesk_arg_int64(&args, s->task_id);
	unidesk_arg_int32(&args, s->attempt);
	unidesk_arg_int32(&args, STEP_ATTEMPTS);
	count = unidesk_execute(&plan,
							"SELECT c.task_id, c.attempt, t.project_id, l.task_id IS NULL FROM (SELECT DISTINCT task_id, attempt"
							" FROM unidesk_data.log_chunk WHERE segment = $1 AND (task_id, attempt) > ($2, $3)"
							" ORDER BY task_id, attempt LIMIT $4) c JOIN unidesk_data.task t ON t.id = c.task_id"
							" LEFT JOIN unidesk_data.live l ON l.task_id = c.task_id AND l.attempt = c.attempt AND l.state = 4"
							" ORDER BY c.task_id, c.attempt", &args);
	list = palloc0(sizeof(Merge) * (count + 1));
	for (uint64 i = 0; i < count; i++)
	{
		list[i].task_id = unidesk_column_int64(i, 1);
		list[i].attempt = unidesk_column_int32(i, 2);
		list[i].project_id = unidesk_column_int32(i, 3);
		list[i].ended = DatumGetBool(unidesk_column(i, 4, NULL));
		list[i].bytes = buffer + VARHDRSZ;
		list[i].runs = runs;
	}
	for (uint64 i = 0; i < count && bytes < STEP_BYTES; i++)
	{
		bool		more;

		bytes += merge_attempt(&list[i], segment, &more);
		if (more)
			return;				/* it goes on with this one */
		s->task_id = list[i].task_id;
		s->attempt = list[i].attempt;
	}
	s->merged = count < STEP_ATTEMPTS && bytes < STEP_BYTES;
	if (s->merged)
		s->next_xid = InvalidTransactionId;
}

bool
unidesk_segment_step(void)
{
	for (int i = 1; i < UNIDESK_LOG_SEGMENTS; i++)
	{
		int			segment = (unidesk_shared_log_intake() + i) % UNIDESK_LOG_SEGMENTS;

		if (segments[segment].merged || segment_bytes(segment) == 0)
			continue;
		/* Its chunks go only after it: without room it waits. */
		if (!unidesk_space_take_merge(STEP_BYTES))
			return false;
		merge_segment(segment);
		return true;
	}
	return false;
}

/* Has this one a chunk that is in no block? */
static bool
has_uncovered(int segment)
{
	static SPIPlanPtr plan;
	UnideskArgs args = {0};

	unidesk_arg_int16(&args, segment);
	return unidesk_execute(&plan,
						   "SELECT FROM (SELECT task_id, attempt, max(\"offset\") AS last FROM unidesk_data.log_chunk"
						   " WHERE segment = $1 GROUP BY task_id, attempt) c WHERE last >= coalesce("
						   "(SELECT max(b.\"offset\" + b.length) FROM unidesk_data.log_block b"
						   " WHERE b.task_id = c.task_id AND b.attempt = c.attempt), 0) LIMIT 1", &args) > 0;
}

/* May no snapshot need the chunks any more? */
static bool
is_unneeded(Segment *s, Oid table)
{
	Relation	relation = table_open(table, AccessShareLock);
	TransactionId horizon = GetOldestNonRemovableTransactionId(relation);

	table_close(relation, AccessShareLock);

	/*
	 * The merge has committed: only snapshots from here on are sure to see
	 * it.
	 */
	if (!TransactionIdIsValid(s->next_xid))
		s->next_xid = ReadNextTransactionId();
	return TransactionIdFollowsOrEquals(horizon, s->next_xid);
}

bool
unidesk_segment_empty(void)
{
	for (int i = 1; i < UNIDESK_LOG_SEGMENTS; i++)
	{
		int			segment = (unidesk_shared_log_intake() + i) % UNIDESK_LOG_SEGMENTS;
		Segment    *s = &segments[segment];
		Oid			table = segment_oid(segment);

		if (!s->merged || segment_bytes(segment) == 0 || !is_unneeded(s, table))
			continue;
		/* Whoever reads or writes there: another time. */
		if (!ConditionalLockRelationOid(table, AccessExclusiveLock))
			continue;
		AcceptInvalidationMessages();
		if (has_uncovered(segment))
		{
			memset(s, 0, sizeof(Segment));
			return true;
		}
		if (SPI_execute(psprintf("TRUNCATE unidesk_data.log_chunk_%d", segment), false, 0) != SPI_OK_UTILITY)
			elog(ERROR, "could not empty log_chunk_%d", segment);
		memset(s, 0, sizeof(Segment));
		return true;
	}
	return false;
}
