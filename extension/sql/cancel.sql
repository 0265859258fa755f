-- Cancel in every state, and waiting.
\set VERBOSITY terse
-- Queued: at once.
SELECT test.submit(labels => '{"site": "nowhere"}') AS task \gset
SELECT unidesk.cancel_task(:task), unidesk.cancel_task(:task);
SELECT state, reason, attempts FROM unidesk.tasks WHERE id = :task;
-- Held.
SELECT unidesk.submit_task('demo', 'https://git.example/code.git', repeat('a', 40), 'https://git.example/env.git', repeat('b', 40),
	'Dockerfile', '{}', hold => true) AS task \gset
SELECT state, reason FROM unidesk.tasks WHERE id = :task;
SELECT unidesk.cancel_task(:task);
-- Running: stop sent, final when the agent confirms.
SELECT unidesk._tick('2030-01-01 01:00:00+00');
SELECT test.hello('n1');
SELECT test.submit(cpus => 4) AS task \gset
SELECT unidesk._tick('2030-01-01 01:00:01+00');
SELECT node AS at_node FROM unidesk.tasks WHERE id = :task \gset
SELECT test.report(:'at_node', :task, 'running');
SELECT count(*) >= 1 AS pulled FROM test.pull();
SELECT unidesk.cancel_task(:task), unidesk.cancel_task(:task);
SELECT unidesk._tick('2030-01-01 01:00:02+00');
SELECT state, attempt_state FROM unidesk.tasks WHERE id = :task;
SELECT want, body FROM test.pull();
SELECT test.report(:'at_node', :task, 'stopping');
SELECT test.report(:'at_node', :task, 'cancelled', '{"exit_code":143,"log_end":0}');
SELECT state, reason, exit_code FROM unidesk.tasks WHERE id = :task;
SELECT unidesk.cancel_task(:task);
-- It ended by itself while the stop was on its way: it has succeeded, and an event says that this crossed a cancel.
SELECT test.submit(cpus => 4) AS task \gset
SELECT unidesk._tick('2030-01-01 01:00:03+00');
SELECT node AS at_node FROM unidesk.tasks WHERE id = :task \gset
SELECT unidesk.cancel_task(:task);
SELECT unidesk._tick('2030-01-01 01:00:03+00');
SELECT test.report(:'at_node', :task, 'succeeded', '{"exit_code":0,"log_end":0}');
SELECT state, reason, exit_code FROM unidesk.tasks WHERE id = :task;
SELECT seq, task_state, attempt_state, steps, reason, actor, data FROM unidesk.task_events WHERE task = :task ORDER BY seq;
-- Unknown tasks and missing arguments.
SELECT unidesk.cancel_task(999999);
SELECT unidesk.cancel_task(NULL);

-- Waiting.
SELECT unidesk.wait_task(:task, '1 s');
SELECT test.submit(labels => '{"site": "nowhere"}') AS task \gset
SELECT unidesk.wait_task(:task, '10 ms');
SELECT unidesk.wait_task(:task, '61 s');
SELECT unidesk.wait_task(:task, '-1 s');
SELECT unidesk.wait_task(:task, '1 month');
SELECT unidesk.wait_task(:task, NULL);
SELECT unidesk.wait_task(NULL, '1 s');
SELECT unidesk.wait_task(999999, '1 s');
BEGIN;
SELECT test.submit(labels => '{"site": "nowhere"}') AS own \gset
SELECT replace(test.bad(format('SELECT unidesk.wait_task(%s, ''1 s'')', :own)), :'own', 'N');
ROLLBACK;
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT unidesk.wait_task(:task, '1 s') IS NULL AS never;
ROLLBACK;
-- Rolled back: never had a task.
SELECT count(*) AS known FROM unidesk.tasks WHERE id = :own;
SELECT unidesk.cancel_task(:task);
-- What changed tasks cannot be prepared.
BEGIN;
SELECT test.submit() IS NOT NULL AS submitted;
PREPARE TRANSACTION 'x';
ROLLBACK;
