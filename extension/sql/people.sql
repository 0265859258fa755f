-- Members see all of their project, and nobody sees another's.
\set VERBOSITY terse
SELECT unidesk.create_user('ada') ~ '^udp_[0-9A-Za-z]{43}$' AS password, unidesk.create_user('bob') IS NOT NULL, unidesk.create_user('eve') IS NOT NULL, unidesk.create_user('root', admin => true) IS NOT NULL;
SELECT unidesk.create_user('ada');
SELECT unidesk.create_user(NULL);
SELECT unidesk.create_user('Robert"; DROP TABLE x');
SELECT unidesk.create_user('');
SELECT rolname, rolcanlogin, rolsuper, rolcreaterole FROM pg_roles WHERE rolname IN ('ada', 'root') ORDER BY 1;

SET SESSION AUTHORIZATION ada;
SELECT unidesk.me(), unidesk.is_admin();
SELECT unidesk.create_project('alpha') IS NOT NULL AS made;
SELECT unidesk.create_project('alpha');
SELECT unidesk.create_project('No Good');
SELECT unidesk.add_member('alpha', 'bob', 'viewer');
SELECT unidesk.add_member('alpha', 'nobody');
SELECT unidesk.add_member('alpha', 'bob', 'king');
SELECT unidesk.add_member('demo', 'ada');
SELECT unidesk.create_user('mallory');
SELECT unidesk.create_node('mine');
SELECT unidesk.submit_task('alpha', 'https://git.example/code.git', repeat('a', 40), 'https://git.example/env.git', repeat('b', 40),
	'Dockerfile', '{}', labels => '{"site": "nowhere"}') IS NOT NULL AS submitted;
SELECT project, owner, state FROM unidesk.tasks;
SELECT project, "user", role FROM unidesk.members ORDER BY 1, 2;
RESET SESSION AUTHORIZATION;
SELECT max(id) AS task FROM unidesk.tasks \gset

-- A viewer reads.
SET SESSION AUTHORIZATION bob;
SELECT project, owner, state FROM unidesk.tasks;
SELECT count(*) AS events FROM unidesk.task_events;
SELECT unidesk.wait_task(:task, '0');
SELECT unidesk.cancel_task(:task);
SELECT unidesk.submit_task('alpha', 'https://git.example/code.git', repeat('a', 40), 'https://git.example/env.git', repeat('b', 40), 'Dockerfile', '{}');
SELECT unidesk.add_member('alpha', 'eve');
RESET SESSION AUTHORIZATION;

-- A stranger sees nothing, in psql ...
SET SESSION AUTHORIZATION eve;
SELECT count(*) AS tasks FROM unidesk.tasks;
SELECT (SELECT count(*) FROM unidesk.task_events) AS events, (SELECT count(*) FROM unidesk.attempts) AS attempts, (SELECT count(*) FROM unidesk.projects) AS projects,
	(SELECT count(*) FROM unidesk_data.task) AS base_task, (SELECT count(*) FROM unidesk_data.live) AS base_live, (SELECT count(*) FROM unidesk_data.spec) AS base_spec,
	(SELECT count(*) FROM unidesk_data.log_chunk) AS base_log;
SELECT count(*) AS log FROM unidesk.task_log(1);
SELECT replace(test.bad(format('SELECT unidesk.cancel_task(%s)', :task)), :'task', 'N') AS cancel, replace(test.bad(format('SELECT unidesk.wait_task(%s, ''0'')', :task)), :'task', 'N') AS wait;
SELECT unidesk.submit_task('alpha', 'https://git.example/code.git', repeat('a', 40), 'https://git.example/env.git', repeat('b', 40), 'Dockerfile', '{}');
-- ... and can neither write tables, read tokens, nor call what is the bridge's.
INSERT INTO unidesk_data.member VALUES (1, 1, 'manager');
UPDATE unidesk_data.live SET priority = 1;
SELECT token_hash FROM unidesk_data.node;
SELECT unidesk_bridge.register('x', 1);
SELECT unidesk._create_login('x', 'y', true);
SELECT unidesk._tick(now());
SELECT set_config('role', 'unidesk_owner', false);
RESET SESSION AUTHORIZATION;

-- Behind the bridge the role that it set is the person; the bridge itself is nobody.
SET SESSION AUTHORIZATION unidesk_bridge;
SELECT count(*) FROM unidesk.tasks;
SELECT unidesk_bridge.api_version();
SET ROLE ada;
SELECT unidesk.me();
SELECT project, owner FROM unidesk.tasks;
SET ROLE eve;
SELECT unidesk.me(), (SELECT count(*) FROM unidesk.tasks) AS tasks;
RESET ROLE;
SET ROLE unidesk_owner;
RESET SESSION AUTHORIZATION;

-- An administrator sees all.
SET SESSION AUTHORIZATION root;
SELECT count(DISTINCT project) AS projects FROM unidesk.tasks WHERE project IN ('alpha', 'demo');
SELECT unidesk.cancel_task(:task);
RESET SESSION AUTHORIZATION;
-- SET ROLE in psql changes nothing about who is calling.
SET SESSION AUTHORIZATION root;
SET ROLE unidesk_user;
SELECT unidesk.me();
RESET ROLE;
RESET SESSION AUTHORIZATION;
DROP ROLE ada, bob, eve, root;
