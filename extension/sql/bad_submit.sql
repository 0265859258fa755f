-- submit_task and submit_tasks with every kind of bad argument: each is
-- answered with an error that says what to do, and nothing changes.
SELECT test.state() AS before \gset
-- One argument of a good submit_task replaced by an expression.
CREATE FUNCTION test.with(argument text, expression text) RETURNS text LANGUAGE sql AS $$
	SELECT test.bad('SELECT unidesk.submit_task(' || string_agg(format('%s => %s', a, CASE a WHEN argument THEN expression ELSE e END), ', ') || ', hold => true)')
	FROM (VALUES ('project', '''demo'''), ('code_repo_url', '''https://git.example/code.git'''), ('code_commit_id', 'repeat(''a'', 40)'),
		('env_repo_url', '''https://git.example/env.git'''), ('env_commit_id', 'repeat(''b'', 40)'), ('dockerfile_path', '''Dockerfile'''),
		('command', 'ARRAY[''true'']')) AS good (a, e)
$$;
CREATE FUNCTION test.plus(argument text, expression text) RETURNS text LANGUAGE sql AS $$
	SELECT test.bad(format('SELECT unidesk.submit_task(''demo'', ''https://git.example/code.git'', repeat(''a'', 40), ''https://git.example/env.git'',
		repeat(''b'', 40), ''Dockerfile'', ARRAY[''true''], hold => true, %s => %s)', argument, expression))
$$;

-- NULL, empty, a megabyte, control characters and marks of direction.
SELECT a, e, test.with(a, e) FROM unnest(ARRAY['project', 'code_repo_url', 'code_commit_id', 'env_repo_url', 'env_commit_id', 'dockerfile_path']) a,
	(VALUES (1, 'NULL'), (2, ''''''), (3, 'repeat(''x'', 1 << 20)'), (4, 'E''a\nb'''), (5, 'E''\x1b[2Jx'''), (6, 'U&''a\202Eb'''), (7, 'U&''\0085''')) AS x (n, e) ORDER BY a, n;
SELECT test.bad('SELECT unidesk.submit_task(NULL, NULL, NULL, NULL, NULL, NULL, NULL)');

-- Commits: of the wrong length, upper case, names, options.
SELECT e, test.with('code_commit_id', e) FROM (VALUES (1, 'repeat(''a'', 39)'), (2, 'repeat(''a'', 41)'), (3, 'repeat(''a'', 63)'), (4, 'repeat(''A'', 40)'),
	(5, '''HEAD'''), (6, '''main'''), (7, '''refs/heads/main'''), (8, '''-x'''), (9, '''--upload-pack=touch x'''), (10, 'repeat(''a'', 39) || ''g'''),
	(11, 'repeat(''a'', 40) || '' '''), (12, 'U&''\FF41'' || repeat(''a'', 37)')) AS x (n, e) ORDER BY n;
-- Repositories.
SELECT e, test.with('env_repo_url', e) FROM (VALUES (1, '''file:///etc'''), (2, '''/etc'''), (3, '''ext::sh -c x'''), (4, '''-oProxyCommand=x'''), (5, '''ssh://git@git.example/x'''),
	(6, '''https://user:secret@git.example/x'''), (7, '''https://git.example'''), (8, '''https:///x'''), (9, '''https://git.example/x?token=y'''), (10, '''https://git.example/x#y'''),
	(11, '''https://git.example\@evil/x'''), (12, '''HTTPS://git.example/x'''), (13, 'U&''https://g\0131t.example/x''')) AS x (n, e) ORDER BY n;
-- Paths.
SELECT e, test.with('dockerfile_path', e) FROM (VALUES (1, '''/Dockerfile'''), (2, '''../Dockerfile'''), (3, '''a/../../b'''), (4, '''./Dockerfile'''), (5, '''a//b'''),
	(6, '''a/'''), (7, '''..'''), (8, '''-f'''), (9, '''a\b'''), (10, 'repeat(''a/'', 600) || ''b''')) AS x (n, e) ORDER BY n;
-- Commands: of two dimensions, with NULL, too many words, too long, also as JSON.
SELECT e, test.with('command', e) FROM (VALUES (1, 'NULL'), (2, 'ARRAY[[''a''], [''b'']]'), (3, 'ARRAY[''a'', NULL]'), (4, 'array_fill(''x''::text, ARRAY[1000000])'),
	(5, 'ARRAY[repeat(''x'', 1 << 20)]'), (6, 'ARRAY[repeat(E''\x01'', 30000)]'), (7, 'array_fill(''"''::text, ARRAY[4096]) || repeat(''\'', 60000)')) AS x (n, e) ORDER BY n;
-- Numbers: below, above, beyond their types, none.
SELECT a, e, test.plus(a, e) FROM (VALUES ('cpus', '0'), ('cpus', '-1'), ('cpus', '''NaN'''), ('cpus', '''Infinity'''), ('cpus', '''-Infinity'''), ('cpus', '1e131071'), ('cpus', '1e131072'),
	('cpus', '1e-400'), ('memory', '0'), ('memory', '-1'), ('memory', '9223372036854775807'), ('memory', '9223372036854775808'), ('gpus', '-1'), ('gpus', '64'), ('gpus', '2147483648'),
	('priority', '-1001'), ('priority', '1001'), ('priority', '2147483648'), ('max_retries', '-1'), ('max_retries', '1001'), ('max_retries', '2147483648')) AS x (a, e);
-- Times.
SELECT a, e, test.plus(a, e) FROM unnest(ARRAY['queue_timeout', 'prepare_timeout', 'run_timeout', 'lease', 'grace']) a,
	(VALUES (1, '''-1 s'''), (2, '''0.5 s'''), (3, '''11 years'''), (4, '''-178956970 years -8 mons'''), (5, '''178956970 years'''), (6, '''2147483647 days'''), (7, '''soon''')) AS x (n, e)
	WHERE NOT (a IN ('lease', 'grace') AND n = 2) ORDER BY a, n;
SELECT e, test.plus('not_before', e) FROM (VALUES (1, '''infinity'''), (2, '''-infinity'''), (3, '''294276-12-31'''), (4, '''2030-02-30''')) AS x (n, e) ORDER BY n;
SELECT test.plus('lease', '''60 s'''), test.plus('grace', '''2 days''');
-- Words.
SELECT a, e, test.plus(a, e) FROM (VALUES ('on_lost', ''''''), ('on_lost', '''cry'''), ('on_lost', 'repeat(''x'', 1 << 20)'), ('on_lost', 'E''\x1b[2J'''),
	('idempotency_key', ''''''), ('idempotency_key', 'repeat(''x'', 201)'), ('idempotency_key', 'E''a\nb'''), ('idempotency_key', 'U&''\202E''')) AS x (a, e);
-- Labels and variables: shape, depth, number, size, names.
SELECT a, e, test.plus(a, e) FROM unnest(ARRAY['labels', 'environment']) a, (VALUES (1, '''[]'''), (2, '''null'''), (3, '''7'''), (4, '''{"a": null}'''), (5, '''{"a": ["b"]}'''), (6, 'test.deep(33)'),
	(7, 'test.deep(5000)'), (8, '''{"": "x"}'''), (9, '''{"a b": "x"}'''), (10, '''{"a=b": "x"}'''), (11, '''{"a\nb": "x"}'''), (12, '''{"\u202ea": "x"}'''),
	(13, '(SELECT jsonb_object_agg(''k'' || i, ''"\u0001'' || repeat(''x'', 200) || ''"'') FROM generate_series(1, 1000) i)'), (14, '''{"a": "\ud800"}'''), (15, '''{"a": "\u0000"}''')) AS x (n, e) ORDER BY a, n;
SELECT e, test.plus('labels', e) FROM (VALUES (1, '''{"a": "b c"}'''), (2, '''{"a": "b\nc=d"}'''), (3, 'jsonb_build_object(repeat(''k'', 129), 1)'), (4, 'jsonb_build_object(''k'', repeat(''v'', 1 << 20))'),
	(5, '''{"a": 1e131071}'''), (6, '(SELECT jsonb_object_agg(i, i) FROM generate_series(1, 1000000) i)')) AS x (n, e) ORDER BY n;
SELECT e, test.plus('environment', e) FROM (VALUES (1, '''{"1A": "x"}'''), (2, '''{"A": 1}'''), (3, '''{"UNIDESK_TASK_ID": "1"}'''), (4, 'jsonb_build_object(''A'', repeat(''x'', 1 << 20))'),
	(5, 'jsonb_build_object(''A'', repeat(E''\x01'', 30000))'), (6, '''{"A=B": "x"}'''), (7, '''{"LD\u0000": "x"}''')) AS x (n, e) ORDER BY n;
-- Bytes that are no text do not get as far as a function.
SELECT test.plus('idempotency_key', 'convert_from(''\xff'', ''UTF8'')'), test.plus('idempotency_key', 'chr(0)'), test.plus('on_lost', 'E''\xed\xa0\x80''');

-- The same through JSON.
CREATE FUNCTION test.json(change jsonb) RETURNS text LANGUAGE sql AS $$
	SELECT test.bad(format('SELECT unidesk.submit_tasks(%L)', jsonb_build_array(jsonb_build_object('project', 'demo', 'code_repo_url', 'https://git.example/code.git', 'code_commit_id', repeat('a', 40),
		'env_repo_url', 'https://git.example/env.git', 'env_commit_id', repeat('b', 64), 'dockerfile_path', 'Dockerfile', 'command', '["true"]'::jsonb) || change)))
$$;
SELECT left(unidesk._shown(change::text), 60) AS change, test.json(change) FROM (VALUES (1, '{"memory": 1e131071}'::jsonb), (2, '{"cpus": 1e131071}'), (3, '{"gpus": 1.5}'), (4, '{"gpus": 9223372036854775808}'), (5, '{"priority": -9223372036854775809}'),
	(6, '{"run_timeout": 1e131071}'), (7, '{"run_timeout": -1}'), (8, '{"run_timeout": "\u001b[2J"}'), (9, jsonb_build_object('run_timeout', repeat('9', 1 << 20))), (10, '{"not_before": "infinity"}'), (11, '{"not_before": "then"}'),
	(12, jsonb_build_object(repeat('f', 1 << 20), 1)), (13, '{"\u202efield": 1}'), (14, '{"command": [["a"]]}'), (15, '{"command": ["a", null]}'), (16, jsonb_build_object('labels', test.deep(5000))),
	(17, jsonb_build_object('project', test.deep(33))), (18, '{"hold": "yes"}'), (19, '{"project": ["demo"]}'), (20, '{"lease": "soon"}')) AS x (n, change) ORDER BY n;
SELECT test.bad('SELECT unidesk.submit_tasks(NULL)'), test.bad('SELECT unidesk.submit_tasks(''{}'')'), test.bad('SELECT unidesk.submit_tasks(''7'')'), test.bad('SELECT unidesk.submit_tasks(''[7]'')'),
	test.bad('SELECT unidesk.submit_tasks(''[[]]'')'), test.bad('SELECT unidesk.submit_tasks(''[null]'')');
SELECT test.bad('SELECT unidesk.submit_tasks((SELECT jsonb_agg(1) FROM generate_series(1, 100001)))');

-- In a transaction that cannot write, and in one that is over.
BEGIN READ ONLY;
SELECT test.with('project', '''demo'''), test.bad('SELECT unidesk.submit_tasks(''[]'')');
COMMIT;
BEGIN;
SELECT 1 / 0;
SELECT unidesk.submit_tasks('[]');
ROLLBACK;
SELECT test.state() = :'before' AS nothing_changed;

-- A key that names another task.
SELECT test.plus('idempotency_key', '''bad''') AS first;
SELECT test.state() AS before \gset
SELECT regexp_replace(test.plus('idempotency_key', '''bad'', priority => 1'), '[0-9]+ ', 'N ');
SELECT test.state() = :'before' AS nothing_changed;
-- Text that is SQL is text.
SELECT test.bad($$SELECT unidesk.submit_task('demo', 'https://git.example/''); DROP TABLE unidesk_data.live; --', repeat('a', 40), 'https://git.example/env.git', repeat('b', 40), 'Dockerfile', ARRAY['true'])$$);
SELECT test.plus('labels', $$jsonb_build_object('''||pg_sleep(9)||''', ''');DELETE')$$), test.plus('environment', $$'{"A": "'' ; SELECT 1"}'$$);
SELECT labels FROM unidesk_data.live WHERE labels LIKE '%DELETE%';
-- What is odd and right: a lower bound, words of any characters, no words.
SELECT test.with('command', '''[5:6]={sh,-c}''::text[]'), test.with('command', 'ARRAY[E''a\nb\x1b'', '''']'), test.with('command', '''{}''::text[]');
-- The longest order that a request can become fits into a message.
SELECT test.bad($$SELECT unidesk.submit_task('demo', 'https://git.example/' || repeat('x', 2028), repeat('a', 40), 'https://git.example/' || repeat('y', 2028), repeat('b', 64), repeat('"', 1024),
	ARRAY[repeat(E'\x01', 21844)])$$);
SELECT octet_length(to_jsonb(s.command)::text) BETWEEN 131000 AND 131074 AS at_the_limit FROM unidesk_data.spec s ORDER BY id DESC LIMIT 1;
SELECT count(*) > 0 AS cancelled FROM (SELECT unidesk.cancel_task(task_id) FROM unidesk_data.live) x;
