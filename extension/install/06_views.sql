-- Views for people.  security_invoker: the caller's policies decide.

CREATE VIEW unidesk.projects WITH (security_invoker) AS
	SELECT p.id, p.name, a.role_name AS created_by, p.created_at
	FROM unidesk_data.project p JOIN unidesk_data.account a ON a.id = p.created_by;
COMMENT ON VIEW unidesk.projects IS 'Your projects; all of them for administrators.';

CREATE VIEW unidesk.members WITH (security_invoker) AS
	SELECT p.name AS project, a.role_name AS "user", m.role, m.since
	FROM unidesk_data.member m JOIN unidesk_data.project p ON p.id = m.project_id
	JOIN unidesk_data.account a ON a.id = m.account_id;
COMMENT ON VIEW unidesk.members IS 'Members of your projects.';

CREATE VIEW unidesk.nodes WITH (security_invoker) AS
	SELECT n.id, n.name, unidesk._node_status_name(n.status) AS status, n.status_since,
		unidesk._scheduling_name(n.scheduling) AS scheduling,
		greatest(unidesk._last_seen(n.id), l.last_seen) AS last_seen,
		n.session IS NOT NULL AS connected, n.session, n.bridge_id,
		round(u.cpus_milli / 1000.0, 3) AS cpus, round(u.used_cpus_milli / 1000.0, 3) AS cpus_used,
		u.memory, u.used_memory AS memory_used, u.gpus, u.used_gpus AS gpus_used,
		string_to_array(nullif(n.labels, ''), E'\n') AS labels,
		n.facts ->> 'agent_version' AS agent_version, n.facts ->> 'engine_version' AS engine_version,
		n.facts ->> 'os' AS os, n.facts, n.created_at,
		n.scheduling_since, a.role_name AS scheduling_by, n.scheduling_reason, n.drain_deadline, n.refused,
		d.until AS downtime_until, d.reason AS downtime_reason, d.confirmed AS downtime_confirmed,
		o.image AS update_image, o.ordered_at AS update_since, b.role_name AS update_by,
		CASE WHEN o.node_id IS NOT NULL THEN coalesce(o.outcome, 'pending') END AS update_outcome, o.message AS update_message, n.engine_down_since
	FROM unidesk_data.node n
	LEFT JOIN unidesk_data.node_use u ON u.node_id = n.id
	LEFT JOIN unidesk_data.node_live l ON l.node_id = n.id
	LEFT JOIN unidesk_data.account a ON a.id = n.scheduling_by
	LEFT JOIN unidesk_data.downtime d ON d.node_id = n.id AND d.ended_at IS NULL
	LEFT JOIN unidesk_data.agent_update o ON o.node_id = n.id
	LEFT JOIN unidesk_data.account b ON b.id = o.ordered_by;
COMMENT ON VIEW unidesk.nodes IS
	'Nodes: status (registered, online, offline, invalid, retired), whether they take work (scheduling: open, cordoned, draining, drained; since when, by whom, why), last contact, why the last one was refused, what they have and how much of it is allocated. downtime: announced, and whether the node knows of it. update: the last order to replace its agent (pending, applied, failed, refused, withdrawn), and why. engine_down_since: its Docker Engine does not answer, and nothing new is placed there.';

CREATE FUNCTION unidesk_data._stages(stage_ms integer[]) RETURNS jsonb
	LANGUAGE sql IMMUTABLE PARALLEL SAFE
	RETURN jsonb_strip_nulls(jsonb_build_object('fetch', stage_ms[1], 'build', stage_ms[2], 'stage_in', stage_ms[3], 'run', stage_ms[4]));
COMMENT ON FUNCTION unidesk_data._stages(integer[]) IS 'Milliseconds of each stage by name.';

CREATE FUNCTION unidesk_data._image_text(image_id bytea) RETURNS text
	LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
	RETURN 'sha256:' || encode(image_id, 'hex');
COMMENT ON FUNCTION unidesk_data._image_text(bytea) IS 'An image id as Docker writes it.';

CREATE FUNCTION unidesk_data._engines_awaited(cpus_milli integer, memory bigint, gpus integer, labels text, only_node integer) RETURNS text
	LANGUAGE sql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
	AS $$
	SELECT format('waits for the Docker Engine of %s, which does not answer: nothing new is placed there until it does',
			string_agg(format('%s (since %s)', n.name, to_char(n.engine_down_since AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS"Z"')), ', ' ORDER BY n.id))
	FROM unidesk_data.node n JOIN unidesk_data.node_use u ON u.node_id = n.id
	WHERE n.session IS NOT NULL AND n.status = 2 AND n.scheduling = 1
		AND NOT EXISTS (SELECT FROM unidesk_data.downtime d WHERE d.node_id = n.id AND d.ended_at IS NULL)
		AND u.cpus_milli >= $1 AND u.memory >= $2 AND u.gpus >= $3
		AND string_to_array(n.labels, E'\n') @> string_to_array($4, E'\n') AND ($5 IS NULL OR n.id = $5)
	HAVING bool_and(n.engine_down_since IS NOT NULL)
	$$;
COMMENT ON FUNCTION unidesk_data._engines_awaited(integer, bigint, integer, text, integer) IS
	'For a queued task: in words, that every node that takes work and is large enough has an engine that is down; else NULL.';

CREATE VIEW unidesk.tasks WITH (security_invoker) AS
	SELECT t.id, p.name AS project, a.role_name AS owner,
		unidesk._task_state_name(coalesce(t.state, l.state)) AS state,
		CASE WHEN n.status = 3 AND l.state = 4 THEN 'unknown' ELSE unidesk._attempt_state_name(l.attempt_state) END AS attempt_state,
		unidesk._phase_name(CASE l.attempt_state WHEN 3 THEN l.phase END) AS phase,
		CASE WHEN CASE WHEN l.state = 3 AND (SELECT EXISTS (SELECT FROM unidesk_data.node x WHERE x.engine_down_since IS NOT NULL))
			THEN unidesk_data._engines_awaited(l.cpus_milli, l.memory, l.gpus, l.labels, l.checkpoint_node) END IS NOT NULL
			THEN 'node.engine_down' ELSE unidesk._reason_name(coalesce(l.reason, t.reason)) END AS reason,
		coalesce(l.attempt, t.attempts) AS attempts, n.name AS node, t.exit_code,
		l.priority, round(l.cpus_milli / 1000.0, 3) AS cpus, l.memory, l.gpus,
		s.code_repo_url, pg_catalog.encode(t.code_commit, 'hex') AS code_commit,
		s.env_repo_url, pg_catalog.encode(s.env_commit, 'hex') AS env_commit,
		s.dockerfile_path, s.command, s.environment,
		unidesk_data._image_text(t.image_id) AS image_id, t.created_at,
		coalesce(l.placed_at, t.placed_at) AS placed_at, coalesce(l.started_at, t.started_at) AS started_at, t.ended_at,
		unidesk_data._stages(t.stage_ms) AS stage_ms, t.log_end AS log_bytes,
		coalesce(t.message, CASE WHEN l.state = 3 AND (SELECT EXISTS (SELECT FROM unidesk_data.node x WHERE x.engine_down_since IS NOT NULL))
			THEN unidesk_data._engines_awaited(l.cpus_milli, l.memory, l.gpus, l.labels, l.checkpoint_node) END) AS message, l.not_before
	FROM unidesk_data.task t
	JOIN unidesk_data.spec s ON s.id = t.spec_id
	JOIN unidesk_data.project p ON p.id = t.project_id
	LEFT JOIN unidesk_data.account a ON a.id = t.owner_id
	LEFT JOIN unidesk_data.live l ON l.task_id = t.id
	LEFT JOIN unidesk_data.node n ON n.id = coalesce(l.node_id, t.node_id);
COMMENT ON VIEW unidesk.tasks IS
	'Tasks of your projects: what was asked, where they are, how they ended. state: held, blocked, queued, active, succeeded, failed, cancelled, skipped; attempt_state while active, "unknown" while the node is offline. stage_ms: milliseconds of fetch, build, stage_in, run. While every node that could take a queued task has an engine that is down, reason is node.engine_down, and message names them.';

CREATE VIEW unidesk.attempts WITH (security_invoker) AS
	SELECT x.task_id AS task, x.attempt, unidesk._attempt_state_name(x.state) AS state, unidesk._reason_name(x.reason) AS reason,
		n.name AS node, x.exit_code, x.placed_at, x.started_at, x.ended_at,
		unidesk_data._image_text(x.image_id) AS image_id, unidesk_data._stages(x.stage_ms) AS stage_ms,
		x.log_end AS log_bytes, x.message, lpad(to_hex(x.incarnation), 16, '0') AS incarnation
	FROM (
		SELECT task_id, attempt, state, reason, node_id, exit_code, placed_at, started_at, ended_at, image_id, stage_ms, log_end, message, incarnation
		FROM unidesk_data.attempt
		UNION ALL
		SELECT task_id, attempt, attempt_state, coalesce(want_reason, 0::smallint), node_id, NULL, placed_at, started_at, NULL, NULL, NULL, NULL, NULL, incarnation
		FROM unidesk_data.live WHERE state = 4
		UNION ALL
		SELECT id, attempts, 7::smallint, 0::smallint, node_id, exit_code, placed_at, started_at, ended_at, image_id, stage_ms, log_end, message, incarnation
		FROM unidesk_data.task WHERE state = 5
	) x LEFT JOIN unidesk_data.node n ON n.id = x.node_id;
COMMENT ON VIEW unidesk.attempts IS 'Attempts: each try of a task on a node, live and ended.';

CREATE VIEW unidesk.task_events WITH (security_invoker) AS
	SELECT e.task_id AS task, e.seq, e.at, e.attempt,
		unidesk._task_state_name(e.task_state) AS task_state, unidesk._attempt_state_name(e.attempt_state) AS attempt_state,
		unidesk._steps(e.steps) AS steps,
		unidesk._reason_name(e.reason) AS reason,
		CASE e.actor_kind WHEN 0 THEN 'scheduler' WHEN 1 THEN 'user ' || a.role_name WHEN 2 THEN 'node ' || n.name END AS actor, e.data
	FROM unidesk_data.task_event e
	LEFT JOIN unidesk_data.account a ON e.actor_kind = 1 AND a.id = e.actor_id
	LEFT JOIN unidesk_data.node n ON e.actor_kind = 2 AND n.id = e.actor_id;
COMMENT ON VIEW unidesk.task_events IS 'What happened to tasks, in order of seq. steps: the attempt states passed in one report. data: the node of a placement; of an attempt after which the task is queued again, JSON with the time before which it is not placed (not_before) and the failures so far.';

CREATE VIEW unidesk.node_events WITH (security_invoker) AS
	SELECT n.name AS node, e.at, e.what,
		CASE e.actor_kind WHEN 0 THEN 'scheduler' WHEN 1 THEN 'user ' || a.role_name ELSE 'node ' || n.name END AS actor, e.data
	FROM unidesk_data.node_event e JOIN unidesk_data.node n ON n.id = e.node_id
	LEFT JOIN unidesk_data.account a ON e.actor_kind = 1 AND a.id = e.actor_id;
COMMENT ON VIEW unidesk.node_events IS 'What happened to nodes.';
