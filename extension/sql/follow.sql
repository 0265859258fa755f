-- Following a log: what is there, where it goes on, and how it ends.
\set VERBOSITY terse
-- A call in words: attempt, stream, offset, bytes of each row.
CREATE FUNCTION test.follow(task bigint, "offset" bigint DEFAULT 0, attempt int DEFAULT NULL, timeout interval DEFAULT '0') RETURNS text LANGUAGE sql AS $$
	SELECT string_agg(concat_ws(' ', f.attempt, f.stream, f."offset", nullif(convert_from(f.bytes, 'UTF8'), '')), ', ' ORDER BY f."offset", f.stream)
	FROM unidesk.task_log_follow(follow.task, follow."offset", follow.attempt, follow.timeout) f
$$;
-- As a follower does it, from call to call until the end: calls, the bytes, whether none had too many.
CREATE FUNCTION test.follow_all(task bigint, OUT calls int, OUT bytes bytea, OUT bounded boolean) LANGUAGE plpgsql AS $$
DECLARE
	at bigint := 0;
	got record;
BEGIN
	calls := 0;
	bytes := '';
	bounded := true;
	LOOP
		SELECT string_agg(f.bytes, '' ORDER BY f."offset") AS bytes, sum(octet_length(f.bytes)) AS length,
			max(f."offset" + octet_length(f.bytes)) AS until, bool_or(f.stream = 'end') AS over INTO got
			FROM unidesk.task_log_follow(follow_all.task, at, 1, '0') f;
		calls := calls + 1;
		EXIT WHEN got.over IS NULL OR got.over;
		bytes := bytes || got.bytes;
		bounded := bounded AND got.length <= 1048576;
		at := got.until;
	END LOOP;
END
$$;
SELECT unidesk.create_project('follow') IS NOT NULL AS created;
SELECT test.hello('follow', labels => '{"follow": "yes"}');
SELECT test.submit('follow', labels => '{"follow": "yes"}', max_retries => 1) AS task \gset
SELECT created_at AS now FROM unidesk.tasks WHERE id = :task \gset
-- Not placed yet: the first attempt is waited for.
SELECT test.follow(:task), test.follow(:task, attempt => 1, timeout => '10 ms');
SELECT unidesk._tick(:'now'::timestamptz + '1 s');
SELECT count(*) FROM test.pull() WHERE task = :task;
SELECT test.report('follow', :task, 'running');
SELECT test.follow(:task);

-- What is stored, from any byte on; beyond it nothing.
SELECT test.log('follow', :task, 0, E'one\n'), test.log('follow', :task, 4, E'two\n', stream => 2), test.log('follow', :task, 8, E'three\n');
SELECT o AS "offset", replace(test.follow(:task, o), E'\n', '$') AS rows FROM unnest(ARRAY[0, 1, 3, 4, 7, 8, 13, 14, 15, 9223372036854775807]) o;
-- The next attempt is waited for, not the one after.
SELECT test.follow(:task, attempt => 2);
SELECT replace(test.bad(format('SELECT test.follow(%s, attempt => 3)', :task)), :'task', 'N');

-- Long, and more than one call gives.
SELECT DISTINCT test.log('follow', :task, 14 + n * 65000, repeat(chr(97 + n), 65000)) LIKE 'ack%' AS taken FROM generate_series(0, 24) n;
SELECT calls, bounded, bytes = (SELECT string_agg(l.bytes, '' ORDER BY l."offset") FROM unidesk.task_log(:task) l) AS exact FROM test.follow_all(:task);
SELECT min("offset") AS "from", max("offset" + octet_length(bytes)) - 1000000 AS given FROM unidesk.task_log_follow(:task, 1000000, timeout => '0');
SELECT count(*), min("offset"), sum(octet_length(bytes)) FROM unidesk.task_log_follow(:task, 20, timeout => '0');

-- The attempt ends before its log is complete: that is waited for.
SELECT test.report('follow', :task, 'failed', '{"exit_code": 1, "log_end": 1625024}');
SELECT state, attempts FROM unidesk.tasks WHERE id = :task;
SELECT test.follow(:task, 1625014), test.follow(:task, 1625014, 1), test.follow(:task, attempt => 2);
SELECT test.log('follow', :task, 1625014, 'the end 10');
SELECT test.follow(:task, 1625014), test.follow(:task, 1625024), test.follow(:task, 9999999);
-- The second attempt is the newest; the first goes on to be read.
SELECT unidesk._tick(:'now'::timestamptz + '30 s');
SELECT attempts, state FROM unidesk.tasks WHERE id = :task;
SELECT count(*) FROM test.pull() WHERE task = :task;
SELECT test.report('follow', :task, 'running', attempt => 2);
SELECT test.log('follow', :task, 0, 'again', attempt => 2);
SELECT test.follow(:task), test.follow(:task, 1625020, 1), test.follow(:task, 1625024, 1), test.follow(:task, 5);
-- What its node does not bring ends the wait a minute after the last bytes.
SELECT test.report('follow', :task, 'failed', '{"exit_code": 1, "log_end": 10}', attempt => 2);
SELECT test.follow(:task, 5), test.follow(:task, attempt => 3);
SELECT unidesk._tick(:'now'::timestamptz + '85 s');
SELECT test.log('follow', :task, 5, 'late', attempt => 2);
SELECT unidesk._tick(:'now'::timestamptz + '91 s');
SELECT test.follow(:task, 5), test.follow(:task, 9);
SELECT unidesk._tick(:'now'::timestamptz + '146 s');
SELECT test.follow(:task, 5), test.follow(:task, 9);
-- A log nobody told the end of, and a task that never ran.
SELECT test.submit('follow', labels => '{"follow": "never"}') AS never \gset
SELECT unidesk.cancel_task(:never);
SELECT test.follow(:never), test.follow(:never, attempt => 1);

-- Merged into blocks it is the same; what retention removed is said.
SELECT test.follow_all(:task) AS before \gset
SELECT unidesk._tick(:'now'::timestamptz + '20 min');
SELECT unidesk._tidy();
SELECT unidesk._tick(:'now'::timestamptz + '40 min');
SELECT unidesk._tidy();
SELECT count(*) > 4 AS blocks FROM unidesk_data.log_block WHERE task_id = :task AND attempt = 1;
SELECT test.follow_all(:task)::text = :'before' AS same;
SELECT "offset", stream, octet_length(bytes) FROM unidesk.task_log_follow(:task, 1600000, 1, '0');
DELETE FROM unidesk_data.log_chunk WHERE task_id = :task;
DELETE FROM unidesk_data.log_block WHERE task_id = :task AND "offset" = 0;
SELECT min("offset") AS first FROM unidesk_data.log_block WHERE task_id = :task AND attempt = 1 \gset
SELECT f.stream, f."offset" = :first AS first, CASE f.stream WHEN 'marker' THEN replace(convert_from(f.bytes, 'UTF8'), (:first - 10)::text, 'first - 10') END AS text
	FROM unidesk.task_log_follow(:task, 10, 1, '0') f ORDER BY f."offset" LIMIT 2;
DELETE FROM unidesk_data.log_block WHERE task_id = :task;
SELECT test.follow(:task, 7, 1);
SELECT unidesk_data._note_removed(ARRAY[(SELECT id FROM unidesk.projects WHERE name = 'follow')], ARRAY[:'now'::timestamptz + '40 min']);
SELECT test.follow(:task, 7, 1), test.follow(:task, 1625024, 1);
DELETE FROM unidesk_data.retention WHERE project_id = (SELECT id FROM unidesk.projects WHERE name = 'follow');
