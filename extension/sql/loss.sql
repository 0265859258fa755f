-- Nodes that vanish: offline, lease, requeue, what is held, and coming back.
\set VERBOSITY terse
SELECT test.scheduling('', 3::smallint);
SELECT test.forget_unended();
SELECT unidesk._tick('2030-01-01 02:00:00+00');
SELECT test.hello('far', cpus => 8, gpus => '[{"uuid": "GPU-1"}, {"uuid": "GPU-2"}]');
SELECT test.submit(gpus => 1) AS task \gset
SELECT unidesk._tick('2030-01-01 02:00:01+00');
SELECT test.report('far', :task, 'running');
SELECT index, uuid, holder_task = :task AS held_by_it FROM unidesk_data.gpu ORDER BY index;
-- A beat keeps it online.
SELECT unidesk._tick('2030-01-01 02:01:00+00');
SELECT reply FROM test.send('far', 3);
SELECT unidesk._tick('2030-01-01 02:02:00+00');
SELECT status, last_seen FROM unidesk.nodes WHERE name = 'far';
-- Silent for more than 90 s: offline, and nothing else.
SELECT unidesk._tick('2030-01-01 02:02:31+00');
SELECT status FROM unidesk.nodes WHERE name = 'far';
SELECT state, attempt_state FROM unidesk.tasks WHERE id = :task;
-- Heard again through the old socket: asked for its inventory, the only way back.
SELECT reply FROM test.send('far', 3);
SELECT status FROM unidesk.nodes WHERE name = 'far';
SELECT reply FROM test.send('far', 2, value => 1000000, body => format('{"attempts":[{"incarnation":"%s","task":%s,"attempt":1,"state":"running"}]}',
	(SELECT incarnation FROM unidesk.attempts WHERE task = :task), :task));
SELECT status FROM unidesk.nodes WHERE name = 'far';
SELECT attempt_state FROM unidesk.tasks WHERE id = :task;
-- Silent again, and now for longer than the lease: lost, queued again, and still held there.
SELECT unidesk._tick('2030-01-01 04:05:00+00');
SELECT unidesk._tick('2030-01-01 04:05:02+00');
SELECT status FROM unidesk.nodes WHERE name = 'far';
SELECT state, reason, attempts FROM unidesk.tasks WHERE id = :task;
SELECT attempt, state, reason FROM unidesk.attempts WHERE task = :task ORDER BY 1;
SELECT task_id = :task AS it, attempt, gpus, gpu_mask FROM unidesk_data.held ORDER BY task_id, attempt;
SELECT unidesk._tick('2030-01-01 04:06:00+00');
SELECT cpus_used, gpus_used FROM unidesk.nodes WHERE name = 'far';
-- It comes back with the stale container: told to remove it; placed beside it, not over it.
SELECT test.hello('far', cpus => 8, gpus => '[{"uuid": "GPU-1"}, {"uuid": "GPU-2"}]',
	attempts => format('[{"incarnation":"%s","task":%s,"attempt":1,"state":"running"}]', (SELECT incarnation FROM unidesk.attempts WHERE task = :task AND attempt = 1), :task)::jsonb);
SELECT unidesk._tick('2030-01-01 04:06:01+00');
SELECT state, node, attempts FROM unidesk.tasks WHERE id = :task;
SELECT index, uuid, holder_task = :task AS held_by_it, holder_attempt FROM unidesk_data.gpu ORDER BY index;
SELECT cpus_used, gpus_used FROM unidesk.nodes WHERE name = 'far';
-- The stale attempt cannot commit anything.
SELECT test.report('far', :task, 'running', '', 1);
SELECT state, attempts FROM unidesk.tasks WHERE id = :task;
-- Its end is confirmed: free.
SELECT test.report('far', :task, 'failed', '{"exit_code":137,"reason":"run.signal","log_end":0}', 1);
SELECT count(*) AS held FROM unidesk_data.held;
SELECT unidesk._tick('2030-01-01 04:06:02+00');
SELECT cpus_used, gpus_used FROM unidesk.nodes WHERE name = 'far';
-- A running container that a whole inventory lacks is lost, and nothing is held.
SELECT test.report('far', :task, 'running', '', 2);
SELECT test.hello('far', cpus => 8, gpus => '[{"uuid": "GPU-1"}, {"uuid": "GPU-2"}]');
SELECT state, reason, attempts FROM unidesk.tasks WHERE id = :task;
SELECT attempt, state, reason FROM unidesk.attempts WHERE task = :task ORDER BY 1;
SELECT count(*) AS held FROM unidesk_data.held;
-- One that was only assigned is sent again under the same fence.
SELECT unidesk._tick('2030-01-01 04:07:00+00');
SELECT state, attempt_state, attempts FROM unidesk.tasks WHERE id = :task;
SELECT test.hello('far', cpus => 8, gpus => '[{"uuid": "GPU-1"}, {"uuid": "GPU-2"}]');
SELECT state, attempt_state, attempts FROM unidesk.tasks WHERE id = :task;
-- An older inventory says nothing about a newer assignment.
SELECT reply FROM test.send('far', 2, value => 1, body => '{"attempts":[]}');
SELECT state, attempt_state, attempts FROM unidesk.tasks WHERE id = :task;
-- Nobody answers: withdrawn after 60 s, queued only when the agent confirms.
SELECT unidesk._tick('2030-01-01 04:08:01+00');
SELECT attempt_state FROM unidesk.tasks WHERE id = :task;
SELECT test.report('far', :task, 'rejected', '', 3);
SELECT state, reason FROM unidesk.tasks WHERE id = :task;
-- Another machine with the same token is refused while the session lives, and gets in when it is silent.
SELECT reply FROM test.send('far', 3);
SELECT test.hello('far', machine => 'm2');
SELECT unidesk._tick('2030-01-01 04:08:50+00');
SELECT test.hello('far', machine => 'm2', cpus => 8);
SELECT what, data FROM unidesk.node_events WHERE node = 'far' ORDER BY at, what;
-- on_lost = fail; lease 0 is over with the node.
SELECT unidesk.cancel_task(:task);
SELECT test.submit(on_lost => 'fail', lease => '0') AS task \gset
SELECT unidesk._tick('2030-01-01 04:09:00+00');
SELECT test.report('far', :task, 'running');
SELECT unidesk._tick('2030-01-01 04:11:00+00');
SELECT unidesk._tick('2030-01-01 04:11:02+00');
SELECT state, reason FROM unidesk.tasks WHERE id = :task;
-- on_lost = wait: no lease, nothing happens.
SELECT test.hello('far', machine => 'm2', cpus => 8);
SELECT test.submit(on_lost => 'wait') AS task \gset
SELECT unidesk._tick('2030-01-01 04:12:00+00');
SELECT test.report('far', :task, 'running');
SELECT unidesk._tick('2030-01-09 00:00:00+00');
SELECT unidesk._tick('2030-01-09 00:00:02+00');
SELECT state, attempt_state FROM unidesk.tasks WHERE id = :task;
-- The bridge was silent as well, and is over: it registers again.
UPDATE test.bridge SET id = unidesk_bridge.register('test', 1);
-- Limits: of the queue, of preparing, of the run.
SELECT test.hello('far', machine => 'm2', cpus => 8,
	attempts => format('[{"incarnation":"%s","task":%s,"attempt":1,"state":"running"}]', (SELECT incarnation FROM unidesk.attempts WHERE task = :task AND attempt = 1), :task)::jsonb);
SELECT test.report('far', :task, 'succeeded', '{"exit_code":0,"log_end":0}');
SELECT test.submit(labels => '{"site": "nowhere"}', queue_timeout => '10 s') AS t1, test.submit(prepare_timeout => '10 s') AS t2, test.submit(run_timeout => '10 s') AS t3 \gset
SELECT unidesk._tick('2030-01-09 00:00:03+00');
SELECT test.report('far', :t2, 'preparing'), test.report('far', :t3, 'running');
SELECT reply FROM test.send('far', 3);
SELECT unidesk._tick('2030-01-09 00:00:14+00');
SELECT id - :t1 AS n, state, attempt_state, reason FROM unidesk.tasks WHERE id IN (:t1, :t2, :t3) ORDER BY id;
SELECT test.report('far', :t2, 'timed_out'), test.report('far', :t3, 'timed_out', '{"exit_code":143,"log_end":0}');
SELECT id - :t1 AS n, state, reason FROM unidesk.tasks WHERE id IN (:t1, :t2, :t3) ORDER BY id;
SELECT task_id, state, attempt_state FROM unidesk_data.live;
SELECT test.scheduling('', 1::smallint), test.scheduling('^far$', 3::smallint);
