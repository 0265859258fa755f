/*
 * reasons.h
 *	  The closed list of reasons why something is as it is.
 *
 * A state says where an attempt is, a reason says why.  Rows store the
 * number, JSON bodies and views carry the text.  Numbers are never reused.
 *
 * X(NAME, number, "text", retryable, counts)
 *	retryable	the task may be queued again
 *	counts		the retry is paid from the task's max_retries; infrastructure
 *				never is
 */
#ifndef UD_REASONS_H
#define UD_REASONS_H

#define UD_REASONS(X) \
	X(NONE, 0, "", 0, 0) \
	X(RUN_EXIT_CODE, 100, "run.exit_code", 1, 1) \
	X(RUN_SIGNAL, 101, "run.signal", 1, 1) \
	X(RUN_OOM, 102, "run.oom", 1, 1) \
	X(RUN_TIMEOUT, 103, "run.timeout", 0, 1) \
	X(RUN_OUTPUT_LOST, 104, "run.output_lost", 1, 0) \
	X(RUN_START_FAILED, 105, "run.start_failed", 0, 1) \
	X(RUN_DISK, 106, "run.disk", 0, 1) \
	X(RUN_CHECKPOINTED, 107, "run.checkpointed", 1, 0) \
	X(RUN_TOTAL_TIMEOUT, 108, "run.total_timeout", 0, 1) \
	X(RUN_NO_PROGRESS, 109, "run.no_progress", 0, 1) \
	X(PREP_REPO_UNREACHABLE, 200, "prep.repo_unreachable", 1, 0) \
	X(PREP_REPO_REFUSED, 201, "prep.repo_refused", 0, 1) \
	X(PREP_COMMIT_NOT_FOUND, 202, "prep.commit_not_found", 0, 1) \
	X(PREP_REPO_THROTTLED, 203, "prep.repo_throttled", 1, 0) \
	X(PREP_TREE_INVALID, 204, "prep.tree_invalid", 0, 1) \
	X(PREP_DOCKERFILE_NOT_FOUND, 205, "prep.dockerfile_not_found", 0, 1) \
	X(PREP_BUILD_FAILED, 206, "prep.build_failed", 0, 1) \
	X(PREP_FROM_REFUSED, 207, "prep.from_refused", 0, 1) \
	X(PREP_TIMEOUT, 208, "prep.timeout", 0, 1) \
	X(PREP_CREATE_FAILED, 209, "prep.create_failed", 0, 1) \
	X(PREP_FETCH_FAILED, 210, "prep.fetch_failed", 1, 0) \
	X(PREP_IMAGE_GONE, 211, "prep.image_gone", 1, 0) \
	X(PREP_CREDENTIAL, 212, "prep.credential", 0, 1) \
	X(PREP_PULL_FAILED, 213, "prep.pull_failed", 1, 0) \
	X(NODE_OFFLINE, 300, "node.offline", 1, 0) \
	X(NODE_LEASE_OVER, 301, "node.lease_over", 1, 0) \
	X(NODE_CONTAINER_GONE, 302, "node.container_gone", 1, 0) \
	X(NODE_ENGINE_STOPPED, 303, "node.engine_stopped", 1, 0) \
	X(NODE_ENGINE_ERROR, 304, "node.engine_error", 1, 0) \
	X(NODE_DISK_FULL, 305, "node.disk_full", 1, 0) \
	X(NODE_NO_DATA_MOUNT, 306, "node.no_data_mount", 1, 0) \
	X(NODE_NAME_CONFLICT, 307, "node.name_conflict", 1, 0) \
	X(NODE_REJECTED, 308, "node.rejected", 1, 0) \
	X(NODE_DECLARED_LOST, 309, "node.declared_lost", 1, 0) \
	X(NODE_AGENT_ERROR, 310, "node.agent_error", 1, 0) \
	X(NODE_REBOOTED, 311, "node.rebooted", 1, 0) \
	X(NODE_REPLACED, 312, "node.replaced", 1, 0) \
	X(NODE_ENGINE_DOWN, 313, "node.engine_down", 1, 0) \
	X(CTL_CANCELLED, 400, "ctl.cancelled", 0, 1) \
	X(CTL_WITHDRAWN, 401, "ctl.withdrawn", 1, 0) \
	X(CTL_PREEMPTED, 402, "ctl.preempted", 1, 0) \
	X(CTL_HELD, 403, "ctl.held", 0, 0) \
	X(CTL_FORCE_LOST, 404, "ctl.force_lost", 1, 0) \
	X(CTL_STALE, 405, "ctl.stale", 0, 0) \
	X(CTL_QUEUE_TIMEOUT, 406, "ctl.queue_timeout", 0, 1) \
	X(CTL_REQUEUED, 407, "ctl.requeued", 1, 0) \
	X(CTL_DRAINED, 408, "ctl.drained", 1, 0) \
	X(CAPACITY_BUSY, 500, "capacity.busy", 0, 0) \
	X(CAPACITY_CPUS, 501, "capacity.cpus", 0, 0) \
	X(CAPACITY_MEMORY, 502, "capacity.memory", 0, 0) \
	X(CAPACITY_GPUS, 503, "capacity.gpus", 0, 0) \
	X(NOMATCH_CPUS, 520, "nomatch.cpus", 0, 0) \
	X(NOMATCH_MEMORY, 521, "nomatch.memory", 0, 0) \
	X(NOMATCH_GPUS, 522, "nomatch.gpus", 0, 0) \
	X(NOMATCH_LABELS, 523, "nomatch.labels", 0, 0) \
	X(NOMATCH_CHECKPOINT_NODE, 524, "nomatch.checkpoint_node", 0, 0) \
	X(NODE_NOT_ONLINE, 540, "node.not_online", 0, 0) \
	X(NODE_NOT_OPEN, 541, "node.not_open", 0, 0) \
	X(NODE_EXCLUDED, 542, "node.excluded", 0, 0) \
	X(DEP_NOT_MET, 600, "dep.not_met", 0, 0) \
	X(POLICY_NOT_BEFORE, 620, "policy.not_before", 0, 0) \
	X(POLICY_DEMANDS, 621, "policy.too_many_demands", 0, 0) \
	X(SYS_POISONED, 700, "sys.poisoned", 0, 0)

typedef enum UdReason
{
#define X(name, number, text, retryable, counts) UD_REASON_##name = number,
	UD_REASONS(X)
#undef X
} UdReason;

/* The text of a reason, "" for NONE and for an unknown number. */
extern const char *ud_reason_text(int reason);

/* The number behind a text; -1 when it is not in the list. */
extern int	ud_reason_number(const char *text);
extern int	ud_reason_is_retryable(int reason);
extern int	ud_reason_counts(int reason);

#endif							/* UD_REASONS_H */
