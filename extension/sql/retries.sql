-- When another attempt follows a failed one: the wait, what a server asks for, bounds, nodes.
\set VERBOSITY terse
-- Settings hold for a new connection at once, and for the worker in its next pass.
SELECT unidesk._now() AS t0 \gset
-- Nodes that stay online, whatever the clock does, and get a task again at once.
ALTER SYSTEM SET unidesk.offline_after = '1d';
ALTER SYSTEM SET unidesk.exclude_for = 0;
SELECT pg_reload_conf();
\c -
SELECT test.hello('again', cpus => 64, memory => 1::bigint << 40, labels => '{"retries": "yes"}');
CREATE FUNCTION test.submit_retried(max_retries int DEFAULT 0) RETURNS bigint LANGUAGE sql AS $$
	SELECT test.submit(cpus => 0.1, labels => '{"retries": "yes"}', max_retries => max_retries)
$$;
-- The live attempt ends so; what the event and the row say of the next one.
CREATE FUNCTION test.fail(task bigint, body text, state text DEFAULT 'failed') RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	live record;
	event record;
BEGIN
	SELECT t.node, t.attempts INTO live FROM unidesk.tasks t WHERE t.id = fail.task AND t.state = 'active';
	IF NOT FOUND THEN
		RETURN 'it is not active';
	END IF;
	PERFORM test.report(live.node, fail.task, fail.state, fail.body, live.attempts);
	SELECT e.at, e.task_state, e.data, t.not_before INTO event
		FROM unidesk.task_events e JOIN unidesk.tasks t ON t.id = e.task WHERE e.task = fail.task ORDER BY e.seq DESC LIMIT 1;
	IF event.task_state <> 'queued' THEN
		RETURN event.task_state;
	END IF;
	RETURN format('after %s, own failures %s, infrastructure %s%s', (event.data::jsonb ->> 'not_before')::timestamptz - event.at,
		event.data::jsonb -> 'user_failures', event.data::jsonb -> 'infra_failures',
		CASE WHEN (event.data::jsonb ->> 'not_before')::timestamptz <> event.not_before THEN ', but the row has another time' END);
END
$$;
-- All of these end so at once; the waits before their next attempts.
CREATE FUNCTION test.waits(tasks bigint[], body text) RETURNS SETOF interval LANGUAGE plpgsql AS $$
DECLARE
	task bigint;
BEGIN
	FOREACH task IN ARRAY tasks LOOP
		PERFORM test.fail(task, body);
	END LOOP;
	RETURN QUERY SELECT t.not_before - unidesk._now() FROM unidesk.tasks t WHERE t.id = ANY (tasks);
END
$$;

-- The wait doubles up to unidesk.retry_backoff_max, whatever the reason.
SELECT test.submit_retried(max_retries => 1) AS task \gset
SELECT unidesk._tick(:'t0'::timestamptz + '1 s');
SELECT unnest(ARRAY[format('SELECT test.fail(max(id), ''{"reason":"%s"}'') FROM unidesk.tasks', reason), 'SELECT unidesk._tick(not_before) FROM unidesk.tasks ORDER BY id DESC LIMIT 1'])
	FROM unnest(ARRAY['prep.repo_unreachable', 'prep.pull_failed', 'node.engine_error', 'prep.fetch_failed', 'node.disk_full', 'prep.repo_throttled', 'prep.pull_failed', 'prep.pull_failed'])
	WITH ORDINALITY AS r (reason, n) ORDER BY n \gexec
-- None of them was a retry of its own.
SELECT test.fail(:task, '{"reason":"run.exit_code","exit_code":1,"log_end":0}');
SELECT unidesk._tick(not_before) FROM unidesk.tasks WHERE id = :task;
SELECT test.fail(:task, '{"reason":"run.exit_code","exit_code":2,"log_end":0}');
SELECT state, reason, attempts, message, not_before FROM unidesk.tasks WHERE id = :task;
-- A missing credential stays missing.
SELECT test.submit_retried(max_retries => 3) AS task \gset
SELECT unidesk._tick(unidesk._now() + '1 s');
SELECT test.fail(:task, '{"reason":"prep.credential","message":"asks for a password"}');
SELECT state, reason, attempts, message FROM unidesk.tasks WHERE id = :task;

-- What a server asks for is not undercut, and does not shorten the wait.
SELECT test.submit_retried(max_retries => 2) AS task \gset
SELECT unidesk._tick(unidesk._now() + '1 s');
SELECT test.fail(:task, '{"reason":"prep.repo_throttled","retry_after_s":120}');
SELECT unidesk._tick(not_before - interval '1 s') FROM unidesk.tasks WHERE id = :task;
SELECT state FROM unidesk.tasks WHERE id = :task;
SELECT unidesk._tick(not_before) FROM unidesk.tasks WHERE id = :task;
SELECT test.fail(:task, '{"reason":"prep.repo_unreachable","retry_after_s":1}');
SELECT unidesk._tick(not_before) FROM unidesk.tasks WHERE id = :task;
SELECT test.fail(:task, '{"reason":"prep.repo_throttled","retry_after_s":3600}');
SELECT unidesk._tick(not_before) FROM unidesk.tasks WHERE id = :task;
-- No server has a say in the task's own failures.
SELECT test.fail(:task, '{"reason":"run.exit_code","exit_code":1,"log_end":0,"retry_after_s":3600}');
SELECT unidesk._tick(not_before) FROM unidesk.tasks WHERE id = :task;
SELECT b, test.report('again', :task, 'preparing', format('{"retry_after_s":%s}', b), 5)
	FROM unnest(ARRAY['86400', '0', '-1', '1.5', '86401', '99999999999999999999', '"7"', 'true', '[7]', '{"s":7}', 'null']) b;
SELECT test.fail(:task, '{"reason":"prep.build_failed"}');

-- The last part of the wait is left to chance: what fails together does not come back together.
ALTER SYSTEM SET unidesk.retry_jitter = 50;
SELECT pg_reload_conf();
\c -
SELECT array_agg(test.submit_retried(max_retries => 1)) AS tasks FROM generate_series(1, 40) \gset
SELECT unidesk._tick(unidesk._now() + '1 s');
SELECT min(w) >= '2.5 s' AND max(w) <= '5 s' AS within, max(w) - min(w) > '1 s' AS apart, count(DISTINCT w) > 30 AS differ
	FROM test.waits(:'tasks', '{"reason":"run.exit_code","exit_code":1,"log_end":0}') w;
SELECT unidesk._tick(unidesk._now() + '5 s');
-- Also when a server asked all of them for the same wait.
SELECT min(w) >= '100 s' AND max(w) <= '102.5 s' AS within, max(w) - min(w) > '1 s' AS apart, count(DISTINCT w) > 30 AS differ
	FROM test.waits(:'tasks', '{"reason":"prep.repo_throttled","retry_after_s":100}') w;
ALTER SYSTEM SET unidesk.retry_jitter = 100;
SELECT pg_reload_conf();
\c -
SELECT unidesk._tick(unidesk._now() + '103 s');
SELECT min(w) >= '0' AND max(w) <= '10 s' AS within, max(w) - min(w) > '6 s' AS apart
	FROM test.waits(:'tasks', '{"reason":"prep.pull_failed"}') w;
SELECT unidesk._tick(unidesk._now() + '10 s');
SELECT count(test.fail(id, '{"reason":"prep.build_failed"}')) FROM unnest(:'tasks'::bigint[]) id;
ALTER SYSTEM RESET unidesk.retry_jitter;

-- The bound of infrastructure is told when it is reached, in the task and not in its attempts.
ALTER SYSTEM SET unidesk.infra_retries = 1;
-- A limit below the first wait holds.
ALTER SYSTEM SET unidesk.retry_backoff_max = '3s';
SELECT pg_reload_conf();
\c -
SELECT test.submit_retried() AS task, test.submit_retried() AS silent \gset
SELECT unidesk._tick(unidesk._now() + '1 s');
SELECT test.fail(:task, '{"reason":"prep.pull_failed","message":"no such host"}'), test.fail(:silent, '{"reason":"node.engine_error"}');
SELECT unidesk._tick(unidesk._now() + '3 s');
SELECT test.fail(:task, '{"reason":"prep.pull_failed","message":"no such host"}'), test.fail(:silent, '{"reason":"node.engine_error"}');
SELECT state, reason, attempts, message FROM unidesk.tasks WHERE id IN (:task, :silent) ORDER BY id;
SELECT attempt, reason, message FROM unidesk.attempts WHERE task IN (:task, :silent) ORDER BY task, attempt;
ALTER SYSTEM SET unidesk.infra_retries = 0;
SELECT pg_reload_conf();
\c -
SELECT test.submit_retried() AS task, test.submit(cpus => 0.1, labels => '{"retries": "yes"}', on_lost => 'fail') AS lost \gset
SELECT unidesk._tick(unidesk._now() + '1 s');
SELECT test.report('again', :lost, 'running'), test.fail(:task, '{"reason":"prep.fetch_failed"}');
SELECT test.fail(:lost, '{"reason":"node.container_gone","message":"removed"}', 'lost');
SELECT state, reason, attempts, message FROM unidesk.tasks WHERE id IN (:task, :lost) ORDER BY id;
ALTER SYSTEM RESET unidesk.infra_retries;
ALTER SYSTEM RESET unidesk.retry_backoff_max;

-- A node that loses containers does not get the next attempt at first; one that was silent may.
ALTER SYSTEM RESET unidesk.exclude_for;
SELECT pg_reload_conf();
\c -
SELECT test.submit_retried() AS removed, test.submit_retried() AS silent \gset
SELECT unidesk._tick(unidesk._now() + '1 s');
SELECT test.report('again', :removed, 'running'), test.report('again', :silent, 'running');
SELECT test.fail(:removed, '{"reason":"node.container_gone"}', 'lost'), test.fail(:silent, '{"reason":"node.lease_over"}', 'lost');
SELECT unidesk._tick(unidesk._now() + '5 s');
SELECT id - :removed AS n, state, reason, node FROM unidesk.tasks WHERE id IN (:removed, :silent) ORDER BY id;
SELECT test.hello('again2', labels => '{"retries": "yes"}');
SELECT unidesk._tick(unidesk._now() + '1 s');
SELECT state, attempts, node FROM unidesk.tasks WHERE id = :removed;
SELECT test.fail(:removed, '{"reason":"prep.build_failed"}'), test.fail(:silent, '{"reason":"prep.build_failed"}');

ALTER SYSTEM RESET unidesk.offline_after;
SELECT pg_reload_conf();
\c -
SELECT test.scheduling('^again2?$', 3::smallint);
SELECT unidesk._tick(unidesk._now() + '1 s');
SELECT count(*) AS live FROM unidesk_data.live l JOIN unidesk.tasks t ON t.id = l.task_id JOIN unidesk_data.node n ON n.id = l.node_id WHERE n.name ~ '^again';
SELECT * FROM unidesk.check_invariants();
