-- Following logs: missing and impossible arguments, tasks of others, and
-- transactions that could never see what they wait for.
SELECT unidesk.create_user('bad_ada') IS NOT NULL AND unidesk.create_user('bad_eve') IS NOT NULL AND unidesk.create_project('bad-follow') IS NOT NULL AS made;
SELECT unidesk.add_member('bad-follow', 'bad_ada', 'viewer');
SELECT test.submit('bad-follow', labels => '{"site": "nowhere"}') AS task \gset
INSERT INTO unidesk_data.log_chunk (task_id, attempt, "offset", stream, segment, at, bytes) VALUES (:task, 1, 0, 1, 0, now(), '\x00ff0a');
SELECT test.state() AS before \gset
SELECT args, regexp_replace(test.bad(format('SELECT unidesk.task_log_follow(%s)', replace(args, 'T', :'task'))), format('task %s\y', :task), 'task T') AS answer FROM (VALUES
	(1, ''), (2, 'NULL'), (3, 'T, NULL'), (4, 'T, timeout => NULL'), (5, '0'), (6, '-1'), (7, '9223372036854775807'), (8, '9223372036854775808'), (9, '''x'''),
	(10, 'T, -1'), (11, 'T, -9223372036854775808'), (12, 'T, 1.5'), (13, 'T, attempt => 0'), (14, 'T, attempt => -2147483648'), (15, 'T, attempt => 2'),
	(16, 'T, attempt => 2147483647'), (17, 'T, timeout => ''61 s'''), (18, 'T, timeout => ''-1 ms'''), (19, 'T, timeout => ''1 month'''), (20, 'T, timeout => ''1 day -1 day'''),
	(21, 'T, timeout => ''soon'''), (22, 'T, 9223372036854775807, timeout => ''0'''), (23, 'T, 0, NULL, ''0''')) AS x (n, args) ORDER BY n;
-- Whose it is decides, and nobody else learns that it exists.
SET SESSION AUTHORIZATION bad_ada;
SELECT attempt, stream, "offset", bytes FROM unidesk.task_log_follow(:task);
BEGIN READ ONLY;
SELECT count(*) FROM unidesk.task_log_follow(:task, 3, timeout => '1 ms');
COMMIT;
SET SESSION AUTHORIZATION bad_eve;
SELECT replace(test.bad(format('SELECT unidesk.task_log_follow(%s)', :task)), :'task', 'T');
RESET SESSION AUTHORIZATION;
SET ROLE unidesk_bridge;
SELECT unidesk.task_log_follow(1);
RESET ROLE;
-- What is there is given in any transaction; a wait would never end.
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT count(*) FROM unidesk.task_log_follow(:task);
SELECT count(*) FROM unidesk.task_log_follow(:task, 3, timeout => '0');
SELECT unidesk.task_log_follow(:task, 3);
ROLLBACK;
BEGIN;
SELECT test.submit(labels => '{"site": "nowhere"}') AS own \gset
SELECT replace(test.bad(format('SELECT unidesk.task_log_follow(%s)', :own)), :'own', 'N');
ROLLBACK;
SELECT test.bad(format('SELECT unidesk.task_log_follow(%s)', :own)) LIKE '42704|%' AS never_was;
-- A wait ends when it is told to.
SET statement_timeout = '100ms';
SELECT unidesk.task_log_follow(:task, 3);
RESET statement_timeout;
SELECT test.state() = :'before' AS nothing_changed;
DELETE FROM unidesk_data.log_chunk WHERE task_id = :task;
SELECT unidesk.cancel_task(:task);
DROP ROLE bad_ada, bad_eve;
DELETE FROM unidesk_data.member m USING unidesk_data.account a WHERE a.id = m.account_id AND a.role_name ~ '^bad_';
DELETE FROM unidesk_data.account WHERE role_name ~ '^bad_';
