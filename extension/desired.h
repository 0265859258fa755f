/*
 * desired.h
 *	  Rows of live as desired messages, with what they need of other tables.
 */
#ifndef UNIDESK_DESIRED_H
#define UNIDESK_DESIRED_H

#include "message.h"

/* The columns that unidesk_desired_take expects, of live as l. */
#define UNIDESK_SELECT_DESIRED \
	"SELECT l.node_id, l.incarnation, l.task_id, l.attempt, l.want, l.order_no, l.attempt_state, l.grace_s, l.lease_s," \
	" coalesce(l.prepare_s, -1), coalesce(l.run_s, -1), l.placed_at, l.started_at, coalesce(l.idle_s, -1), coalesce(l.warn_s, -1)," \
	" l.warn_signal, l.cpus_milli, l.memory, l.gpu_mask, l.want_final, l.want_reason, t.spec_id, t.code_commit" \
	" FROM unidesk_data.live l JOIN unidesk_data.task t ON t.id = l.task_id"

/* One attempt on a node, and what is wanted of it; 0 or -1 stand for NULL. */
typedef struct UnideskDesired
{
	int32		node_id;
	int64		session;		/* of its node; 0: none, and it is not sent */
	int32		bridge_id;
	int32		extra_s;		/* of the lease, in a downtime */
	int64		incarnation;
	int64		task_id;
	int32		attempt;
	int			want;
	int64		order_no;
	int			attempt_state;
	int32		grace_s;
	int32		lease_s;
	int64		prepare_left_s;
	int64		run_left_s;
	int32		idle_s;
	int32		warn_s;
	char	   *warn_signal;
	int32		cpus_milli;
	int64		memory;
	uint64		gpu_mask;
	int			want_final;
	int			want_reason;
	int64		spec_id;
	bytea	   *code_commit;
} UnideskDesired;

/*
 * From here to unidesk_desired_end all statements see one snapshot, which is
 * taken now; none of them writes.
 */
extern void unidesk_desired_begin(void);
extern void unidesk_desired_end(void);

/* What unidesk_query returned for UNIDESK_SELECT_DESIRED, with its nodes. */
extern UnideskDesired *unidesk_desired_take(int *count);

/* Send them in their order, but for those without a session.  conn 0: the bridge finds it by the session. */
extern void unidesk_desired_send(ReturnSetInfo *result, int32 conn, const UnideskDesired *desired, int count);

#endif							/* UNIDESK_DESIRED_H */
