-- Which machine a node's agent is: two agents with one token, copies of a data
-- directory, reboots, and what becomes of attempts on a machine that was replaced.
\set VERBOSITY terse
SELECT test.scheduling('', 3::smallint);
SELECT test.forget_unended();
SELECT unidesk._now() AS now \gset
CREATE TABLE test.start AS SELECT :'now'::timestamptz AS value;
CREATE FUNCTION test.at(seconds numeric) RETURNS timestamptz LANGUAGE sql AS $$ SELECT value + seconds * interval '1 s' FROM test.start $$;
-- Agents, each with what its data directory has: an id and the seal of its last welcome.
CREATE TABLE test.agent (name text PRIMARY KEY, data_id text, seal text, engine text, boot text, up_s int);
INSERT INTO test.agent VALUES ('a', repeat('a', 32), repeat('0', 16), 'e1', 'b1', NULL), ('b', repeat('b', 32), repeat('0', 16), 'e1', 'b1', NULL),
	('c', repeat('c', 32), repeat('0', 16), 'e2', 'b2', NULL), ('old', NULL, NULL, 'e1', 'b1', NULL);
CREATE FUNCTION test.brought(tasks bigint[]) RETURNS jsonb LANGUAGE sql AS $$
	SELECT coalesce(jsonb_agg(jsonb_build_object('incarnation', (SELECT lpad(to_hex(value), 16, '0') FROM unidesk_data.incarnation), 'task', t, 'attempt', 1, 'state', 'running')), '[]') FROM unnest(tasks) t
$$;
-- An agent says hello and, when it is welcome, stores the seal; keep => false: that welcome never arrives.
CREATE FUNCTION test.arrive(agent text, tasks bigint[] DEFAULT '{}', keep boolean DEFAULT true, OUT answer text) LANGUAGE plpgsql AS $$
DECLARE
	reply record;
BEGIN
	answer := '';
	FOR reply IN SELECT m.* FROM test.agent a, test.send('iden', 1, body => jsonb_strip_nulls(jsonb_build_object('proto_min', 1, 'proto_max', 1, 'boot_id', a.boot, 'engine_id', a.engine,
		'data_id', a.data_id, 'seal', a.seal, 'up_s', a.up_s, 'labels', '{"iden": "1"}'::jsonb, 'attempts', test.brought(tasks), 'resources', '{"cpus_milli": 8000, "memory": 8589934592, "gpus": [{"uuid": "GPU-i"}]}'::jsonb))::text) m WHERE a.name = arrive.agent
	LOOP
		answer := answer || CASE reply.kind WHEN 1 THEN 'session ' WHEN 2 THEN format('close(%s: %s) ', reply.reply_value, reply.reply_body) WHEN 3 THEN 'busy '
			ELSE CASE reply.reply WHEN 129 THEN 'welcome ' WHEN 130 THEN 'full ' WHEN 131 THEN 'desired ' ELSE reply.reply::text || ' ' END END;
	END LOOP;
	IF answer ~ 'welcome' THEN
		UPDATE test.node t SET session = n.session FROM unidesk_data.node n WHERE n.id = t.id AND t.name = 'iden';
		IF keep THEN
			UPDATE test.agent a SET seal = lpad(to_hex(n.seal), 16, '0') FROM unidesk_data.node n WHERE n.name = 'iden' AND a.name = arrive.agent AND a.data_id IS NOT NULL;
		END IF;
	END IF;
END
$$;
CREATE FUNCTION test.beat() RETURNS text LANGUAGE sql AS $$ SELECT string_agg(reply::text, ' ') FROM test.send('iden', 3) $$;
CREATE FUNCTION test.task(task bigint) RETURNS text LANGUAGE sql AS $$ SELECT concat_ws(' ', t.state, t.attempt_state, t.reason, t.attempts) FROM unidesk.tasks t WHERE t.id = $1 $$;
INSERT INTO test.node SELECT 'iden', NULL, unidesk.create_node('iden');
UPDATE test.node t SET id = n.id FROM unidesk.nodes n WHERE n.name = t.name AND t.name = 'iden';

-- The first one there is the node, whoever it is, with no seal.
SELECT unidesk._tick(test.at(0));
SELECT test.arrive('a'), test.beat();
SELECT data_id IS NOT NULL AS id, seal > 0 AS sealed, seal_before FROM unidesk_data.node WHERE name = 'iden';
SELECT test.submit(gpus => 1, labels => '{"iden": "1"}', lease => '10 min') AS task, test.submit(labels => '{"iden": "1"}', on_lost => 'fail', lease => '10 min') AS fails,
	test.submit(labels => '{"iden": "1"}', on_lost => 'wait') AS waits \gset
SELECT unidesk._tick(test.at(1));
SELECT test.report('iden', :task, 'running'), test.report('iden', :fails, 'running'), test.report('iden', :waits, 'preparing');

-- (a) A second agent on the same host with the same token: refused while the first lives, and nothing of the first ends.
SELECT test.arrive('b');
SELECT test.task(:task), test.task(:fails), test.task(:waits);
-- Not even between two sessions of the first, which is about to return; and told once.
SELECT count(*) FROM (SELECT unidesk_bridge.close_session((SELECT id FROM test.bridge), ARRAY[(SELECT session FROM test.node WHERE name = 'iden')])) x;
SELECT test.arrive('b'), test.arrive('c'), test.arrive('old');
SELECT what, data FROM unidesk.node_events WHERE node = 'iden' AND what = 'duplicate';
-- The first one, rebooted and with its session still open: in at once.
SELECT test.arrive('a', ARRAY[:task, :fails, :waits]), test.beat();
UPDATE test.agent SET boot = 'b9' WHERE name = 'a';
SELECT test.arrive('a', ARRAY[:task, :fails, :waits]);
SELECT test.task(:task), test.task(:fails), test.task(:waits);

-- A copy of its disk made just now, on a machine that is up since before the last beat of the other: refused while that one beats.
CREATE TABLE test.clone AS SELECT * FROM test.agent WHERE name = 'a';
INSERT INTO test.agent SELECT 'clone', data_id, seal, engine, 'b10', 20 FROM test.clone;
SELECT unidesk._tick(test.at(10));
SELECT test.beat();
SELECT unidesk._tick(test.at(20));
SELECT test.arrive('clone', ARRAY[:task]);
SELECT test.arrive('a', ARRAY[:task, :fails, :waits]), test.beat();
SELECT test.task(:task), test.task(:fails), test.task(:waits);
-- Booted after that beat it could be the same machine.
UPDATE test.agent SET boot = 'b11', up_s = 0 WHERE name = 'a';
SELECT unidesk._tick(test.at(25));
SELECT test.arrive('a', ARRAY[:task, :fails, :waits]), test.beat();
UPDATE test.agent SET up_s = NULL WHERE name = 'a';

-- A welcome that never arrived: the seal before it is good until the first beat.
SELECT test.arrive('a', ARRAY[:task, :fails, :waits], keep => false);
SELECT test.arrive('a', ARRAY[:task, :fails, :waits]), test.beat();
SELECT seal_before IS NULL AS confirmed FROM unidesk_data.node WHERE name = 'iden';
-- A copy made of the data directory before that: refused, whatever time it is.
CREATE TABLE test.copied AS SELECT * FROM test.agent WHERE name = 'a';
SELECT test.arrive('a', ARRAY[:task, :fails, :waits]), test.beat();
INSERT INTO test.agent SELECT 'copy', data_id, seal, engine, 'b3', NULL::int FROM test.copied;
SELECT test.arrive('copy', ARRAY[:task]);
SELECT unidesk._tick(test.at(50));
SELECT test.arrive('copy', ARRAY[:task]), test.arrive('copy');
SELECT what, data FROM unidesk.node_events WHERE node = 'iden' AND what = 'copied';
SELECT test.task(:task), test.task(:fails), test.task(:waits);

-- (b) Another machine once the first is silent: it takes over, and its empty inventory concludes nothing.
SELECT test.beat();
SELECT test.arrive('c');
SELECT unidesk._tick(test.at(100));
SELECT test.arrive('c'), test.beat();
SELECT test.task(:task), test.task(:fails), test.task(:waits);
SELECT what, data FROM unidesk.node_events WHERE node = 'iden' AND what = 'replaced';
-- It is told nothing of them, may say nothing about them, and is sent no stop.
SELECT test.report('iden', :task, 'failed', '{"exit_code":1,"log_end":0}'), test.log('iden', :task, 0, 'x');
SELECT reply FROM test.send('iden', 2, value => 1000000, body => '{"attempts":[]}');
-- A copy of their directories there is to be removed.
SELECT reply, reply_state FROM test.send('iden', 2, value => 1000000, body => format('{"attempts":%s}', test.brought(ARRAY[:task])));
SELECT test.task(:task), test.task(:fails), test.task(:waits);
SELECT gpus_used FROM unidesk.nodes WHERE name = 'iden';
SELECT code, detail FROM unidesk.check_invariants();
-- Their leases run from the last contact with the old one (50 s), and not before.
DO $$ BEGIN FOR i IN 2..12 LOOP PERFORM unidesk._tick(test.at(50 * i)); PERFORM test.beat(); END LOOP; END $$;
SELECT unidesk._tick(test.at(649));
SELECT test.task(:task), test.task(:fails), test.task(:waits);
SELECT test.beat();
SELECT unidesk._tick(test.at(651));
SELECT test.task(:task), test.task(:fails), test.task(:waits);
SELECT attempt, state, reason FROM unidesk.attempts WHERE task = :task ORDER BY 1;
-- What they hold stays held whatever the new machine says; the GPU is not given twice.
SELECT reply FROM test.send('iden', 2, value => 1000000, body => '{"attempts":[]}');
SELECT task = :task AS it, gpus, "left" FROM unidesk.held ORDER BY task;
SELECT test.report('iden', :task, 'lost', '{"reason":"node.rebooted"}');
SELECT count(*) AS held FROM unidesk_data.held;
SELECT test.scheduling('^iden$', 1::smallint);
SELECT unidesk._tick(test.at(652));
SELECT test.task(:task);
SELECT code, detail FROM unidesk.check_invariants();
-- The old one returns when the new one is silent: what waits on it is its again, and what it lacks is lost for certain.
SELECT unidesk._tick(test.at(700));
SELECT test.arrive('a', ARRAY[:waits]);
SELECT test.task(:waits), (SELECT left_on IS NULL FROM unidesk_data.live WHERE task_id = :waits) AS here, (SELECT count(*) FROM unidesk_data.held) AS held;
SELECT unidesk._tick(test.at(701));
SELECT test.task(:task);
SELECT test.report('iden', :task, 'running', attempt => 2);

-- An administrator knows that the old machine is gone: what was left there ends, and any machine may come, the copy too.
SELECT unidesk.accept_machine('iden');
SELECT test.arrive('copy'), test.beat();
SELECT test.task(:task), test.task(:waits);
SELECT unidesk._tick(test.at(760));
SELECT test.arrive('c'), test.beat();
SELECT test.submit(gpus => 0, labels => '{"iden": "1"}', max_retries => 0) AS next \gset
SELECT unidesk._tick(test.at(761));
SELECT test.report('iden', :next, 'running');
SELECT unidesk._tick(test.at(820));
SELECT test.arrive('copy');
SELECT test.task(:next);
SELECT unidesk.cancel_task(:next);
SELECT test.scheduling('^iden$', 3::smallint);
-- The scheduler has read that the node is offline before the node is back.
SELECT unidesk._wait_passes(3, 10000);
SELECT unidesk.accept_machine('iden');
SELECT test.task(:next), (SELECT count(*) FROM unidesk_data.held) AS held, (SELECT count(*) FROM unidesk_data.live WHERE left_on IS NOT NULL) AS "left";
SELECT what, data FROM unidesk.node_events WHERE node = 'iden' AND what = 'machine_accepted' ORDER BY at, data;
-- That is over after 10 minutes.
SELECT unidesk._tick(test.at(1450));
SELECT reply FROM test.send('iden', 2, value => 1000000, body => '{"attempts":[]}');
SELECT test.arrive('c');

-- The data directory was emptied: another id, but the engine has the containers, which go on.
SELECT test.scheduling('^iden$', 1::smallint);
SELECT unidesk.cancel_task(id) FROM unidesk.tasks WHERE id IN (:task, :waits) AND state IN ('queued', 'active');
SELECT test.submit(labels => '{"iden": "1"}') AS kept, test.submit(labels => '{"iden": "1"}') AS gone \gset
SELECT unidesk._tick(test.at(1451));
SELECT test.report('iden', :kept, 'running'), test.report('iden', :gone, 'running');
UPDATE test.agent SET data_id = repeat('d', 32), seal = repeat('0', 16) WHERE name = 'copy';
SELECT unidesk._tick(test.at(1500));
SELECT test.arrive('copy', ARRAY[:kept]);
SELECT task_id = :kept AS kept, left_on IS NOT NULL AS "left" FROM unidesk_data.live WHERE task_id IN (:kept, :gone) ORDER BY task_id;
SELECT test.report('iden', :kept, 'succeeded', '{"exit_code":0,"log_end":0}');

-- Another incarnation: seals may be of an old dump, so any is taken once.
UPDATE unidesk_data.node SET seal_incarnation = seal_incarnation - 1, seal = 7, seal_before = NULL WHERE name = 'iden';
SELECT test.arrive('copy'), test.beat();
UPDATE test.agent SET seal = lpad('7', 16, '0') WHERE name = 'copy';
SELECT test.arrive('copy');
-- Seals that are none, and ids that are none.
UPDATE test.agent SET seal = 'ffffffffffffffff' WHERE name = 'copy';
SELECT test.arrive('copy');
UPDATE test.agent SET data_id = 'D' WHERE name = 'copy';
SELECT test.arrive('copy');
SELECT kind, reply_value, reply_body FROM unnest(ARRAY['"x"', '1e400', '[]']) u, test.send('iden', 1, body => format('{"proto_min":1,"proto_max":1,"boot_id":"b","engine_id":"e","attempts":[],"up_s":%s}', u));

-- Agents of before have no id: the same engine is the same machine, another boot waits for silence.
SELECT unidesk._tick(test.at(1600));
SELECT test.scheduling('^iden$', 3::smallint);
-- The scheduler has read that the node is offline before the node is back.
SELECT unidesk._wait_passes(3, 10000);
SELECT test.arrive('old'), test.arrive('old'), test.beat();
UPDATE test.agent SET boot = 'b4' WHERE name = 'old';
SELECT test.arrive('old');
SELECT unidesk._tick(test.at(1700));
SELECT test.arrive('old'), test.beat();
-- After an update of the agent it has one.
UPDATE test.agent SET data_id = repeat('e', 32), seal = repeat('0', 16) WHERE name = 'old';
SELECT test.arrive('old'), test.beat(), test.arrive('old');

-- Another name: the session and what runs go on, and the inventory is still the node's.
SELECT test.scheduling('^iden$', 1::smallint);
SELECT test.submit(labels => '{"iden": "1"}') AS named \gset
SELECT unidesk._tick(test.at(1701));
SELECT test.report('iden', :named, 'running');
SELECT unidesk.rename_node('iden', 'renamed');
SELECT test.beat();
SELECT reply, reply_state FROM test.send('iden', 2, value => 1000000, body => format('{"attempts":%s}', test.brought(ARRAY[:named])));
SELECT unidesk._tick(test.at(1702));
SELECT state, attempt_state, node FROM unidesk.tasks WHERE id = :named;
SELECT test.arrive('old', ARRAY[:named]);
SELECT test.report('iden', :named, 'succeeded', '{"exit_code":0,"log_end":0}');
SELECT state, node FROM unidesk.tasks WHERE id = :named;
SELECT node, what, data FROM unidesk.node_events WHERE what = 'renamed';
SELECT unidesk.rename_node('renamed', 'iden');
SELECT unidesk.accept_machine('iden') >= 0 AS accepted;
SELECT unidesk._tick(test.at(1703));
SELECT code, detail FROM unidesk.check_invariants();
SELECT test.scheduling('^iden$', 3::smallint);
-- The scheduler has read that the node is offline before the node is back.
SELECT unidesk._wait_passes(3, 10000);
SELECT test.forget_unended();
BEGIN;
DELETE FROM unidesk_data.gpu g USING unidesk_data.node n WHERE n.id = g.node_id AND n.name = 'iden';
SELECT unidesk._rescan();
COMMIT;
