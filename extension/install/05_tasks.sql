-- What people do with tasks.

CREATE FUNCTION unidesk.submit_task(
	project text, code_repo_url text, code_commit_id text, env_repo_url text, env_commit_id text,
	dockerfile_path text, command text[],
	cpus numeric DEFAULT 1, memory bigint DEFAULT 1073741824, gpus integer DEFAULT 0,
	labels jsonb DEFAULT NULL, environment jsonb DEFAULT NULL, priority integer DEFAULT 0,
	queue_timeout interval DEFAULT NULL, prepare_timeout interval DEFAULT NULL, run_timeout interval DEFAULT NULL,
	max_retries integer DEFAULT 0, idempotency_key text DEFAULT NULL, on_lost text DEFAULT 'requeue',
	lease interval DEFAULT NULL, grace interval DEFAULT NULL, hold boolean DEFAULT false,
	not_before timestamptz DEFAULT NULL) RETURNS bigint
	LANGUAGE C VOLATILE SECURITY DEFINER PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
	AS 'MODULE_PATHNAME', 'unidesk_submit_task';
COMMENT ON FUNCTION unidesk.submit_task(text, text, text, text, text, text, text[], numeric, bigint, integer, jsonb, jsonb, integer,
	interval, interval, interval, integer, text, text, interval, interval, boolean, timestamptz) IS
	'Submit a task and return its id. It runs command (empty: the image''s own) with the code repository at its commit in /workspace, in an image built from dockerfile_path of the environment repository at its commit; commits are full hashes. cpus (CPUs), memory (bytes), gpus: what it gets. labels: what the node must have. environment: variables. priority: -1000 to 1000, more is sooner. queue_timeout, prepare_timeout, run_timeout: limits. max_retries: tries after failures of its own; those of infrastructure do not count. idempotency_key: the same key in a project gives the same task. on_lost: requeue, wait or fail when its node is lost; lease: how long a silent node keeps it (0: replaced at once). grace: TERM to KILL. hold: wait for a release. not_before: earliest start.';

CREATE FUNCTION unidesk.submit_tasks(tasks jsonb) RETURNS SETOF bigint
	LANGUAGE C VOLATILE SECURITY DEFINER PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
	AS 'MODULE_PATHNAME', 'unidesk_submit_tasks';
COMMENT ON FUNCTION unidesk.submit_tasks(jsonb) IS
	'Submit an array of up to 100000 tasks, all or none: objects with the arguments of submit_task as fields; intervals as text or seconds. Returns their ids in the same order.';

CREATE FUNCTION unidesk.cancel_task(task bigint) RETURNS text
	LANGUAGE C VOLATILE SECURITY DEFINER PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
	AS 'MODULE_PATHNAME', 'unidesk_cancel_task';
COMMENT ON FUNCTION unidesk.cancel_task(bigint) IS
	'Cancel a task: at once when it has not been placed; else its container gets TERM, the grace, KILL, and the task ends when its node confirms. Returns the task''s state; a task that has ended stays as it is.';

CREATE FUNCTION unidesk.wait_task(task bigint, timeout interval DEFAULT '60 s') RETURNS text
	LANGUAGE C VOLATILE SECURITY DEFINER PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
	AS 'MODULE_PATHNAME', 'unidesk_wait_task';
COMMENT ON FUNCTION unidesk.wait_task(bigint, interval) IS
	'Wait until a task ends, at most timeout (60 s per call), and return the state it is in then.';

CREATE FUNCTION unidesk.worker_alive() RETURNS boolean
	LANGUAGE C VOLATILE PARALLEL SAFE AS 'MODULE_PATHNAME', 'unidesk_worker_alive';
COMMENT ON FUNCTION unidesk.worker_alive() IS 'Does the background worker, and with it the scheduler, run? For health checks.';


CREATE VIEW unidesk.transition WITH (security_invoker) AS
	SELECT machine, from_state, to_state, by_agent, by_worker, by_person FROM unidesk._transitions();
COMMENT ON VIEW unidesk.transition IS 'The state machines: which state follows which, and who may say so.';

CREATE FUNCTION unidesk.task_log(task bigint)
	RETURNS TABLE (attempt integer, stream text, "offset" bigint, bytes bytea)
	LANGUAGE sql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
	SELECT c.attempt, unidesk._stream_name(c.stream), c."offset", c.bytes
	FROM unidesk_data.log_chunk c WHERE c.task_id = task_log.task
	ORDER BY c.attempt, c."offset"
$$;
COMMENT ON FUNCTION unidesk.task_log(bigint) IS
	'The log of a task, exact bytes in order of arrival: attempt, stream (stdout, stderr, or marker where bytes were cut), offset of the first byte within the attempt, bytes.';

CREATE FUNCTION unidesk.task_log_text(task bigint) RETURNS text
	LANGUAGE plpgsql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	joined bytea;
BEGIN
	SELECT string_agg(l.bytes, ''::bytea ORDER BY l.attempt, l."offset") INTO joined FROM unidesk.task_log(task) l;
	-- What is no text is shown, not refused: this is for reading.
	RETURN unidesk._lossy_text(joined);
END
$$;
COMMENT ON FUNCTION unidesk.task_log_text(bigint) IS
	'The log of a task as text for reading. Lossy: bytes that are not valid UTF-8, and NUL, appear as U+FFFD; task_log has the exact bytes.';
