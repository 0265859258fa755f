-- States that an online node does not end are ended here.
\set VERBOSITY terse
SELECT unidesk._now() AS now \gset
SELECT unidesk._tick(:'now');
SELECT test.scheduling('', 3::smallint);
SELECT test.forget_unended();
SELECT test.hello('stuck', cpus => 8, machine => 'stuck');
SELECT test.submit() AS stops, test.submit() AS finishes, test.submit() AS prepares, test.submit(prepare_timeout => '6 h') AS may_prepare \gset
SELECT unidesk._tick(:'now'::timestamptz + interval '1 s');
SELECT test.report('stuck', :stops, 'running'), test.report('stuck', :finishes, 'finishing', '{"exit_code":0,"log_end":0}'),
	test.report('stuck', :prepares, 'preparing', '{"phase":"build"}'), test.report('stuck', :may_prepare, 'preparing', '{"phase":"build"}');
SELECT unidesk.cancel_task(:stops);
CREATE VIEW test.stuck AS SELECT t.id, t.state, t.attempt_state, t.reason, (SELECT count(*) FROM unidesk_data.held h WHERE h.task_id = t.id) AS held FROM unidesk.tasks t;
-- An hour and the grace for a stop.  A beat before each jump: the node stays online.
DO $$ BEGIN
	FOR minute IN 1..59 LOOP
		PERFORM unidesk._tick(unidesk._now() + interval '1 min');
		PERFORM test.send('stuck', 3);
		COMMIT;
	END LOOP;
END $$;
SELECT id - :stops AS n, state, attempt_state, reason, held FROM test.stuck WHERE id IN (:stops, :finishes, :prepares, :may_prepare) ORDER BY id;
SELECT unidesk._tick(unidesk._now() + interval '80 s');
SELECT reply FROM test.send('stuck', 3);
SELECT unidesk._tick(unidesk._now() + interval '20 s');
SELECT id - :stops AS n, state, attempt_state, reason, held FROM test.stuck WHERE id IN (:stops, :finishes, :prepares, :may_prepare) ORDER BY id;
-- Four hours for a preparation without a limit of its own.
DO $$ BEGIN
	FOR minute IN 1..180 LOOP
		PERFORM unidesk._tick(unidesk._now() + interval '1 min');
		PERFORM test.send('stuck', 3);
		COMMIT;
	END LOOP;
END $$;
SELECT id - :stops AS n, state, attempt_state, reason FROM test.stuck WHERE id IN (:finishes, :prepares, :may_prepare) ORDER BY id;
SELECT test.report('stuck', :prepares, 'timed_out', '{"reason":"prep.timeout"}'), unidesk.cancel_task(:may_prepare);
SELECT test.report('stuck', :may_prepare, 'cancelled');
-- What it held is free when the node says so.
SELECT test.report('stuck', :stops, 'cancelled', '{"exit_code":143,"log_end":0}');
SELECT held FROM test.stuck WHERE id = :stops;
-- A day for the output.
ALTER SYSTEM SET unidesk.output_limit = '5h';
SELECT pg_reload_conf();
DO $$ BEGIN
	FOR minute IN 1..65 LOOP
		PERFORM unidesk._tick(unidesk._now() + interval '1 min');
		PERFORM test.send('stuck', 3);
		COMMIT;
	END LOOP;
END $$;
SELECT state, reason FROM unidesk.attempts WHERE task = :finishes AND attempt = 1;
ALTER SYSTEM RESET unidesk.output_limit;
SELECT pg_reload_conf();
SELECT code, task, detail FROM unidesk.check_invariants() WHERE code NOT IN ('worker_memory', 'partition_ahead');
SELECT test.forget_unended();
SELECT test.scheduling('', 3::smallint);
SELECT unidesk._tick(:'now');
