-- What people ask of tasks after submitting them.

CREATE FUNCTION unidesk.hold_task(task bigint) RETURNS text
	LANGUAGE C VOLATILE SECURITY DEFINER PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
	AS 'MODULE_PATHNAME', 'unidesk_hold_task';
COMMENT ON FUNCTION unidesk.hold_task(bigint) IS
	'Hold a task: it is not placed until release_task. One that runs gets TERM, the grace, KILL, and is held when its node confirms; this costs no retry. Returns the state it is in then; asking again changes nothing. Not for one that has ended, whose result is in, or that is being cancelled.';

CREATE FUNCTION unidesk.release_task(task bigint) RETURNS text
	LANGUAGE C VOLATILE SECURITY DEFINER PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
	AS 'MODULE_PATHNAME', 'unidesk_release_task';
COMMENT ON FUNCTION unidesk.release_task(bigint) IS
	'Let a held task go on, whoever held it: it is queued, and queue_timeout counts from now. Returns the state it is in then; one that is not held stays as it is. Not for one that has ended or is being cancelled.';

CREATE FUNCTION unidesk.requeue_task(task bigint) RETURNS text
	LANGUAGE C VOLATILE SECURITY DEFINER PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
	AS 'MODULE_PATHNAME', 'unidesk_requeue_task';
COMMENT ON FUNCTION unidesk.requeue_task(bigint) IS
	'Let a task begin anew: one that runs is stopped (TERM, grace, KILL) and queued when its node confirms, which costs no retry; for one that is queued nothing of the past counts any more: not_before, the node it was to avoid, its failures. Returns the state it is in then. Not for one that is held, has ended, whose result is in, or that is being cancelled.';

CREATE FUNCTION unidesk.cancel_tasks(project text DEFAULT NULL, state text DEFAULT NULL, owner text DEFAULT NULL,
	ids bigint[] DEFAULT NULL, node text DEFAULT NULL) RETURNS integer
	LANGUAGE C VOLATILE SECURITY DEFINER PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
	AS 'MODULE_PATHNAME', 'unidesk_cancel_tasks';
COMMENT ON FUNCTION unidesk.cancel_tasks(text, text, text, bigint[], text) IS
	'Cancel all tasks that a filter means, of those you may cancel: by project, state (held, blocked, queued, active), owner, ids, node; at least one is needed, all that are given have to fit. Returns how many this changed; what cannot be cancelled any more is left out.';

CREATE FUNCTION unidesk.hold_tasks(project text DEFAULT NULL, state text DEFAULT NULL, owner text DEFAULT NULL,
	ids bigint[] DEFAULT NULL, node text DEFAULT NULL) RETURNS integer
	LANGUAGE C VOLATILE SECURITY DEFINER PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
	AS 'MODULE_PATHNAME', 'unidesk_hold_tasks';
COMMENT ON FUNCTION unidesk.hold_tasks(text, text, text, bigint[], text) IS
	'Hold all tasks that a filter means, as cancel_tasks takes it. Returns how many this changed.';

CREATE FUNCTION unidesk.release_tasks(project text DEFAULT NULL, state text DEFAULT NULL, owner text DEFAULT NULL,
	ids bigint[] DEFAULT NULL, node text DEFAULT NULL) RETURNS integer
	LANGUAGE C VOLATILE SECURITY DEFINER PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
	AS 'MODULE_PATHNAME', 'unidesk_release_tasks';
COMMENT ON FUNCTION unidesk.release_tasks(text, text, text, bigint[], text) IS
	'Release all tasks that a filter means, as cancel_tasks takes it. Returns how many this changed.';

CREATE FUNCTION unidesk.requeue_tasks(project text DEFAULT NULL, state text DEFAULT NULL, owner text DEFAULT NULL,
	ids bigint[] DEFAULT NULL, node text DEFAULT NULL) RETURNS integer
	LANGUAGE C VOLATILE SECURITY DEFINER PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
	AS 'MODULE_PATHNAME', 'unidesk_requeue_tasks';
COMMENT ON FUNCTION unidesk.requeue_tasks(text, text, text, bigint[], text) IS
	'Requeue all tasks that a filter means, as cancel_tasks takes it. Returns how many this changed.';

CREATE FUNCTION unidesk.force_lost(task bigint) RETURNS text
	LANGUAGE C VOLATILE SECURITY DEFINER PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
	AS 'MODULE_PATHNAME', 'unidesk_force_lost';
COMMENT ON FUNCTION unidesk.force_lost(bigint) IS
	'Declare the attempt of a task lost without its node''s word: the task goes on by its on_lost, also one without a lease (wait); one that was being stopped ends as was asked. Until that node answers, or is known to be off, two may run; what the attempt had stays allocated until then. Returns the task''s state. Administrators only.';

CREATE FUNCTION unidesk.declare_node_lost(node text) RETURNS integer
	LANGUAGE C VOLATILE SECURITY DEFINER PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
	AS 'MODULE_PATHNAME', 'unidesk_declare_node_lost';
COMMENT ON FUNCTION unidesk.declare_node_lost(text) IS
	'Declare all attempts on an offline node lost, as force_lost does for one; node_events says by whom. Returns how many. Administrators only.';

CREATE FUNCTION unidesk.rerun_task(task bigint) RETURNS bigint
	LANGUAGE plpgsql VOLATILE SECURITY DEFINER PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	asked record;
BEGIN
	IF task IS NULL THEN
		RAISE EXCEPTION 'task is missing'
			USING ERRCODE = 'null_value_not_allowed', HINT = 'Give the id of a task that has ended.';
	END IF;
	SELECT t.state, p.name AS project, encode(t.code_commit, 'hex') AS code_commit, s.code_repo_url, s.env_repo_url,
			encode(s.env_commit, 'hex') AS env_commit, s.dockerfile_path, s.command, s.environment, m.request AS terms
		INTO asked
		FROM unidesk_data.task t JOIN unidesk_data.project p ON p.id = t.project_id JOIN unidesk_data.spec s ON s.id = t.spec_id
		LEFT JOIN unidesk_data.terms m ON m.id = t.terms_id
		WHERE t.id = rerun_task.task AND (unidesk.is_admin() OR t.project_id = ANY (unidesk.my_projects()));
	IF NOT FOUND THEN
		RAISE EXCEPTION 'task % does not exist', task
			USING ERRCODE = 'undefined_object', HINT = 'SELECT id FROM unidesk.tasks shows those of your projects.';
	END IF;
	IF asked.state IS NULL THEN
		RAISE EXCEPTION 'task % has not ended', task
			USING ERRCODE = 'object_not_in_prerequisite_state', HINT = format('SELECT unidesk.requeue_task(%s) lets it begin anew.', task);
	END IF;
	IF asked.terms IS NULL THEN
		RAISE EXCEPTION 'task % ended before version 0.2, which keeps what a task asks for', task
			USING ERRCODE = 'object_not_in_prerequisite_state', HINT = 'Submit it with unidesk.submit_task.';
	END IF;
	RETURN (SELECT n.id FROM unidesk.submit_tasks(jsonb_build_array(asked.terms || jsonb_build_object('project', asked.project,
		'code_repo_url', asked.code_repo_url, 'code_commit_id', asked.code_commit, 'env_repo_url', asked.env_repo_url,
		'env_commit_id', asked.env_commit, 'dockerfile_path', asked.dockerfile_path, 'command', to_jsonb(asked.command),
		'environment', asked.environment))) AS n (id));
END
$$;
COMMENT ON FUNCTION unidesk.rerun_task(bigint) IS
	'Submit the same request again: a new task of yours with everything that the ended one was submitted with, but for hold, not_before and idempotency_key; what was left to settings is as they are now. Returns its id.';

CREATE FUNCTION unidesk_data._history_terms(first_task bigint, OUT task bigint, OUT attempt integer, OUT node text, OUT detail text)
	RETURNS SETOF record LANGUAGE sql STABLE PARALLEL SAFE
BEGIN ATOMIC
	SELECT t.id, t.attempts, NULL::text, format('its terms %s do not exist', t.terms_id)
	FROM unidesk_data.task t
	WHERE t.id >= first_task AND t.terms_id IS NOT NULL AND NOT EXISTS (SELECT FROM unidesk_data.terms m WHERE m.id = t.terms_id);
END;
COMMENT ON FUNCTION unidesk_data._history_terms(bigint) IS 'On what terms a task was asked for is stored: it could not be run again otherwise.';
