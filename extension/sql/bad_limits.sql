-- Limits of submit_task and submit_tasks with every kind of bad argument: each
-- is answered with an error that says what to do, and nothing changes.
SELECT test.state() AS before \gset
CREATE FUNCTION test.limit(arguments text) RETURNS text LANGUAGE sql AS $$
	SELECT test.bad(format('SELECT unidesk.submit_task(''demo'', ''https://git.example/code.git'', repeat(''a'', 40), ''https://git.example/env.git'',
		repeat(''b'', 40), ''Dockerfile'', ARRAY[''true''], hold => true, %s)', arguments))
$$;
SELECT a, test.limit(a) FROM unnest(ARRAY[
	'retry_on => ''{}'', max_retries => 1', 'retry_on => ''{75}''', 'retry_on => ''{75}'', max_retries => 0', 'retry_on => ''{0}'', max_retries => 1', 'retry_on => ''{-1}'', max_retries => 1',
	'retry_on => ''{256}'', max_retries => 1', 'retry_on => ''{2147483647}'', max_retries => 1', 'retry_on => ''{NULL}'', max_retries => 1',
	'retry_on => ''{{75},{76}}'', max_retries => 1', 'retry_on => ''{x}'', max_retries => 1', 'retry_on => array_fill(300, ARRAY[100000]), max_retries => 1',
	'restart_exit_code => 0', 'restart_exit_code => -1', 'restart_exit_code => 256', 'restart_exit_code => -2147483648', 'restart_exit_code => 2147483648',
	'warn_before => ''5 s''', 'warn_before => ''5 s'', run_timeout => ''5 s''', 'warn_before => ''6 s'', run_timeout => ''5 s''', 'warn_signal => ''USR1''', 'warn_signal => ''USR1'', run_timeout => ''5 s''',
	'warn_before => ''5 s'', run_timeout => ''1 h'', warn_signal => ''''', 'warn_before => ''5 s'', run_timeout => ''1 h'', warn_signal => ''SIGUSR1''', 'warn_before => ''5 s'', run_timeout => ''1 h'', warn_signal => ''usr1''',
	'warn_before => ''5 s'', run_timeout => ''1 h'', warn_signal => ''KILL''', 'warn_before => ''5 s'', run_timeout => ''1 h'', warn_signal => ''TERM''', 'warn_before => ''5 s'', run_timeout => ''1 h'', warn_signal => E''\x1b[2J''',
	'warn_before => ''5 s'', run_timeout => ''1 h'', warn_signal => repeat(''x'', 1 << 20)']) WITH ORDINALITY AS x (a, n) ORDER BY n;
SELECT a, e, test.limit(format('run_timeout => ''1 h'', %s => %s', a, e)) FROM unnest(ARRAY['total_timeout', 'idle_timeout', 'warn_before']) a,
	(VALUES (1, '''0'''), (2, '''-1 s'''), (3, '''0.5 s'''), (4, '''11 years'''), (5, '''-178956970 years -8 mons'''), (6, '''2147483647 days'''), (7, '''soon''')) AS x (n, e) ORDER BY a, n;
-- The same through JSON.
CREATE FUNCTION test.limit_json(change jsonb) RETURNS text LANGUAGE sql AS $$
	SELECT test.bad(format('SELECT unidesk.submit_tasks(%L)', jsonb_build_array(jsonb_build_object('project', 'demo', 'code_repo_url', 'https://git.example/code.git',
		'code_commit_id', repeat('a', 40), 'env_repo_url', 'https://git.example/env.git', 'env_commit_id', repeat('b', 40), 'dockerfile_path', 'Dockerfile',
		'command', jsonb_build_array('true'), 'hold', true) || change)))
$$;
SELECT left(j::text, 60) AS j, test.limit_json(j) FROM (VALUES (1, '{"retry_on": 75, "max_retries": 1}'::jsonb), (2, '{"retry_on": [], "max_retries": 1}'), (3, '{"retry_on": ["75"], "max_retries": 1}'), (4, '{"retry_on": [75.5], "max_retries": 1}'),
	(5, '{"retry_on": [null], "max_retries": 1}'), (6, '{"retry_on": [[75]], "max_retries": 1}'), (7, '{"retry_on": {"75": 1}, "max_retries": 1}'), (8, '{"retry_on": [1e300], "max_retries": 1}'), (9, '{"retry_on": [75]}'),
	(10, '{"restart_exit_code": "85"}'), (11, '{"restart_exit_code": 0}'), (12, '{"restart_exit_code": 1e300}'), (13, '{"restart_exit_code": [85]}'), (14, '{"warn_signal": 10}'), (15, '{"warn_before": 5}'),
	(16, '{"warn_before": 5, "run_timeout": 5}'), (17, '{"total_timeout": 0}'), (18, '{"total_timeout": "soon"}'), (19, '{"idle_timeout": -1}'), (20, '{"idle_timeout": true}'), (21, '{"total_timeout": 1e18}')) AS x (n, j) ORDER BY n;
-- Nothing has changed.
SELECT test.state() = :'before' AS unchanged;
