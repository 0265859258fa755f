-- Submitting: every argument with what it may not be; nothing changes.
SELECT count(*) AS before FROM unidesk.tasks \gset
CREATE FUNCTION test.try(change jsonb) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	hint text;
BEGIN
	PERFORM unidesk.submit_tasks(jsonb_build_array(jsonb_build_object('project', 'demo', 'code_repo_url', 'https://git.example/code.git', 'code_commit_id', repeat('a', 40),
		'env_repo_url', 'https://git.example/env.git', 'env_commit_id', repeat('b', 64), 'dockerfile_path', 'env/Dockerfile', 'command', '["true"]'::jsonb,
		'labels', '{"site": "nowhere"}'::jsonb) || change));
	RETURN 'fine';
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS hint = PG_EXCEPTION_HINT;
	RETURN format('%s %s [%s]', SQLSTATE, SQLERRM, hint);
END
$$;
SELECT test.try(change) FROM (VALUES
	(1, '{"project": null}'::jsonb), (2, '{"project": "none"}'), (3, '{"project": 7}'),
	(4, '{"code_repo_url": null}'), (5, '{"code_repo_url": "file:///etc"}'), (6, '{"code_repo_url": "https://user:secret@git.example/x"}'),
	(7, '{"code_repo_url": "https://git.example/a b"}'), (8, '{"code_repo_url": "https:///x"}'), (9, '{"env_repo_url": "ext::sh -c x"}'),
	(10, '{"env_repo_url": "--upload-pack=x"}'), (11, '{"env_repo_url": "https://git.example/x?y"}'),
	(12, '{"code_commit_id": "HEAD"}'), (13, '{"code_commit_id": null}'), (14, jsonb_build_object('code_commit_id', repeat('a', 39))),
	(15, jsonb_build_object('code_commit_id', repeat('a', 41))), (16, jsonb_build_object('code_commit_id', repeat('A', 40))), (17, jsonb_build_object('env_commit_id', repeat('g', 40))),
	(18, '{"dockerfile_path": ""}'), (19, '{"dockerfile_path": "/Dockerfile"}'), (20, '{"dockerfile_path": "../Dockerfile"}'), (21, '{"dockerfile_path": "a/../b"}'),
	(22, '{"dockerfile_path": "a//b"}'), (23, '{"dockerfile_path": "a/"}'), (24, '{"dockerfile_path": "a\nb"}'), (25, '{"dockerfile_path": null}'),
	(26, '{"command": null}'), (27, '{"command": "true"}'), (28, '{"command": [1]}'), (29, '{"command": []}'),
	(30, '{"cpus": 0}'), (31, '{"cpus": -1}'), (32, '{"cpus": 1e9}'), (33, '{"cpus": "2"}'), (34, '{"cpus": 0.5}'),
	(35, '{"memory": 1}'), (36, '{"memory": 1e18}'), (37, '{"memory": 1e30}'), (38, '{"gpus": -1}'), (39, '{"gpus": 64}'),
	(40, '{"labels": [1]}'), (41, '{"labels": {"a=b": "c"}}'), (42, '{"labels": {"a": "b c"}}'), (43, '{"labels": {"a": {"b": 1}}}'), (44, '{"labels": {"": "b"}}'),
	(45, '{"environment": []}'), (46, '{"environment": {"1A": "x"}}'), (47, '{"environment": {"A": 1}}'), (48, '{"environment": {"UNIDESK_X": "1"}}'), (49, '{"environment": {"A": "1"}}'),
	(50, '{"priority": 1001}'), (51, '{"max_retries": -1}'), (52, '{"run_timeout": 0}'), (53, '{"run_timeout": "-1 s"}'), (54, '{"run_timeout": "20 years"}'),
	(55, '{"run_timeout": "soon"}'), (56, '{"run_timeout": "2 hours"}'), (57, '{"on_lost": "cry"}'), (58, '{"on_lost": "wait", "lease": 600}'), (59, '{"lease": 60}'),
	(60, '{"lease": 0}'), (61, '{"lease": 180}'), (62, '{"grace": "2 days"}'), (63, '{"idempotency_key": ""}'), (64, '{"hold": 1}'), (65, '{"not_before": "2030-02-30"}'),
	(66, '{"colour": "red"}')
	) AS x (n, change) ORDER BY n;
SELECT unidesk.submit_tasks(NULL);
SELECT unidesk.submit_tasks('{}');
SELECT unidesk.submit_tasks('[7]');
SELECT unidesk.submit_tasks('7');
SELECT * FROM unidesk.submit_tasks('[]');
SELECT unidesk.submit_task(NULL, NULL, NULL, NULL, NULL, NULL, NULL);
SELECT unidesk.submit_task('demo', 'https://git.example/code.git', repeat('a', 40), 'https://git.example/env.git', repeat('b', 40), 'Dockerfile', ARRAY[['a'], ['b']]);
SELECT unidesk.submit_task('demo', 'https://git.example/code.git', repeat('a', 40), 'https://git.example/env.git', repeat('b', 40), 'Dockerfile', ARRAY['a', NULL]);
SELECT unidesk.submit_task('demo', 'https://git.example/code.git', repeat('a', 40), 'https://git.example/env.git', repeat('b', 40), 'Dockerfile', '{}', cpus => 'NaN');
SELECT unidesk.submit_task('demo', 'https://git.example/code.git', repeat('a', 40), 'https://git.example/env.git', repeat('b', 40), 'Dockerfile', ARRAY[repeat('x', 200000)]);
-- One bad request in a bulk: none is stored.
SELECT unidesk.submit_tasks(jsonb_build_array(jsonb_build_object('project', 'demo', 'code_repo_url', 'https://git.example/code.git', 'code_commit_id', repeat('a', 40),
	'env_repo_url', 'https://git.example/env.git', 'env_commit_id', repeat('b', 64), 'dockerfile_path', 'env/Dockerfile', 'command', '["true"]'::jsonb), '{}'::jsonb));
SELECT count(*) - :before AS stored, count(*) FILTER (WHERE state = 'queued') AS queued FROM unidesk.tasks WHERE project = 'demo' OR true;

-- The same key is the same task; a different body is a conflict.
CREATE FUNCTION test.keyed(key text, command text) RETURNS bigint LANGUAGE sql AS $$
	SELECT unidesk.submit_task('demo', 'https://git.example/code.git', repeat('a', 40), 'https://git.example/env.git', repeat('b', 40), 'Dockerfile', ARRAY[command],
		labels => '{"site": "nowhere"}', idempotency_key => key)
$$;
SELECT test.keyed('k', 'true') AS first \gset
SELECT test.keyed('k', 'true') = :first AS same, test.keyed('other', 'true') <> :first AS other;
\set VERBOSITY terse
SELECT test.keyed('k', 'false');
-- Equal specs are stored once; words of a command do not run together.
SELECT count(DISTINCT spec_id) FROM unidesk_data.task WHERE id >= :first;
SELECT test.keyed(NULL, 'ab') IS NOT NULL;
SELECT count(DISTINCT t.spec_id) FROM unidesk_data.task t WHERE id >= :first;
-- In bulk, in order.
SELECT array_agg(id ORDER BY n) = array_agg(id ORDER BY id) AS ordered, count(*) FROM unidesk.submit_tasks((SELECT jsonb_agg(jsonb_build_object('project', 'demo',
	'code_repo_url', 'https://git.example/code.git', 'code_commit_id', repeat('a', 40), 'env_repo_url', 'https://git.example/env.git', 'env_commit_id', repeat('b', 40),
	'dockerfile_path', 'Dockerfile', 'command', '["true"]'::jsonb, 'labels', '{"site": "nowhere"}'::jsonb)) FROM generate_series(1, 1000))) WITH ORDINALITY AS x (id, n);
-- Whatever the session's setting, a commit that changed a task waits for the disk.
SELECT count(*) AS cancelled FROM (SELECT unidesk.cancel_task(id) FROM unidesk.tasks WHERE state = 'queued') x;
SELECT count(*) AS live FROM unidesk_data.live;
