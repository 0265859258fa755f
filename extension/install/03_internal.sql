-- Internal functions and views, used by C and by the views for people.

CREATE FUNCTION unidesk_data._random_incarnation() RETURNS bigint
	LANGUAGE sql VOLATILE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
	AS $$ SELECT ('x' || encode(substr(sha256(uuid_send(gen_random_uuid())), 1, 8), 'hex'))::bit(64)::bigint $$;
COMMENT ON FUNCTION unidesk_data._random_incarnation() IS 'A number for a new incarnation.';

CREATE FUNCTION unidesk_data._follow_timeline() RETURNS boolean
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	UPDATE unidesk_data.incarnation SET value = unidesk_data._random_incarnation(), since = now(), timeline = unidesk_data._timeline()
		WHERE timeline <> unidesk_data._timeline();
	IF NOT FOUND THEN
		RETURN false;
	END IF;
	-- Bridges register anew, so that every node hears of it in its welcome.
	UPDATE unidesk_data.bridge SET ended_at = now() WHERE ended_at IS NULL;
	RETURN true;
END
$$;
COMMENT ON FUNCTION unidesk_data._follow_timeline() IS
	'Begin a new incarnation if the server''s timeline is not the stored one: another server may go on with the old. The worker calls it first; true: it was renewed.';

INSERT INTO unidesk_data.incarnation (value) VALUES (unidesk_data._random_incarnation());

CREATE FUNCTION unidesk._task_state_name(state smallint) RETURNS text
	LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'unidesk_task_state_text';
CREATE FUNCTION unidesk._attempt_state_name(state smallint) RETURNS text
	LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'unidesk_attempt_state_text';
CREATE FUNCTION unidesk._node_status_name(status smallint) RETURNS text
	LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'unidesk_node_status_text';
CREATE FUNCTION unidesk._scheduling_name(scheduling smallint) RETURNS text
	LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'unidesk_scheduling_text';
CREATE FUNCTION unidesk._phase_name(phase smallint) RETURNS text
	LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'unidesk_phase_text';
CREATE FUNCTION unidesk._stream_name(stream smallint) RETURNS text
	LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'unidesk_stream_text';
CREATE FUNCTION unidesk._reason_name(reason smallint) RETURNS text
	LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'unidesk_reason_text';
COMMENT ON FUNCTION unidesk._task_state_name(smallint) IS 'Name of a task state that rows store as a number.';
COMMENT ON FUNCTION unidesk._attempt_state_name(smallint) IS 'Name of an attempt state that rows store as a number.';
COMMENT ON FUNCTION unidesk._node_status_name(smallint) IS 'Name of a node status that rows store as a number.';
COMMENT ON FUNCTION unidesk._scheduling_name(smallint) IS 'Name of a node''s scheduling that rows store as a number.';
COMMENT ON FUNCTION unidesk._phase_name(smallint) IS 'Name of a phase of preparing that rows store as a number.';
COMMENT ON FUNCTION unidesk._stream_name(smallint) IS 'Name of a log stream that rows store as a number.';
COMMENT ON FUNCTION unidesk._reason_name(smallint) IS 'Name of a reason that rows store as a number; NULL for none.';

CREATE FUNCTION unidesk._steps(steps bytea) RETURNS text[]
	LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'unidesk_steps';
COMMENT ON FUNCTION unidesk._steps(bytea) IS 'Names of the attempt states that an event stores a byte each.';

CREATE FUNCTION unidesk._transitions(OUT machine text, OUT from_state text, OUT to_state text,
	OUT by_agent boolean, OUT by_worker boolean, OUT by_person boolean) RETURNS SETOF record
	LANGUAGE C IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'unidesk_transitions';
COMMENT ON FUNCTION unidesk._transitions() IS 'The state machines, from the C tables that the one door follows.';

CREATE FUNCTION unidesk._attempt_walk(from_state text, to_state text, ran boolean, by_whom smallint) RETURNS text
	LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'unidesk_attempt_walk';
COMMENT ON FUNCTION unidesk._attempt_walk(text, text, boolean, smallint) IS
	'States that an attempt walks through between two; by_whom: 1 agent, 2 worker, 4 person. NULL: no such walk.';

CREATE FUNCTION unidesk._labels_canonical(labels jsonb) RETURNS text
	LANGUAGE C IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'unidesk_labels_text';
COMMENT ON FUNCTION unidesk._labels_canonical(jsonb) IS 'Labels as rows store them: sorted key=value lines. Raises for labels that cannot be used.';

CREATE FUNCTION unidesk._shown(given text) RETURNS text
	LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'unidesk_shown_text';
COMMENT ON FUNCTION unidesk._shown(text) IS 'What somebody gave as a name, for a message: without control characters, and cut.';

CREATE FUNCTION unidesk._last_seen(node integer) RETURNS timestamptz
	LANGUAGE C VOLATILE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'unidesk_last_seen';
COMMENT ON FUNCTION unidesk._last_seen(integer) IS 'Last beat of a node in shared memory; NULL when there was none since the server''s start.';

CREATE FUNCTION unidesk._wake() RETURNS void
	LANGUAGE C VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'unidesk_wake';
COMMENT ON FUNCTION unidesk._wake() IS 'Wake the background worker when this transaction commits.';

CREATE FUNCTION unidesk._rescan() RETURNS void
	LANGUAGE C VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'unidesk_rescan';
COMMENT ON FUNCTION unidesk._rescan() IS 'Rows were changed past the functions, for example by a restore: let the background worker read everything again.';

CREATE FUNCTION unidesk._memory_differences() RETURNS bigint
	LANGUAGE C VOLATILE PARALLEL SAFE AS 'MODULE_PATHNAME', 'unidesk_memory_differences';
COMMENT ON FUNCTION unidesk._memory_differences() IS 'Differences between the background worker''s memory and the rows that unidesk.verify_memory found since the server''s start; 0 is right.';

CREATE FUNCTION unidesk._tick(now timestamptz) RETURNS void
	LANGUAGE C VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'unidesk_tick';
COMMENT ON FUNCTION unidesk._tick(timestamptz) IS
	'Set the mock clock and let the background worker make a whole pass; NULL: the real clock. Needs unidesk.mock_clock; for tests.';

CREATE FUNCTION unidesk._create_login(name text, password text, admin boolean) RETURNS void
	LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'unidesk_create_login';
COMMENT ON FUNCTION unidesk._create_login(text, text, boolean) IS 'Make the database role of a person. Administrators only.';

CREATE FUNCTION unidesk._random_token(prefix text) RETURNS text
	LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'unidesk_random_token';
COMMENT ON FUNCTION unidesk._random_token(text) IS 'The prefix and 43 random characters (about 256 bits).';

-- Allocated on a node: what live attempts and held rows take.  An attempt in
-- finishing has no container any more.
CREATE VIEW unidesk_data.allocation AS
	SELECT l.node_id, l.incarnation, l.task_id, l.attempt, l.cpus_milli, l.memory, l.gpus, l.gpu_mask
	FROM unidesk_data.live l WHERE l.state = 4 AND l.attempt_state <> 5
	UNION ALL
	SELECT h.node_id, h.incarnation, h.task_id, h.attempt, h.cpus_milli, h.memory, h.gpus, h.gpu_mask
	FROM unidesk_data.held h;
COMMENT ON VIEW unidesk_data.allocation IS 'What each attempt takes on its node: live and held.';

CREATE VIEW unidesk_data.allocated AS
	SELECT node_id, sum(cpus_milli) AS cpus, sum(memory)::bigint AS memory, sum(gpus) AS gpus, bit_or(gpu_mask) AS mask
	FROM unidesk_data.allocation GROUP BY node_id;
COMMENT ON VIEW unidesk_data.allocated IS 'Sums of allocation by node.';

CREATE FUNCTION unidesk_data._grant_gpus(for_node integer, reported jsonb) RETURNS integer
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	gpu record;
BEGIN
	IF EXISTS (SELECT FROM jsonb_to_recordset(reported) AS r (uuid text) WHERE r.uuid !~ '^[A-Za-z0-9._:/-]{1,200}$') THEN
		RAISE EXCEPTION 'a GPU has no usable name' USING ERRCODE = 'data_exception';
	END IF;
	-- A GPU that is gone stays while an attempt holds it.
	DELETE FROM unidesk_data.gpu g WHERE g.node_id = for_node AND g.holder_task IS NULL
		AND NOT EXISTS (SELECT FROM jsonb_to_recordset(reported) AS r (uuid text) WHERE r.uuid = g.uuid);
	FOR gpu IN
		SELECT DISTINCT ON (r.uuid) r.uuid, r.memory, left(r.model, 200) AS model
		FROM jsonb_to_recordset(reported) AS r (uuid text, memory bigint, model text) WHERE r.uuid IS NOT NULL
	LOOP
		INSERT INTO unidesk_data.gpu (node_id, index, uuid, memory, model)
			SELECT for_node, min(i), gpu.uuid, gpu.memory, gpu.model FROM generate_series(0, 62) AS i
			WHERE NOT EXISTS (SELECT FROM unidesk_data.gpu g WHERE g.node_id = for_node AND g.index = i)
			HAVING min(i) IS NOT NULL
		ON CONFLICT (node_id, uuid) DO UPDATE SET memory = excluded.memory, model = excluded.model;
	END LOOP;
	RETURN (SELECT count(*) FROM unidesk_data.gpu g WHERE g.node_id = for_node);
END
$$;
COMMENT ON FUNCTION unidesk_data._grant_gpus(integer, jsonb) IS 'Store the GPUs that a hello brings, each keeping its index; returns how many there are.';

CREATE FUNCTION unidesk_data._grant_capacity(for_node integer, hello jsonb) RETURNS boolean
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	n unidesk_data.node;
	reported record;
	gpu_count integer;
	granted_gpus integer;
BEGIN
	SELECT * INTO STRICT n FROM unidesk_data.node WHERE id = for_node;
	SELECT least(greatest(coalesce((r ->> 'cpus_milli')::bigint, 0), 0), 100000000)::integer AS cpus,
		least(greatest(coalesce((r ->> 'memory')::bigint, 0), 0), 1::bigint << 50) AS memory,
		CASE jsonb_typeof(r -> 'gpus') WHEN 'array' THEN r -> 'gpus' ELSE '[]' END AS gpus,
		CASE jsonb_typeof(hello -> 'labels') WHEN 'object' THEN hello -> 'labels' ELSE '{}' END AS labels
		INTO reported FROM (SELECT hello -> 'resources') AS x (r);
	IF jsonb_array_length(reported.gpus) > 63 THEN
		RAISE EXCEPTION 'a node brings more than 63 GPUs' USING ERRCODE = 'data_exception';
	END IF;
	-- The worker locks in this order too.
	PERFORM FROM unidesk_data.node_use u WHERE u.node_id = for_node FOR NO KEY UPDATE;
	gpu_count := unidesk_data._grant_gpus(for_node, reported.gpus);
	granted_gpus := least(coalesce(n.declared_gpus, gpu_count), gpu_count);
	UPDATE unidesk_data.node
		SET labels = unidesk._labels_canonical(reported.labels || coalesce(n.declared_labels, '{}')) WHERE id = for_node;
	-- What is in use stays granted: the CHECKs hold also for a node that came back smaller.
	INSERT INTO unidesk_data.node_use AS u (node_id, cpus_milli, memory, gpus)
		VALUES (for_node, least(coalesce(n.declared_cpus_milli, reported.cpus), reported.cpus),
			least(coalesce(n.declared_memory, reported.memory), reported.memory), granted_gpus)
	ON CONFLICT (node_id) DO UPDATE SET cpus_milli = greatest(excluded.cpus_milli, u.used_cpus_milli),
		memory = greatest(excluded.memory, u.used_memory), gpus = greatest(excluded.gpus, u.used_gpus);
	RETURN coalesce(n.declared_cpus_milli, 0) <= reported.cpus AND coalesce(n.declared_memory, 0) <= reported.memory
		AND coalesce(n.declared_gpus, 0) <= gpu_count;
END
$$;
COMMENT ON FUNCTION unidesk_data._grant_capacity(integer, jsonb) IS 'Grant a node what its hello brings, at most what was declared; false when it brings less than was declared.';

CREATE FUNCTION unidesk._lossy_text(bytes bytea) RETURNS text
	LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'unidesk_lossy_text';
COMMENT ON FUNCTION unidesk._lossy_text(bytea) IS 'Bytes as text; what is not valid UTF-8, and NUL, becomes U+FFFD.';
