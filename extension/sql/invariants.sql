-- unidesk.check_invariants: nothing while all is well, and each rule's code when that rule is broken on purpose.
\set VERBOSITY terse
CREATE TABLE test.seen (code text);
-- Codes that a statement past the functions brings about; it is undone again.
CREATE FUNCTION test.broken(statement text, since interval DEFAULT NULL) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	codes text;
BEGIN
	EXECUTE statement;
	SELECT string_agg(DISTINCT code, ' ' ORDER BY code) INTO codes FROM unidesk.check_invariants(since);
	RAISE EXCEPTION USING ERRCODE = 'triggered_action_exception';
EXCEPTION WHEN triggered_action_exception THEN
	INSERT INTO test.seen SELECT string_to_table(codes, ' ');
	RETURN coalesce(codes, 'nothing');
END
$$;
CREATE TABLE test.task (name text, id bigint);
CREATE FUNCTION test.id(task_name text) RETURNS bigint LANGUAGE sql AS $$ SELECT t.id FROM test.task t WHERE t.name = task_name $$;
SELECT test.scheduling('', 3::smallint);
SELECT test.forget_unended();
SELECT unidesk._tick('2030-01-01 05:30:00+00');
SELECT * FROM unidesk.check_invariants();

-- One node that stays, one that falls silent, and a task in each state.
SELECT test.hello('stays', cpus => 8, gpus => '[{"uuid": "GPU-x"}, {"uuid": "GPU-y"}]');
DO $$ BEGIN
	FOR minute IN 1..15 LOOP
		PERFORM test.send('stays', 3);
		COMMIT;
		PERFORM unidesk._tick('2030-01-01 05:30:00+00'::timestamptz + minute * interval '1 min');
	END LOOP;
END $$;
INSERT INTO test.task SELECT 'waiting', test.submit(labels => '{"site": "nowhere"}');
INSERT INTO test.task SELECT 'done', test.submit();
INSERT INTO test.task SELECT 'again', test.submit(gpus => 1, max_retries => 1);
INSERT INTO test.task SELECT 'runs', test.submit(gpus => 1);
INSERT INTO test.task SELECT 'prepares', test.submit();
INSERT INTO test.task SELECT 'stops', test.submit();
SELECT unidesk._tick('2030-01-01 05:45:01+00');
SELECT test.report('stays', test.id('done'), 'running'), test.report('stays', test.id('again'), 'running'), test.report('stays', test.id('runs'), 'running'),
	test.report('stays', test.id('prepares'), 'preparing'), test.report('stays', test.id('stops'), 'running');
SELECT test.log('stays', test.id('done'), 0, 'one '), test.log('stays', test.id('done'), 4, 'two '), test.log('stays', test.id('done'), 8, 'three');
SELECT test.report('stays', test.id('done'), 'succeeded', '{"exit_code":0,"log_end":13}'), test.report('stays', test.id('again'), 'failed', '{"exit_code":1,"log_end":0}'),
	unidesk.cancel_task(test.id('stops'));
SELECT test.scheduling('^stays$', 3::smallint);
SELECT test.hello('goes', cpus => 8);
INSERT INTO test.task SELECT 'unknown', test.submit();
INSERT INTO test.task SELECT 'lost', test.submit(lease => '0');
SELECT unidesk._tick('2030-01-01 05:45:02+00');
SELECT test.report('goes', test.id('unknown'), 'running'), test.report('goes', test.id('lost'), 'running');
SELECT reply FROM test.send('stays', 3);
SELECT unidesk._tick('2030-01-01 05:46:30+00');
SELECT reply FROM test.send('stays', 3);
SELECT unidesk._tick('2030-01-01 05:47:50+00');
SELECT reply FROM test.send('stays', 3);
SELECT test.scheduling('^stays$', 1::smallint);
SELECT unidesk._tick('2030-01-01 05:47:51+00');
SELECT test.scheduling('^stays$', 3::smallint);
SELECT unidesk._tick('2030-01-01 05:47:52+00');
SELECT t.name, s.state, s.attempt_state, s.attempts, s.node FROM test.task t JOIN unidesk.tasks s ON s.id = t.id ORDER BY t.id;
SELECT attempt, state FROM unidesk.attempts WHERE task = test.id('lost') ORDER BY attempt;
SELECT * FROM unidesk.check_invariants();

-- Numbers.
SELECT test.broken('DELETE FROM unidesk_data.incarnation');
SELECT test.broken($$ UPDATE unidesk_data.live SET order_no = 1000000 WHERE task_id = test.id('runs') $$);
SELECT test.broken($$ UPDATE unidesk_data.node SET session = session + 1000000 WHERE name = 'stays' $$);
SELECT test.broken($$ SELECT setval('unidesk_data.task_id', 1) $$), setval('unidesk_data.task_id', (SELECT max(id) FROM unidesk_data.task)) > 1 AS set_back;
SELECT test.broken($$ UPDATE unidesk_data.live SET order_no = (SELECT order_no FROM unidesk_data.live WHERE task_id = test.id('prepares')) WHERE task_id = test.id('runs') $$);
SELECT test.broken($$ UPDATE unidesk_data.node SET session = (SELECT session FROM unidesk_data.node WHERE name = 'goes') WHERE name = 'stays' $$);
SELECT test.broken($$ INSERT INTO unidesk_data.bridge (name, pid, started_at, last_beat) VALUES ('test', 2, now(), '2030-01-01 05:46:40+00') $$);
-- Live tasks.
SELECT test.broken($$ UPDATE unidesk_data.live SET owner_id = 0 WHERE task_id = test.id('runs') $$);
SELECT test.broken($$ UPDATE unidesk_data.task SET state = 7, reason = 400, ended_at = now() WHERE id = test.id('waiting') $$);
SELECT test.broken($$ UPDATE unidesk_data.live SET session = NULL WHERE task_id = test.id('runs') $$);
SELECT test.broken($$ UPDATE unidesk_data.live SET want = 1 WHERE task_id = test.id('waiting') $$);
SELECT test.broken($$ UPDATE unidesk_data.live SET want = 2 WHERE task_id = test.id('runs') $$);
SELECT test.broken($$ UPDATE unidesk_data.live SET started_at = NULL WHERE task_id = test.id('runs') $$);
SELECT test.broken($$ UPDATE unidesk_data.live SET user_failures = 2 WHERE task_id = test.id('again') $$);
SELECT test.broken($$ UPDATE unidesk_data.live SET infra_failures = 1 WHERE task_id = test.id('runs') $$);
SELECT test.broken($$ UPDATE unidesk_data.live SET restarts = 1 WHERE task_id = test.id('runs') $$);
SELECT test.broken($$ UPDATE unidesk_data.live SET checkpoint_node = node_id + 1 WHERE task_id = test.id('runs') $$);
SELECT test.broken($$ UPDATE unidesk_data.live SET checkpoint_node = 0 WHERE task_id = test.id('waiting') $$);
SELECT test.broken($$ UPDATE unidesk_data.live SET session = session + 1000000 WHERE task_id = test.id('runs') $$);
-- Nodes and what is allocated.
SELECT test.broken($$ UPDATE unidesk_data.node SET bridge_id = NULL WHERE name = 'stays' $$);
SELECT test.broken($$ UPDATE unidesk_data.node SET status_since = status_since - interval '1 hour' WHERE name = 'stays' $$);
SELECT test.broken($$ UPDATE unidesk_data.node_use SET used_memory = used_memory - 1 WHERE node_id = (SELECT id FROM unidesk_data.node WHERE name = 'stays') $$);
SELECT test.broken($$ UPDATE unidesk_data.node_use SET used_memory = used_memory + 1 WHERE node_id = (SELECT id FROM unidesk_data.node WHERE name = 'stays') $$);
SELECT test.broken($$ UPDATE unidesk_data.live SET gpu_mask = (SELECT gpu_mask FROM unidesk_data.live WHERE task_id = test.id('again')) WHERE task_id = test.id('runs') $$);
SELECT test.broken($$ DELETE FROM unidesk_data.gpu WHERE holder_task = test.id('runs') $$);
SELECT test.broken($$ UPDATE unidesk_data.gpu SET holder_attempt = 7 WHERE holder_task = test.id('runs') $$);
SELECT test.broken($$ UPDATE unidesk_data.held SET attempt = 7 WHERE task_id = test.id('lost') $$);
SELECT test.broken($$ INSERT INTO unidesk_data.held SELECT incarnation, task_id, attempt, node_id, 0, 0, 0, 0, 301, placed_at FROM unidesk_data.live WHERE task_id = test.id('prepares') $$);
SELECT test.broken($$ INSERT INTO unidesk_data.held SELECT incarnation, task_id, attempt, node_id, 0, 0, 0, 0, 301, '2030-01-01 05:00:00+00' FROM unidesk_data.attempt WHERE task_id = test.id('again') $$);
-- What time should have brought about.
SELECT test.broken($$ UPDATE unidesk_data.bridge SET ended_at = last_beat WHERE id = (SELECT id FROM test.bridge) $$);
SELECT test.broken($$ UPDATE unidesk_data.node n SET status = 2, status_since = e.at FROM unidesk_data.node_event e WHERE n.name = 'goes' AND e.node_id = n.id AND e.what = 'online' $$);
SELECT test.broken($$ INSERT INTO unidesk_data.node_event SELECT '2030-01-01 05:40:00+00', id, 'offline', 0, 0 FROM unidesk_data.node WHERE name = 'stays';
	UPDATE unidesk_data.node SET status = 3, status_since = '2030-01-01 05:40:00+00' WHERE name = 'stays' $$);
SELECT test.broken($$ UPDATE unidesk_data.live SET lease_s = 10 WHERE task_id = test.id('unknown') $$);
SELECT test.broken($$ UPDATE unidesk_data.live SET left_on = gen_random_uuid(), left_at = placed_at - interval '1 day' WHERE task_id = test.id('runs') $$);
SELECT test.broken($$ UPDATE unidesk_data.live SET left_on = gen_random_uuid(), left_at = placed_at - interval '8 days', lease_s = NULL WHERE task_id = test.id('runs') $$);
SELECT test.broken($$ UPDATE unidesk_data.live SET left_on = gen_random_uuid() WHERE task_id = test.id('runs') $$);
SELECT test.broken($$ UPDATE unidesk_data.live SET order_no = NULL, state_at = state_at - interval '1 hour' WHERE task_id = test.id('runs') $$);
SELECT test.broken($$ UPDATE unidesk_data.live SET placed_at = placed_at - interval '1 hour' WHERE task_id = test.id('again') $$);
SELECT test.broken($$ UPDATE unidesk_data.live SET prepare_s = 10 WHERE task_id = test.id('prepares') $$);
SELECT test.broken($$ UPDATE unidesk_data.live SET run_s = 10, grace_s = 0, started_at = started_at - interval '1 hour' WHERE task_id = test.id('runs') $$);
SELECT test.broken($$ UPDATE unidesk_data.live SET state_at = state_at - interval '1 day' WHERE task_id = test.id('stops') $$);
SELECT test.broken($$ UPDATE unidesk_data.live SET attempt_state = 5, state_at = state_at - interval '25 hours' WHERE task_id = test.id('runs') $$);
SELECT test.broken($$ UPDATE unidesk_data.live SET placed_at = placed_at - interval '5 hours' WHERE task_id = test.id('prepares') $$);
SELECT test.broken($$ INSERT INTO unidesk_data.held (incarnation, task_id, attempt, node_id, cpus_milli, memory, gpus, gpu_mask, reason, since)
	SELECT 1, 1, 1, n.id, 0, 0, 0, 0, 405, unidesk._now() - interval '2 days' FROM unidesk_data.node n WHERE n.name = 'stays' $$);
SELECT test.broken($$ UPDATE unidesk_data.live SET queue_s = 10 WHERE task_id = test.id('waiting') $$);
SELECT test.broken($$ UPDATE unidesk_data.node SET scheduling = 4, drain_deadline = '2030-01-01 05:40:00+00', scheduling_since = '2030-01-01 05:40:00+00' WHERE name = 'stays' $$);
SELECT test.broken($$ UPDATE unidesk_data.node SET scheduling = 5 WHERE name = 'stays' $$);
SELECT test.broken($$ UPDATE unidesk_data.node SET scheduling = 4, scheduling_since = '2030-01-01 05:40:00+00' WHERE name = 'n1' $$);
SELECT test.broken($$ UPDATE unidesk_data.live SET deadline = queued_at WHERE task_id = test.id('waiting') $$);
SELECT test.broken($$ UPDATE unidesk_data.live SET deadline = queued_at WHERE task_id = test.id('runs') $$);
-- Partitions.
SELECT unidesk._tidy();
SELECT test.broken($$ INSERT INTO unidesk_data.log_block SELECT '2030-01-01', id, 1, 13, 0, project_id, '2029-12-01', '{}', '' FROM unidesk_data.task WHERE id = test.id('done') $$);
SELECT test.broken('ALTER TABLE unidesk_data.task_event_20300102 RENAME TO moved');
-- History of tasks.
SELECT test.broken($$ DELETE FROM unidesk_data.live WHERE task_id = test.id('waiting') $$);
SELECT test.broken($$ UPDATE unidesk_data.task SET exit_code = 1 WHERE id = test.id('done') $$);
SELECT test.broken($$ UPDATE unidesk_data.task SET exit_code = 1 WHERE id = test.id('waiting') $$);
SELECT test.broken($$ INSERT INTO unidesk_data.attempt SELECT * FROM unidesk_data.attempt WHERE task_id = test.id('again') $$);
SELECT test.broken($$ DELETE FROM unidesk_data.attempt WHERE task_id = test.id('again') $$);
SELECT test.broken($$ UPDATE unidesk_data.attempt SET state = 7 WHERE task_id = test.id('again') $$);
SELECT test.broken($$ UPDATE unidesk_data.task SET spec_id = 0 WHERE id = test.id('done') $$);
SELECT test.broken($$ UPDATE unidesk_data.attempt SET node_id = 0 WHERE task_id = test.id('again') $$);
SELECT test.broken($$ UPDATE unidesk_data.task SET terms_id = 0 WHERE id = test.id('done') $$);
-- Events: a gap, a step that the machine lacks, a second end, another end than the row's.
SELECT test.broken($$ UPDATE unidesk_data.task_event SET seq = 5 WHERE task_id = test.id('done') AND seq = 4 $$);
SELECT test.broken($$ UPDATE unidesk_data.task_event SET steps = '\x0204' WHERE task_id = test.id('done') AND seq = 3 $$);
SELECT test.broken($$ UPDATE unidesk_data.task_event SET actor_kind = 1 WHERE task_id = test.id('done') AND seq = 4 $$);
SELECT test.broken($$ INSERT INTO unidesk_data.task_event SELECT at, task_id, 5, attempt, task_state, attempt_state, reason, actor_kind, actor_id, steps
	FROM unidesk_data.task_event WHERE task_id = test.id('done') AND seq = 4 $$);
SELECT test.broken($$ UPDATE unidesk_data.live SET reason = 700 WHERE task_id = test.id('waiting') $$);
SELECT test.broken($$ UPDATE unidesk_data.live SET attempt_state = 5 WHERE task_id = test.id('prepares') $$);
SELECT test.broken($$ UPDATE unidesk_data.attempt SET reason = 101 WHERE task_id = test.id('again') $$);
-- Logs: a gap, a byte twice, more than the node said.
SELECT test.broken($$ UPDATE unidesk_data.log_block SET "offset" = 1, length = length - 1 WHERE task_id = test.id('done') $$);
SELECT test.broken($$ INSERT INTO unidesk_data.log_block SELECT expires, task_id, attempt, 7, 6, project_id, at, runs, bytes
	FROM unidesk_data.log_block WHERE task_id = test.id('done') $$);
SELECT test.broken($$ UPDATE unidesk_data.task SET log_end = 12 WHERE id = test.id('done') $$);
-- Every rule was broken; those that are missing here are broken by memory.sql and poisoned.sql.
SELECT code FROM unidesk.invariants WHERE code NOT IN (SELECT code FROM test.seen) ORDER BY code COLLATE "C";
SELECT checks, count(*), count(rule) AS rules FROM unidesk.invariants GROUP BY checks ORDER BY checks;

-- Bounded: what is live is always looked at, history only as far back as asked for.
SELECT test.broken($$ UPDATE unidesk_data.task SET exit_code = 1 WHERE id = test.id('done') $$, '1 hour') AS within,
	test.broken($$ UPDATE unidesk_data.task SET exit_code = 1 WHERE id = test.id('done') $$, '10 s') AS before,
	test.broken($$ UPDATE unidesk_data.live SET session = NULL WHERE task_id = test.id('runs') $$, '0') AS live;
-- It asks for no lock that a read-only transaction could not have.
BEGIN READ ONLY;
SELECT * FROM unidesk.check_invariants();
ROLLBACK;
-- All is as it was.
SELECT * FROM unidesk.check_invariants();
SELECT test.forget_unended();
SELECT test.scheduling('', 1::smallint), test.scheduling('^(stays|goes)$', 3::smallint);
