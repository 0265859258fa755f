-- cancel_task and wait_task with every kind of bad argument.
SELECT unidesk.create_user('bad_ada') IS NOT NULL AND unidesk.create_user('bad_eve') IS NOT NULL AND unidesk.create_project('bad-control') IS NOT NULL AS made;
SELECT unidesk.add_member('bad-control', 'bad_ada', 'viewer');
SELECT test.submit('bad-control', labels => '{"site": "nowhere"}') AS task \gset
SELECT test.state() AS before \gset
SELECT e, test.bad(format('SELECT unidesk.cancel_task(%s)', e)) AS cancel_task, test.bad(format('SELECT unidesk.wait_task(%s, ''0'')', e)) AS wait_task
	FROM (VALUES (1, 'NULL'), (2, '0'), (3, '-1'), (4, '9223372036854775807'), (5, '-9223372036854775808'), (6, '9223372036854775808'), (7, '''x'''), (8, '1e131071')) AS x (n, e) ORDER BY n;
SELECT e, test.bad(format('SELECT unidesk.wait_task(%s, %s)', :task, e)) FROM (VALUES (1, 'NULL'), (2, '''-1 s'''), (3, '''-0.1 s'''), (4, '''60.1 s'''), (5, '''1 day'''), (6, '''11 years'''), (7, '''1 day -86400 s'''),
	(8, '''-178956970 years -8 mons'''), (9, '''2562047788 hours'''), (10, '''soon''')) AS x (n, e) ORDER BY n;
SELECT unidesk.wait_task(:task, '0'), unidesk.wait_task(:task, '0.1 s');
-- A viewer may wait and not cancel; a stranger finds nothing.
SET SESSION AUTHORIZATION bad_ada;
SELECT unidesk.wait_task(:task, '0'), test.bad(format('SELECT unidesk.cancel_task(%s)', :task));
SET SESSION AUTHORIZATION bad_eve;
SELECT replace(test.bad(format('SELECT unidesk.cancel_task(%s)', :task)), :'task', 'N'), replace(test.bad(format('SELECT unidesk.wait_task(%s, ''0'')', :task)), :'task', 'N');
RESET SESSION AUTHORIZATION;
-- Transactions that cannot write, that are over, that see one moment only.
BEGIN READ ONLY;
SELECT unidesk.wait_task(:task, '0'), test.bad(format('SELECT unidesk.cancel_task(%s)', :task));
COMMIT;
BEGIN;
SELECT 1 / 0;
SELECT unidesk.cancel_task(1);
ROLLBACK;
BEGIN ISOLATION LEVEL SERIALIZABLE;
SELECT replace(test.bad(format('SELECT unidesk.wait_task(%s, ''0'')', :task)), :'task', 'N');
COMMIT;
-- A wait is ended by a timeout of the session, also in the middle.
SET statement_timeout = '200ms';
SELECT unidesk.wait_task(:task, '60 s');
RESET statement_timeout;
SELECT test.state() = :'before' AS nothing_changed;
-- What has ended stays as it is, however often it is cancelled.
SELECT unidesk.cancel_task(:task), unidesk.cancel_task(:task);
SELECT test.state() AS before \gset
SELECT unidesk.cancel_task(:task);
SELECT test.state() = :'before' AS nothing_changed;
SELECT unidesk.worker_alive(), test.bad('SELECT unidesk.worker_alive(1)');
DROP ROLE bad_ada, bad_eve;
DELETE FROM unidesk_data.member m USING unidesk_data.account a WHERE a.id = m.account_id AND a.role_name ~ '^bad_';
DELETE FROM unidesk_data.account WHERE role_name ~ '^bad_';
