-- What people ask of tasks in every state, and what comes of it.
\set VERBOSITY terse
SELECT test.scheduling('', 3::smallint);
SELECT test.forget_unended();
SELECT unidesk._tidy();
CREATE FUNCTION test.pass(by interval DEFAULT '1 s') RETURNS void LANGUAGE sql AS $$ SELECT unidesk._tick(unidesk._now() + by) $$;
SELECT test.pass();
SELECT test.hello('steady', cpus => 32, memory => 68719476736, labels => '{"site": "control"}');
CREATE TABLE test.control (name text PRIMARY KEY, n serial, id bigint);
CREATE FUNCTION test.control(task_name text) RETURNS bigint LANGUAGE sql AS $$ SELECT c.id FROM test.control c WHERE c.name = task_name $$;
CREATE FUNCTION test.steady(task_name text, max_retries int DEFAULT 0, on_lost text DEFAULT 'requeue', lease interval DEFAULT NULL, site text DEFAULT 'control',
	not_before timestamptz DEFAULT NULL) RETURNS void LANGUAGE sql AS $$
	INSERT INTO test.control (name, id) SELECT task_name, test.submit(labels => jsonb_build_object('site', site), max_retries => max_retries, on_lost => on_lost,
		lease => lease, not_before => not_before)
$$;
CREATE FUNCTION test.what(task bigint) RETURNS text LANGUAGE sql AS $$
	SELECT concat_ws(' ', t.state, nullif(t.reason, ''), t.attempt_state, unidesk._attempt_state_name(l.want_final), unidesk._reason_name(l.want_reason))
	FROM unidesk.tasks t LEFT JOIN unidesk_data.live l ON l.task_id = t.id WHERE t.id = task
$$;

-- A task in each state.
SELECT test.steady(s, not_before => CASE s WHEN 'queued, not yet' THEN unidesk._now() + interval '1 day' END,
		site => CASE WHEN s ~ '^(held|blocked|queued)' THEN 'nowhere' ELSE 'control' END)
	FROM unnest(ARRAY['held', 'blocked', 'queued', 'queued, not yet', 'assigned', 'accepted', 'preparing', 'running', 'finishing', 'stopping, held', 'stopping, requeued',
		'stopping, cancelled', 'stopping, overdue', 'stopping, withdrawn', 'succeeded', 'failed', 'cancelled']) s;
SELECT unidesk.hold_task(test.control('held'));
-- Nothing waits for other tasks yet: past the functions.
BEGIN;
UPDATE unidesk_data.live SET state = 2 WHERE task_id = test.control('blocked');
UPDATE unidesk_data.task_event SET task_state = 2 WHERE task_id = test.control('blocked');
SELECT unidesk._rescan();
COMMIT;
SELECT test.pass();
SELECT count(*) FROM unidesk.tasks t JOIN test.control c ON c.id = t.id WHERE t.state = 'active';
SELECT c.name, test.report('steady', c.id, CASE WHEN c.name IN ('accepted', 'preparing') THEN c.name ELSE 'running' END) FROM test.control c
	JOIN unidesk.tasks t ON t.id = c.id WHERE t.state = 'active' AND c.name <> 'assigned' AND c.name <> 'stopping, withdrawn' ORDER BY c.n;
SELECT test.report('steady', test.control('finishing'), 'finishing', '{"exit_code":0,"log_end":0}'), unidesk.hold_task(test.control('stopping, held')),
	unidesk.requeue_task(test.control('stopping, requeued')), unidesk.cancel_task(test.control('stopping, cancelled')), test.report('steady', test.control('stopping, overdue'), 'stopping'),
	test.report('steady', test.control('succeeded'), 'succeeded', '{"exit_code":0,"log_end":0}'), test.report('steady', test.control('failed'), 'failed', '{"exit_code":1,"log_end":0}'),
	unidesk.cancel_task(test.control('cancelled')), test.report('steady', test.control('cancelled'), 'cancelled', '{"exit_code":143,"log_end":0}');
-- Nobody answered: taken back by the worker.
SELECT test.report('steady', test.control('assigned'), 'accepted');
SELECT test.pass('61 s');
SELECT c.name, test.what(c.id) FROM test.control c ORDER BY c.n;
UPDATE test.control SET name = 'accepted again' WHERE name = 'assigned';
SELECT test.steady('assigned');
SELECT test.pass();

-- Everything twice.  What the first call answers and how many events it makes,
-- the same of the second, what the task is then; then it is undone.
CREATE FUNCTION test.twice(call text, task bigint) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	answer text;
	result text := '';
	events bigint;
BEGIN
	FOR i IN 1..2 LOOP
		events := (SELECT count(*) FROM unidesk_data.task_event e WHERE e.task_id = task);
		BEGIN
			EXECUTE format('SELECT unidesk.%s($1)::text', call) INTO answer USING task;
			-- A new task's number.
			answer := CASE WHEN answer ~ '^[0-9]+$' THEN 'another task' ELSE answer END;
		EXCEPTION WHEN OTHERS THEN
			answer := format('%s %s', SQLSTATE, replace(SQLERRM, task::text, 'N'));
		END;
		result := result || format('%s +%s, ', answer, (SELECT count(*) FROM unidesk_data.task_event e WHERE e.task_id = task) - events);
	END LOOP;
	result := result || test.what(task);
	RAISE EXCEPTION USING ERRCODE = 'triggered_action_exception';
EXCEPTION WHEN triggered_action_exception THEN
	RETURN result;
END
$$;
SET client_min_messages = error;
SELECT c.name, test.twice('cancel_task', c.id) FROM test.control c ORDER BY c.n;
SELECT c.name, test.twice('hold_task', c.id) FROM test.control c ORDER BY c.n;
SELECT c.name, test.twice('release_task', c.id) FROM test.control c ORDER BY c.n;
SELECT c.name, test.twice('requeue_task', c.id) FROM test.control c ORDER BY c.n;
SELECT c.name, test.twice('force_lost', c.id) FROM test.control c ORDER BY c.n;
SELECT c.name, test.twice('rerun_task', c.id) FROM test.control c ORDER BY c.n;
RESET client_min_messages;
-- A cancel that comes too late says so.
SELECT unidesk.cancel_task(test.control('finishing'));
SELECT unidesk.cancel_task(test.control('stopping, overdue'));
SELECT test.report('steady', test.control('finishing'), 'succeeded', '{"exit_code":0,"log_end":0}'),
	test.report('steady', test.control('stopping, overdue'), 'timed_out', '{"exit_code":143,"log_end":0}');

-- By a filter: one is needed; what does not fit it, or cannot change, is left out.
SELECT unidesk.cancel_tasks();
SELECT unidesk.cancel_tasks(project => 'demo', state => 'held', node => 'steady') AS none, unidesk.hold_tasks(ids => '{}') AS nothing;
SELECT unidesk.hold_tasks(state => 'queued', ids => (SELECT array_agg(id ORDER BY id DESC) FROM test.control)) AS held,
	unidesk.hold_tasks(state => 'queued', ids => (SELECT array_agg(id) FROM test.control)) AS again;
SELECT unidesk.release_tasks(project => 'demo') AS released, unidesk.release_tasks(project => 'demo') AS again;
SELECT unidesk.requeue_tasks(node => 'steady', state => 'active') AS requeued, unidesk.requeue_tasks(node => 'steady', state => 'active') AS again;
SELECT c.name, test.what(c.id) FROM test.control c WHERE test.what(c.id) ~ 'active|queued|held|blocked' ORDER BY c.n;
SELECT unidesk.cancel_tasks(owner => unidesk.me()::text, project => 'demo') AS cancelled, unidesk.cancel_tasks(owner => unidesk.me()::text) AS again;
-- The node confirms what it had.
SELECT count(test.report('steady', l.task_id, 'cancelled', '{"exit_code":143,"log_end":0}')) AS confirmed FROM unidesk_data.live l JOIN test.control c ON c.id = l.task_id;
SELECT count(*) AS live FROM unidesk_data.live;
SELECT * FROM unidesk.check_invariants();
-- More than one statement takes.
SELECT count(*) FROM unidesk.submit_tasks((SELECT jsonb_agg(jsonb_build_object('project', 'demo', 'code_repo_url', 'https://git.example/code.git', 'code_commit_id', repeat('a', 40),
	'env_repo_url', 'https://git.example/env.git', 'env_commit_id', repeat('b', 40), 'dockerfile_path', 'Dockerfile', 'command', '[]'::jsonb, 'labels', '{"site": "nowhere"}'::jsonb))
	FROM generate_series(1, 2500)));
SELECT unidesk.hold_tasks('demo') AS held, unidesk.release_tasks('demo', 'held') AS released, unidesk.cancel_tasks('demo', 'queued') AS cancelled;

-- Hold while it runs: stopped as for a preemption, then held, at no cost.
TRUNCATE test.control;
SELECT test.steady('one');
SELECT test.pass();
SELECT test.report('steady', test.control('one'), 'running');
SELECT count(*) >= 1 AS pulled FROM test.pull();
SELECT unidesk.hold_task(test.control('one'));
SELECT test.pass();
SELECT want, body FROM test.pull();
SELECT test.report('steady', test.control('one'), 'stopping'), test.report('steady', test.control('one'), 'preempted', '{"exit_code":143,"log_end":0}');
SELECT test.what(test.control('one'));
SELECT state, attempt, user_failures, infra_failures, node_id, want, order_no FROM unidesk_data.live WHERE task_id = test.control('one');
SELECT attempt, state, reason, exit_code FROM unidesk.attempts WHERE task = test.control('one');
SELECT test.pass();
SELECT state, attempts FROM unidesk.tasks WHERE id = test.control('one');
SELECT unidesk.release_task(test.control('one'));
SELECT test.pass();
SELECT state, attempts, node FROM unidesk.tasks WHERE id = test.control('one');
-- Requeue: the same, and it runs again by itself.
SELECT test.report('steady', test.control('one'), 'running', attempt => 2), unidesk.requeue_task(test.control('one'));
SELECT test.report('steady', test.control('one'), 'preempted', '{"exit_code":143,"log_end":0}', attempt => 2);
SELECT test.pass();
SELECT state, attempts FROM unidesk.tasks WHERE id = test.control('one');
-- While it stops the last word holds: held, released, held, cancelled, and no more.
SELECT test.report('steady', test.control('one'), 'running', attempt => 3), unidesk.hold_task(test.control('one')), unidesk.release_task(test.control('one'));
SELECT test.what(test.control('one'));
SELECT unidesk.hold_task(test.control('one'));
SELECT test.what(test.control('one'));
SELECT unidesk.cancel_task(test.control('one'));
SELECT unidesk.hold_task(test.control('one'));
SELECT unidesk.release_task(test.control('one'));
SELECT unidesk.requeue_task(test.control('one'));
SELECT test.report('steady', test.control('one'), 'preempted', '{"exit_code":0,"log_end":0}', attempt => 3);
SELECT test.what(test.control('one'));
SELECT seq, task_state, attempt, attempt_state, reason, actor FROM unidesk.task_events WHERE task = test.control('one') ORDER BY seq;

-- A task that failed and waits for its next try: requeued it does not wait, and nothing is counted any more.
SELECT test.steady('fails', max_retries => 1);
SELECT test.pass();
SELECT test.report('steady', test.control('fails'), 'running'), test.report('steady', test.control('fails'), 'failed', '{"exit_code":1,"log_end":0}');
SELECT state, not_before > unidesk._now() AS waits, user_failures FROM unidesk_data.live WHERE task_id = test.control('fails');
BEGIN;
SELECT unidesk.requeue_task(test.control('fails')), unidesk.requeue_task(test.control('fails'));
SELECT state, not_before, excluded_node, user_failures, infra_failures, unidesk._reason_name(reason) AS reason FROM unidesk_data.live WHERE task_id = test.control('fails');
COMMIT;
SELECT test.pass();
SELECT state, attempts FROM unidesk.tasks WHERE id = test.control('fails');
-- Its retry is there again.
SELECT test.report('steady', test.control('fails'), 'failed', '{"exit_code":1,"log_end":0}', attempt => 2);
SELECT state, user_failures FROM unidesk_data.live WHERE task_id = test.control('fails');
-- Held and released it waits for what it waited for.
SELECT unidesk.hold_task(test.control('fails')), unidesk.release_task(test.control('fails'));
SELECT state, not_before > unidesk._now() AS waits, user_failures FROM unidesk_data.live WHERE task_id = test.control('fails');
SELECT unidesk.cancel_task(test.control('fails'));
-- Time in which it was held is none in the queue.
INSERT INTO test.control (name, id) SELECT 'patient', test.submit(labels => '{"site": "nowhere"}', queue_timeout => '30 s');
SELECT unidesk.hold_task(test.control('patient'));
SELECT test.pass('31 s');
SELECT unidesk.release_task(test.control('patient'));
SELECT test.pass('29 s');
SELECT test.what(test.control('patient'));
SELECT test.pass('2 s');
SELECT test.what(test.control('patient'));
-- What the scheduler held because it failed with it can be released.
SELECT test.steady('poisoned', site => 'nowhere');
SELECT unidesk.hold_task(test.control('poisoned'));
BEGIN;
UPDATE unidesk_data.live SET reason = 700 WHERE task_id = test.control('poisoned');
SELECT unidesk._rescan();
COMMIT;
SELECT test.what(test.control('poisoned')), unidesk.release_task(test.control('poisoned')), unidesk.cancel_task(test.control('poisoned'));

-- Nodes that will not come back.  Three without a lease, one with, one that is to fail.
TRUNCATE test.control;
SELECT test.scheduling('^steady$', 3::smallint);
SELECT test.hello('frail', cpus => 8, labels => '{"site": "frail"}', machine => 'frail');
SELECT test.steady('waits', on_lost => 'wait', site => 'frail'), test.steady('cancelled', on_lost => 'wait', site => 'frail'), test.steady('held', on_lost => 'wait', site => 'frail'),
	test.steady('leased', lease => '1 day', site => 'frail'), test.steady('fails', on_lost => 'fail', lease => '1 day', site => 'frail');
SELECT test.pass();
SELECT c.name, test.report('frail', c.id, 'running') FROM test.control c ORDER BY c.n;
SELECT unidesk.cancel_task(test.control('cancelled')), unidesk.hold_task(test.control('held'));
-- One that was heard a moment ago is not lost.
SELECT unidesk.declare_node_lost('frail');
SELECT test.pass('91 s');
SELECT test.pass('1 s');
SELECT name, status FROM unidesk.nodes WHERE name = 'frail';
SELECT c.name, test.what(c.id) FROM test.control c ORDER BY c.n;
SELECT unidesk.declare_node_lost('frail');
SELECT unidesk.declare_node_lost('frail') AS again;
SELECT c.name, test.what(c.id) FROM test.control c ORDER BY c.n;
SELECT c.name, a.attempt, a.state, a.reason FROM test.control c JOIN unidesk.attempts a ON a.task = c.id ORDER BY c.n, a.attempt;
SELECT c.name, h.reason FROM unidesk.held h JOIN test.control c ON c.id = h.task ORDER BY c.n;
SELECT what, actor, data FROM unidesk.node_events WHERE node = 'frail' ORDER BY at DESC, what LIMIT 1;
SELECT infra_failures FROM unidesk_data.live WHERE task_id = test.control('waits');
SELECT test.pass();
SELECT cpus_used FROM unidesk.nodes WHERE name = 'frail';
SELECT * FROM unidesk.check_invariants();
-- It comes back with all of them: told to remove them, and free when it has.
SELECT test.hello('frail', cpus => 8, labels => '{"site": "frail"}', machine => 'frail', attempts => (SELECT jsonb_agg(jsonb_build_object('task', c.id, 'attempt', 1,
	'state', 'running', 'incarnation', (SELECT lpad(to_hex(value), 16, '0') FROM unidesk_data.incarnation))) FROM test.control c));
SELECT c.name, test.report('frail', c.id, 'lost') FROM test.control c ORDER BY c.n;
SELECT count(*) AS held FROM unidesk_data.held;
SELECT test.pass('30 s');
SELECT c.name, test.what(c.id) FROM test.control c ORDER BY c.n;
-- One alone, of a node that does answer: asked at its next beat what it has, and told to remove it.
SELECT test.report('frail', test.control('waits'), 'running', attempt => 2);
SELECT unidesk.force_lost(test.control('waits'));
SELECT test.what(test.control('waits')), (SELECT count(*) FROM unidesk_data.held) AS held;
SELECT reply FROM test.send('frail', 3);
SELECT m.reply, m.reply_state FROM (SELECT lpad(to_hex(value), 16, '0') AS id FROM unidesk_data.incarnation) i, test.send('frail', 2, value => 1000000, body => format('{"attempts":[{"incarnation":"%s","task":%s,"attempt":2,"state":"running"},{"incarnation":"%s","task":%s,"attempt":2,"state":"running"}]}',
	i.id, test.control('waits'), i.id, test.control('leased'))) m;
SELECT test.report('frail', test.control('waits'), 'failed', '{"exit_code":137,"log_end":0}', attempt => 2);
SELECT count(*) AS held FROM unidesk_data.held;
-- What is finishing has no container: nothing is held for it.
SELECT test.report('frail', test.control('leased'), 'finishing', '{"exit_code":0,"log_end":0}', attempt => 2), unidesk.force_lost(test.control('leased'));
SELECT test.what(test.control('leased')), (SELECT count(*) FROM unidesk_data.held) AS held;
SELECT unidesk.cancel_tasks(ids => (SELECT array_agg(id) FROM test.control));
SELECT c.name, test.report('frail', l.task_id, 'cancelled', attempt => l.attempt) FROM unidesk_data.live l JOIN test.control c ON c.id = l.task_id ORDER BY c.n;
SELECT count(*) AS live FROM unidesk_data.live;
SELECT * FROM unidesk.check_invariants();

-- The same request again, whatever it was: every argument of submit_task.
SELECT unidesk.submit_task('demo', 'https://git.example/code.git', repeat('c', 40), 'https://git.example/env.git', repeat('d', 64), 'env/Dockerfile', ARRAY['a', E'b "c"\n', ''],
	1.25, 123456789, 2, '{"site": "nowhere", "what": "a=\"b\"", "a/b": true}', '{"A": "b", "C": ""}', -7, '1 hour', '2 min', '3 days', 4, 'control', 'fail', '1 hour', '11 s',
	not_before => '2029-01-01 00:00+00', hold => true, retry_on => '{3, 255}', total_timeout => '9 days', idle_timeout => '7 min', warn_before => '5 min', warn_signal => 'INT',
	restart_exit_code => 85) AS first \gset
CREATE TABLE test.first AS SELECT * FROM unidesk_data.live WHERE task_id = :first;
CREATE TABLE test.first_task AS SELECT * FROM unidesk.tasks WHERE id = :first;
SELECT unidesk.cancel_task(:first), unidesk.rerun_task(:first) AS second \gset
SELECT x.key, x.value, y.value FROM test.first f, unidesk_data.live l, jsonb_each(to_jsonb(f)) x, jsonb_each(to_jsonb(l)) y
	WHERE l.task_id = :second AND x.key = y.key AND x.value <> y.value AND x.key NOT IN ('task_id', 'queued_at', 'state_at') ORDER BY x.key;
SELECT x.key FROM test.first_task f, unidesk.tasks t, jsonb_each(to_jsonb(f)) x, jsonb_each(to_jsonb(t)) y
	WHERE t.id = :second AND x.key = y.key AND x.value <> y.value ORDER BY x.key;
SELECT request FROM unidesk_data.terms m JOIN unidesk_data.task t ON t.terms_id = m.id WHERE t.id = :second;
-- An argument that is new and was forgotten in terms.c (or here) is shown.
SELECT a.name AS forgotten FROM pg_proc p, unnest(p.proargnames) a (name)
	WHERE p.oid = (SELECT oid FROM pg_proc WHERE proname = 'submit_task') AND a.name NOT IN ('project', 'code_repo_url', 'code_commit_id', 'env_repo_url', 'env_commit_id', 'dockerfile_path',
		'command', 'environment', 'idempotency_key', 'hold', 'not_before')
	AND NOT (SELECT m.request ? a.name FROM unidesk_data.terms m JOIN unidesk_data.task t ON t.terms_id = m.id WHERE t.id = :second);
-- Equal terms are one row, and ordinary ones say nothing.
SELECT count(DISTINCT terms_id) AS rows, count(*) AS tasks FROM unidesk_data.task WHERE id IN (:first, :second);
SELECT unidesk.cancel_task(:second);
SELECT unidesk.submit_task('demo', 'https://git.example/code.git', repeat('c', 40), 'https://git.example/env.git', repeat('d', 40), 'Dockerfile', '{}', hold => true) AS plain \gset
SELECT m.request FROM unidesk_data.terms m JOIN unidesk_data.task t ON t.terms_id = m.id WHERE t.id = :plain;
SELECT unidesk.cancel_task(:plain);
-- A host that is not allowed any more is not fetched from again; a task of version 0.1 says why not.
SET unidesk.allowed_git_hosts = 'elsewhere.example';
SELECT test.bad(format('SELECT unidesk.rerun_task(%s)', :plain));
RESET unidesk.allowed_git_hosts;
BEGIN;
UPDATE unidesk_data.task SET terms_id = NULL WHERE id = :plain;
SELECT replace(test.bad(format('SELECT unidesk.rerun_task(%s)', :plain)), :'plain', 'N');
ROLLBACK;
SELECT count(*) AS live FROM unidesk_data.live;
SELECT * FROM unidesk.check_invariants();
DROP TABLE test.control, test.first, test.first_task CASCADE;
SELECT test.scheduling('', 1::smallint), test.scheduling('^(steady|frail)$', 3::smallint);
