-- Planned downtime: nothing is lost before it is over, and the node knows.
\set VERBOSITY terse
SELECT unidesk._now() AS now \gset
SELECT test.scheduling('', 3::smallint);
SELECT test.forget_unended();
SELECT unidesk._tick(:'now');
SELECT test.hello('down', cpus => 8, machine => 'down');
SELECT test.submit(lease => '200 s') AS task, test.submit(lease => '0') AS none, test.submit(on_lost => 'wait') AS waits \gset
SELECT unidesk._tick(:'now'::timestamptz + interval '1 s');
SELECT test.report('down', id, 'running') FROM unidesk.tasks WHERE id IN (:task, :none, :waits) ORDER BY id;
SELECT count(*) AS old_orders FROM test.pull();

-- The leases become longer by new orders, and the node confirms by its beat.
SELECT unidesk.announce_downtime('down', :'now'::timestamptz + interval '1 hour', 'new switch') AS nodes;
SELECT unidesk._tick(:'now'::timestamptz + interval '2 s');
SELECT unidesk._tick(:'now'::timestamptz + interval '3 s');
SELECT task - :task AS task, want, body -> 'lease_s' AS lease_s, body -> 'spec' AS spec FROM test.pull();
SELECT downtime_until - :'now'::timestamptz AS until, downtime_reason, downtime_confirmed FROM unidesk.nodes WHERE name = 'down';
SELECT reply FROM test.send('down', 3, value => 1);
SELECT unidesk._tick(:'now'::timestamptz + interval '5 s');
SELECT downtime_confirmed FROM unidesk.nodes WHERE name = 'down';
SELECT reply FROM test.send('down', 3, value => (SELECT max(order_no) FROM unidesk_data.live));
SELECT unidesk._tick(:'now'::timestamptz + interval '7 s');
SELECT downtime_confirmed FROM unidesk.nodes WHERE name = 'down';
-- No new task comes there.
SELECT test.submit() AS later \gset
SELECT unidesk._tick(:'now'::timestamptz + interval '8 s');
SELECT state FROM unidesk.tasks WHERE id = :later;
-- Silent for longer than any lease: offline, and nothing is lost.
SELECT unidesk._tick(:'now'::timestamptz + interval '3500 s');
SELECT unidesk._tick(:'now'::timestamptz + interval '3502 s');
SELECT status FROM unidesk.nodes WHERE name = 'down';
SELECT id - :task AS task, state, attempt_state, attempts FROM unidesk.tasks WHERE id IN (:task, :none, :waits) ORDER BY id;
SELECT code, task, node, detail FROM unidesk.check_invariants();
-- Back in time: all goes on; when the time is over the old leases come back, and hold when the node confirms.
SELECT test.hello('down', cpus => 8, machine => 'down', attempts => (SELECT jsonb_agg(jsonb_build_object('incarnation', incarnation, 'task', task, 'attempt', attempt, 'state', 'running'))
	FROM unidesk.attempts WHERE task IN (:task, :none, :waits)));
SELECT id - :task AS task, state, attempt_state, attempts FROM unidesk.tasks WHERE id IN (:task, :none, :waits) ORDER BY id;
SELECT count(*) AS old_orders FROM test.pull();
SELECT unidesk._tick(:'now'::timestamptz + interval '3590 s');
SELECT reply FROM test.send('down', 3);
SELECT unidesk._tick(:'now'::timestamptz + interval '3601 s');
SELECT unidesk._tick(:'now'::timestamptz + interval '3603 s');
SELECT task - :task AS task, want, body -> 'lease_s' AS lease_s FROM test.pull() WHERE task <> :later;
SELECT downtime_until, downtime_reason, downtime_confirmed FROM unidesk.nodes WHERE name = 'down';
SELECT extra_s, confirmed, ended_at - until < interval '5 s' AS ended FROM unidesk_data.downtime;
SELECT state, node FROM unidesk.tasks WHERE id = :later;
SELECT reply FROM test.send('down', 3, value => (SELECT max(order_no) FROM unidesk_data.live));
SELECT unidesk._tick(:'now'::timestamptz + interval '3605 s');
SELECT count(*) AS downtimes FROM unidesk_data.downtime;
-- Now the lease of 200 s is over after 200 s, and no lease at once.
SELECT unidesk._tick(:'now'::timestamptz + interval '3720 s');
SELECT unidesk._tick(:'now'::timestamptz + interval '3722 s');
SELECT id - :task AS task, state, reason FROM unidesk.tasks WHERE id IN (:task, :none, :waits) ORDER BY id;
SELECT unidesk._tick(:'now'::timestamptz + interval '3820 s');
SELECT unidesk._tick(:'now'::timestamptz + interval '3822 s');
SELECT id - :task AS task, state, reason FROM unidesk.tasks WHERE id IN (:task, :none, :waits) ORDER BY id;

-- Ended before its time, for all nodes; what was told stays until the node has heard it.
SELECT test.forget_unended();
SELECT unidesk._tick(:'now'::timestamptz + interval '3830 s');
SELECT test.hello('down', cpus => 8, machine => 'down');
SELECT test.submit(lease => '200 s') AS task \gset
SELECT unidesk._tick(:'now'::timestamptz + interval '3831 s');
SELECT test.report('down', :task, 'running');
SELECT unidesk.announce_downtime(NULL, unidesk._now() + interval '30 min') = (SELECT count(*) FROM unidesk.nodes WHERE status <> 'retired') AS all_nodes;
SELECT unidesk._tick(:'now'::timestamptz + interval '3833 s');
SELECT unidesk.announce_downtime(NULL, NULL) = (SELECT count(*) FROM unidesk.nodes WHERE status <> 'retired') AS all_ended;
SELECT unidesk.announce_downtime('down', NULL) AS ended_twice;
SELECT unidesk._tick(:'now'::timestamptz + interval '3835 s');
SELECT count(*) AS where_something_runs FROM unidesk_data.downtime;
SELECT unidesk._tick(:'now'::timestamptz + interval '4200 s');
SELECT unidesk._tick(:'now'::timestamptz + interval '4202 s');
SELECT attempt_state, attempts FROM unidesk.tasks WHERE id = :task;
SELECT unidesk._tick(:'now'::timestamptz + interval '5840 s');
SELECT unidesk._tick(:'now'::timestamptz + interval '5842 s');
SELECT unidesk._tick(:'now'::timestamptz + interval '5844 s');
SELECT state, reason FROM unidesk.tasks WHERE id = :task;
SELECT count(*) AS downtimes FROM unidesk_data.downtime;
SELECT what, actor, data IS NOT NULL AS data FROM unidesk.node_events WHERE node = 'down' AND what LIKE 'downtime%' ORDER BY at;
SELECT test.forget_unended();
SELECT unidesk._tick(:'now');
SELECT test.scheduling('', 3::smallint);
