-- Reading logs: ids that are nobody's or another's, and bytes that are no text.
SELECT unidesk.create_user('bad_ada') IS NOT NULL AND unidesk.create_user('bad_eve') IS NOT NULL AND unidesk.create_project('bad-logs') IS NOT NULL AS made;
SELECT unidesk.add_member('bad-logs', 'bad_ada', 'viewer');
SELECT test.submit('bad-logs', labels => '{"site": "nowhere"}') AS task \gset
INSERT INTO unidesk_data.log_chunk (task_id, attempt, "offset", stream, segment, at, bytes)
	VALUES (:task, 1, 0, 1, 0, now(), '\x00ff41eda0801b5b324ac0aff09f98'), (:task, 1, 15, 2, 0, now(), '\xf48fbfbff4908080e280ae0a');
SELECT test.state() AS before \gset
-- No such task: no rows, as for one of somebody else's.
SELECT e, test.bad(format('SELECT unidesk.task_log(%s)', e)) AS task_log, test.bad(format('SELECT unidesk.task_log_text(%s)', e)) AS task_log_text
	FROM (VALUES (1, 'NULL'), (2, '0'), (3, '-1'), (4, '9223372036854775807'), (5, '9223372036854775808'), (6, '''x''')) AS x (n, e) ORDER BY n;
SELECT count(*) AS rows, unidesk.task_log_text(NULL) AS null_text, unidesk.task_log_text(-1) AS no_text FROM unidesk.task_log(NULL);
-- A member reads exact bytes, and text that holds nothing but characters.
SET SESSION AUTHORIZATION bad_ada;
SELECT attempt, stream, "offset", bytes FROM unidesk.task_log(:task);
SELECT encode(convert_to(unidesk.task_log_text(:task), 'UTF8'), 'hex');
SET SESSION AUTHORIZATION bad_eve;
SELECT count(*) AS rows, unidesk.task_log_text(:task) AS text FROM unidesk.task_log(:task);
RESET SESSION AUTHORIZATION;
BEGIN READ ONLY;
SELECT count(*) AS rows, length(unidesk.task_log_text(:task)) AS characters FROM unidesk.task_log(:task);
COMMIT;
BEGIN;
SELECT 1 / 0;
SELECT unidesk.task_log(1);
ROLLBACK;
SELECT test.state() = :'before' AS nothing_changed;
DELETE FROM unidesk_data.log_chunk WHERE task_id = :task;
SELECT unidesk.cancel_task(:task);
DROP ROLE bad_ada, bad_eve;
DELETE FROM unidesk_data.member m USING unidesk_data.account a WHERE a.id = m.account_id AND a.role_name ~ '^bad_';
DELETE FROM unidesk_data.account WHERE role_name ~ '^bad_';
