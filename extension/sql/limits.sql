-- Limits of a task and its checkpoint: retry_on, total_timeout, what a node is
-- told, restart_exit_code, and the node that has what was saved.
\set VERBOSITY terse
SELECT test.scheduling('', 3::smallint);
SELECT test.forget_unended();
SELECT unidesk._tick('2030-01-01 01:58:00+00');
CREATE FUNCTION test.limited(retry_on int[] DEFAULT NULL, max_retries int DEFAULT 0, total_timeout interval DEFAULT NULL, idle_timeout interval DEFAULT NULL,
	run_timeout interval DEFAULT NULL, warn_before interval DEFAULT NULL, warn_signal text DEFAULT NULL, restart_exit_code int DEFAULT NULL,
	lease interval DEFAULT NULL, idempotency_key text DEFAULT NULL, labels jsonb DEFAULT NULL) RETURNS bigint LANGUAGE sql AS $$
	SELECT unidesk.submit_task('demo', 'https://git.example/code.git', repeat('a', 40), 'https://git.example/env.git', repeat('b', 40),
		'Dockerfile', ARRAY['true'], retry_on => retry_on, max_retries => max_retries, total_timeout => total_timeout, idle_timeout => idle_timeout,
		run_timeout => run_timeout, warn_before => warn_before, warn_signal => warn_signal, restart_exit_code => restart_exit_code,
		lease => lease, idempotency_key => idempotency_key, labels => labels)
$$;
-- How a task came to where it is: attempts and their reasons.
CREATE FUNCTION test.story(for_task bigint) RETURNS text LANGUAGE sql AS $$
	SELECT concat_ws(' ', t.state, t.reason, (SELECT string_agg(concat_ws(':', a.node, a.state, nullif(a.reason, '')), ' ' ORDER BY a.attempt)
		FROM unidesk.attempts a WHERE a.task = t.id)) FROM unidesk.tasks t WHERE t.id = for_task
$$;
-- Both are heard of: which kinds of answers came.
CREATE FUNCTION test.beat_both() RETURNS text LANGUAGE sql AS $$
	SELECT string_agg(DISTINCT b.reply::text, ' ') FROM unnest(ARRAY['mine', 'other']) n, LATERAL test.send(n, 3) b
$$;
SELECT test.hello('mine', cpus => 4);
SELECT test.hello('other', cpus => 64);
SELECT test.scheduling('^other$', 3::smallint);

-- retry_on: another exit code ends the task, one of the list does not.
SELECT test.limited(retry_on => '{75,137}', max_retries => 2) AS listed, test.limited(retry_on => '{75}', max_retries => 2) AS unlisted,
	test.limited(retry_on => '{75}', max_retries => 2) AS codeless \gset
SELECT unidesk._tick('2030-01-01 01:58:01+00');
SELECT test.report('mine', :listed, 'running'), test.report('mine', :unlisted, 'running'), test.report('mine', :codeless, 'running');
SELECT test.report('mine', :listed, 'failed', '{"exit_code":137,"reason":"run.signal","log_end":0}'),
	test.report('mine', :unlisted, 'failed', '{"exit_code":1,"reason":"run.exit_code","log_end":0}'),
	test.report('mine', :codeless, 'failed', '{"reason":"run.signal","log_end":0}');
SELECT test.story(:listed), test.story(:unlisted), test.story(:codeless);
-- Infrastructure has a bound of its own, whatever the list says.
SELECT unidesk._tick('2030-01-01 01:58:10+00');
SELECT test.report('mine', :listed, 'failed', '{"reason":"node.engine_stopped","log_end":0}', 2);
SELECT test.story(:listed), unidesk.cancel_task(:listed);

-- total_timeout: from the submission on, in the queue, in a backoff, and while it runs.
SELECT test.limited(total_timeout => '20 s', labels => '{"site": "nowhere"}') AS waits \gset
SELECT test.limited(total_timeout => '20 s') AS runs, test.limited(total_timeout => '20 s', max_retries => 5) AS again \gset
SELECT unidesk._tick('2030-01-01 01:58:11+00');
SELECT test.report('mine', :runs, 'running'), test.report('mine', :again, 'running');
SELECT test.report('mine', :again, 'failed', '{"exit_code":1,"reason":"run.exit_code","log_end":0}');
SELECT test.scheduling('^mine$', 3::smallint);
SELECT unidesk._tick('2030-01-01 01:58:29+00');
SELECT test.story(:waits), test.story(:runs), test.story(:again);
SELECT unidesk._tick('2030-01-01 01:58:31+00');
SELECT test.story(:waits), test.story(:runs), test.story(:again);
SELECT want, body FROM test.pull() WHERE task = :runs AND want = 2;
SELECT test.report('mine', :runs, 'timed_out', '{"exit_code":143,"log_end":0}');
SELECT test.story(:runs);
SELECT test.scheduling('^mine$', 1::smallint);

-- What the node is told, and what it may say: no progress.
SELECT test.limited(idle_timeout => '90 s', run_timeout => '1 h', warn_before => '5 min') AS quiet,
	test.limited(run_timeout => '1 h', warn_before => '5 min', warn_signal => 'INT') AS warned \gset
SELECT unidesk._tick('2030-01-01 01:58:32+00');
SELECT task = :quiet AS quiet, body -> 'idle_s' AS idle_s, body -> 'warn_s' AS warn_s, body -> 'warn_signal' AS warn_signal, body -> 'run_left_s' AS run_left_s FROM test.pull() ORDER BY task;
SELECT test.report('mine', :quiet, 'running'), test.report('mine', :warned, 'running');
SELECT test.report('mine', :quiet, 'stopping', '{"reason":"run.no_progress"}'), test.report('mine', :warned, 'stopping');
SELECT test.story(:quiet), test.story(:warned);
SELECT test.report('mine', :quiet, 'timed_out', '{"exit_code":143,"reason":"run.no_progress","log_end":0}'),
	test.report('mine', :warned, 'timed_out', '{"exit_code":143,"reason":"run.timeout","log_end":0}');
SELECT test.story(:quiet), test.story(:warned);
-- All in one report.
SELECT test.limited(idle_timeout => '90 s') AS quiet \gset
SELECT unidesk._tick('2030-01-01 01:58:33+00');
SELECT test.report('mine', :quiet, 'timed_out', '{"exit_code":143,"reason":"run.no_progress","log_end":0}');
SELECT test.story(:quiet);

-- restart_exit_code: again at once, on the same node although another is open, and no retry is used up.
SELECT test.limited(restart_exit_code => 85, max_retries => 1, total_timeout => '1 day') AS saves \gset
SELECT unidesk._tick('2030-01-01 01:58:34+00');
SELECT test.report('mine', :saves, 'running');
SELECT test.scheduling('^(mine|other)$', 1::smallint);
SELECT unidesk._tick('2030-01-01 01:58:36+00');
SELECT test.report('mine', :saves, 'failed', '{"exit_code":85,"reason":"run.exit_code","log_end":0,"checkpoint":true}');
SELECT not_before - '2030-01-01 01:58:36+00' AS wait FROM unidesk.tasks WHERE id = :saves;
SELECT user_failures, infra_failures, restarts FROM unidesk_data.live WHERE task_id = :saves;
SELECT unidesk._tick('2030-01-01 01:58:37+00');
SELECT test.story(:saves);
-- One that was too short waits like any retry.
SELECT test.report('mine', :saves, 'failed', '{"exit_code":85,"reason":"run.exit_code","log_end":0,"checkpoint":true,"stage_ms":{"run":200}}', 2);
SELECT not_before - '2030-01-01 01:58:37+00' AS wait FROM unidesk.tasks WHERE id = :saves;
SELECT unidesk._tick('2030-01-01 01:58:43+00');
-- The same code from a kill for lack of memory is no word of the program.
SELECT test.report('mine', :saves, 'running', '', 3);
SELECT test.report('mine', :saves, 'failed', '{"exit_code":85,"reason":"run.oom","oom":true,"log_end":0,"checkpoint":true}', 3);
SELECT user_failures, infra_failures, restarts FROM unidesk_data.live WHERE task_id = :saves;
-- After a failure of infrastructure the same node is not excluded.
SELECT unidesk._tick('2030-01-01 01:58:50+00');
SELECT test.report('mine', :saves, 'running', '', 4);
SELECT test.report('mine', :saves, 'failed', '{"reason":"node.engine_stopped","log_end":0,"checkpoint":true}', 4);
SELECT test.beat_both(), unidesk._tick('2030-01-01 01:59:00+00');
SELECT test.story(:saves);
SELECT task_id = :saves AS it, user_failures, infra_failures, restarts FROM unidesk_data.live WHERE checkpoint_node IS NOT NULL;
-- Nothing saved: any node will do.
SELECT test.report('mine', :saves, 'running', '', 5);
SELECT test.report('mine', :saves, 'failed', '{"exit_code":85,"reason":"run.exit_code","log_end":0,"checkpoint":false}', 5);
SELECT checkpoint_node FROM unidesk_data.live WHERE task_id = :saves;
SELECT unidesk.cancel_task(:saves);

-- Its node is closed: the task waits for it, and after unidesk.checkpoint_wait goes elsewhere.
SELECT test.scheduling('^other$', 3::smallint);
ALTER SYSTEM SET unidesk.checkpoint_wait = '30 s';
SELECT pg_reload_conf();
-- A reload reaches this session and the worker by signals.
SELECT pg_sleep(1);
SELECT test.limited(restart_exit_code => 85) AS saves \gset
SELECT unidesk._tick('2030-01-01 01:59:01+00');
SELECT test.report('mine', :saves, 'running');
SELECT unidesk._tick('2030-01-01 01:59:03+00');
SELECT test.scheduling('^mine$', 3::smallint), test.scheduling('^other$', 1::smallint);
SELECT test.report('mine', :saves, 'failed', '{"exit_code":85,"reason":"run.exit_code","log_end":0,"checkpoint":true}');
SELECT unidesk._tick('2030-01-01 01:59:30+00');
SELECT test.story(:saves);
SELECT * FROM unidesk.check_invariants();
SELECT unidesk._tick('2030-01-01 01:59:33+00');
SELECT unidesk._tick('2030-01-01 01:59:34+00');
SELECT test.story(:saves);
SELECT seq, task_state, reason, data FROM unidesk.task_events WHERE task = :saves ORDER BY seq;
-- One that is only busy is waited for.
SELECT test.report('other', :saves, 'running', '', 2);
SELECT test.beat_both(), unidesk._tick('2030-01-01 01:59:36+00');
SELECT test.scheduling('^other$', 3::smallint);
SELECT test.report('other', :saves, 'failed', '{"exit_code":85,"reason":"run.exit_code","log_end":0,"checkpoint":true}', 2);
SELECT test.submit(cpus => 64, priority => 5) AS first \gset
SELECT test.scheduling('^(mine|other)$', 1::smallint);
SELECT unidesk._tick('2030-01-01 02:00:10+00');
SELECT test.story(:first), test.story(:saves);
SELECT checkpoint_node = id AS waits FROM unidesk_data.live, test.node WHERE task_id = :saves AND name = 'other';
SELECT unidesk.cancel_task(:saves), unidesk.cancel_task(:first);
SELECT test.report('other', :first, 'cancelled');
ALTER SYSTEM RESET unidesk.checkpoint_wait;

-- As often as unidesk.checkpoint_restarts says.
SELECT test.scheduling('^other$', 3::smallint);
ALTER SYSTEM SET unidesk.checkpoint_restarts = 1;
SELECT pg_reload_conf();
-- A reload reaches this session and the worker by signals.
SELECT pg_sleep(1);
SELECT test.limited(restart_exit_code => 85) AS spins \gset
SELECT test.beat_both(), unidesk._tick('2030-01-01 02:00:11+00');
SELECT test.report('mine', :spins, 'failed', '{"exit_code":85,"reason":"run.exit_code","log_end":0,"checkpoint":true}');
SELECT unidesk._tick('2030-01-01 02:00:17+00');
-- The last of a task's acks says so: 5 is remove and last.
SELECT reply_flags FROM test.send('mine', 4, 8, :spins, 2, body => '{"exit_code":85,"reason":"run.exit_code","log_end":0,"checkpoint":true}');
SELECT test.story(:spins);
SELECT reply_flags FROM test.send('mine', 4, 8, :spins, 1, body => '{"exit_code":85,"reason":"run.exit_code","log_end":0}');
ALTER SYSTEM RESET unidesk.checkpoint_restarts;
SELECT pg_reload_conf();

-- What a node keeps is removed when its task has ended, and only then; of another incarnation by age.
SELECT test.limited(restart_exit_code => 85) AS lives \gset
SELECT lpad(to_hex(value), 16, '0') AS own FROM unidesk_data.incarnation \gset
CREATE FUNCTION test.keeps(list text) RETURNS text LANGUAGE sql AS $$
	SELECT coalesce(string_agg(format('order %s for %s', reply, reply_body), ', '), 'nothing') FROM (SELECT * FROM test.send('mine', 2, value => 1000000,
		body => format('{"attempts":[],"checkpoints":%s}', list))) r WHERE reply = 131
$$;
SELECT test.keeps(format('[{"incarnation":"%s","task":%s,"age_s":5}]', :'own', :spins)) AS ended, test.keeps(format('[{"incarnation":"%s","task":%s,"age_s":9999999}]', :'own', :lives)) AS lives,
	test.keeps('[{"incarnation":"00000000000000ff","task":7,"age_s":86399}]') AS other_young, test.keeps('[{"incarnation":"00000000000000ff","task":7,"age_s":86400}]') AS other_old;
-- What is no list, or no checkpoint, is nobody's.
SELECT l, test.keeps(l) FROM unnest(ARRAY['7', 'null', '{}', '"x"', '[]', '[7, null, [], "x", {}]', '[{"incarnation":"x","task":7,"age_s":1}]', '[{"incarnation":"00000000000000ff","task":-1,"age_s":99999999}]',
	'[{"incarnation":"00000000000000ff","task":99999999999999999999,"age_s":99999999}]', '[{"incarnation":"00000000000000ff","task":7,"age_s":-5}]', '[{"incarnation":"00000000000000ff","task":7,"age_s":1e300}]', '[{"incarnation":["a"],"task":{},"age_s":null}]']) l;
SELECT unidesk.cancel_task(:lives);

-- Its node falls silent for longer than the lease: elsewhere, from nothing, and an event says so.
SELECT test.limited(restart_exit_code => 85, lease => '0') AS lost \gset
SELECT unidesk._tick('2030-01-01 02:00:18+00');
SELECT test.report('mine', :lost, 'running');
SELECT unidesk._tick('2030-01-01 02:00:20+00');
SELECT test.report('mine', :lost, 'failed', '{"exit_code":85,"reason":"run.exit_code","log_end":0,"checkpoint":true}');
SELECT unidesk._tick('2030-01-01 02:00:21+00');
SELECT test.report('mine', :lost, 'running', '', 2);
SELECT unidesk._tick('2030-01-01 02:03:00+00');
SELECT unidesk._tick('2030-01-01 02:03:01+00');
SELECT test.story(:lost);
SELECT seq, task_state, reason, actor, data FROM unidesk.task_events WHERE task = :lost AND seq > 5 ORDER BY seq;
SELECT count(*) AS pinned FROM unidesk_data.live WHERE checkpoint_node IS NOT NULL;
SELECT unidesk.cancel_task(:lost);

-- The same arguments in JSON, and a key that knows them.
SELECT count(*) FROM unidesk.submit_tasks('[{"project":"demo","code_repo_url":"https://git.example/code.git",
	"code_commit_id":"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa","env_repo_url":"https://git.example/env.git","env_commit_id":"bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb",
	"dockerfile_path":"Dockerfile","command":["true"],"hold":true,"total_timeout":"1 h","idle_timeout":60,"run_timeout":600,"warn_before":"30 s","warn_signal":"USR2",
	"restart_exit_code":85,"retry_on":[137,75,75],"max_retries":1}]');
SELECT t.deadline - k.created_at AS total, idle_s, warn_s, warn_signal, restart_exit_code, retry_on FROM (SELECT max(task_id) AS id FROM unidesk_data.live) s
	JOIN unidesk_data.task k ON k.id = s.id JOIN unidesk_data.live t ON t.task_id = s.id;
SELECT test.limited(idempotency_key => 'limits') = test.limited(idempotency_key => 'limits') AS same;
SELECT test.bad('SELECT test.limited(idempotency_key => ''limits'', restart_exit_code => 85)') ~ 'was used for a different task' AS differs;
SELECT * FROM unidesk.check_invariants();
SELECT test.forget_unended();
SELECT test.scheduling('', 1::smallint), test.scheduling('^(mine|other)$', 3::smallint);
