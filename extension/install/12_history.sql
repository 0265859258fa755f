-- Invariants over history, and the function that asks all of them.  Each
-- takes the first task to look at; what was dropped with its partition is not
-- missed.

CREATE FUNCTION unidesk_data._is_note(data text) RETURNS boolean
	LANGUAGE sql IMMUTABLE PARALLEL SAFE RETURN coalesce(data ~ '^(late|skipped|left): ', false);
COMMENT ON FUNCTION unidesk_data._is_note(text) IS 'By an event''s data: does it move nothing, but only tell of something? No node, whose name other events carry there, is called so.';

CREATE FUNCTION unidesk_data._first_task_since(since timestamptz) RETURNS bigint
	LANGUAGE plpgsql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	low bigint := coalesce((SELECT min(id) FROM unidesk_data.task), 0);
	high bigint := coalesce((SELECT max(id) FROM unidesk_data.task), -1) + 1;
	middle bigint;
	found_task record;
BEGIN
	-- Ids and times of submission ascend together, and only ids are indexed.
	WHILE low < high LOOP
		middle := low + (high - low) / 2;
		SELECT t.id, t.created_at INTO found_task FROM unidesk_data.task t WHERE t.id >= middle ORDER BY t.id LIMIT 1;
		IF found_task.created_at >= since THEN
			high := middle;
		ELSE
			low := found_task.id + 1;
		END IF;
	END LOOP;
	RETURN low;
END
$$;
COMMENT ON FUNCTION unidesk_data._first_task_since(timestamptz) IS 'The lowest id of the tasks submitted since a time, by a search of about twenty steps.';

CREATE FUNCTION unidesk_data._first_kept_task(parent text) RETURNS bigint
	LANGUAGE sql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
	-- An hour later: around the border ids and times may cross.
	SELECT coalesce(unidesk_data._first_task_since(min(rpad(substring(c.relname FROM '_([0-9]{6,8})$'), 8, '01'))::date::timestamp AT TIME ZONE 'UTC'
		+ interval '1 hour'), 0)
	FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
	WHERE i.inhparent = format('unidesk_data.%I', parent)::regclass
$$;
COMMENT ON FUNCTION unidesk_data._first_kept_task(text) IS 'The first task all of whose rows in a table with partitions by day or month are still there.';

-- ---- tasks and attempts ----

CREATE FUNCTION unidesk_data._history_live_or_ended(first_task bigint, OUT task bigint, OUT attempt integer, OUT node text, OUT detail text)
	RETURNS SETOF record LANGUAGE sql STABLE PARALLEL SAFE
BEGIN ATOMIC
	SELECT t.id, t.attempts, NULL::text, 'it is neither live nor ended'
	FROM unidesk_data.task t
	WHERE t.id >= first_task AND t.state IS NULL AND NOT EXISTS (SELECT FROM unidesk_data.live l WHERE l.task_id = t.id);
END;
COMMENT ON FUNCTION unidesk_data._history_live_or_ended(bigint) IS 'A task that was submitted is live or has ended: none is forgotten.';

CREATE FUNCTION unidesk_data._history_task_columns(first_task bigint, OUT task bigint, OUT attempt integer, OUT node text, OUT detail text)
	RETURNS SETOF record LANGUAGE sql STABLE PARALLEL SAFE
BEGIN ATOMIC
	SELECT t.id, t.attempts, unidesk_data._node_name(t.node_id), w.wrong
	FROM unidesk_data.task t CROSS JOIN LATERAL (SELECT concat_ws('; ',
		CASE WHEN t.state NOT BETWEEN 5 AND 8 THEN 'its state is not one of an ended task' END,
		CASE WHEN t.state IS NULL AND (t.attempts <> 0 OR t.reason <> 0 OR num_nonnulls(t.node_id, t.exit_code, t.incarnation, t.placed_at, t.started_at,
			t.image_id, t.stage_ms, t.log_end, t.message) > 0) THEN 'it has not ended, but has something of an end' END,
		CASE WHEN t.state = 5 AND (t.exit_code IS DISTINCT FROM 0 OR t.reason <> 0 OR t.attempts < 1
			OR num_nulls(t.node_id, t.incarnation, t.placed_at, t.started_at) > 0) THEN 'it succeeded without an attempt that exited with 0' END,
		CASE WHEN t.state > 5 AND t.reason = 0 THEN 'it has no reason' END,
		CASE WHEN t.attempts = 0 AND num_nonnulls(t.node_id, t.exit_code, t.incarnation, t.placed_at, t.started_at) > 0
			THEN 'it has no attempt, but something of one' END
	) AS wrong) w
	WHERE t.id >= first_task AND w.wrong <> '';
END;
COMMENT ON FUNCTION unidesk_data._history_task_columns(bigint) IS 'A task''s row says how it ended if and only if it has: a success with an attempt and exit code 0, anything else with a reason.';

CREATE FUNCTION unidesk_data._history_attempts(first_task bigint, OUT task bigint, OUT attempt integer, OUT node text, OUT detail text)
	RETURNS SETOF record LANGUAGE sql STABLE PARALLEL SAFE
BEGIN ATOMIC
	SELECT t.id, x.wanted, NULL::text,
		format('%s attempts ended without ending it well, numbered from %s to %s; there should be %s', coalesce(a.rows, 0), a.lowest, a.highest, x.wanted)
	FROM unidesk_data.task t
	LEFT JOIN unidesk_data.live l ON l.task_id = t.id
	LEFT JOIN (SELECT h.task_id, count(*) AS rows, count(DISTINCT h.attempt) AS numbers, min(h.attempt) AS lowest, max(h.attempt) AS highest
		FROM unidesk_data.attempt h
		WHERE h.task_id >= greatest(first_task, (SELECT unidesk_data._first_kept_task('attempt'))) GROUP BY h.task_id) a ON a.task_id = t.id
	CROSS JOIN LATERAL (SELECT CASE WHEN t.state IS NOT NULL THEN t.attempts - (t.state = 5)::integer
		ELSE coalesce(l.attempt - (l.state = 4)::integer, 0) END AS wanted) x
	WHERE t.id >= greatest(first_task, (SELECT unidesk_data._first_kept_task('attempt')))
		AND (coalesce(a.rows, 0) <> x.wanted OR a.numbers <> a.rows OR a.lowest <> 1 OR a.highest <> a.rows);
END;
COMMENT ON FUNCTION unidesk_data._history_attempts(bigint) IS
	'The attempts of a task are numbered 1, 2, … without gaps: those that ended in attempt, then the one that succeeded in task or the living one in live.';

CREATE FUNCTION unidesk_data._history_one_result(first_task bigint, OUT task bigint, OUT attempt integer, OUT node text, OUT detail text)
	RETURNS SETOF record LANGUAGE sql STABLE PARALLEL SAFE
BEGIN ATOMIC
	SELECT s.task_id, s.last_attempt, NULL::text,
		format('%s attempts succeeded; the task is %s with attempt %s', s.successes, coalesce(unidesk._task_state_name(t.state), 'not ended'), t.attempts)
	FROM (SELECT e.task_id, count(*) AS successes, max(e.attempt) AS last_attempt FROM unidesk_data.task_event e
		WHERE e.task_id >= first_task AND e.attempt_state = 7 AND NOT unidesk_data._is_note(e.data) GROUP BY e.task_id) s
	LEFT JOIN unidesk_data.task t ON t.id = s.task_id
	WHERE s.successes > 1 OR t.state IS DISTINCT FROM 5 OR t.attempts <> s.last_attempt
	UNION ALL
	SELECT a.task_id, a.attempt, unidesk_data._node_name(a.node_id), 'an attempt that succeeded stands among those that did not end their task well'
	FROM unidesk_data.attempt a WHERE a.task_id >= first_task AND a.state NOT BETWEEN 8 AND 13;
END;
COMMENT ON FUNCTION unidesk_data._history_one_result(bigint) IS 'A task has at most one result, and it is that of its last attempt.';

CREATE FUNCTION unidesk_data._history_references(first_task bigint, OUT task bigint, OUT attempt integer, OUT node text, OUT detail text)
	RETURNS SETOF record LANGUAGE sql STABLE PARALLEL SAFE
BEGIN ATOMIC
	SELECT t.id, t.attempts, unidesk_data._node_name(t.node_id), 'its spec, project, owner or node does not exist, or its spec is another project''s'
	FROM unidesk_data.task t
	LEFT JOIN unidesk_data.spec s ON s.id = t.spec_id AND s.project_id = t.project_id
	LEFT JOIN unidesk_data.project p ON p.id = t.project_id
	LEFT JOIN unidesk_data.account o ON o.id = t.owner_id
	LEFT JOIN unidesk_data.node n ON n.id = t.node_id
	WHERE t.id >= first_task AND (num_nulls(s.id, p.id, o.id) > 0 OR (t.node_id IS NOT NULL AND n.id IS NULL))
	UNION ALL
	SELECT a.task_id, a.attempt, unidesk_data._node_name(a.node_id), 'the node of an ended attempt does not exist'
	FROM unidesk_data.attempt a
	WHERE a.task_id >= first_task AND NOT EXISTS (SELECT FROM unidesk_data.node n WHERE n.id = a.node_id)
	UNION ALL
	SELECT x.task_id, NULL, NULL, format('%s names a task that does not exist', x.what)
	FROM (
		SELECT 'an attempt', a.task_id FROM unidesk_data.attempt a WHERE a.task_id >= first_task
		UNION SELECT 'an event', e.task_id FROM unidesk_data.task_event e WHERE e.task_id >= first_task AND e.seq = 1
		UNION SELECT 'an idempotency key', i.task_id FROM unidesk_data.idempotency i WHERE i.task_id >= first_task
	) AS x (what, task_id)
	WHERE NOT EXISTS (SELECT FROM unidesk_data.task t WHERE t.id = x.task_id);
END;
COMMENT ON FUNCTION unidesk_data._history_references(bigint) IS 'What rows refer to exists; these tables have no foreign keys, because each would cost every task.';

-- ---- events ----

CREATE FUNCTION unidesk_data._told(first_task bigint, OUT task_id bigint, OUT seq integer, OUT attempt integer, OUT task_state smallint,
	OUT attempt_state smallint, OUT reason smallint, OUT actor_kind smallint, OUT steps bytea, OUT previous_seq integer,
	OUT previous_task_state smallint, OUT previous_attempt_state smallint, OUT previous_attempt integer, OUT is_last boolean,
	OUT is_note boolean, OUT last_seq integer)
	RETURNS SETOF record LANGUAGE sql STABLE PARALLEL SAFE
BEGIN ATOMIC
	SELECT e.task_id, e.seq, e.attempt, e.task_state, e.attempt_state, e.reason, e.actor_kind, e.steps, lag(e.seq) OVER one,
		lag(e.task_state) OVER kind, lag(e.attempt_state) OVER kind, lag(e.attempt) OVER kind, lead(e.seq) OVER kind IS NULL AND NOT e.is_note,
		e.is_note, max(e.seq) OVER task
	FROM (SELECT x.*, unidesk_data._is_note(x.data) AS is_note FROM unidesk_data.task_event x
		WHERE x.task_id >= greatest(first_task, (SELECT unidesk_data._first_kept_task('task_event')))) e
	WINDOW task AS (PARTITION BY e.task_id), one AS (PARTITION BY e.task_id ORDER BY e.seq),
		kind AS (PARTITION BY e.task_id, e.is_note ORDER BY e.seq);
END;
COMMENT ON FUNCTION unidesk_data._told(bigint) IS
	'Events of the tasks whose events are all still there, each with the number before it, and with the move before it and whether it is the last one: notes move nothing.';

CREATE FUNCTION unidesk_data._history_event_sequence(first_task bigint, OUT task bigint, OUT attempt integer, OUT node text, OUT detail text)
	RETURNS SETOF record LANGUAGE sql STABLE PARALLEL SAFE
BEGIN ATOMIC
	SELECT e.task_id, e.attempt, NULL::text, format('event %s follows event %s', e.seq, coalesce(e.previous_seq, 0))
	FROM unidesk_data._told(first_task) e WHERE e.seq <> coalesce(e.previous_seq, 0) + 1;
END;
COMMENT ON FUNCTION unidesk_data._history_event_sequence(bigint) IS 'The events of a task are numbered 1, 2, … without gaps.';

CREATE FUNCTION unidesk_data._history_event_transition(first_task bigint, OUT task bigint, OUT attempt integer, OUT node text, OUT detail text)
	RETURNS SETOF record LANGUAGE sql STABLE PARALLEL SAFE
BEGIN ATOMIC
	SELECT e.task_id, e.attempt, NULL::text, format('event %s leads from %s, attempt %s %s, to %s, attempt %s %s', e.seq,
		coalesce(unidesk._task_state_name(e.previous_task_state), 'nothing'), coalesce(e.previous_attempt, 0), unidesk._attempt_state_name(e.previous_attempt_state),
		unidesk._task_state_name(e.task_state), e.attempt, unidesk._attempt_state_name(e.attempt_state))
	FROM unidesk_data._told(first_task) e
	-- Who may have made the move: a node's report may also make the worker decide.
	CROSS JOIN LATERAL (SELECT CASE e.actor_kind WHEN 0 THEN 2 WHEN 1 THEN 4 ELSE 3 END::smallint AS by_whom) b
	WHERE NOT e.is_note AND NOT CASE
		WHEN e.previous_task_state IS NULL THEN e.task_state IN (1, 2, 3) AND e.attempt_state IS NULL AND e.attempt = 0
		-- Within an attempt: progress, or a stop asked for once more.
		WHEN e.previous_task_state = 4 AND e.task_state = 4 THEN e.attempt = e.previous_attempt
			AND ((e.attempt_state = 6 AND e.previous_attempt_state = 6)
				OR coalesce(unidesk._attempt_walk_allowed(e.previous_attempt_state, coalesce(e.steps, ''), e.attempt_state, b.by_whom), false))
		-- The task waits no longer for the node with its checkpoint, or for anything of its past.
		WHEN e.previous_task_state = 3 AND e.task_state = 3 THEN e.attempt = e.previous_attempt AND e.attempt_state IS NULL AND (e.reason = 524 OR b.by_whom = 4)
		ELSE EXISTS (SELECT FROM unidesk._transitions() m WHERE m.machine = 'task' AND m.from_state = unidesk._task_state_name(e.previous_task_state)
				AND m.to_state = unidesk._task_state_name(e.task_state)
				AND ((m.by_agent AND b.by_whom & 1 > 0) OR (m.by_worker AND b.by_whom & 2 > 0) OR (m.by_person AND b.by_whom & 4 > 0)))
			AND CASE
				WHEN e.task_state = 4 THEN e.attempt = e.previous_attempt + 1 AND e.attempt_state = 1
				WHEN e.previous_task_state = 4 THEN e.attempt = e.previous_attempt AND e.attempt_state >= 7
					AND coalesce(unidesk._attempt_walk_allowed(e.previous_attempt_state, coalesce(e.steps, ''), e.attempt_state, b.by_whom), false)
				ELSE e.attempt = e.previous_attempt AND e.attempt_state IS NULL END
		END;
END;
COMMENT ON FUNCTION unidesk_data._history_event_transition(bigint) IS
	'Every event is a move that unidesk.transition has, by whom it allows, for the task and step by step for its attempt; nothing leaves a terminal state.';

CREATE FUNCTION unidesk_data._history_event_end(first_task bigint, OUT task bigint, OUT attempt integer, OUT node text, OUT detail text)
	RETURNS SETOF record LANGUAGE sql STABLE PARALLEL SAFE
BEGIN ATOMIC
	SELECT e.task_id, max(e.attempt), NULL::text, format('%s events end the task, %s of them its last', count(*), count(*) FILTER (WHERE e.is_last))
	FROM unidesk_data._told(first_task) e WHERE e.task_state >= 5 AND NOT e.is_note
	GROUP BY e.task_id HAVING count(*) > 1 OR NOT bool_or(e.is_last);
END;
COMMENT ON FUNCTION unidesk_data._history_event_end(bigint) IS 'A task ends once, and that is its last event but for notes of late reports.';

CREATE FUNCTION unidesk_data._history_event_replay(first_task bigint, OUT task bigint, OUT attempt integer, OUT node text, OUT detail text)
	RETURNS SETOF record LANGUAGE sql STABLE PARALLEL SAFE
BEGIN ATOMIC
	SELECT t.id, x.attempt, NULL::text, format('its row says %s %s, its last event %s %s', unidesk._task_state_name(x.state),
		unidesk._attempt_state_name(x.attempt_state), coalesce(unidesk._task_state_name(e.task_state), 'nothing'), unidesk._attempt_state_name(e.attempt_state))
	FROM unidesk_data.task t
	LEFT JOIN unidesk_data.live l ON l.task_id = t.id
	LEFT JOIN unidesk_data._told(first_task) e ON e.task_id = t.id AND e.is_last
	CROSS JOIN LATERAL (SELECT coalesce(t.state, l.state) AS state, coalesce(l.attempt, t.attempts) AS attempt, l.attempt_state) x
	WHERE t.id >= greatest(first_task, (SELECT unidesk_data._first_kept_task('task_event'))) AND x.state IS NOT NULL
		AND (e.task_id IS NULL OR e.task_state <> x.state OR e.attempt <> x.attempt OR e.last_seq <> l.seq
			OR (x.state <> 4 AND e.reason <> coalesce(l.reason, t.reason))
			-- Steps up to preparing are told by the event that follows them.
			OR (x.state = 4 AND e.attempt_state <> CASE WHEN x.attempt_state <= 3 THEN 1 ELSE x.attempt_state END));
END;
COMMENT ON FUNCTION unidesk_data._history_event_replay(bigint) IS
	'A task''s last event says what its row says: state, attempt, reason. Only how far the preparation is stands in the row alone.';

CREATE FUNCTION unidesk_data._history_event_attempt(first_task bigint, OUT task bigint, OUT attempt integer, OUT node text, OUT detail text)
	RETURNS SETOF record LANGUAGE sql STABLE PARALLEL SAFE
BEGIN ATOMIC
	SELECT coalesce(e.task_id, a.task_id), coalesce(e.attempt, a.attempt), unidesk_data._node_name(a.node_id),
		format('attempt ended as %s, its event says %s', coalesce(unidesk._attempt_state_name(a.state), 'nothing'),
			coalesce(unidesk._attempt_state_name(e.attempt_state), 'nothing'))
	FROM (SELECT x.task_id, x.attempt, x.attempt_state, x.reason FROM unidesk_data.task_event x
		WHERE x.task_id >= greatest(first_task, (SELECT unidesk_data._first_kept_task('task_event'))) AND x.attempt_state >= 8
			AND NOT unidesk_data._is_note(x.data)) e
	FULL JOIN (SELECT h.task_id, h.attempt, h.state, h.reason, h.node_id FROM unidesk_data.attempt h
		WHERE h.task_id >= greatest(first_task, (SELECT unidesk_data._first_kept_task('task_event')))) a
		ON a.task_id = e.task_id AND a.attempt = e.attempt
	WHERE a.state IS DISTINCT FROM e.attempt_state OR a.reason IS DISTINCT FROM e.reason;
END;
COMMENT ON FUNCTION unidesk_data._history_event_attempt(bigint) IS 'Each attempt that ended was told by an event with its end and reason, and none else.';

-- ---- logs ----

-- Pieces by their length alone: blocks are not decompressed, and a chunk that
-- a block covers already does not count.
CREATE FUNCTION unidesk_data._logged(first_task bigint, OUT task_id bigint, OUT attempt integer, OUT "offset" bigint, OUT length bigint)
	RETURNS SETOF record LANGUAGE sql STABLE PARALLEL SAFE
BEGIN ATOMIC
	SELECT b.task_id, b.attempt, b."offset", b.length FROM unidesk_data.log_block b WHERE b.task_id >= first_task
	UNION ALL
	SELECT c.task_id, c.attempt, c."offset", octet_length(c.bytes) FROM unidesk_data.log_chunk c
	LEFT JOIN (SELECT m.task_id, m.attempt, max(m."offset" + m.length) AS covered FROM unidesk_data.log_block m
		WHERE m.task_id >= first_task GROUP BY m.task_id, m.attempt) b ON b.task_id = c.task_id AND b.attempt = c.attempt
	WHERE c.task_id >= first_task AND c."offset" >= coalesce(b.covered, 0);
END;
COMMENT ON FUNCTION unidesk_data._logged(bigint) IS 'Stored pieces of logs: where each begins and how long it is.';

CREATE FUNCTION unidesk_data._history_log(first_task bigint, OUT task bigint, OUT attempt integer, OUT node text, OUT detail text)
	RETURNS SETOF record LANGUAGE sql STABLE PARALLEL SAFE
BEGIN ATOMIC
	SELECT c.task_id, c.attempt, NULL::text, format('bytes from %s on follow byte %s', c."offset", coalesce(c.previous_end, 0))
	FROM (SELECT p.task_id, p.attempt, p."offset", lag(p."offset" + p.length) OVER (PARTITION BY p.task_id, p.attempt ORDER BY p."offset") AS previous_end
		FROM unidesk_data._logged(first_task) p) c
	JOIN unidesk_data.task t ON t.id = c.task_id
	LEFT JOIN unidesk_data.retention r ON r.project_id = t.project_id
	WHERE c."offset" <> coalesce(c.previous_end, 0)
		-- The beginning of an old log may have been removed.
		AND (c.previous_end IS NOT NULL OR (r.removed_before IS NULL AND unidesk._now() - t.created_at
			< make_interval(days => least(coalesce(r.keep_days, current_setting('unidesk.log_keep')::integer), current_setting('unidesk.log_keep')::integer))));
END;
COMMENT ON FUNCTION unidesk_data._history_log(bigint) IS 'The log of an attempt has no gap and no byte twice; only its beginning may have been removed, when it was old.';

CREATE FUNCTION unidesk_data._history_log_end(first_task bigint, OUT task bigint, OUT attempt integer, OUT node text, OUT detail text)
	RETURNS SETOF record LANGUAGE sql STABLE PARALLEL SAFE
BEGIN ATOMIC
	SELECT c.task_id, c.attempt, NULL::text, CASE WHEN x.known THEN format('its log ended with %s bytes, %s are stored', x.log_end, c.stored)
		ELSE 'no such attempt was made' END
	FROM (SELECT p.task_id, p.attempt, max(p."offset" + p.length) AS stored FROM unidesk_data._logged(first_task) p GROUP BY p.task_id, p.attempt) c
	LEFT JOIN unidesk_data.task t ON t.id = c.task_id
	LEFT JOIN unidesk_data.live l ON l.task_id = c.task_id
	LEFT JOIN unidesk_data.attempt a ON a.task_id = c.task_id AND a.attempt = c.attempt
	CROSS JOIN LATERAL (SELECT coalesce(a.log_end, CASE WHEN t.attempts = c.attempt THEN t.log_end END) AS log_end,
		coalesce(c.attempt BETWEEN 1 AND coalesce(l.attempt, t.attempts), false) AS known) x
	WHERE NOT x.known OR c.stored > x.log_end;
END;
COMMENT ON FUNCTION unidesk_data._history_log_end(bigint) IS 'A log is that of an attempt, and no longer than its node said.';

-- ---- asking ----

CREATE VIEW unidesk.invariants WITH (security_invoker) AS
	SELECT substring(x.name FROM '(?:^invariant_|^settles_|^_history_)(.*)$') AS code,
		CASE left(x.name, 1) WHEN 'i' THEN 'rows' WHEN 's' THEN 'settled rows' ELSE 'history' END AS checks, x.rule,
		format('unidesk_data.%I%s', x.name, CASE left(x.name, 1) WHEN '_' THEN '($1)' END) AS source
	FROM (
		SELECT c.relname::text, obj_description(c.oid, 'pg_class') FROM pg_class c
		WHERE c.relnamespace = 'unidesk_data'::regnamespace AND c.relkind = 'v' AND c.relname ~ '^(invariant|settles)_'
		UNION ALL
		SELECT p.proname::text, obj_description(p.oid, 'pg_proc') FROM pg_proc p
		WHERE p.pronamespace = 'unidesk_data'::regnamespace AND p.proname ~ '^_history_'
	) AS x (name, rule);
COMMENT ON VIEW unidesk.invariants IS
	'What unidesk.check_invariants checks. checks: rows (in one snapshot), settled rows (once the worker has caught up), history (of tasks since a time). source: the view or function that finds violations.';

CREATE FUNCTION unidesk.check_invariants(since interval DEFAULT NULL)
	RETURNS TABLE (code text, task bigint, attempt integer, node text, detail text)
	-- Compiling so many expressions takes longer than they do.
	LANGUAGE plpgsql VOLATILE SECURITY DEFINER PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp SET jit = off AS $$
DECLARE
	each text := 'SELECT %L AS code, v.task, v.attempt, v.node, v.detail FROM %s v';
	rows_and_history text;
	settled text;
	first_task bigint := 0;
	behind jsonb;
BEGIN
	PERFORM unidesk._require_admin('check invariants');
	IF since < interval '0' THEN
		RAISE EXCEPTION 'since is negative: %', since
			USING ERRCODE = 'invalid_parameter_value', HINT = 'Give how far to look back, for example ''1 day'', or NULL for everything.';
	END IF;
	IF current_setting('transaction_isolation') <> 'read committed' THEN
		RAISE EXCEPTION 'a transaction above READ COMMITTED cannot see the worker catch up'
			USING ERRCODE = 'object_not_in_prerequisite_state', HINT = 'Check in a transaction with isolation level READ COMMITTED.';
	END IF;
	IF since < interval '1000 years' THEN
		first_task := unidesk_data._first_task_since(unidesk._now() - since);
	END IF;
	SELECT string_agg(format(each, i.code, i.source), ' UNION ALL ' ORDER BY i.code) FILTER (WHERE i.checks <> 'settled rows'),
		string_agg(format(each, i.code, i.source), ' UNION ALL ' ORDER BY i.code) FILTER (WHERE i.checks = 'settled rows')
		INTO rows_and_history, settled FROM unidesk.invariants i;
	-- What the worker has not written yet is found once, but not again and
	-- again.  First, while this holds no lock that could keep it from that.
	EXECUTE format('SELECT jsonb_agg(to_jsonb(s)) FROM (%s) s', settled) INTO behind;
	FOR look IN 1..4 LOOP
		EXIT WHEN behind IS NULL;
		PERFORM unidesk._wait_passes(2, 1000);
		EXECUTE format('SELECT jsonb_agg(x) FROM (SELECT to_jsonb(s) FROM (%s) s INTERSECT SELECT jsonb_array_elements($1)) AS y (x)', settled)
			INTO behind USING behind;
	END LOOP;
	RETURN QUERY SELECT b.code, b.task, b.attempt, b.node, b.detail
		FROM jsonb_to_recordset(behind) AS b (code text, task bigint, attempt integer, node text, detail text);
	-- One statement, so one snapshot.
	RETURN QUERY EXECUTE rows_and_history USING first_task;
END
$$;
COMMENT ON FUNCTION unidesk.check_invariants(interval) IS
	'Look for what must not be: a row for each violation of unidesk.invariants, none when all is well. What is live is checked whole, history of the tasks submitted within since (NULL: of all). Reads only and locks nothing. Administrators only.';
