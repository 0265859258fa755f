-- Results that cross what was asked for meanwhile.
\set VERBOSITY terse
SELECT unidesk._now() AS now \gset
SELECT unidesk._tick(:'now');
SELECT test.scheduling('', 3::smallint);
SELECT test.forget_unended();
SELECT test.hello('cross', cpus => 16, machine => 'cross');
CREATE FUNCTION test.ahead(seconds int) RETURNS void LANGUAGE sql AS $$ SELECT unidesk._tick(unidesk._now() + make_interval(secs => seconds)) $$;
CREATE FUNCTION test.crossed(task bigint) RETURNS text LANGUAGE sql AS $$
	SELECT concat_ws(' ', t.state, nullif(t.reason, ''), 'attempts ' || t.attempts, 'code ' || t.exit_code, 'started ' || (t.started_at IS NOT NULL)) FROM unidesk.tasks t WHERE t.id = crossed.task
$$;
CREATE FUNCTION test.crossed_events(of_task bigint) RETURNS SETOF text LANGUAGE sql AS $$
	SELECT concat_ws(' | ', e.task_state, e.attempt_state, nullif(e.reason, ''), e.actor, e.data) FROM unidesk.task_events e
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
SELECT code, task, detail FROM unidesk.check_invariants() WHERE code NOT IN ('worker_memory', 'partition_ahead');
DROP FUNCTION test.ahead, test.crossed, test.crossed_events;
SELECT test.forget_unended();
SELECT test.scheduling('', 3::smallint);
SELECT unidesk._tick(:'now');
