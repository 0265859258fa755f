-- Helpers of the tests: a bridge and agents, played by SQL.
\set VERBOSITY terse
CREATE SCHEMA test;
SELECT unidesk._tick('2030-01-01 00:00+00');

CREATE TABLE test.node (name text PRIMARY KEY, id int, token text, session bigint);
CREATE TABLE test.bridge (id int);
INSERT INTO test.bridge SELECT unidesk_bridge.register('test', 1);

-- One message from a node; what comes back, with names for numbers.
CREATE FUNCTION test.send(node_name text, type int, state int DEFAULT 0, task bigint DEFAULT 0, attempt int DEFAULT 1,
	value bigint DEFAULT 0, body text DEFAULT '', session bigint DEFAULT NULL, incarnation bigint DEFAULT NULL,
	OUT kind int, OUT reply int, OUT reply_state text, OUT reply_flags int, OUT reply_value bigint, OUT reply_body text)
	RETURNS SETOF record LANGUAGE sql AS $$
	SELECT m.kind, m.type, unidesk._attempt_state_name(m.state), m.flags, m.value,
		CASE WHEN m.type <> 129 THEN convert_from(m.body, 'UTF8') END
	FROM test.node n, unidesk_bridge.receive((SELECT id FROM test.bridge), ARRAY[n.id], ARRAY[n.id],
		ARRAY[CASE WHEN send.type = 1 THEN sha256(convert_to(n.token, 'UTF8')) END],
		ARRAY[CASE WHEN send.type = 1 THEN 0 ELSE coalesce(send.session, n.session) END], ARRAY[send.type::int2], ARRAY[send.state::int2], ARRAY[0::int2],
		ARRAY[coalesce(send.incarnation, (SELECT i.value FROM unidesk_data.incarnation i))], ARRAY[send.task], ARRAY[send.attempt],
		ARRAY[1::bigint], ARRAY[send.value], ARRAY[convert_to(send.body, 'UTF8')]) m
	WHERE n.name = send.node_name
$$;

-- Make a node and let it say hello; or let it come again.
CREATE FUNCTION test.hello(node_name text, cpus int DEFAULT 4, memory bigint DEFAULT 8589934592, gpus jsonb DEFAULT '[]',
	labels jsonb DEFAULT '{}', attempts jsonb DEFAULT '[]', machine text DEFAULT 'm1') RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	reply record;
	answer text := '';
BEGIN
	INSERT INTO test.node SELECT node_name, NULL, unidesk.create_node(node_name) WHERE node_name NOT IN (SELECT name FROM test.node);
	UPDATE test.node t SET id = n.id FROM unidesk.nodes n WHERE n.name = t.name AND t.name = node_name;
	FOR reply IN SELECT * FROM test.send(node_name, 1, body => jsonb_build_object('proto_min', 1, 'proto_max', 1,
		'boot_id', machine, 'engine_id', machine, 'labels', labels, 'attempts', attempts,
		'resources', jsonb_build_object('cpus_milli', cpus * 1000, 'memory', memory, 'gpus', gpus))::text)
	LOOP
		answer := answer || CASE reply.kind WHEN 1 THEN 'session ' WHEN 2 THEN format('close(%s: %s) ', reply.reply_value, reply.reply_body)
			WHEN 3 THEN 'busy ' ELSE CASE reply.reply WHEN 129 THEN 'welcome ' WHEN 130 THEN 'full ' WHEN 131 THEN 'desired ' ELSE reply.reply::text END END;
	END LOOP;
	UPDATE test.node t SET session = n.session FROM unidesk.nodes n WHERE n.name = t.name AND t.name = node_name AND n.connected;
	RETURN answer;
END
$$;

-- Busy is answered while the worker has the row: then it is offered again, as
-- the bridge does.
CREATE FUNCTION test.report(node_name text, task bigint, state text, body text DEFAULT '', attempt int DEFAULT 1) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	answer text;
BEGIN
	FOR i IN 1..100 LOOP
		SELECT string_agg(CASE kind WHEN 3 THEN 'busy' WHEN 2 THEN 'close' ELSE CASE reply WHEN 133 THEN 'ack ' || reply_state
			|| CASE reply_flags WHEN 1 THEN ' remove' WHEN 5 THEN ' remove' WHEN 2 THEN ' stale' ELSE '' END ELSE reply_body END END, ', ') INTO answer
		FROM test.send(node_name, 4, (SELECT s FROM generate_series(1, 13) s WHERE unidesk._attempt_state_name(s::int2) = report.state), report.task, report.attempt, body => report.body);
		EXIT WHEN answer IS DISTINCT FROM 'busy';
		PERFORM pg_sleep(0.01);
	END LOOP;
	RETURN answer;
END
$$;

CREATE FUNCTION test.log(node_name text, task bigint, "offset" bigint, bytes text, stream int DEFAULT 1, attempt int DEFAULT 1) RETURNS text LANGUAGE sql AS $$
	SELECT string_agg(CASE kind WHEN 3 THEN 'busy' WHEN 2 THEN 'close' ELSE CASE reply WHEN 134 THEN 'ack ' || reply_value
		|| CASE reply_flags WHEN 2 THEN ' stale' ELSE '' END ELSE reply_body END END, ', ')
	FROM test.send(node_name, 5, stream, task, attempt, "offset", bytes)
$$;

-- What the bridge would be told to send, newest orders only.
CREATE TABLE test.cursor (value bigint);
INSERT INTO test.cursor VALUES (0);
CREATE FUNCTION test.pull(OUT task bigint, OUT attempt int, OUT want int, OUT body jsonb) RETURNS SETOF record LANGUAGE sql AS $$
	WITH pulled AS MATERIALIZED (SELECT p.* FROM unidesk_bridge.pull((SELECT id FROM test.bridge), (SELECT c.value FROM test.cursor c), '{}', '{}') p),
	moved AS (UPDATE test.cursor SET value = (SELECT p.value FROM pulled p WHERE p.kind = 4))
	SELECT p.task, p.attempt, p.state, convert_from(p.body, 'UTF8')::jsonb FROM pulled p WHERE p.kind = 0 ORDER BY p.task
$$;

-- A task that asks for little; its id.
CREATE FUNCTION test.submit(project text DEFAULT 'demo', cpus numeric DEFAULT 1, gpus int DEFAULT 0, labels jsonb DEFAULT NULL,
	priority int DEFAULT 0, max_retries int DEFAULT 0, on_lost text DEFAULT 'requeue', lease interval DEFAULT NULL,
	run_timeout interval DEFAULT NULL, queue_timeout interval DEFAULT NULL, prepare_timeout interval DEFAULT NULL,
	not_before timestamptz DEFAULT NULL) RETURNS bigint LANGUAGE sql AS $$
	SELECT unidesk.submit_task(project, 'https://git.example/code.git', repeat('a', 40), 'https://git.example/env.git', repeat('b', 40),
		'Dockerfile', ARRAY['true'], cpus => cpus, gpus => gpus, labels => labels, priority => priority, max_retries => max_retries,
		on_lost => on_lost, lease => lease, run_timeout => run_timeout, queue_timeout => queue_timeout, prepare_timeout => prepare_timeout,
		not_before => not_before)
$$;

-- What nodes of such names take: 1 all, 3 nothing.  The scheduler reads it anew
-- at the commit, or its memory would differ from the rows.
CREATE FUNCTION test.scheduling(names text, value smallint) RETURNS void LANGUAGE sql AS $$
	UPDATE unidesk_data.node SET scheduling = value WHERE name ~ names;
	SELECT unidesk._rescan();
$$;

-- Tasks of earlier tests that have not ended never were.
CREATE FUNCTION test.forget_unended() RETURNS void LANGUAGE sql AS $$
	DELETE FROM unidesk_data.held;
	DELETE FROM unidesk_data.live;
	DELETE FROM unidesk_data.task_event WHERE task_id IN (SELECT id FROM unidesk_data.task WHERE state IS NULL);
	DELETE FROM unidesk_data.attempt WHERE task_id IN (SELECT id FROM unidesk_data.task WHERE state IS NULL);
	DELETE FROM unidesk_data.log_chunk WHERE task_id IN (SELECT id FROM unidesk_data.task WHERE state IS NULL);
	DELETE FROM unidesk_data.log_block WHERE task_id IN (SELECT id FROM unidesk_data.task WHERE state IS NULL);
	DELETE FROM unidesk_data.idempotency WHERE task_id IN (SELECT id FROM unidesk_data.task WHERE state IS NULL);
	DELETE FROM unidesk_data.task WHERE state IS NULL;
	SELECT unidesk._rescan();
$$;

SELECT unidesk.create_project('demo');

-- What a statement answers: state|message|hint, or that it was fine.
CREATE FUNCTION test.bad(statement text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	hint text;
BEGIN
	EXECUTE statement;
	RETURN 'fine';
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS hint = PG_EXCEPTION_HINT;
	IF length(SQLERRM) > 300 THEN
		RETURN format('%s|a message of %s characters', SQLSTATE, length(SQLERRM));
	END IF;
	RETURN format('%s|%s|%s', SQLSTATE, SQLERRM, hint);
END
$$;

-- A hash of every row there is, but of what time alone changes.
CREATE FUNCTION test.state_now() RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	name regclass;
	rows text;
	state text := '';
BEGIN
	FOR name IN SELECT c.oid FROM pg_class c WHERE c.relnamespace = 'unidesk_data'::regnamespace AND c.relkind IN ('r', 'p')
		AND NOT c.relispartition AND c.relname <> 'node_live' ORDER BY c.relname
	LOOP
		EXECUTE format('SELECT md5(string_agg(t::text, '','' ORDER BY t::text)) FROM %s t', name) INTO rows;
		state := state || coalesce(rows, '-');
	END LOOP;
	RETURN md5(state || (SELECT string_agg(rolname, ',' ORDER BY rolname) FROM pg_roles));
END
$$;
-- It, when the scheduler has come to the end of what was done before: it still
-- places, and writes sums, events and holders of GPUs.
CREATE FUNCTION test.state() RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	before text;
	now text;
BEGIN
	FOR i IN 1..50 LOOP
		IF NOT unidesk._wait_passes(3, 10000) THEN
			RAISE EXCEPTION 'the scheduler does not come to an end';
		END IF;
		before := now;
		now := test.state_now();
		EXIT WHEN before = now;
	END LOOP;
	RETURN now;
END
$$;
-- JSON that deep.
CREATE FUNCTION test.deep(depth int) RETURNS jsonb LANGUAGE sql AS $$ SELECT (repeat('{"a":', depth) || '1' || repeat('}', depth))::jsonb $$;
GRANT USAGE ON SCHEMA test TO PUBLIC;

-- Wait for what the worker does by itself, at most 10 s.
CREATE FUNCTION test.until(statement text) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
	is_true boolean;
BEGIN
	FOR i IN 1..1000 LOOP
		EXECUTE statement INTO is_true;
		EXIT WHEN is_true;
		PERFORM pg_sleep(0.01);
	END LOOP;
	RETURN is_true;
END
$$;
