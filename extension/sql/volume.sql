-- Room: logs merged into blocks, retention, the guards of the volume.
\set VERBOSITY terse
CREATE FUNCTION test.run_task(project text DEFAULT 'demo') RETURNS bigint LANGUAGE sql AS $$
	SELECT test.submit(project, cpus => 0.1, labels => '{"room": "yes"}', on_lost => 'wait')
$$;
-- After a long time: the bridge comes again, and the node with what runs on it.
CREATE FUNCTION test.come(attempts jsonb DEFAULT '[]') RETURNS text LANGUAGE plpgsql AS $$
BEGIN
	UPDATE test.bridge SET id = unidesk_bridge.register('test', 1);
	RETURN test.hello('room', cpus => 100, memory => 1::bigint << 40, labels => '{"room": "yes"}', attempts => attempts);
END
$$;
SELECT unidesk._memory_differences() AS differences \gset
SELECT unidesk._tick('2031-03-01 12:00+00');
SELECT test.come();
SELECT unidesk.create_project('keep') IS NOT NULL AS created;
SELECT test.run_task() AS task \gset
SELECT unidesk._tick('2031-03-01 12:00:01+00');
SELECT count(*) FROM test.pull() WHERE task = :task;
SELECT test.report('room', :task, 'running');

-- Both streams by turns, then much of one.
SELECT test.log('room', :task, 0, E'one\n');
SELECT test.log('room', :task, 4, E'two\n', stream => 2);
SELECT test.log('room', :task, 8, E'three\n');
SELECT test.log('room', :task, 14, repeat('x', 6000));
CREATE TABLE test.before AS SELECT * FROM unidesk.task_log(:task);

-- A few bytes of a live task are not merged yet; they move on.
SELECT unidesk._tidy();
SELECT count(*) AS blocks FROM unidesk_data.log_block;
SELECT count(DISTINCT segment) AS segments, count(*) AS chunks FROM unidesk_data.log_chunk WHERE task_id = :task;
SELECT count(*) AS same FROM unidesk.task_log(:task) l JOIN test.before b USING (attempt, stream, "offset", bytes);

-- An ended one is: the same bytes, in order, streams kept apart.
SELECT test.report('room', :task, 'succeeded', '{"exit_code":0,"log_end":6018}');
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT count(*) AS pieces FROM unidesk.task_log(:task);
-- Two rounds merge; the chunks stay as long as a snapshot may need them.
\! psql -XAtqd contrib_regression -c 'SELECT 1 FROM unidesk._tidy(), unidesk._tidy()'
SELECT count(*) AS same, sum(octet_length(l.bytes)) FROM unidesk.task_log(:task) l JOIN test.before b USING (attempt, stream, "offset", bytes);
COMMIT;
SELECT "offset", length, pg_column_size(bytes) < 300 AS compressed, runs FROM unidesk_data.log_block WHERE task_id = :task;
SELECT attempt, stream, "offset", octet_length(bytes) FROM unidesk.task_log(:task);
SELECT left(unidesk.task_log_text(:task), 15);
SELECT unidesk._tidy();
SELECT unidesk._tidy();
SELECT count(*) AS chunks FROM unidesk_data.log_chunk;
SELECT count(*) AS blocks, sum(octet_length(bytes)) AS bytes FROM unidesk_data.log_piece WHERE task_id = :task;

-- What comes late goes on where the blocks end.
SELECT test.log('room', :task, 0, 'from the start: known');
SELECT test.log('room', :task, 6014, 'tail');
SELECT count(*), sum(octet_length(bytes)) FROM unidesk.task_log(:task);

-- Rights: managers and administrators; what is wrong is told.
SELECT unidesk.create_user('ret_manager') IS NOT NULL, unidesk.create_user('ret_member') IS NOT NULL, unidesk.create_user('ret_other') IS NOT NULL;
SELECT unidesk.add_member('keep', 'ret_manager', 'manager'), unidesk.add_member('keep', 'ret_member');
SET SESSION AUTHORIZATION ret_manager;
SELECT unidesk.set_retention('keep', '90 days', 2000000);
SELECT project, keep, log_bytes, log_bytes_stored, is_default FROM unidesk.retention;
SELECT level, used > 0 AS used, size > 0 AS size, tasks > 0 AS tasks, logs > 0 AS logs FROM unidesk.storage;
SELECT unidesk.set_retention(NULL);
SELECT unidesk.set_retention('keep', '0 days');
SELECT unidesk.set_retention('keep', '-1 days');
SELECT unidesk.set_retention('keep', '36501 days');
SELECT unidesk.set_retention('keep', log_bytes => -1);
SELECT unidesk.set_retention('keep', log_bytes => 1000);
SELECT unidesk.set_retention('demo', '9 days');
SELECT unidesk.set_retention('nowhere', '9 days');
SELECT unidesk._tidy();
SELECT unidesk._mock_volume(99);
SELECT unidesk_data._remove_logs(NULL, 1, now(), 1);
SET SESSION AUTHORIZATION ret_member;
SELECT unidesk.set_retention('keep', '9 days');
SELECT project, keep FROM unidesk.retention;
SET SESSION AUTHORIZATION ret_other;
SELECT count(*) FROM unidesk.retention;
SELECT count(*) FROM unidesk_data.log_block;
SELECT count(*) FROM unidesk_data.log_piece;
RESET SESSION AUTHORIZATION;
SELECT project, keep, log_bytes, is_default FROM unidesk.retention WHERE project IN ('demo', 'keep') ORDER BY project;

-- Partitions: made ahead, also for the days of a project of its own.
SELECT unidesk._tidy();
SELECT string_agg(c.relname, ' ' ORDER BY c.relname COLLATE "C") FROM pg_class c
	WHERE c.relnamespace = 'unidesk_data'::regnamespace AND c.relkind = 'r' AND c.relname ~ '_(2031[0-9]*|from_.*)$';
-- One step that fails keeps no other from its work.
CREATE VIEW unidesk_data.task_event_20310305 AS SELECT 1 AS one;
SELECT unidesk._tick('2031-03-03 00:00:01+00');
SELECT test.come();
SELECT unidesk._tidy();
SELECT string_agg(c.relname, ' ' ORDER BY c.relname COLLATE "C") FROM pg_class c
	WHERE c.relnamespace = 'unidesk_data'::regnamespace AND c.relkind = 'r' AND c.relname ~ '_2031030[45]$';
DROP VIEW unidesk_data.task_event_20310305;
-- Nor does one that would have to wait.
BEGIN;
LOCK TABLE unidesk_data.task_event IN ACCESS SHARE MODE;
\! psql -XAtqd contrib_regression -c 'SELECT 1 FROM unidesk._tidy()'
COMMIT;
SELECT unidesk._tidy();

-- Days: a log goes when its day has come, and that is told; a live task's stays.
SELECT test.run_task() AS live \gset
SELECT test.run_task('keep') AS kept \gset
SELECT unidesk._tick('2031-03-03 00:00:02+00');
SELECT count(*) FROM test.pull() WHERE task IN (:live, :kept);
SELECT test.report('room', :live, 'running'), test.report('room', :kept, 'running');
SELECT DISTINCT test.log('room', :live, n * 65000, repeat('l', 65000)) LIKE 'ack%' FROM generate_series(0, 4) n;
SELECT test.log('room', :kept, 0, 'kept');
SELECT test.report('room', :kept, 'succeeded', '{"exit_code":0,"log_end":4}');
SELECT unidesk._tidy();
SELECT project_id = (SELECT id FROM unidesk_data.project WHERE name = 'keep') AS keep, expires, sum(length) FROM unidesk_data.log_block
	WHERE task_id IN (:task, :live, :kept) GROUP BY 1, 2 ORDER BY 1, 2;
SELECT unidesk._tick('2031-04-15 00:00+00');
SELECT test.come(jsonb_build_array(jsonb_build_object('incarnation', (SELECT lpad(to_hex(value), 16, '0') FROM unidesk_data.incarnation),
	'task', :live, 'attempt', 1, 'state', 'running')));
SELECT unidesk._tidy();
SELECT attempt, stream, "offset", convert_from(bytes, 'UTF8') FROM unidesk.task_log(:task);
SELECT unidesk.task_log_text(:kept);
SELECT sum(octet_length(bytes)) AS live FROM unidesk.task_log(:live) WHERE stream <> 'marker';
SELECT test.log('room', :live, 325000, 'goes on');
SELECT to_regclass('unidesk_data.log_block_20310331') IS NULL AS dropped, to_regclass('unidesk_data.task_event_20310301') IS NOT NULL AS events_stay;
SELECT test.report('room', :live, 'failed', '{"exit_code":1,"log_end":325007}');

-- Bytes: the oldest of ended tasks go first, until the rest fits.
SELECT unidesk.set_retention('keep', NULL, 1048576);
CREATE TABLE test.big (n int, task bigint);
INSERT INTO test.big SELECT n, test.run_task('keep') FROM generate_series(1, 3) n;
SELECT unidesk._tick('2031-04-15 00:00:01+00');
SELECT count(*) FROM test.pull();
SELECT DISTINCT test.report('room', task, 'running') FROM test.big;
-- Bytes that do not compress: half a megabyte each.
SELECT DISTINCT m.kind = 0 FROM test.big b, generate_series(0, 7) k, test.node n, LATERAL (
	SELECT string_agg(sha512((b.task || '-' || k || '-' || i)::bytea), '') AS bytes FROM generate_series(1, 1000) i) x,
	unidesk_bridge.receive((SELECT id FROM test.bridge), ARRAY[n.id], ARRAY[n.id], ARRAY[NULL]::bytea[], ARRAY[n.session], ARRAY[5::int2], ARRAY[1::int2], ARRAY[0::int2],
		ARRAY[(SELECT value FROM unidesk_data.incarnation)], ARRAY[b.task], ARRAY[1], ARRAY[1::bigint], ARRAY[k * 64000::bigint], ARRAY[x.bytes]) m WHERE n.name = 'room';
SELECT DISTINCT test.report('room', task, 'succeeded', '{"exit_code":0,"log_end":512000}') FROM test.big WHERE n > 1;
SELECT unidesk._tidy();
SELECT unidesk._tick('2031-04-15 00:10+00');
SELECT test.report('room', task, 'succeeded', '{"exit_code":0,"log_end":512000}') FROM test.big WHERE n = 1;
SELECT unidesk._tidy();
SELECT unidesk._tidy();
SELECT unidesk._tidy();
SELECT b.n, sum(octet_length(l.bytes)) FILTER (WHERE stream <> 'marker') AS bytes, min(convert_from(l.bytes, 'UTF8')) FILTER (WHERE stream = 'marker') AS marker
	FROM test.big b, unidesk.task_log(b.task) l GROUP BY b.n ORDER BY b.n;
SELECT log_bytes_stored <= log_bytes AS within, logs_removed_before IS NOT NULL AS removed FROM unidesk.retention WHERE project = 'keep';

-- Guards.  80 %: said in the server's log and in the view.
SELECT unidesk._mock_volume(80);
SELECT unidesk._tidy();
SELECT level, percent FROM unidesk.storage;
-- The oldest logs go early, but not those of the last hour.
SELECT n, count(*) FILTER (WHERE stream <> 'marker') AS pieces FROM test.big b, unidesk.task_log(b.task) GROUP BY n ORDER BY n;
SELECT unidesk._tick('2031-04-15 02:00+00');
SELECT test.come();
SELECT unidesk._tidy();
SELECT unidesk._tidy();
SELECT count(*) AS partitions_to_shrink FROM pg_inherits i WHERE inhparent = 'unidesk_data.log_block'::regclass AND pg_total_relation_size(inhrelid) > 262144;
SELECT n, count(*) FILTER (WHERE stream <> 'marker') AS pieces FROM test.big b, unidesk.task_log(b.task) GROUP BY n ORDER BY n;

-- 90 %: no log bytes, everything else goes on.
SELECT test.run_task() AS task \gset
SELECT unidesk._tick('2031-04-15 02:00:01+00');
SELECT count(*) FROM test.pull();
SELECT test.report('room', :task, 'running');
CREATE FUNCTION test.credit(node_name text, task bigint, "offset" bigint, bytes text) RETURNS text LANGUAGE sql AS $$
	SELECT format('ack %s credit %s', m.value, m.sequence) FROM test.node n, unidesk_bridge.receive((SELECT id FROM test.bridge), ARRAY[n.id], ARRAY[n.id], ARRAY[NULL]::bytea[],
		ARRAY[n.session], ARRAY[5::int2], ARRAY[1::int2], ARRAY[0::int2], ARRAY[(SELECT value FROM unidesk_data.incarnation)], ARRAY[credit.task], ARRAY[1],
		ARRAY[1::bigint], ARRAY[credit."offset"], ARRAY[convert_to(credit.bytes, 'UTF8')]) m WHERE n.name = node_name
$$;
SELECT test.credit('room', :task, 0, 'before ');
SELECT unidesk._mock_volume(90);
SELECT unidesk._tidy();
SELECT level FROM unidesk.storage;
SELECT test.credit('room', :task, 7, 'refused');
SELECT test.credit('room', :task, 0, 'before ');
SELECT test.submit(labels => '{"nowhere": "yes"}') > 0 AS submitted;

-- 95 %: no tasks, results still.
SELECT test.submit(labels => '{"late": "yes"}') AS queued \gset
SELECT unidesk._mock_volume(95);
SELECT unidesk._tidy();
SELECT level FROM unidesk.storage;
\set VERBOSITY default
SELECT test.submit();
\set VERBOSITY terse
SELECT :'LAST_ERROR_SQLSTATE' AS sqlstate;
SELECT count(*) FROM unidesk.submit_tasks('[]');
SELECT unidesk._mock_volume(94);
SELECT unidesk._tidy();
SELECT level FROM unidesk.storage;
SELECT test.report('room', :task, 'succeeded', '{"exit_code":0,"log_end":14}');
SELECT state FROM unidesk.tasks WHERE id = :task;
SELECT unidesk.cancel_task(:queued);
SELECT test.submit();

-- Placing waits, and goes on when there is room; so do the logs, without a gap.
SELECT unidesk._mock_volume(92);
SELECT unidesk._tidy();
SELECT level FROM unidesk.storage;
SELECT test.submit(labels => '{"late": "yes"}') AS queued \gset
SELECT unidesk._mock_volume(96);
SELECT unidesk._tidy();
SELECT test.hello('late', labels => '{"late": "yes"}');
SELECT unidesk._tick('2031-04-15 02:00:02+00');
SELECT state FROM unidesk.tasks WHERE id = :queued;
SELECT unidesk._mock_volume(NULL);
SELECT unidesk._tidy();
SELECT level FROM unidesk.storage;
SELECT unidesk._tick('2031-04-15 02:00:03+00');
SELECT state FROM unidesk.tasks WHERE id = :queued;
SELECT split_part(test.credit('room', :task, 7, 'refused'), ' credit', 1);
SELECT unidesk.task_log_text(:task);
SELECT unidesk._memory_differences() - :differences AS memory_differences;
-- Leave nothing to the tests that follow.
SELECT test.report('late', :queued, 'succeeded', '{"exit_code":0}');
SELECT count(*) AS cancelled FROM (SELECT unidesk.cancel_task(id) FROM unidesk.tasks WHERE state = 'queued') x;
SELECT count(*) AS live FROM unidesk_data.live;
