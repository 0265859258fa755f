-- The worker's memory follows the rows; what it misses or cannot place.
\set VERBOSITY terse
SELECT unidesk._tick('2030-02-01 00:00+00');
UPDATE test.bridge SET id = unidesk_bridge.register('test', 1);
SELECT test.hello('m', cpus => 8, memory => 17179869184, gpus => '[{"uuid": "GPU-a"}, {"uuid": "GPU-b"}, {"uuid": "GPU-c"}]');
SELECT unidesk._tick('2030-02-01 00:00:01+00');
-- Nothing of earlier tests is left over.
SELECT test.forget_unended();
SELECT unidesk._tick('2030-02-01 00:00:02+00');
SELECT cpus_used, memory_used, gpus_used FROM unidesk.nodes WHERE name = 'm';
-- Priority first, then age; what does not fit does not keep a smaller one from running.
SELECT test.submit(cpus => 6) AS big, test.submit(cpus => 6, priority => 5) AS first, test.submit(cpus => 2, gpus => 2) AS small, test.submit(cpus => 2, gpus => 2) AS no_gpu \gset
SELECT unidesk._tick('2030-02-01 00:00:03+00');
SELECT CASE id WHEN :big THEN 'big' WHEN :first THEN 'first' WHEN :small THEN 'small' ELSE 'no_gpu' END AS task, state FROM unidesk.tasks
	WHERE id IN (:big, :first, :small, :no_gpu) ORDER BY id;
SELECT cpus_used, gpus_used FROM unidesk.nodes WHERE name = 'm';
SELECT index, CASE holder_task WHEN :small THEN 'small' END AS holder FROM unidesk_data.gpu g JOIN unidesk.nodes n ON n.id = g.node_id WHERE n.name = 'm' ORDER BY index;
-- An attempt in finishing holds no CPU and no GPU any more.
SELECT test.report('m', :small, 'finishing', '{"exit_code":0,"log_end":0}');
SELECT unidesk._tick('2030-02-01 00:00:04+00');
SELECT state FROM unidesk.tasks WHERE id = :no_gpu;
SELECT cpus_used, gpus_used FROM unidesk.nodes WHERE name = 'm';
SELECT test.report('m', :small, 'succeeded', '{"exit_code":0,"log_end":0}'), test.report('m', :no_gpu, 'succeeded', '{"exit_code":0,"log_end":0}'),
	test.report('m', :first, 'succeeded', '{"exit_code":0,"log_end":0}');
SELECT unidesk._tick('2030-02-01 00:00:05+00');
SELECT test.report('m', :big, 'succeeded', '{"exit_code":0,"log_end":0}');
-- Labels.
SELECT test.submit(labels => '{"site": "lab", "ssd": true}') AS task \gset
SELECT unidesk._tick('2030-02-01 00:00:06+00');
SELECT state FROM unidesk.tasks WHERE id = :task;
SELECT test.hello('m', cpus => 8, memory => 17179869184, gpus => '[{"uuid": "GPU-a"}, {"uuid": "GPU-b"}, {"uuid": "GPU-c"}]', labels => '{"site": "lab", "ssd": true, "x": 1}');
SELECT unidesk._tick('2030-02-01 00:00:07+00');
SELECT state FROM unidesk.tasks WHERE id = :task;
SELECT test.report('m', :task, 'succeeded', '{"exit_code":0,"log_end":0}');
-- not_before: placed when its time comes.
SELECT test.submit(not_before => '2030-02-01 00:01:00+00') AS task \gset
SELECT unidesk._tick('2030-02-01 00:00:50+00');
SELECT state FROM unidesk.tasks WHERE id = :task;
SELECT unidesk._tick('2030-02-01 00:01:00+00');
SELECT state FROM unidesk.tasks WHERE id = :task;
SELECT test.report('m', :task, 'succeeded', '{"exit_code":0,"log_end":0}');
-- A failure of the infrastructure excludes the node, for a while.
SELECT test.submit() AS task \gset
SELECT unidesk._tick('2030-02-01 00:01:01+00');
SELECT test.report('m', :task, 'failed', '{"reason":"node.engine_error"}');
SELECT unidesk._tick('2030-02-01 00:01:30+00');
SELECT state, reason FROM unidesk.tasks WHERE id = :task;
SELECT reply FROM test.send('m', 3);
SELECT unidesk._tick('2030-02-01 00:02:02+00');
SELECT state, node FROM unidesk.tasks WHERE id = :task;
SELECT test.report('m', :task, 'succeeded', '{"exit_code":0,"log_end":0}', 2);
-- A thousand at once on a node of eight CPUs: never more than fit, and all end.
SELECT count(*) AS submitted FROM unidesk.submit_tasks((SELECT jsonb_agg(jsonb_build_object('project', 'demo', 'code_repo_url', 'https://git.example/code.git',
	'code_commit_id', repeat('a', 40), 'env_repo_url', 'https://git.example/env.git', 'env_commit_id', repeat('b', 40), 'dockerfile_path', 'Dockerfile',
	'command', '["true"]'::jsonb, 'cpus', 0.01 * (1 + i % 5), 'memory', 16777216, 'priority', i % 3)) FROM generate_series(1, 1000) i));
SELECT unidesk._tick('2030-02-01 00:02:03+00');
SELECT count(*) AS placed, sum(cpus) <= 8 AS fit FROM unidesk.tasks WHERE state = 'active';
CREATE FUNCTION test.finish_active() RETURNS bigint LANGUAGE sql AS $$
	SELECT count(*) FROM (SELECT test.report('m', task_id, 'succeeded', '{"exit_code":0,"log_end":0}') FROM unidesk_data.live WHERE state = 4) x $$;
DO $$ BEGIN
	FOR i IN 1..20 LOOP
		PERFORM test.finish_active();
		COMMIT;
		PERFORM unidesk._tick('2030-02-01 00:02:04+00');
		IF (SELECT sum(cpus_milli) FROM unidesk_data.live WHERE state = 4) > 8000 THEN RAISE 'oversubscribed'; END IF;
	END LOOP;
END $$;
SELECT count(*) AS left_over FROM unidesk_data.live;
SELECT cpus_used, memory_used FROM unidesk.nodes WHERE name = 'm';
-- A task that makes every pass fail that places it: held, and the others go on.
SELECT test.submit(not_before => '2030-02-01 00:02:05+00') AS good1, test.submit(not_before => '2030-02-01 00:02:05+00') AS bad,
	test.submit(not_before => '2030-02-01 00:02:05+00') AS good2 \gset
SELECT format('ALTER TABLE unidesk_data.live ADD CONSTRAINT poison CHECK (task_id <> %s OR state <> 4)', :bad) AS poison \gset
:poison;
SET client_min_messages = error;
DO $$ BEGIN
	FOR i IN 1..200 LOOP
		PERFORM unidesk._tick('2030-02-01 00:02:05+00');
		EXIT WHEN (SELECT count(*) FROM unidesk_data.live WHERE state = 3) = 0;
	END LOOP;
END $$;
SELECT id - :good1 AS n, state, reason FROM unidesk.tasks WHERE id IN (:good1, :bad, :good2) ORDER BY id;
ALTER TABLE unidesk_data.live DROP CONSTRAINT poison;
RESET client_min_messages;
SELECT test.report('m', :good1, 'succeeded', '{"exit_code":0,"log_end":0}'), test.report('m', :good2, 'succeeded', '{"exit_code":0,"log_end":0}'), unidesk.cancel_task(:bad);
-- In all tests until here the memory was what the rows say.
SELECT unidesk._memory_differences();
-- And a change past the door is found.
UPDATE unidesk_data.node SET scheduling = 3 WHERE name = 'm';
SELECT test.submit(labels => '{"site": "nowhere"}') AS task \gset
SELECT unidesk._tick('2030-02-01 00:03:00+00');
SELECT unidesk._memory_differences();
SELECT unidesk._tidy();
SELECT code, task, attempt, node FROM unidesk.check_invariants();
SELECT unidesk.cancel_task(:task);
