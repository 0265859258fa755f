-- A hostile node: every message is answered for itself, those of others in
-- the same batch are taken, and nothing of anybody else changes.
SELECT test.hello('bad-one', labels => '{"bad": "one"}'), test.hello('bad-two', machine => 'm2', labels => '{"bad": "two"}');
SELECT test.submit(labels => '{"bad": "one"}') AS one \gset
SELECT created_at AS now FROM unidesk.tasks WHERE id = :one \gset
SELECT unidesk._tick(:'now');
SELECT test.report('bad-one', :one, 'accepted');
SELECT state, attempt_state, node FROM unidesk.tasks WHERE id = :one;
SELECT unidesk._tick(:'now');
SELECT test.state() AS before \gset
-- Wrong types, sessions, fences; another node's attempt.
CREATE FUNCTION test.answers(node_name text, type int, state int DEFAULT 0, task bigint DEFAULT 0, attempt int DEFAULT 1, value bigint DEFAULT 0, body text DEFAULT '', session bigint DEFAULT NULL, incarnation bigint DEFAULT NULL)
	RETURNS text LANGUAGE sql AS $$
	SELECT string_agg(format('%s/%s %s flags %s value %s %s', kind, reply, coalesce(reply_state, '-'), reply_flags, CASE WHEN kind = 1 THEN 0 ELSE reply_value END, left(reply_body, 100)), '; ')
	FROM test.send($1, $2, $3, $4, $5, $6, $7, $8, $9)
$$;
SELECT t AS type, test.answers('bad-two', t) FROM unnest(ARRAY[-32768, -1, 0, 7, 128, 255, 32767]) t;
SELECT s AS session, test.answers('bad-two', 3, session => s) FROM unnest(ARRAY[-1, 0, 9223372036854775807]) s;
SELECT test.answers('bad-two', 3, session => (SELECT session FROM test.node WHERE name = 'bad-one')) AS session_of_another;
SELECT test.answers('bad-two', 4, 4, :one) AS report_of_another, test.answers('bad-two', 4, 8, :one, body => '{"exit_code": 1}') AS end_of_another, test.answers('bad-two', 5, 1, :one, body => 'x') AS log_of_another;
SELECT s AS state, test.answers('bad-one', 4, s, :one) FROM unnest(ARRAY[-32768, -1, 0, 1, 14, 32767]) s;
SELECT CASE t WHEN :one THEN 'N' ELSE t::text END AS task, a AS attempt, test.answers('bad-one', 4, 4, t, a) FROM (VALUES (-1::bigint, 1), (0, 1), (9223372036854775807, 1), (:one, 0), (:one, 2), (:one, -2147483648), (:one, 2147483647)) x (t, a);
SELECT test.answers('bad-one', 4, 4, :one, incarnation => 1), test.answers('bad-one', 5, 1, :one, body => 'x', incarnation => 1);
-- Bodies.
SELECT left(b, 40) AS body, test.answers('bad-one', 4, 4, :one, body => b) FROM unnest(ARRAY['{', '[]', '7', 'null', '{"exit_code": "1"}', '{"exit_code": 2147483648}', '{"exit_code": 1.5}', '{"exit_code": 1e131071}', '{"stage_ms": {"run": -1}}',
	'{"log_end": -1}', '{"log_end": 9223372036854775808}', '{"image_id": "sha256:x"}', '{"reason": 7}', '{"message": ["x"]}', '{"a": "\ud800"}', repeat('{"a":', 33), repeat('[', 20000), '{"a": "' || repeat('x', 40000) || '"}']) b;
-- Logs: streams, offsets, sizes.
SELECT s AS stream, o AS "offset", length(b) AS bytes, test.answers('bad-one', 5, s, :one, value => o, body => b) FROM (VALUES (0, 0::bigint, 'x'), (4, 0, 'x'), (-1, 0, 'x'), (1, -1, 'x'), (1, -9223372036854775808, 'x'), (1, 1, 'x'),
	(1, 9223372036854775807, 'x'), (1, 0, ''), (1, 0, repeat('x', 65537))) x (s, o, b);
SELECT test.state() = :'before' AS nothing_changed;

-- A hello: no JSON, other types, too much, too deep.  The session before it stays.
CREATE FUNCTION test.greets(body text) RETURNS text LANGUAGE sql AS $$ SELECT test.answers('bad-two', 1, body => body) $$;
CREATE FUNCTION test.facts(change jsonb) RETURNS text LANGUAGE sql AS $$ SELECT test.greets((jsonb_build_object('proto_min', 1, 'proto_max', 1, 'boot_id', 'm2', 'engine_id', 'm2', 'labels', '{}'::jsonb, 'attempts', '[]'::jsonb,
	'resources', '{"cpus_milli": 1000, "memory": 1000000000, "gpus": []}'::jsonb) || change)::text) $$;
SELECT left(b, 40) AS body, test.greets(b) FROM unnest(ARRAY['', '{', '[]', '7', 'null', '{}', '{"attempts": {}}', repeat('[', 33), repeat('[', 100000), '"' || repeat('x', 300000) || '"', '{"attempts": [], "boot_id": "\ud800"}']) b;
SELECT left(c::text, 60) AS change, test.facts(c) FROM unnest(ARRAY['{"boot_id": null}', '{"engine_id": null}', '{"proto_min": "x"}', '{"proto_min": 2147483648}', '{"proto_max": 1e131071}', '{"attempts": null}', '{"attempts": [7]}',
	'{"labels": {"a b": 1}}', '{"labels": {"a": [1]}}', '{"resources": {"cpus_milli": "x"}}', '{"resources": {"memory": 1e400}}', '{"resources": {"gpus": [7]}}', '{"resources": {"gpus": [{"uuid": "a", "memory": "x"}]}}']::jsonb[]) c;
SELECT test.facts(jsonb_build_object('resources', jsonb_build_object('gpus', (SELECT jsonb_agg(jsonb_build_object('uuid', i)) FROM generate_series(1, 64) i)))) AS gpus,
	test.facts(jsonb_build_object('labels', (SELECT jsonb_object_agg(i, i) FROM generate_series(1, 65) i))) AS labels, test.facts(jsonb_build_object('extra', test.deep(33))) AS depth;
-- Nobody's, or another's, token; a node that is not there.
SELECT kind, value, convert_from(body, 'UTF8') FROM test.node n, test.node o, LATERAL unidesk_bridge.receive((SELECT id FROM test.bridge), ARRAY[1, 2, 3, 4], ARRAY[n.id, n.id, n.id, 2147483647],
	ARRAY[NULL, sha256(convert_to(o.token, 'UTF8')), '', sha256(convert_to(o.token, 'UTF8'))], '{0,0,0,0}', '{1,1,1,1}', '{0,0,0,0}', '{0,0,0,0}', '{0,0,0,0}', '{0,0,0,0}', '{0,0,0,0}', '{0,0,0,0}', '{0,0,0,0}', '{"","","",""}')
	WHERE n.name = 'bad-two' AND o.name = 'bad-one';
-- Bytes that are no UTF-8, in a batch with a good beat: that one is answered.
SELECT kind, type, value FROM test.node n, test.node o, LATERAL unidesk_bridge.receive((SELECT id FROM test.bridge), ARRAY[n.id, n.id, o.id], ARRAY[n.id, n.id, o.id],
	ARRAY[sha256(convert_to(n.token, 'UTF8')), NULL, NULL], ARRAY[0, n.session, o.session], '{1,4,3}', '{0,4,0}', '{0,0,0}', '{0,0,0}', '{0,1,0}', '{0,1,0}', '{0,0,0}', '{0,0,0}', ARRAY['\xff'::bytea, '\xc080', ''])
	WHERE n.name = 'bad-two' AND o.name = 'bad-one';
-- Through a bridge that is not registered, or is over, a node does not come.
SELECT b.id, kind, value, convert_from(body, 'UTF8') FROM (VALUES (0), (2147483647)) b (id), test.node n, LATERAL unidesk_bridge.receive(b.id, ARRAY[1], ARRAY[n.id], ARRAY[sha256(convert_to(n.token, 'UTF8'))],
	'{0}', '{1}', '{0}', '{0}', '{0}', '{0}', '{0}', '{0}', '{0}', ARRAY[convert_to('{"proto_min": 1, "proto_max": 1, "boot_id": "m2", "engine_id": "m2", "attempts": []}', 'UTF8')]) WHERE n.name = 'bad-two';
SELECT test.state() = :'before' AS nothing_changed;
-- Another version, whatever else it says: people see why it does not come, and are told once a minute.
CREATE FUNCTION test.refused(OUT refused text, OUT events bigint) LANGUAGE sql AS $$ SELECT n.refused, (SELECT count(*) FROM unidesk.node_events e WHERE e.node = n.name AND e.what = 'refused') FROM unidesk.nodes n WHERE n.name = 'bad-two' $$;
SELECT left(c::text, 60) AS change, test.facts(c), test.refused() FROM unnest(ARRAY['{"proto_min": 2}', '{"proto_max": 0}', '{"proto_min": 3, "proto_max": 4, "attempts": 7, "agent_version": "9\n\u202e"}', '{"proto_min": 3, "proto_max": 4, "attempts": 7, "agent_version": "9\n\u202e"}', '{"proto_min": 2147483648, "proto_max": 4}']::jsonb[]) c;
SELECT unidesk._tick(:'now'::timestamptz + interval '61 s');
SELECT test.facts('{"proto_min": 2, "proto_max": 2}'), test.facts('{"proto_min": 2, "proto_max": 2}'), test.refused();
SELECT unidesk._tick(:'now');
SELECT test.facts('{}') ~ '/129 ' AS taken, test.refused();
SELECT test.facts('{"proto_min": 3, "proto_max": 3}'), test.refused();
SELECT test.facts('{}') ~ '/129 ' AS taken, test.refused();
SELECT test.state() AS before \gset
-- GPUs with odd names, and more of one name than there is.
SELECT left(test.facts('{"attempts": [{"incarnation": "0000000000000001", "task": 9223372036854775808, "attempt": 1}]}'), 60), left(test.facts('{"attempts": [{"incarnation": 7, "task": "x", "attempt": 1}]}'), 60);
SELECT test.state() = :'before' AS nothing_changed;
SELECT test.facts('{"resources": {"cpus_milli": 1000, "memory": 1000000000, "gpus": [{"uuid": "a"}, {"uuid": "a"}, {"uuid": null}, {"memory": 1}]}}'),
	test.facts('{"resources": {"cpus_milli": 1000, "memory": 1000000000, "gpus": [{"uuid": "\u202e\n"}]}}');
SELECT index, uuid FROM unidesk_data.gpu g JOIN unidesk_data.node n ON n.id = g.node_id WHERE n.name = 'bad-two' ORDER BY index;
-- An inventory brings what the engine is now, and of that only what is short; nothing else gets in.
CREATE FUNCTION test.engine() RETURNS text LANGUAGE sql AS $$ SELECT concat_ws(' ', n.engine_version, n.facts ->> 'live_restore', n.facts ->> 'engine_id', d.engine_id, n.facts ->> 'hostname', n.facts ->> 'labels', n.facts -> 'attempts')
	FROM unidesk.nodes n JOIN unidesk_data.node d ON d.id = n.id WHERE n.name = 'bad-two' $$;
SELECT test.facts('{"engine_version": "20.10.24", "live_restore": false, "hostname": "h"}') ~ '/129 ' AS taken, test.engine();
CREATE FUNCTION test.takes_inventory(engine text) RETURNS text LANGUAGE sql AS $$ SELECT test.answers('bad-two', 2, session => (SELECT session FROM unidesk.nodes WHERE name = 'bad-two'), body => format('{"attempts": []%s}', engine)) $$;
SELECT left(e, 60) AS engine, test.takes_inventory(e), test.engine() FROM unnest(ARRAY['', ', "engine_version": "28.0", "live_restore": true, "hostname": "x", "labels": {"a": "b"}', ', "engine_id": "m3"', ', "engine_version": 7, "live_restore": null, "engine_id": null', ', "engine_version": "' || repeat('x', 300) || '", "live_restore": {"a": []}']) e;
SELECT unidesk.cancel_task(:one) IS NOT NULL AS cancelled;
BEGIN;
UPDATE unidesk_data.node SET scheduling = 3 WHERE name ~ '^bad-';
SELECT unidesk._rescan();
COMMIT;
SELECT test.report('bad-one', :one, 'cancelled', '{}');
SELECT state FROM unidesk.tasks WHERE id = :one;
BEGIN;
DELETE FROM unidesk_data.gpu g USING unidesk_data.node n WHERE n.id = g.node_id AND n.name = 'bad-two';
SELECT unidesk._rescan();
COMMIT;
