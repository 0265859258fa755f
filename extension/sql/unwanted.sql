-- After a restore: nodes have attempts of another incarnation, and the rows
-- have some that the nodes do not have any more.
\set VERBOSITY terse
SELECT test.scheduling('', 3::smallint);
SELECT test.forget_unended();
SELECT unidesk._tick('2030-03-01 01:30:00+00');
UPDATE test.bridge SET id = unidesk_bridge.register('test', 1);
SELECT test.hello('old', cpus => 8, memory => 17179869184, gpus => '[{"uuid": "GPU-a"}, {"uuid": "GPU-b"}]');
-- Five tasks of the life before: they run, were only assigned, have succeeded, have failed, and are lost.
SELECT test.submit(gpus => 1, on_lost => 'wait') AS t1, test.submit() AS t2, test.submit() AS t3, test.submit() AS t4, test.submit() AS t5 \gset
SELECT unidesk._tick('2030-03-01 01:30:01+00');
SELECT test.report('old', :t1, 'running'), test.report('old', :t5, 'running');
SELECT test.report('old', :t3, 'succeeded', '{"exit_code":0,"log_end":9}'), test.report('old', :t4, 'failed', '{"exit_code":1,"reason":"run.exit_code","log_end":9}');
SELECT lpad(to_hex(value), 16, '0') AS before FROM unidesk_data.incarnation \gset

-- What a restore does, as far as the rows can tell.
UPDATE unidesk_data.incarnation SET value = CASE value WHEN 4711 THEN 4712 ELSE 4711 END, since = '2030-03-01 01:30:10+00';
SELECT unidesk._rescan();
SELECT unidesk._tick('2030-03-01 01:30:20+00');
-- Sessions of bridges of that life are over before anything is placed.
SELECT connected FROM unidesk.nodes WHERE name = 'old';
UPDATE test.bridge SET id = unidesk_bridge.register('test', 1);
-- Its old session was not taken by another connection: it may come back at once.
SELECT kind, reply_value, reply_body FROM test.send('old', 3);

-- The node has the running one, both that ended, and two that the rows never saw: one runs, one has ended by itself.
CREATE FUNCTION test.has(incarnation text, tasks bigint[], states text[]) RETURNS jsonb LANGUAGE sql AS $$
	SELECT coalesce(jsonb_agg(jsonb_build_object('incarnation', has.incarnation, 'task', t, 'attempt', 1, 'state', s,
		'cpus_milli', 3000, 'memory', 1073741824, 'gpus', ARRAY['GPU-b', 'GPU-of-nobody'])), '[]') FROM unnest(tasks, states) AS x (t, s)
$$;
-- What it is told, other than the orders: 2 stop, 3 remove.
CREATE FUNCTION test.inventory(incarnation text, tasks bigint[], states text[]) RETURNS TABLE (task bigint, want smallint) LANGUAGE sql AS $$
	SELECT m.task, m.state FROM test.node n, unidesk_bridge.receive((SELECT id FROM test.bridge), ARRAY[n.id], ARRAY[n.id], ARRAY[NULL::bytea],
		ARRAY[n.session], ARRAY[2::int2], ARRAY[0::int2], ARRAY[0::int2], ARRAY[0::bigint], ARRAY[0::bigint], ARRAY[0], ARRAY[1::bigint], ARRAY[0::bigint],
		ARRAY[convert_to(jsonb_build_object('attempts', test.has(incarnation, tasks, states))::text, 'UTF8')]) m
	WHERE n.name = 'old' AND m.type = 131 ORDER BY m.task
$$;
SELECT test.hello('old', cpus => 8, memory => 17179869184, gpus => '[{"uuid": "GPU-a"}, {"uuid": "GPU-b"}]',
	attempts => test.has(:'before', ARRAY[:t1, :t3, :t4, 1000001, 1000002], ARRAY['running', 'succeeded', 'failed', 'running', 'failed']));
-- What is known by all three numbers goes on; what had not started, or is gone, runs again under the new incarnation.
SELECT id - :t1 AS n, state, attempt_state, reason, attempts FROM unidesk.tasks WHERE id IN (:t1, :t2, :t3, :t4, :t5) ORDER BY id;
SELECT incarnation = :'before' AS of_the_life_before FROM unidesk.attempts WHERE task = :t1;
SELECT test.report('old', :t1, 'running') AS with_the_new_incarnation;
SELECT node, incarnation = :'before' AS of_the_life_before, task, attempt, cpus, memory, gpus, reason, since, "foreign", stop_asked, stopped_after FROM unidesk.held ORDER BY task;
-- What it takes counts, and its GPU is not given away.
SELECT unidesk._tick('2030-03-01 01:30:21+00');
SELECT cpus_used, memory_used, gpus_used FROM unidesk.nodes WHERE name = 'old';
SELECT index, uuid, holder_task = :t1 AS by_the_known, holder_task = 1000001 AS by_the_foreign FROM unidesk_data.gpu g JOIN unidesk.nodes n ON n.id = g.node_id AND n.name = 'old' ORDER BY index;
SELECT test.submit(gpus => 1) AS t6 \gset
SELECT unidesk._tick('2030-03-01 01:30:40+00');
SELECT state, (SELECT string_agg(attempt || state, ' ') FROM unidesk.attempts WHERE task = :t6) FROM unidesk.tasks WHERE id = :t6;
SELECT id - :t1 AS n, attempts, (SELECT a.incarnation = :'before' FROM unidesk.attempts a WHERE a.task = t.id AND a.attempt = t.attempts) AS of_the_life_before
	FROM unidesk.tasks t WHERE id IN (:t2, :t5) ORDER BY 1;
-- Those that ended are named, so that the node sends the rest of their logs and removes them; nothing is removed that nobody decided about.
SELECT task - :t1 AS n, want FROM test.inventory(:'before', ARRAY[:t1, :t3, :t4, 1000001, 1000002], ARRAY['running', 'succeeded', 'failed', 'running', 'failed']);
-- It ends by itself: shown still, and takes nothing any more.
SELECT * FROM test.inventory(:'before', ARRAY[:t1, 1000001, 1000002], ARRAY['running', 'succeeded', 'failed']);
SELECT task, cpus, memory, gpus FROM unidesk.held ORDER BY task;
SELECT * FROM test.inventory(:'before', ARRAY[:t1, 1000001, 1000002], ARRAY['running', 'running', 'failed']);

-- Bad input.
SELECT unidesk.stop_held(NULL);
SELECT unidesk.stop_held('nowhere');
SELECT unidesk.stop_held('old', 'xyz');
SELECT unidesk.stop_held('old', task => 5);
SELECT unidesk.stop_held('old', '0000000000000001');
CREATE ROLE foreign_user LOGIN IN ROLE unidesk_user;
SET SESSION AUTHORIZATION foreign_user;
SELECT unidesk.stop_held('old');
SELECT count(*) AS seen_by_others FROM unidesk.held;
SELECT count(*) AS backups FROM unidesk.backups;
RESET SESSION AUTHORIZATION;
DROP ROLE foreign_user;
SELECT count(*) FILTER (WHERE stop_asked) AS asked FROM unidesk.held;

-- One is to be stopped: the next beat asks what is there, the answer tells the node, and it is asked again until it is gone.
SELECT unidesk.stop_held('old', :'before', 1000001, 1);
SELECT unidesk._tick('2030-03-01 01:30:41+00');
SELECT unidesk._wait_passes(3, 10000);
SELECT reply FROM test.send('old', 3);
SELECT * FROM test.inventory(:'before', ARRAY[:t1, 1000001, 1000002], ARRAY['running', 'running', 'failed']);
SELECT reply FROM test.send('old', 3);
SELECT task, gpus, stop_asked, stopped_after FROM unidesk.held ORDER BY task;
SELECT * FROM test.inventory(:'before', ARRAY[:t1, 1000002], ARRAY['running', 'failed']);
SELECT reply FROM test.send('old', 3);
SELECT task FROM unidesk.held;
SELECT unidesk._tick('2030-03-01 01:30:42+00');
SELECT state FROM unidesk.tasks WHERE id = :t6;
-- A day later the others go by themselves.
SELECT unidesk._tick('2030-03-01 13:00:00+00');
SELECT unidesk_bridge.beat(id, 0) FROM test.bridge;
SELECT unidesk._tick('2030-03-02 01:30:19+00');
SELECT * FROM test.inventory(:'before', ARRAY[:t1, 1000002], ARRAY['running', 'failed']);
SELECT unidesk._tick('2030-03-02 01:30:20+00');
SELECT * FROM test.inventory(:'before', ARRAY[:t1, 1000002], ARRAY['running', 'failed']);
SELECT * FROM test.inventory(:'before', ARRAY[:t1], ARRAY['running']);
SELECT count(*) AS held FROM unidesk.held;
SELECT what, data FROM unidesk.node_events WHERE node = 'old' AND what = 'stop_held';
-- More than the node was granted: it runs there all the same, and the sums hold.
SELECT * FROM test.inventory(:'before', ARRAY[:t1, 1000003, 1000004, 1000005], ARRAY['running', 'running', 'running', 'running']);
SELECT unidesk._tick('2030-03-02 01:30:21+00');
SELECT cpus, cpus_used, gpus, gpus_used FROM unidesk.nodes WHERE name = 'old';
-- Nonsense about what it takes closes nothing but that connection; twice the same attempt is one.
SELECT kind, reply_value, reply_body FROM test.send('old', 2, body => format('{"attempts":[{"incarnation":"%s","task":7,"attempt":1,"cpus_milli":"much"}]}', :'before'));
SELECT kind, reply_value, reply_body FROM test.send('old', 2, body => format('{"attempts":[{"incarnation":"%s","task":1000006,"attempt":1,"cpus_milli":-5,"memory":-1,"gpus":7},{"incarnation":"%1$s","task":1000006,"attempt":1}]}', :'before'));
SELECT task, cpus, memory, gpus FROM unidesk.held;
