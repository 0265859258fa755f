-- What people ask of tasks later, with every kind of bad argument.
SELECT unidesk.create_user('bad_ada') IS NOT NULL AND unidesk.create_user('bad_bob') IS NOT NULL AND unidesk.create_user('bad_eve') IS NOT NULL
	AND unidesk.create_project('bad-lifecycle') IS NOT NULL AND unidesk.create_project('bad-other') IS NOT NULL AND unidesk.create_node('bad-life') IS NOT NULL AS made;
SELECT unidesk.add_member('bad-lifecycle', 'bad_ada', 'viewer'), unidesk.add_member('bad-lifecycle', 'bad_bob', 'member'), unidesk.add_member('bad-other', 'bad_eve', 'member');
SELECT test.submit('bad-lifecycle', labels => '{"site": "nowhere"}') AS task, test.submit('bad-other', labels => '{"site": "nowhere"}') AS other \gset
SELECT test.state() AS before \gset
-- One task.
SELECT f, e, test.bad(format('SELECT unidesk.%s(%s)', f, e))
	FROM unnest(ARRAY['hold_task', 'release_task', 'requeue_task', 'rerun_task', 'force_lost']) WITH ORDINALITY AS f (f, i),
	(VALUES (1, 'NULL'), (2, '0'), (3, '-1'), (4, '9223372036854775807'), (5, '-9223372036854775808'), (6, '9223372036854775808'), (7, '''x'''), (8, '1e131071'), (9, 'ARRAY[1]')) AS x (n, e)
	ORDER BY i, n;
-- Many: nothing said, or something that is not there or makes no filter.
SELECT f, test.bad(format('SELECT unidesk.%s()', f)), test.bad(format('SELECT unidesk.%s(NULL, NULL, NULL, NULL, NULL)', f))
	FROM unnest(ARRAY['cancel_tasks', 'hold_tasks', 'release_tasks', 'requeue_tasks']) f;
SELECT a, test.bad(format('SELECT unidesk.cancel_tasks(%s)', a)) FROM (VALUES (1, 'project => '''''), (2, 'project => ''nothing'''), (3, 'project => E''a\nb'''), (4, 'project => repeat(''x'', 1000000)'),
	(5, 'project => ''demo'''' OR true --'''), (6, 'state => ''Queued'''), (7, 'state => ''succeeded'''), (8, 'state => '''''), (9, 'state => repeat(''x'', 1000000)'), (10, 'state => ''running'''),
	(11, 'owner => ''nobody'''), (12, 'owner => '''''), (13, 'owner => E''a\u202eb'''), (14, 'owner => ''unidesk_owner'''), (15, 'node => ''nowhere'''), (16, 'node => ''%'''), (17, 'ids => ''{NULL}'''),
	(18, 'ids => ARRAY[ARRAY[1]]'), (19, 'ids => ''{1,x}'''), (20, 'ids => ''{9223372036854775808}'''), (21, 'ids => 7'), (22, 'ids => NULL'), (23, 'state => ''queued'', owner => ''nobody'''),
	(24, 'id => 7'), (25, 'ids => ''{0,-1,9223372036854775807}''')) AS x (n, a) ORDER BY n;
SELECT f, test.bad(format('SELECT unidesk.%s(ids => ''{0,-1}'')', f)), test.bad(format('SELECT unidesk.%s(state => ''ended'')', f)) FROM unnest(ARRAY['hold_tasks', 'release_tasks', 'requeue_tasks']) f;
SELECT unidesk.cancel_tasks(ids => (SELECT array_agg(-i) FROM generate_series(1, 100000) i)) AS none_of_many;
-- Nodes.
SELECT a, test.bad(format('SELECT unidesk.declare_node_lost(%s)', a)) FROM (VALUES (1, 'NULL'), (2, ''''''), (3, '''nobody'''), (4, 'repeat(''x'', 1000000)'), (5, 'E''a\nb'''), (6, '''%'''), (7, '1'), (8, '''bad-life''')) AS x (n, a) ORDER BY n;
SELECT test.state() = :'before' AS nothing_changed;
-- A viewer only looks; a stranger finds nothing, and many of nothing; administrators alone declare something lost.
SET SESSION AUTHORIZATION bad_ada;
SELECT f, test.bad(format('SELECT unidesk.%s(%s)', f, :task)) FROM unnest(ARRAY['hold_task', 'release_task', 'requeue_task']) f;
SELECT f, test.bad(format('SELECT unidesk.%s(''bad-lifecycle'')', f)) FROM unnest(ARRAY['cancel_tasks', 'hold_tasks', 'release_tasks', 'requeue_tasks']) f;
SELECT unidesk.cancel_tasks(state => 'queued') AS cancelled, unidesk.hold_tasks(ids => ARRAY[:task, :other]) AS held;
SET SESSION AUTHORIZATION bad_eve;
SELECT f, replace(test.bad(format('SELECT unidesk.%s(%s)', f, :task)), :'task', 'N') FROM unnest(ARRAY['hold_task', 'release_task', 'requeue_task', 'rerun_task']) f;
SELECT f, test.bad(format('SELECT unidesk.%s(''bad-lifecycle'')', f)) FROM unnest(ARRAY['cancel_tasks', 'hold_tasks', 'release_tasks', 'requeue_tasks']) f;
SELECT unidesk.cancel_tasks(ids => ARRAY[:task]) AS cancelled;
SELECT test.bad(format('SELECT unidesk.force_lost(%s)', :other)), test.bad('SELECT unidesk.declare_node_lost(''bad-life'')');
RESET SESSION AUTHORIZATION;
-- Transactions that cannot write, that are over.
BEGIN READ ONLY;
SELECT f, test.bad(format('SELECT unidesk.%s(%s)', f, :task)) FROM unnest(ARRAY['hold_task', 'release_task', 'requeue_task', 'force_lost']) f;
SELECT f, test.bad(format('SELECT unidesk.%s(''bad-lifecycle'')', f)) FROM unnest(ARRAY['cancel_tasks', 'hold_tasks', 'release_tasks', 'requeue_tasks']) f;
SELECT test.bad('SELECT unidesk.declare_node_lost(''bad-life'')');
COMMIT;
BEGIN;
SELECT 1 / 0;
SELECT unidesk.hold_task(1);
ROLLBACK;
SELECT test.state() = :'before' AS nothing_changed;
-- A member changes what is of the project, and nothing else, whatever the filter.
SET SESSION AUTHORIZATION bad_bob;
SELECT unidesk.hold_tasks(state => 'queued') AS held, unidesk.release_tasks(owner => 'postgres') AS released, unidesk.requeue_tasks(ids => ARRAY[:task, :other]) AS requeued,
	unidesk.cancel_tasks(ids => ARRAY[:other, :task, :task]) AS cancelled;
SELECT unidesk.rerun_task(:task) AS again \gset
SELECT owner, state FROM unidesk.tasks WHERE id = :again;
SELECT unidesk.cancel_tasks(owner => 'bad_bob') AS cancelled;
RESET SESSION AUTHORIZATION;
SELECT state FROM unidesk.tasks WHERE id = :other;
-- Who sees it may not run it again.
SET SESSION AUTHORIZATION bad_ada;
SELECT test.bad(format('SELECT unidesk.rerun_task(%s)', :task));
RESET SESSION AUTHORIZATION;
BEGIN READ ONLY;
SELECT test.bad(format('SELECT unidesk.rerun_task(%s)', :task));
COMMIT;
SELECT unidesk.cancel_task(:other);
-- They have submitted and held: their accounts stay, their memberships and roles go.
DELETE FROM unidesk_data.member m USING unidesk_data.account a WHERE a.id = m.account_id AND a.role_name ~ '^bad_';
DROP ROLE bad_ada, bad_bob, bad_eve;
UPDATE unidesk_data.account SET role_name = 'gone_' || id WHERE role_name ~ '^bad_';
