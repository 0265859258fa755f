-- Results that cross what was asked for meanwhile.
\set VERBOSITY terse
SELECT unidesk._now() AS now \gset
SELECT unidesk._tick(:'now');
SELECT test.scheduling('', 3::smallint);
SELECT test.forget_unended();
SELECT replace(test.hello('cross', cpus => 16, machine => 'cross'), 'close(4001: another connection of this node took over) ', '') AS hello;
CREATE FUNCTION test.ahead(seconds int) RETURNS void LANGUAGE sql AS $$ SELECT unidesk._tick(unidesk._now() + make_interval(secs => seconds)) $$;
CREATE FUNCTION test.crossed(task bigint) RETURNS text LANGUAGE sql AS $$
	SELECT concat_ws(' ', t.state, nullif(t.reason, ''), 'attempts ' || t.attempts, 'code ' || t.exit_code, 'started ' || (t.started_at IS NOT NULL)) FROM unidesk.tasks t WHERE t.id = crossed.task
$$;
CREATE FUNCTION test.crossed_events(of_task bigint) RETURNS SETOF text LANGUAGE sql AS $$
	SELECT concat_ws(' | ', e.task_state, e.attempt_state, nullif(e.reason, ''), e.actor, regexp_replace(e.data, '^\{.*', 'again after a wait')) FROM unidesk.task_events e
	WHERE e.task = of_task AND e.attempt_state IS DISTINCT FROM 'assigned' AND e.seq > 1 ORDER BY e.seq
$$;

-- A success that was on its way when its node was drained, and when a person asked for something else.
SELECT test.submit() AS drained, test.submit() AS cancelled, test.submit() AS held, test.submit() AS requeued, test.submit() AS withdrawn, test.submit() AS killed \gset
SELECT test.ahead(1);
SELECT test.report('cross', t, 'running') FROM unnest(ARRAY[:drained, :cancelled, :held, :requeued, :killed]) t;
SELECT unidesk.cancel_task(:cancelled), unidesk.hold_task(:held), unidesk.requeue_task(:requeued), unidesk.cancel_task(:killed);
SELECT unidesk.drain_node('cross', '0', 'crossing');
SELECT test.ahead(1);
SELECT id - :drained AS n, attempt_state, reason FROM unidesk.tasks WHERE id BETWEEN :drained AND :killed ORDER BY id;
SELECT test.report('cross', :drained, 'succeeded', '{"exit_code":0,"log_end":0,"stage_ms":{"run":900}}'),
	test.report('cross', :cancelled, 'succeeded', '{"exit_code":0,"log_end":0}'), test.report('cross', :held, 'succeeded', '{"exit_code":0,"log_end":0}'),
	test.report('cross', :requeued, 'succeeded', '{"exit_code":0,"log_end":0}');
-- One whose start was never reported, because its reports were late as well.
SELECT test.report('cross', :withdrawn, 'succeeded', '{"exit_code":0,"log_end":0,"stage_ms":{"run":700}}');
SELECT test.crossed(t) FROM unnest(ARRAY[:drained, :cancelled, :held, :requeued, :withdrawn]) t;
SELECT test.crossed_events(:drained);
SELECT test.crossed_events(:cancelled);
SELECT test.crossed_events(:withdrawn);
-- The result says it again, and the cancel comes once more: nothing changes.
SELECT test.report('cross', :cancelled, 'succeeded', '{"exit_code":0,"log_end":0}'), unidesk.cancel_task(:cancelled);
SELECT count(*) AS events FROM unidesk.task_events WHERE task = :cancelled;
-- The stop came first: exit code 0 after TERM is what was asked for, and a success without exit code 0 is none.
SELECT test.report('cross', :killed, 'stopping'), test.report('cross', :killed, 'cancelled', '{"exit_code":0,"log_end":0}');
SELECT test.crossed(:killed);
SELECT unidesk.open_node('cross');
SELECT test.submit() AS drained, test.submit() AS claims, test.submit() AS fails \gset
SELECT test.ahead(1);
SELECT test.report('cross', t, 'running') FROM unnest(ARRAY[:drained, :claims, :fails]) t;
SELECT unidesk.drain_node('cross', '0', 'crossing');
SELECT test.ahead(1);
SELECT test.report('cross', :drained, 'stopping'), test.report('cross', :drained, 'preempted', '{"exit_code":0,"log_end":0}');
SELECT test.report('cross', :claims, 'succeeded', '{"exit_code":1,"log_end":0}'), test.report('cross', :fails, 'failed', '{"exit_code":1,"reason":"run.exit_code","log_end":0}');
SELECT id - :drained AS n, state, reason, attempts FROM unidesk.tasks WHERE id IN (:drained, :claims, :fails) ORDER BY id;
SELECT user_failures, infra_failures FROM unidesk_data.live WHERE task_id IN (:drained, :claims, :fails);
-- The run limit is the agent's: it began to stop, and found that the program had ended.
SELECT unidesk.open_node('cross'), unidesk.cancel_task(:drained), unidesk.cancel_task(:claims), unidesk.cancel_task(:fails);
SELECT test.submit(run_timeout => '10 s') AS limited \gset
SELECT test.ahead(1);
SELECT test.report('cross', :limited, 'running'), test.report('cross', :limited, 'stopping');
SELECT test.report('cross', :limited, 'succeeded', '{"exit_code":0,"log_end":0}');
SELECT test.crossed(:limited);

-- A node that was given up comes back; its inventory is faster than its reports.  What has a result keeps it until that is told.
SELECT unidesk.open_node('cross');
SELECT test.submit(lease => '200 s') AS done, test.submit(lease => '200 s') AS runs, test.submit(lease => '200 s', on_lost => 'fail') AS over \gset
SELECT test.ahead(1);
SELECT test.report('cross', t, 'running') FROM unnest(ARRAY[:done, :runs, :over]) t;
SELECT lpad(to_hex(value), 16, '0') AS life FROM unidesk_data.incarnation \gset
SELECT test.ahead(300), test.ahead(2);
SELECT id - :done AS n, state, attempts, reason FROM unidesk.tasks WHERE id BETWEEN :done AND :over ORDER BY id;
CREATE FUNCTION test.has(life text, tasks bigint[], states text[]) RETURNS jsonb LANGUAGE sql AS $$
	SELECT jsonb_agg(jsonb_build_object('incarnation', life, 'task', t, 'attempt', 1, 'state', s)) FROM unnest(tasks, states) AS x (t, s)
$$;
-- welcome, the whole list, and one order: to remove the one that runs.
SELECT replace(test.hello('cross', cpus => 16, machine => 'cross', attempts => test.has(:'life', ARRAY[:done, :runs, :over], ARRAY['succeeded', 'running', 'finishing'])), 'close(4001: another connection of this node took over) ', '') AS hello;
SELECT id - :done AS n, (SELECT string_agg(e.data, '; ' ORDER BY e.seq) FROM unidesk.task_events e WHERE e.task = t.id AND e.data LIKE 'late:%') AS late,
	(SELECT count(*) FROM unidesk_data.held h WHERE h.task_id = t.id) AS held FROM unidesk.tasks t WHERE id BETWEEN :done AND :over ORDER BY id;
SELECT test.report('cross', :done, 'succeeded', '{"exit_code":0,"log_end":0}'), test.report('cross', :over, 'failed', '{"exit_code":3,"reason":"run.exit_code","log_end":0}');
-- Said again, it is not told again; when nothing is left, nothing is held.
SELECT reply, reply_state FROM test.send('cross', 2, body => jsonb_build_object('attempts', test.has(:'life', ARRAY[:runs], ARRAY['running']))::text);
SELECT reply FROM test.send('cross', 2, body => '{"attempts":[]}');
SELECT id - :done AS n, (SELECT string_agg(e.data, '; ' ORDER BY e.seq) FROM unidesk.task_events e WHERE e.task = t.id AND e.data LIKE 'late:%') AS late,
	(SELECT count(*) FROM unidesk_data.held h WHERE h.task_id = t.id) AS held FROM unidesk.tasks t WHERE id BETWEEN :done AND :over ORDER BY id;
SELECT unidesk.cancel_task(:done), unidesk.cancel_task(:runs);
SELECT test.ahead(1);
SELECT test.report('cross', t, 'cancelled', '', 2) IS NOT NULL AS answered FROM unnest(ARRAY[:done, :runs]) t;

-- Left on a machine that another one replaced: told, and over one day even without a lease.
ALTER SYSTEM SET unidesk.left_limit = '2000 s';
SELECT pg_reload_conf();
SELECT test.submit(on_lost => 'wait') AS waits, test.submit(lease => '200 s') AS leased, test.submit(on_lost => 'wait') AS returns \gset
SELECT test.ahead(1);
SELECT test.report('cross', t, 'running') FROM unnest(ARRAY[:waits, :leased, :returns]) t;
SELECT test.ahead(100), test.ahead(2);
SELECT replace(test.hello('cross', cpus => 16, machine => 'other'), 'close(4001: another connection of this node took over) ', '') AS hello;
SELECT test.crossed_events(:waits);
SELECT test.ahead(200), test.ahead(2);
SELECT id - :waits AS n, state, reason, attempts FROM unidesk.tasks WHERE id BETWEEN :waits AND :returns ORDER BY id;
-- Later they still wait; the machine returns with one of them, and goes again.
SELECT test.ahead(1000), test.ahead(2);
UPDATE test.bridge SET id = unidesk_bridge.register('test', 1);
SELECT replace(test.hello('cross', cpus => 16, machine => 'cross', attempts => test.has(:'life', ARRAY[:waits, :returns], ARRAY['running', 'running'])), 'close(4001: another connection of this node took over) ', '') AS hello;
SELECT test.crossed_events(:returns);
SELECT unidesk.cancel_task(:returns);
SELECT test.ahead(1);
SELECT test.report('cross', :returns, 'cancelled', '{"exit_code":143,"log_end":0}');
SELECT test.ahead(100), test.ahead(2);
UPDATE test.bridge SET id = unidesk_bridge.register('test', 1);
SELECT replace(test.hello('cross', cpus => 16, machine => 'other'), 'close(4001: another connection of this node took over) ', '') AS hello;
-- When unidesk.left_limit is over since its machine was last heard it is lost, and what it has stays held.
SELECT test.ahead(1800), test.ahead(2);
SELECT state, reason, attempts FROM unidesk.tasks WHERE id = :waits;
SELECT test.ahead(200), test.ahead(2);
SELECT test.crossed_events(:waits);
SELECT task = :waits AS it, "left" FROM unidesk.held WHERE node = 'cross' ORDER BY 1;
DROP FUNCTION test.has(text, bigint[], text[]);
ALTER SYSTEM RESET unidesk.left_limit;
SELECT pg_reload_conf();
SELECT code, task, detail FROM unidesk.check_invariants() WHERE code NOT IN ('worker_memory', 'partition_ahead');
DROP FUNCTION test.ahead, test.crossed, test.crossed_events;
SELECT test.forget_unended();
SELECT test.scheduling('', 3::smallint);
UPDATE test.bridge SET id = unidesk_bridge.register('test', 1);
