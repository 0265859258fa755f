/*
 * take_log.c
 *	  Log bytes: appended at exactly the offset where the stored log ends.
 *
 * Bytes that are already stored are skipped, a gap is refused; both are
 * answered with the offset that is wanted next, so an agent that knows
 * nothing finds its place with one message.  Beyond the budget, or the end that
 * was reported, bytes are acknowledged and dropped, or the node would keep
 * them, and all of the attempt, for ever.  While the volume is too full nothing
 * is stored and the credit is 0.  unidesk_try_lock_history keeps two
 * bridges from appending to the same log at once.
 */
#include "unidesk.h"

#include "access/xact.h"
#include "catalog/pg_type.h"

#include "message.h"
#include "shared.h"
#include "space.h"

/*
 * Is or was this attempt this node's?  *log_end: how long its log is, where its
 * end was reported; else it may be of any length.
 */
static bool
is_attempt_of_node(const UnideskMessage *m, int64 *log_end)
{
	static SPIPlanPtr plan;
	UnideskArgs args = {0};
	Datum		end;
	bool		unknown;

	unidesk_arg_int64(&args, m->task);
	unidesk_arg_int32(&args, m->attempt);
	unidesk_arg_int64(&args, m->incarnation);
	unidesk_arg_int32(&args, m->node_id);
	if (unidesk_execute(&plan,
						"SELECT NULL::bigint FROM unidesk_data.live WHERE task_id = $1 AND attempt = $2"
						" AND incarnation = $3 AND node_id = $4 AND left_on IS NULL"
						" UNION ALL SELECT log_end FROM unidesk_data.task WHERE id = $1 AND attempts = $2"
						" AND incarnation = $3 AND node_id = $4"
						" UNION ALL SELECT log_end FROM unidesk_data.attempt WHERE task_id = $1 AND attempt = $2"
						" AND incarnation = $3 AND node_id = $4", &args) == 0)
		return false;
	end = unidesk_column(0, 1, &unknown);
	*log_end = unknown ? PG_INT64_MAX : DatumGetInt64(end);
	return true;
}

/* Offset after the last stored byte. */
static int64
stored_end(int64 task_id, int32 attempt)
{
	static SPIPlanPtr plan;
	UnideskArgs args = {0};

	unidesk_arg_int64(&args, task_id);
	unidesk_arg_int32(&args, attempt);
	unidesk_execute(&plan,
					"SELECT greatest((SELECT \"offset\" + octet_length(bytes) FROM unidesk_data.log_chunk"
					" WHERE task_id = $1 AND attempt = $2 ORDER BY \"offset\" DESC LIMIT 1),"
					" (SELECT \"offset\" + length FROM unidesk_data.log_block"
					" WHERE task_id = $1 AND attempt = $2 ORDER BY \"offset\" DESC LIMIT 1), 0)", &args);
	return unidesk_column_int64(0, 1);
}

/* Chunks of one call, written by one statement. */
typedef struct Chunks
{
	int			count;
	uint64		size;			/* bytes in all */
	Datum	   *offsets;
	Datum	   *streams;
	Datum	   *bytes;
} Chunks;

static void
add_chunk(Chunks *chunks, int64 offset, int stream, const char *data, int length)
{
	bytea	   *bytes = palloc(VARHDRSZ + length);

	SET_VARSIZE(bytes, VARHDRSZ + length);
	memcpy(VARDATA(bytes), data, length);
	chunks->offsets[chunks->count] = Int64GetDatum(offset);
	chunks->streams[chunks->count] = Int16GetDatum(stream);
	chunks->bytes[chunks->count] = PointerGetDatum(bytes);
	chunks->size += length;
	chunks->count++;
}

static void
write_chunks(const UnideskMessage *m, Chunks *chunks)
{
	static SPIPlanPtr plan;
	UnideskArgs args = {0};

	if (chunks->count == 0)
		return;
	/* What is acknowledged its node may forget. */
	ForceSyncCommit();
	unidesk_arg_int64(&args, m->task);
	unidesk_arg_int32(&args, m->attempt);
	unidesk_arg_time(&args, unidesk_now());
	unidesk_arg_int16(&args, unidesk_shared_log_intake());
	unidesk_arg_array(&args, INT8OID, chunks->offsets, NULL, chunks->count);
	unidesk_arg_array(&args, INT2OID, chunks->streams, NULL, chunks->count);
	unidesk_arg_array(&args, BYTEAOID, chunks->bytes, NULL, chunks->count);
	unidesk_execute(&plan,
					"INSERT INTO unidesk_data.log_chunk (task_id, attempt, at, segment, \"offset\", stream, bytes)"
					" SELECT $1, $2, $3, $4, o, s, b FROM unnest($5, $6, $7) AS c (o, s, b)", &args);
	unidesk_note_log(m->task);
}

void
unidesk_take_log(ReturnSetInfo *result, const UnideskMessage *messages, int count)
{
	UnideskOut	out = unidesk_answer(&messages[count - 1], UD_MSG_LOG_ACK);
	Chunks		chunks = {0};

	/* The marker that says bytes were cut takes part in the offsets. */
	int64		budget = (int64) unidesk_log_budget * 1024 + 1024;
	int64		log_end;
	int64		end;
	int64		dropped = 0;

	if (!is_attempt_of_node(messages, &log_end))
	{
		out.flags = UD_FLAG_STALE;
		unidesk_out(result, &out);
		return;
	}
	budget = Min(budget, log_end);
	if (!unidesk_try_lock_history(messages[0].task))
	{
		for (int i = 0; i < count; i++)
			unidesk_out_busy(result, &messages[i]);
		return;
	}
	chunks.offsets = palloc(sizeof(Datum) * count);
	chunks.streams = palloc(sizeof(Datum) * count);
	chunks.bytes = palloc(sizeof(Datum) * count);
	end = stored_end(messages[0].task, messages[0].attempt);
	for (int i = 0; i < count; i++)
	{
		const UnideskMessage *m = &messages[i];
		int64		skip = end - m->value;

		if (m->state < UD_LOG_STDOUT || m->state > UD_LOG_MARKER || m->body_bytes > UD_LOG_BODY_BYTES_MAX)
		{
			unidesk_out_error(result, m, "protocol", "a log message has a wrong stream or size");
			break;
		}
		if (m->value > budget - m->body_bytes)
		{
			dropped = Max(dropped, Min(m->value, PG_INT64_MAX / 2) + m->body_bytes);
			continue;
		}
		if (m->value < 0 || m->value > end || skip >= m->body_bytes)
			continue;			/* a gap, or nothing new */
		add_chunk(&chunks, end, m->state, m->body + skip, m->body_bytes - skip);
		end += m->body_bytes - skip;
	}
	out.sequence = (int64) unidesk_log_credit * 1024;
	if (unidesk_space_take_logs(chunks.size))
		write_chunks(messages, &chunks);
	else
	{
		/* Not now: the node keeps them, and asks again from time to time. */
		end -= chunks.size;
		if (chunks.size > 0)
			dropped = 0;
		out.sequence = 0;
	}
	out.value = Max(end, dropped);
	unidesk_out(result, &out);
}
