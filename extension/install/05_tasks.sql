-- What people do with tasks.

CREATE FUNCTION unidesk.submit_task(
	project text, code_repo_url text, code_commit_id text, env_repo_url text, env_commit_id text,
	dockerfile_path text, command text[],
	cpus numeric DEFAULT 1, memory bigint DEFAULT 1073741824, gpus integer DEFAULT 0,
	labels jsonb DEFAULT NULL, environment jsonb DEFAULT NULL, priority integer DEFAULT 0,
	queue_timeout interval DEFAULT NULL, prepare_timeout interval DEFAULT NULL, run_timeout interval DEFAULT NULL,
	max_retries integer DEFAULT 0, idempotency_key text DEFAULT NULL, on_lost text DEFAULT 'requeue',
	lease interval DEFAULT NULL, grace interval DEFAULT NULL, hold boolean DEFAULT false,
	not_before timestamptz DEFAULT NULL, retry_on integer[] DEFAULT NULL, total_timeout interval DEFAULT NULL,
	idle_timeout interval DEFAULT NULL, warn_before interval DEFAULT NULL, warn_signal text DEFAULT NULL,
	restart_exit_code integer DEFAULT NULL) RETURNS bigint
	LANGUAGE C VOLATILE SECURITY DEFINER PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
	AS 'MODULE_PATHNAME', 'unidesk_submit_task';
COMMENT ON FUNCTION unidesk.submit_task(text, text, text, text, text, text, text[], numeric, bigint, integer, jsonb, jsonb, integer,
	interval, interval, interval, integer, text, text, interval, interval, boolean, timestamptz, integer[], interval, interval, interval, text, integer) IS
	'Submit a task and return its id. It runs command (empty: the image''s own) with the code repository at its commit in /workspace, in an image built from dockerfile_path of the environment repository at its commit; commits are full hashes. cpus (CPUs), memory (bytes), gpus: what it gets. labels: what the node must have. environment: variables. priority: -1000 to 1000, more is sooner. queue_timeout, prepare_timeout, run_timeout: limits. max_retries: tries after failures of its own; those of infrastructure do not count. idempotency_key: the same key in a project gives the same task. on_lost: requeue, wait or fail when its node is lost; lease: how long a silent node keeps it (0: replaced at once). grace: TERM to KILL. hold: wait for a release. not_before: earliest start. retry_on: exit codes that max_retries applies to (NULL: any failure). total_timeout: from now to the end, over all attempts and waits. idle_timeout: longest silence of its log while it runs. warn_before: warn_signal (USR1) is sent so long before the end of run_timeout. restart_exit_code: an attempt that exits with it has saved what it has in /checkpoint and is started again, on the same node, without using up a retry.';

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

CREATE FUNCTION unidesk_data._log_runs(runs integer[], OUT start integer, OUT length integer, OUT stream smallint) RETURNS SETOF record
	LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
BEGIN ATOMIC
	SELECT sum(run >> 2) OVER (ORDER BY n)::integer - (run >> 2), run >> 2, (run & 3)::smallint
	FROM unnest(runs) WITH ORDINALITY AS r (run, n);
END;
COMMENT ON FUNCTION unidesk_data._log_runs(integer[]) IS 'The stretches of one stream in a block of log: where each begins, its length, its stream.';

CREATE VIEW unidesk_data.log_piece WITH (security_invoker) AS
	-- The concatenation decompresses a block once and not for each run.
	SELECT b.task_id, b.attempt, b."offset" + r.start AS "offset", r.stream, r.length,
		substring(b.bytes FROM r.start + 1 FOR r.length) AS bytes,
		b."offset" AS stored_from, b."offset" + b.length AS stored_until
	FROM (SELECT task_id, attempt, "offset", length, runs, bytes || ''::bytea AS bytes FROM unidesk_data.log_block) b
	CROSS JOIN LATERAL unidesk_data._log_runs(b.runs) r
	UNION ALL
	SELECT c.task_id, c.attempt, c."offset", c.stream, octet_length(c.bytes), c.bytes,
		c."offset", c."offset" + octet_length(c.bytes)
	FROM unidesk_data.log_chunk c
	LEFT JOIN (SELECT task_id, attempt, max("offset" + length) AS covered FROM unidesk_data.log_block GROUP BY task_id, attempt) b
		ON b.task_id = c.task_id AND b.attempt = c.attempt
	WHERE c."offset" >= coalesce(b.covered, 0);
COMMENT ON VIEW unidesk_data.log_piece IS 'All stored bytes of logs, each once, whether they are in a block or still a chunk. stored_from, stored_until: the block or chunk, for reading a part without the rest.';

CREATE FUNCTION unidesk.task_log(task bigint)
	RETURNS TABLE (attempt integer, stream text, "offset" bigint, bytes bytea)
	LANGUAGE sql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
	WITH stored AS MATERIALIZED (
		SELECT p.attempt, p.stream, p."offset", p.bytes FROM unidesk_data.log_piece p WHERE p.task_id = task_log.task
	), gone AS (
		SELECT s.attempt, min(s."offset") AS bytes FROM stored s GROUP BY s.attempt HAVING min(s."offset") > 0
		UNION ALL
		SELECT a.attempt, a.log_bytes FROM unidesk.attempts a
		JOIN unidesk_data.task t ON t.id = a.task JOIN unidesk_data.retention r ON r.project_id = t.project_id
		WHERE a.task = task_log.task AND a.log_bytes > 0 AND a.ended_at <= r.removed_before
			AND NOT EXISTS (SELECT FROM stored s WHERE s.attempt = a.attempt)
	)
	SELECT g.attempt, 'marker', 0, convert_to(format(E'[unidesk: retention removed %s bytes of log here]\n', g.bytes), 'UTF8') FROM gone g
	UNION ALL
	SELECT s.attempt, unidesk._stream_name(s.stream), s."offset", s.bytes FROM stored s
	ORDER BY 1, 3
$$;
COMMENT ON FUNCTION unidesk.task_log(bigint) IS
	'The log of a task, exact bytes in order of arrival: attempt, stream (stdout, stderr, or marker where bytes were cut or removed), offset of the first byte within the attempt, bytes.';

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
