/*
 * take_checkpoints.c
 *	  What a node keeps of tasks between their attempts.
 *
 * A node lists the checkpoints of which it has no attempt.  One is needed as
 * long as its task lives, wherever that is now; of another incarnation only
 * the node knows, so those go by age like its attempts do.  The order to
 * remove one is that of an attempt whose number is 0.
 */
#include "unidesk.h"

#include "catalog/pg_type.h"

#include "message.h"
#include "orders.h"

/* Nothing in it can raise, whatever the body holds. */
static const char unneeded[] =
"WITH listed AS MATERIALIZED (SELECT c ->> 'incarnation' AS incarnation, c ->> 'task' AS task, c ->> 'age_s' AS age"
" FROM jsonb_array_elements(CASE jsonb_typeof($1 -> 'checkpoints') WHEN 'array' THEN $1 -> 'checkpoints' ELSE '[]' END) c),"
" known AS MATERIALIZED (SELECT ('x' || incarnation)::bit(64)::bigint AS incarnation, task::bigint AS task, age::bigint AS age FROM listed"
" WHERE CASE WHEN incarnation ~ '^[0-9a-f]{16}$' AND task ~ '^[1-9][0-9]{0,17}$' THEN age ~ '^[0-9]{1,12}$' ELSE false END)"
" SELECT DISTINCT k.incarnation, k.task FROM known k, unidesk_data.incarnation i"
" WHERE CASE WHEN k.incarnation = i.value THEN NOT EXISTS (SELECT FROM unidesk_data.live l WHERE l.task_id = k.task)"
" ELSE k.age >= $2 END";

void
unidesk_take_checkpoints(ReturnSetInfo *result, const UnideskMessage *message, int64 session, Datum inventory)
{
	static SPIPlanPtr plan;
	UnideskArgs args = {0};

	unidesk_arg(&args, JSONBOID, inventory);
	unidesk_arg_int32(&args, unidesk_foreign_keep);
	unidesk_execute(&plan, unneeded, &args);
	for (uint64 row = 0; row < SPI_processed; row++)
		unidesk_send_unwanted(result, message, session, unidesk_column_int64(row, 1), unidesk_column_int64(row, 2),
							  0, UD_WANT_REMOVE);
}
