-- Nodes whose Docker Engine is down get nothing new, and tasks are told why they wait.
\set VERBOSITY terse
SELECT test.scheduling('', 3::smallint);
SELECT test.forget_unended();
CREATE FUNCTION test.beats(node_name text, body text) RETURNS text LANGUAGE sql AS $$
	SELECT string_agg(CASE reply WHEN 132 THEN 'ack' ELSE coalesce(reply_body, reply::text) END, ', ') FROM test.send(node_name, 3, body => beats.body)
$$;
-- So many seconds later, the node says how its engine is, twice: the second time there is no news.
CREATE FUNCTION test.engine(node_name text, engine text, seconds int DEFAULT 1) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
	PERFORM unidesk._tick(unidesk._now() + make_interval(secs => seconds));
	PERFORM test.beats(node_name, format('{"load": 0.1, "cache": {"engine": "none"}, "engine": "%s"}', engine));
	RETURN test.beats(node_name, format('{"engine":"%s"}', engine));
END
$$;
CREATE FUNCTION test.engines(OUT node text, OUT down_s int, OUT status text) RETURNS SETOF record LANGUAGE sql AS $$
	SELECT name, extract(epoch FROM unidesk._now() - engine_down_since), status FROM unidesk.nodes WHERE name ~ '^es-' ORDER BY name
$$;
CREATE FUNCTION test.engine_events(OUT node text, OUT what text, OUT actor text, OUT data text) RETURNS SETOF record LANGUAGE sql AS $$
	SELECT node, what, actor, regexp_replace(data, '20..-.*Z', 'T') FROM unidesk.node_events WHERE what ~ '^engine' AND node ~ '^es-' ORDER BY at
$$;
CREATE FUNCTION test.waits(task bigint, OUT state text, OUT reason text, OUT message text) LANGUAGE sql AS $$
	SELECT state, reason, regexp_replace(message, '20..-[^)]*Z', 'T', 'g') FROM unidesk.tasks WHERE id = waits.task
$$;
SELECT test.hello('es-a', cpus => 8, labels => '{"site": "es"}');
SELECT * FROM test.engines();
SELECT test.submit() AS t1 \gset
SELECT unidesk._tick(unidesk._now() + interval '1 s');
SELECT test.report('es-a', :t1, 'running');
-- Down: what is placed stays, nothing new comes; told once.
SELECT test.engine('es-a', 'down');
SELECT test.submit() AS t2, test.submit(labels => '{"site": "es"}') AS t3, test.submit(labels => '{"site": "none"}') AS t4, test.submit(cpus => 9) AS t5 \gset
SELECT xmin AS written FROM unidesk_data.node WHERE name = 'es-a' \gset
SELECT test.engine('es-a', 'down');
SELECT xmin = :'written' AS same_row FROM unidesk_data.node WHERE name = 'es-a';
SELECT * FROM test.engines();
SELECT * FROM test.engine_events();
SELECT state, attempt_state, reason, message FROM unidesk.tasks WHERE id = :t1;
SELECT test.waits(:t2), test.waits(:t3);
-- These would wait anyway.
SELECT test.waits(:t4), test.waits(:t5);
-- Nobody asks for that: nothing, or no sense.
SELECT unidesk_data._engines_awaited(NULL, NULL, NULL, NULL, NULL), unidesk_data._engines_awaited(-1, -1, -1, E'\n=\n', -1), unidesk_data._engines_awaited(1, 1, 0, '', 2147483647);
-- As people see it.
SELECT unidesk.create_user('es_ann') IS NOT NULL AS made;
SET ROLE es_ann;
SELECT name, engine_down_since IS NOT NULL AS down FROM unidesk.nodes WHERE name = 'es-a';
RESET ROLE;
-- A node whose engine is up makes it a matter of room, and takes the work.
SELECT test.hello('es-b', cpus => 1, machine => 'm2');
SELECT unidesk._tick(unidesk._now() + interval '1 s');
SELECT id - :t1 AS n, node, (test.waits(id)).* FROM unidesk.tasks WHERE id IN (:t2, :t3) ORDER BY id;
-- Bodies that say nothing change nothing.
SELECT test.beats('es-a', body) AS answer FROM unnest(ARRAY['', '{}', '{"engine":null}', '{"engine":7}', '{"engine":"up"}', '{"engine":{"engine":"ok"}}', '["engine","ok"]',
	'{"cache":{"engine":"ok"}}', '{"engine":"ok"', '"ok"', '{"engine":["ok"]}', repeat('[', 100), E'{"engine":"ok", "x":"\x01"}', format('{"engine":"ok", "x":"%s"}', repeat('x', 40000))]) body;
SELECT * FROM test.engines();
-- A session that begins says it too, as does an inventory; without a word it is up.
SELECT test.hello('es-a', cpus => 8, labels => '{"site": "es"}', attempts => jsonb_build_array(jsonb_build_object('incarnation', a.incarnation, 'task', :t1, 'attempt', 1))) FROM unidesk.attempts a WHERE a.task = :t1;
SELECT unidesk._tick(unidesk._now() + interval '1 s');
SELECT id - :t1 AS n, state, node, reason, message FROM unidesk.tasks WHERE id IN (:t1, :t2, :t3) ORDER BY id;
SELECT * FROM test.engine_events();
SELECT kind, reply FROM test.send('es-a', 2, body => jsonb_build_object('engine', 'down', 'attempts', (SELECT jsonb_agg(jsonb_build_object('incarnation', a.incarnation, 'task', a.task, 'attempt', a.attempt))
	FROM unidesk.attempts a WHERE a.node = 'es-a' AND a.ended_at IS NULL))::text);
SELECT * FROM test.engines();
-- A beat that an inventory has overtaken is old.
CREATE FUNCTION test.numbered(node_name text, number bigint, type int, body text) RETURNS text LANGUAGE sql AS $$
	SELECT string_agg(m.type::text, ' ') FROM test.node n, unidesk_bridge.receive((SELECT id FROM test.bridge), ARRAY[n.id], ARRAY[n.id], ARRAY[NULL::bytea], ARRAY[n.session],
		ARRAY[numbered.type::int2], ARRAY[0::int2], ARRAY[0::int2], ARRAY[0::bigint], ARRAY[0::bigint], ARRAY[0], ARRAY[number], ARRAY[0::bigint], ARRAY[convert_to(numbered.body, 'UTF8')]) m
	WHERE n.name = node_name
$$;
SELECT test.numbered('es-b', 7, 3, '{"engine":"down"}'), test.numbered('es-b', 6, 3, '{"engine":"ok"}');
SELECT * FROM test.engines();
SELECT test.numbered('es-b', 8, 3, '{"engine":"ok"}'), test.numbered('es-b', 7, 3, '{"engine":"down"}');
SELECT * FROM test.engines();
-- A session of before says nothing any more.
SELECT session AS old FROM test.node WHERE name = 'es-a' \gset
SELECT kind, reply FROM test.send('es-a', 3, body => '{"engine":"ok"}', session => :old - 1);
SELECT * FROM test.engines();
-- What cannot begin for that uses up nothing, and keeps nobody away.
SELECT test.engine('es-a', 'ok');
SELECT test.submit(labels => '{"site": "es"}', cpus => 2) AS t6 \gset
SELECT unidesk._tick(unidesk._now() + interval '1 s');
SELECT state, node FROM unidesk.tasks WHERE id = :t6;
SELECT test.engine('es-a', 'down');
SELECT test.report('es-a', :t6, 'rejected', '{"reason":"node.engine_error","message":"could not ping the engine"}');
SELECT t.state, t.reason, infra_failures, user_failures, excluded_node, l.not_before > unidesk._now() AS later FROM unidesk_data.live l JOIN unidesk.tasks t ON t.id = l.task_id WHERE task_id = :t6;
-- It was down while that was prepared, and is back.
SELECT test.engine('es-a', 'ok', 10);
SELECT unidesk._wait_passes(3, 10000);
SELECT attempts, state, node FROM unidesk.tasks WHERE id = :t6;
SELECT test.report('es-a', :t6, 'preparing', '{"phase":"build"}', 2);
SELECT test.engine('es-a', 'down');
SELECT test.engine('es-a', 'ok');
SELECT test.report('es-a', :t6, 'failed', '{"reason":"node.engine_error"}', 2);
SELECT infra_failures, excluded_node FROM unidesk_data.live WHERE task_id = :t6;
-- An engine that fails while it is up is the node's fault, and what had begun is another matter.
SELECT test.engine('es-a', 'ok', 10);
SELECT unidesk._wait_passes(3, 10000);
SELECT attempts, state, node FROM unidesk.tasks WHERE id = :t6;
SELECT test.report('es-a', :t6, 'failed', '{"reason":"node.engine_error"}', 3);
SELECT infra_failures, excluded_node = (SELECT id FROM test.node WHERE name = 'es-a') AS excluded FROM unidesk_data.live WHERE task_id = :t6;
SELECT test.engine('es-a', 'ok', 61);
SELECT attempts, state, node FROM unidesk.tasks WHERE id = :t6;
SELECT test.report('es-a', :t6, 'running', '', 4);
SELECT test.engine('es-a', 'down');
SELECT test.report('es-a', :t6, 'failed', '{"reason":"node.engine_error","exit_code":255,"log_end":0}', 4);
SELECT infra_failures FROM unidesk_data.live WHERE task_id = :t6;
SELECT task_state, attempt_state, reason, (data::jsonb ->> 'infra_failures')::int AS infra FROM unidesk.task_events WHERE task = :t6 AND attempt_state IN ('failed', 'rejected') ORDER BY seq;
SELECT count(*) FILTER (WHERE what = 'engine_down') AS down, count(*) FILTER (WHERE what = 'engine_up') AS up FROM test.engine_events() WHERE node = 'es-a';
SELECT unidesk.cancel_task(id) FROM unnest(ARRAY[:t4, :t5, :t6]) id;
SELECT code, detail FROM unidesk.check_invariants();
SELECT test.forget_unended();
SELECT test.scheduling('', 1::smallint), test.scheduling('^es-', 3::smallint);
