-- A task that makes every pass fail in which the worker does something with
-- it: held or left out, and the others go on.  unidesk.verify_memory is on.
\set VERBOSITY terse
SET client_min_messages = error;
SELECT greatest(unidesk._now(), '2030-03-01 00:00+00') AS now \gset
SELECT unidesk._tick(:'now');
UPDATE test.bridge SET id = unidesk_bridge.register('test', 1);
SELECT test.scheduling('', 3::smallint);
SELECT test.forget_unended();
SELECT test.hello('p', cpus => 64, memory => 68719476736, machine => 'p');
CREATE FUNCTION test.passes(at timestamptz, done text, times int DEFAULT 200) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
	is_done boolean;
BEGIN
	FOR i IN 1..times LOOP
		PERFORM unidesk._tick(at);
		EXECUTE done INTO is_done;
		EXIT WHEN is_done;
	END LOOP;
	RETURN is_done;
END
$$;
-- Refuses changes of the table that are so.
CREATE FUNCTION test.refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'poisoned'; END $$;
CREATE FUNCTION test.poison(name text, condition text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	EXECUTE format('CREATE TRIGGER poison BEFORE UPDATE ON %s FOR EACH ROW WHEN (%s) EXECUTE FUNCTION test.refuse()', name, condition);
END
$$;
CREATE TABLE test.p (n int, id bigint);
SELECT unidesk._memory_differences() AS differences \gset

-- A deadline: the tasks wait for too long, and one cannot fail.
INSERT INTO test.p SELECT i, test.submit(labels => '{"site": "nowhere"}', queue_timeout => '10 s') FROM generate_series(1, 5) i;
SELECT unidesk._tick(:'now');
SELECT id AS bad FROM test.p WHERE n = 3 \gset
SELECT test.poison('unidesk_data.task', format('NEW.id = %s AND NEW.state IS NOT NULL', :bad));
SELECT test.passes(:'now'::timestamptz + interval '11 s', $$SELECT count(*) = 5 FROM unidesk.tasks WHERE id IN (SELECT id FROM test.p) AND state <> 'queued'$$);
SELECT p.n, t.state, t.reason FROM test.p JOIN unidesk.tasks t ON t.id = p.id ORDER BY p.n;
DROP TRIGGER poison ON unidesk_data.task;
SELECT unidesk.cancel_task(:bad);
TRUNCATE test.p;

-- Another one: nobody answers, and one assignment cannot be withdrawn.  It is
-- left out, is told of once, and is looked at again.
SELECT test.scheduling('^p$', 1::smallint);
INSERT INTO test.p SELECT i, test.submit() FROM generate_series(1, 5) i;
SELECT unidesk._tick(:'now'::timestamptz + interval '12 s');
SELECT id AS bad FROM test.p WHERE n = 2 \gset
SELECT test.poison('unidesk_data.live', format('NEW.task_id = %s AND NEW.want = 2', :bad));
SELECT reply FROM test.send('p', 3);
SELECT test.passes(:'now'::timestamptz + interval '75 s', format($$SELECT count(*) = 4 AND EXISTS (SELECT FROM unidesk.task_events WHERE task = %s AND reason = 'sys.poisoned')
	FROM unidesk.tasks WHERE id IN (SELECT id FROM test.p) AND attempt_state = 'stopping'$$, :bad));
SELECT p.n, t.state, t.attempt_state FROM test.p JOIN unidesk.tasks t ON t.id = p.id ORDER BY p.n;
SELECT seq, task_state, attempt, attempt_state, reason, actor, data FROM unidesk.task_events WHERE task = :bad ORDER BY seq;
SELECT unidesk._tidy();
SELECT code, task - :bad AS task, detail FROM unidesk.check_invariants() WHERE code <> 'worker_memory';
-- Others are placed meanwhile.
SELECT test.submit() AS other \gset
SELECT unidesk._tick(:'now'::timestamptz + interval '76 s');
SELECT state FROM unidesk.tasks WHERE id = :other;
-- Tried again, in vain.
SELECT reply FROM test.send('p', 3);
SELECT unidesk._tick(:'now'::timestamptz + interval '140 s');
SELECT test.passes(:'now'::timestamptz + interval '140 s', 'SELECT false', 10) AS done;
SELECT attempt_state FROM unidesk.tasks WHERE id = :bad;
SELECT count(*) AS told FROM unidesk.task_events WHERE task = :bad AND reason = 'sys.poisoned';
DROP TRIGGER poison ON unidesk_data.live;
SELECT reply FROM test.send('p', 3);
SELECT unidesk._tick(:'now'::timestamptz + interval '200 s');
SELECT reply FROM test.send('p', 3);
SELECT test.passes(:'now'::timestamptz + interval '270 s', format('SELECT attempt_state = ''stopping'' FROM unidesk.tasks WHERE id = %s', :bad));
SELECT count(*) FROM (SELECT test.report('p', id, 'rejected') FROM test.p UNION ALL SELECT test.report('p', :other, 'rejected')) x;
SELECT count(unidesk.cancel_task(id)) FROM (SELECT id FROM test.p UNION ALL SELECT :other) x;
TRUNCATE test.p;

-- Stops: one gets no order number.
SELECT reply FROM test.send('p', 3);
INSERT INTO test.p SELECT i, test.submit() FROM generate_series(1, 5) i;
SELECT unidesk._tick(:'now'::timestamptz + interval '271 s');
SELECT count(*) FROM (SELECT test.report('p', id, 'running') FROM test.p) x;
SELECT id AS bad FROM test.p WHERE n = 4 \gset
SELECT test.poison('unidesk_data.live', format('NEW.task_id = %s AND NEW.want = 2 AND NEW.order_no IS NOT NULL', :bad));
SELECT count(unidesk.cancel_task(id)) FROM test.p;
SELECT test.passes(:'now'::timestamptz + interval '272 s', format($$SELECT count(*) = 4 AND EXISTS (SELECT FROM unidesk.task_events WHERE task = %s AND reason = 'sys.poisoned')
	FROM unidesk_data.live WHERE want = 2 AND order_no IS NOT NULL$$, :bad));
SELECT p.n, l.order_no IS NOT NULL AS ordered FROM test.p JOIN unidesk_data.live l ON l.task_id = p.id ORDER BY p.n;
SELECT seq, attempt_state, reason, data FROM unidesk.task_events WHERE task = :bad AND reason = 'sys.poisoned';
DROP TRIGGER poison ON unidesk_data.live;
SELECT reply FROM test.send('p', 3);
SELECT test.passes(:'now'::timestamptz + interval '333 s', format('SELECT order_no IS NOT NULL FROM unidesk_data.live WHERE task_id = %s', :bad));
SELECT count(*) FROM (SELECT test.report('p', id, 'cancelled', '{"exit_code":143,"log_end":0}') FROM test.p) x;
TRUNCATE test.p;

-- A row that takes no change at all cannot be held, and stops nobody.
INSERT INTO test.p SELECT i, test.submit(not_before => :'now'::timestamptz + interval '335 s') FROM generate_series(1, 5) i;
SELECT id AS bad FROM test.p WHERE n = 1 \gset
SELECT test.poison('unidesk_data.live', format('NEW.task_id = %s', :bad));
SELECT test.passes(:'now'::timestamptz + interval '336 s', $$SELECT count(*) = 4 FROM unidesk.tasks WHERE id IN (SELECT id FROM test.p) AND state = 'active'$$);
SELECT p.n, t.state, t.reason FROM test.p JOIN unidesk.tasks t ON t.id = p.id ORDER BY p.n;
SELECT count(*) FROM (SELECT test.report('p', id, 'running') FROM test.p WHERE id <> :bad) x;
DROP TRIGGER poison ON unidesk_data.live;
SELECT reply FROM test.send('p', 3);
SELECT test.passes(:'now'::timestamptz + interval '400 s', format('SELECT state = ''active'' FROM unidesk.tasks WHERE id = %s', :bad));
SELECT count(*) FROM (SELECT test.report('p', id, 'succeeded', '{"exit_code":0,"log_end":0}') FROM test.p) x;

SELECT count(*) AS live FROM unidesk_data.live;
SELECT unidesk._memory_differences() - :differences AS differences;
SELECT unidesk._tidy();
SELECT code, task, attempt, node, detail FROM unidesk.check_invariants() WHERE code <> 'worker_memory';
SELECT test.scheduling('', 3::smallint);
RESET client_min_messages;
-- A bridge that is silent and not over, where the worker runs for long enough to know.
BEGIN;
UPDATE unidesk_data.bridge SET last_beat = unidesk._now() - interval '2 days', ended_at = NULL WHERE id = (SELECT id FROM test.bridge);
SELECT code FROM unidesk.check_invariants() WHERE code <> 'worker_memory';
ROLLBACK;
