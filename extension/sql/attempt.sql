-- One task from submit to its end, and the ways in which attempts end.
\set VERBOSITY terse
SELECT test.hello('n1');
SELECT name, status, scheduling, connected, cpus, cpus_used, memory, gpus FROM unidesk.nodes;
SELECT test.submit() AS task \gset
SELECT unidesk._tick('2030-01-01 00:00:01+00');
SELECT state, attempt_state, attempts, node, cpus FROM unidesk.tasks WHERE id = :task;
SELECT cpus_used, memory_used FROM unidesk.nodes WHERE name = 'n1';
-- The order: once, with everything the node needs.
SELECT want, attempt, body - 'spec' AS limits, body -> 'spec' AS spec FROM test.pull();
SELECT count(*) FROM test.pull();
-- Reports are levels: phases, steps merged, repeated, out of order.
SELECT test.report('n1', :task, 'preparing', '{"phase":"fetch"}');
SELECT attempt_state, phase FROM unidesk.tasks WHERE id = :task;
SELECT test.report('n1', :task, 'preparing', '{"phase":"build"}');
SELECT attempt_state, phase FROM unidesk.tasks WHERE id = :task;
SELECT test.report('n1', :task, 'running');
SELECT test.report('n1', :task, 'accepted');
SELECT test.report('n1', :task, 'running');
SELECT attempt_state FROM unidesk.tasks WHERE id = :task;
-- The log: exact bytes, one offset space, nothing twice, no gap.
SELECT test.log('n1', :task, 0, 'out ');
SELECT test.log('n1', :task, 4, 'err ', 2);
SELECT test.log('n1', :task, 0, 'out err again ');
SELECT test.log('n1', :task, 100, 'gap');
SELECT test.log('n1', :task, -5, 'negative');
SELECT test.log('n1', :task, 14, 'what', 9);
SELECT attempt, stream, "offset", convert_from(bytes, 'UTF8') AS text FROM unidesk.task_log(:task);
SELECT unidesk.task_log_text(:task);
-- The end.
SELECT test.report('n1', :task, 'succeeded', '{"exit_code":0,"log_end":18,"stage_ms":{"fetch":1,"build":2,"stage_in":3,"run":4},"image_id":"sha256:' || repeat('0f', 32) || '"}');
SELECT state, attempts, node, exit_code, image_id, stage_ms, log_bytes FROM unidesk.tasks WHERE id = :task;
SELECT seq, attempt, task_state, attempt_state, steps, reason, actor, data FROM unidesk.task_events WHERE task = :task ORDER BY seq;
SELECT attempt, state, node, exit_code FROM unidesk.attempts WHERE task = :task;
SELECT count(*) AS live FROM unidesk_data.live;
-- Said again after a lost acknowledgement: fine. Said otherwise: stale. Late log: kept, up to the end that was said.
SELECT test.report('n1', :task, 'succeeded', '{"exit_code":0,"log_end":18}');
SELECT test.report('n1', :task, 'running');
SELECT test.log('n1', :task, 14, 'late');
SELECT test.log('n1', :task, 18, 'too late');
SELECT unidesk.task_log_text(:task);
SELECT unidesk._tick('2030-01-01 00:00:02+00');
SELECT cpus_used, memory_used FROM unidesk.nodes WHERE name = 'n1';

-- All in one report: three events.
SELECT test.submit() AS task \gset
SELECT unidesk._tick('2030-01-01 00:00:03+00');
SELECT test.report('n1', :task, 'succeeded', '{"exit_code":0,"log_end":0}');
SELECT seq, task_state, attempt_state, steps FROM unidesk.task_events WHERE task = :task ORDER BY seq;

-- Failure of its own: retried as often as asked, with a growing wait.
SELECT test.submit(max_retries => 1) AS task \gset
SELECT unidesk._tick('2030-01-01 00:00:04+00');
SELECT test.report('n1', :task, 'failed', '{"exit_code":3,"reason":"run.exit_code","log_end":0}');
SELECT state, reason, attempts, not_before FROM unidesk.tasks WHERE id = :task;
SELECT unidesk._tick('2030-01-01 00:00:05+00');
SELECT state FROM unidesk.tasks WHERE id = :task;
SELECT unidesk._tick('2030-01-01 00:00:10+00');
SELECT state, attempts FROM unidesk.tasks WHERE id = :task;
SELECT test.report('n1', :task, 'failed', '{"exit_code":4,"reason":"run.exit_code","log_end":0}', 2);
SELECT state, reason, attempts, exit_code FROM unidesk.tasks WHERE id = :task;
SELECT attempt, state, reason, exit_code FROM unidesk.attempts WHERE task = :task ORDER BY 1;
-- The first attempt is over; what it says now is acknowledged or stale.
SELECT test.report('n1', :task, 'failed', '{"exit_code":3,"reason":"run.exit_code","log_end":0}', 1);
SELECT test.report('n1', :task, 'running', '', 1);
SELECT test.report('n1', :task, 'running', '', 7);

-- Failure of the infrastructure: retried without being asked, elsewhere.
SELECT test.submit() AS task \gset
SELECT unidesk._tick('2030-01-01 00:00:11+00');
SELECT test.report('n1', :task, 'failed', '{"reason":"prep.repo_unreachable","message":"no route"}');
SELECT unidesk._tick('2030-01-01 00:01:00+00');
SELECT state, reason FROM unidesk.tasks WHERE id = :task;
SELECT test.hello('n2');
SELECT unidesk._tick('2030-01-01 00:01:01+00');
SELECT state, node, attempts FROM unidesk.tasks WHERE id = :task;
SELECT attempt, state, reason, message FROM unidesk.attempts WHERE task = :task ORDER BY 1;
SELECT test.report('n2', :task, 'succeeded', '{"exit_code":0,"log_end":0}', 2);
-- A node cannot speak for another.
SELECT test.submit(cpus => 3) AS task \gset
SELECT unidesk._tick('2030-01-01 00:01:02+00');
SELECT node AS at_node, CASE node WHEN 'n1' THEN 'n2' ELSE 'n1' END AS other_node FROM unidesk.tasks WHERE id = :task \gset
SELECT test.report(:'other_node', :task, 'succeeded', '{"exit_code":0,"log_end":0}');
SELECT test.log(:'other_node', :task, 0, 'not mine');
SELECT kind, reply_value, reply_body FROM test.send(:'at_node', 4, 4, :task, session => 99999);
SELECT reply, reply_flags FROM test.send(:'at_node', 4, 4, :task, incarnation => 1);
-- Nor claim what it may not: success without exit code 0, an end nobody asked for.
SELECT test.report(:'at_node', :task, 'cancelled');
SELECT state, reason FROM unidesk.tasks WHERE id = :task;
-- What a body may not hold.
SELECT test.submit() AS task \gset
SELECT unidesk._tick('2030-01-01 00:01:20+00');
SELECT node AS at_node FROM unidesk.tasks WHERE id = :task \gset
SELECT test.report(:'at_node', :task, 'running', b) FROM (VALUES ('{'), ('[]'), ('7'), ('{"exit_code":"0"}'), ('{"exit_code":999}'), ('{"exit_code":1.5}'),
	('{"reason":"no.such"}'), ('{"reason":5}'), ('{"image_id":"sha256:zz"}'), ('{"log_end":-1}'), ('{"stage_ms":{"run":-1}}'),
	('{"message":"\u0000"}'), ('{"phase":"nap"}'), (repeat('[', 100)), ('{"unknown":{"fields":["are","fine"]}}')) AS x (b);
SELECT reply, reply_body FROM test.send(:'at_node', 4, 1, :task) UNION ALL SELECT reply, reply_body FROM test.send(:'at_node', 4, 77, :task)
	UNION ALL SELECT reply, reply_body FROM test.send(:'at_node', 99, 1, :task);
SELECT test.report(:'at_node', :task, 'succeeded', '{"exit_code":0,"log_end":0}');
-- The agent ends a run that is over its limit by itself: stopping, then timed out.
SELECT unidesk._tick('2030-01-01 00:01:21+00');
SELECT test.submit(run_timeout => '1 s') AS task \gset
SELECT unidesk._tick('2030-01-01 00:01:22+00');
SELECT node AS at_node FROM unidesk.tasks WHERE id = :task \gset
SELECT test.report(:'at_node', :task, 'running'), test.report(:'at_node', :task, 'stopping');
SELECT test.report(:'at_node', :task, 'timed_out', '{"exit_code":143,"log_end":0}');
SELECT state, reason, exit_code FROM unidesk.tasks WHERE id = :task;
-- An inventory that is not there is not an empty one.
SELECT kind, reply_value, reply_body FROM test.send('n1', 1, body => '{"proto_min":1,"proto_max":1,"boot_id":"m1","engine_id":"m1"}');
SELECT kind, reply_value, reply_body FROM test.send('n1', 2, body => '{}');
