-- What fills a volume: logs of running tasks that do not compress, and tasks.
-- After task_cost.sql, whose bridge and nodes play their parts.

-- 16 chunks of 60 kB, which logs repeat.
CREATE TABLE cost.noise AS SELECT n, substring(string_agg(sha512((n * 1000 + i)::text::bytea), '' ORDER BY i) FROM 1 FOR 60000) AS bytes
	FROM generate_series(0, 15) n, generate_series(1, 938) i GROUP BY n;

-- Start so many tasks; they stay running.
CREATE PROCEDURE cost.start(count int) LANGUAGE plpgsql AS $$
DECLARE
	o record;
	started int := 0;
BEGIN
	PERFORM unidesk.submit_task('cost', 'https://git.example/code.git', repeat('a', 40), 'https://git.example/env.git', repeat('b', 40), 'Dockerfile', ARRAY['true'], memory => 16777216)
		FROM generate_series(1, count);
	COMMIT;
	FOR wait IN 1 .. 2000 LOOP
		FOR o IN WITH p AS MATERIALIZED (SELECT p.* FROM cost.run r, unidesk_bridge.pull(r.bridge, r.cursor, '{}', '{}') p),
			moved AS (UPDATE cost.run SET cursor = p.value FROM p WHERE p.kind = 4)
			SELECT array_agg(p.task) AS tasks, array_agg(p.attempt) AS attempts, array_agg(p.session) AS sessions, array_agg(n.id) AS nodes
				FROM p JOIN unidesk_data.node n ON n.session = p.session WHERE p.kind = 0 HAVING count(*) > 0
		LOOP
			started := started + cost.report(4, '', o.tasks, o.attempts, o.sessions, o.nodes, (SELECT value FROM unidesk_data.incarnation));
		END LOOP;
		COMMIT;
		EXIT WHEN started >= count;
		PERFORM pg_sleep(0.01);
	END LOOP;
	IF started < count THEN RAISE 'only % of % tasks run', started, count; END IF;
END
$$;

-- Running tasks in turn write all of the noise, until it is refused or each has
-- written it so often; how far each is acknowledged is kept in cost.acked.
CREATE TABLE cost.acked (task bigint PRIMARY KEY, bytes bigint NOT NULL);
CREATE PROCEDURE cost.write_until_refused(times int, INOUT refused boolean DEFAULT false) LANGUAGE plpgsql AS $$
DECLARE
	t record;
	m record;
	chunks bytea[] := (SELECT array_agg(bytes ORDER BY n) FROM cost.noise);
BEGIN
	INSERT INTO cost.acked SELECT task_id, 0 FROM unidesk_data.live WHERE attempt_state = 4 ON CONFLICT DO NOTHING;
	FOR turn IN 1 .. times LOOP
		FOR t IN SELECT l.task_id, l.attempt, l.incarnation, l.session, l.node_id, a.bytes FROM unidesk_data.live l JOIN cost.acked a ON a.task = l.task_id ORDER BY a.task LOOP
			SELECT r.value, r.sequence INTO m FROM cost.run x, unidesk_bridge.receive(x.bridge, array_fill(t.node_id, ARRAY[16]), array_fill(t.node_id, ARRAY[16]),
				array_fill(NULL::bytea, ARRAY[16]), array_fill(t.session, ARRAY[16]), array_fill(5::int2, ARRAY[16]), array_fill(1::int2, ARRAY[16]), array_fill(0::int2, ARRAY[16]),
				array_fill(t.incarnation, ARRAY[16]), array_fill(t.task_id, ARRAY[16]), array_fill(t.attempt, ARRAY[16]), array_fill(1::bigint, ARRAY[16]),
				(SELECT array_agg(t.bytes + n * 60000 ORDER BY n) FROM generate_series(0, 15) n), chunks) r;
			UPDATE cost.acked SET bytes = m.value WHERE task = t.task_id;
			COMMIT;
			refused := m.sequence = 0;
			IF refused THEN RETURN; END IF;
		END LOOP;
	END LOOP;
END
$$;

-- Submit batches of 100 until one is refused; acknowledged ids are kept.
CREATE TABLE cost.submitted (task bigint);
CREATE PROCEDURE cost.submit_until_refused(most int, INOUT state text DEFAULT '') LANGUAGE plpgsql AS $$
BEGIN
	FOR batch IN 1 .. most LOOP
		BEGIN
			INSERT INTO cost.submitted SELECT unidesk.submit_task('cost', 'https://git.example/code.git', repeat('a', 40), 'https://git.example/env.git', repeat('b', 40),
				'Dockerfile', ARRAY['true'], labels => '{"nowhere":"yes"}', environment => jsonb_build_object('NOISE', (SELECT encode(substring(n.bytes FROM batch * 100 + i * 10 FOR 1500), 'base64') FROM cost.noise n WHERE n.n = batch % 16)))
				FROM generate_series(1, 100) i;
		EXCEPTION WHEN disk_full THEN
			state := SQLSTATE;
		END;
		COMMIT;
		EXIT WHEN state <> '';
	END LOOP;
END
$$;

CREATE FUNCTION cost.end_all() RETURNS bigint LANGUAGE sql AS $$
	SELECT cost.report(7, convert_to('{"exit_code":0,"log_end":960000}', 'UTF8'), array_agg(task_id), array_agg(attempt), array_agg(session), array_agg(node_id), min(incarnation))
	FROM unidesk_data.live WHERE attempt_state = 4
$$;
