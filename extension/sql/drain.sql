-- Nodes out of service and back: cordoned, draining, drained, open.
\set VERBOSITY terse
SELECT test.scheduling('', 3::smallint);
SELECT test.forget_unended();
-- So many seconds later, nodes that are named have beaten.
CREATE FUNCTION test.later(seconds int, VARIADIC beating text[] DEFAULT '{}') RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	PERFORM unidesk._tick(unidesk._now() + make_interval(secs => seconds));
	PERFORM test.send(n, 3) FROM unnest(beating) n;
END
$$;
-- When it was drained is the worker's to say: as soon as the last report came, or a tick later.
CREATE FUNCTION test.service(node_name text, OUT scheduling text, OUT by name, OUT reason text, OUT left_s int, OUT since_s int) LANGUAGE sql AS $$
	SELECT n.scheduling, n.scheduling_by, n.scheduling_reason, extract(epoch FROM n.drain_deadline - unidesk._now()), CASE WHEN n.scheduling <> 'drained' THEN extract(epoch FROM unidesk._now() - n.scheduling_since) END
	FROM unidesk.nodes n WHERE n.name = node_name
$$;
CREATE FUNCTION test.told(node_name text) RETURNS SETOF text LANGUAGE sql AS $$
	SELECT concat_ws(' | ', e.what, e.actor, regexp_replace(e.data, 'deadline .*\)', 'deadline D)')) FROM unidesk.node_events e
	WHERE e.node = node_name AND e.what IN ('open', 'cordoned', 'draining', 'drained') ORDER BY e.at
$$;
CREATE FUNCTION test.inventory(VARIADIC tasks bigint[]) RETURNS jsonb LANGUAGE sql AS $$
	SELECT jsonb_agg(jsonb_build_object('incarnation', a.incarnation, 'task', a.task, 'attempt', a.attempt, 'state', 'running'))
	FROM unidesk.attempts a WHERE a.task = ANY (tasks) AND a.ended_at IS NULL
$$;
SELECT test.hello('d-old', cpus => 8);
SELECT scheduling, scheduling_by, scheduling_reason, drain_deadline FROM unidesk.nodes WHERE name = 'd-old';
SELECT test.submit() AS t1, test.submit() AS t2, test.submit() AS t3 \gset
SELECT test.later(1);
SELECT test.report('d-old', :t1, 'running'), test.report('d-old', :t2, 'preparing'), test.report('d-old', :t3, 'running');
-- Cordoned: what runs runs on, what comes waits.  Said twice is said once; another reason is news.
SELECT unidesk.cordon_node('d-old', 'odd noises'), unidesk.cordon_node('d-old', 'odd noises');
SELECT test.submit() AS t4 \gset
SELECT test.later(1);
SELECT test.service('d-old');
SELECT id - :t1 AS n, state, attempt_state, reason FROM unidesk.tasks WHERE id IN (:t1, :t2, :t4) ORDER BY id;
SELECT unidesk.cordon_node('d-old', 'very odd noises');
SELECT test.later(1);
SELECT test.service('d-old');
SELECT unidesk.open_node('d-old'), unidesk.open_node('d-old');
SELECT test.later(1);
SELECT test.service('d-old');
SELECT state, attempt_state FROM unidesk.tasks WHERE id = :t4;
SELECT test.told('d-old');
-- Draining: what was not accepted is withdrawn at once, the rest has until the deadline.
SELECT count(*) > 0 AS pulled FROM test.pull();
SELECT unidesk.drain_node('d-old', '60 s', 'new disk');
SELECT test.later(1);
SELECT test.service('d-old');
SELECT id - :t1 AS n, state, attempt_state FROM unidesk.tasks WHERE id IN (:t1, :t2, :t3, :t4) ORDER BY id;
SELECT task - :t1 AS n, want, body FROM test.pull();
SELECT test.report('d-old', :t4, 'preempted');
SELECT state, reason, not_before <= unidesk._now() AS at_once FROM unidesk.tasks WHERE id = :t4;
SELECT user_failures, infra_failures, excluded_node FROM unidesk_data.live WHERE task_id = :t4;
SELECT test.hello('d-new', cpus => 8, machine => 'm2');
SELECT test.later(1);
SELECT node, attempts, attempt_state FROM unidesk.tasks WHERE id = :t4;
SELECT test.report('d-new', :t4, 'running', '', 2), test.report('d-new', :t4, 'succeeded', '{"exit_code":0,"log_end":0}', 2);
-- One ends by itself; one is finishing when the deadline comes, which moved.
SELECT test.report('d-old', :t2, 'running'), test.report('d-old', :t2, 'succeeded', '{"exit_code":0,"log_end":0}');
SELECT unidesk.drain_node('d-old', '80 s', 'new disk');
SELECT test.report('d-old', :t3, 'finishing', '{"exit_code":0,"log_end":0}');
SELECT test.later(60, 'd-old', 'd-new');
SELECT test.service('d-old');
SELECT id - :t1 AS n, state, attempt_state FROM unidesk.tasks WHERE id IN (:t1, :t3) ORDER BY id;
SELECT count(*) AS orders FROM test.pull() WHERE want = 2;
SELECT test.later(20, 'd-old', 'd-new');
SELECT id - :t1 AS n, state, attempt_state FROM unidesk.tasks WHERE id IN (:t1, :t3) ORDER BY id;
SELECT task - :t1 AS n, want, body FROM test.pull() WHERE want = 2;
SELECT test.report('d-old', :t3, 'succeeded', '{"exit_code":0,"log_end":0}');
SELECT scheduling FROM test.service('d-old');
-- Exit code 0 after TERM is no success: it runs again, and the node is empty.
SELECT test.report('d-old', :t1, 'preempted', '{"exit_code":0,"log_end":0}');
SELECT test.later(1, 'd-old', 'd-new');
SELECT node, attempts, attempt_state, reason FROM unidesk.tasks WHERE id = :t1;
SELECT attempt, state, reason, exit_code FROM unidesk.attempts WHERE task = :t1 ORDER BY 1;
SELECT user_failures, infra_failures FROM unidesk_data.live WHERE task_id = :t1;
SELECT test.service('d-old');
-- Drained it stays, whoever asks again and however often it comes.
SELECT unidesk.drain_node('d-old', '0', 'asked again'), unidesk.drain_node('d-old', reason => 'and again');
SELECT test.hello('d-old', cpus => 8);
SELECT test.submit(cpus => 8) AS t5 \gset
SELECT test.later(1, 'd-old', 'd-new');
SELECT state, node FROM unidesk.tasks WHERE id = :t5;
SELECT test.service('d-old');
SELECT test.told('d-old') OFFSET 4;
SELECT unidesk.cordon_node('d-old', 'looking at it'), unidesk.open_node('d-old');
SELECT test.later(1, 'd-old', 'd-new');
SELECT state, node FROM unidesk.tasks WHERE id = :t5;
SELECT unidesk.cancel_task(:t5), test.report('d-old', :t5, 'cancelled', '{}');
-- Without a deadline it waits; a deadline of 0 stops all at once; a cancel outranks that.
SELECT test.report('d-new', :t1, 'running', '', 2);
SELECT unidesk.drain_node('d-new', reason => 'no hurry');
SELECT test.later(3600, 'd-old', 'd-new');
SELECT status, (test.service(name)).* FROM unidesk.nodes WHERE name = 'd-new';
SELECT state, attempt_state FROM unidesk.tasks WHERE id = :t1;
SELECT test.hello('d-new', cpus => 8, machine => 'm2', attempts => test.inventory(:t1));
SELECT attempt_state FROM unidesk.tasks WHERE id = :t1;
SELECT unidesk.drain_node('d-new', '0', 'hurry');
SELECT test.later(1);
SELECT attempt_state FROM unidesk.tasks WHERE id = :t1;
SELECT unidesk.cancel_task(:t1), test.report('d-new', :t1, 'cancelled', '{}', 2);
SELECT state, reason FROM unidesk.tasks WHERE id = :t1;
SELECT test.later(1);
SELECT scheduling FROM test.service('d-new');
-- Changed its mind: the stop goes on, the node takes work.
SELECT test.hello('d-old', cpus => 8), unidesk.open_node('d-new'), unidesk.cordon_node('d-old', 'for d-new');
SELECT test.submit() AS t6, test.submit(lease => '0') AS t7 \gset
SELECT test.later(1);
SELECT test.report('d-new', :t6, 'running'), test.report('d-new', :t7, 'running');
SELECT unidesk.drain_node('d-new', '0', 'hurry');
SELECT test.later(1);
SELECT unidesk.open_node('d-new');
SELECT test.later(1);
SELECT attempt_state FROM unidesk.tasks WHERE id IN (:t6, :t7);
SELECT test.report('d-new', :t6, 'preempted', '{"exit_code":143,"log_end":0}');
SELECT test.later(1);
SELECT node, attempts FROM unidesk.tasks WHERE id = :t6;
SELECT test.report('d-new', :t6, 'running', '', 2);
-- What it holds keeps a node from being drained: it falls silent, and comes back with nothing.
SELECT unidesk.drain_node('d-new', '0', 'dead?');
SELECT test.later(1);
SELECT test.report('d-new', :t6, 'preempted', '{"exit_code":143,"log_end":0}', 2);
SELECT test.later(120), test.later(2);
SELECT state, attempts, reason FROM unidesk.tasks WHERE id = :t7;
SELECT attempt, state, reason FROM unidesk.attempts WHERE task = :t7;
SELECT count(*) AS held FROM unidesk_data.held;
SELECT scheduling FROM test.service('d-new');
SELECT test.hello('d-new', cpus => 8, machine => 'm2');
SELECT test.later(1);
SELECT count(*) AS held FROM unidesk_data.held;
SELECT test.service('d-new');
-- One that never came is empty.
SELECT unidesk.create_node('d-never') IS NOT NULL AS made;
SELECT unidesk.drain_node('d-never', reason => 'not yet');
SELECT test.later(1);
SELECT scheduling FROM test.service('d-never');
SELECT code, detail FROM unidesk.check_invariants();
SELECT test.forget_unended();
SELECT test.scheduling('', 1::smallint), test.scheduling('^d-', 3::smallint);
