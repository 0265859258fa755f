-- People, projects and nodes with every kind of bad argument.
SELECT unidesk.create_user('bad_ada') IS NOT NULL AND unidesk.create_user('bad_eve') IS NOT NULL AND unidesk.create_project('bad-alpha') IS NOT NULL AS made;
SELECT unidesk.add_member('bad-alpha', 'bad_ada', 'member');
SELECT test.state() AS before \gset
-- Names: NULL, empty, long, control characters, marks of direction, options, reserved, taken; SQL text.
SELECT n, e, test.bad(format('SELECT unidesk.create_user(%s)', e)) AS create_user, test.bad(format('SELECT unidesk.create_project(%s)', e)) AS create_project, test.bad(format('SELECT unidesk.create_node(%s)', e)) AS create_node
	FROM (VALUES (1, 'NULL'), (2, ''''''), (3, 'repeat(''x'', 64)'), (4, 'repeat(''x'', 1 << 20)'), (5, 'E''a\nb'''), (6, 'E''a\x1b[2J'''), (7, 'U&''a\202Eb'''), (8, '''Ada'''), (9, '''-x'''), (10, '''a b'''),
	(11, '''x"; DROP ROLE postgres; --'''), (12, '''x''''; DROP ROLE postgres; --'''), (13, '''../x'''), (14, 'U&''\0430da'''), (15, '''.''')) AS x (n, e) ORDER BY n;
SELECT e, test.bad(format('SELECT unidesk.create_user(%L)', e)) FROM unnest(ARRAY['pg_monitor', 'pg_new', 'unidesk_owner', 'unidesk_new', 'public', 'none', 'postgres', 'bad_ada']) e;
SELECT test.bad('SELECT unidesk.create_project(''bad-alpha'')');
SELECT e, test.bad(format('SELECT unidesk.create_node(''bad-node'', %s)', e)) FROM (VALUES (1, 'cpus => 0'), (2, 'cpus => -1'), (3, 'cpus => ''NaN'''), (4, 'cpus => ''Infinity'''), (5, 'cpus => 1e131071'),
	(6, 'memory => 0'), (7, 'memory => -1'), (8, 'memory => 9223372036854775807'), (9, 'gpus => -1'), (10, 'gpus => 64'), (11, 'gpus => 2147483648'), (12, 'labels => ''[]'''), (13, 'labels => ''{"a b": 1}'''),
	(14, 'labels => ''{"a": {"b": 1}}'''), (15, 'labels => (SELECT jsonb_object_agg(i, i) FROM generate_series(1, 1000000) i)'), (16, 'labels => ''null''')) AS x (n, e) ORDER BY n;
-- Members.
SELECT e, test.bad(format('SELECT unidesk.add_member(%s)', e)) FROM (VALUES (1, 'NULL, ''bad_eve'''), (2, '''bad-alpha'', NULL'), (3, '''bad-alpha'', ''bad_eve'', NULL'), (4, ''''', '''''), (5, 'repeat(''x'', 1 << 20), ''bad_eve'''),
	(6, '''bad-alpha'', repeat(''x'', 1 << 20)'), (7, '''bad-alpha'', ''bad_eve'', repeat(''x'', 1 << 20)'), (8, 'E''a\nb'', ''bad_eve'''), (9, '''bad-alpha'', E''\x1b[2J'''), (10, '''bad-alpha'', ''bad_eve'', U&''\202E'''),
	(11, '''bad-alpha'', ''bad_eve'', ''owner'''), (12, '''none'', ''bad_eve'''), (13, '''bad-alpha'', ''nobody''')) AS x (n, e) ORDER BY n;

-- As a person: what is for administrators or managers, and what is not there for a stranger.
SET SESSION AUTHORIZATION bad_ada;
SELECT test.bad('SELECT unidesk.create_user(''x'')'), test.bad('SELECT unidesk.create_user(''x'', true)'), test.bad('SELECT unidesk.create_node(''x'')');
SELECT test.bad('SELECT unidesk.add_member(''bad-alpha'', ''bad_eve'')'), test.bad('SELECT unidesk.add_member(''bad-alpha'', ''bad_ada'', ''manager'')'), test.bad('SELECT unidesk.add_member(''demo'', ''bad_ada'')');
SET SESSION AUTHORIZATION bad_eve;
SELECT test.bad('SELECT unidesk.add_member(''bad-alpha'', ''bad_eve'')'), unidesk.my_projects();
-- Who is who.
SELECT unidesk.me(), unidesk.is_admin();
SELECT unidesk.me(1);
RESET SESSION AUTHORIZATION;
-- A database role that is no user of UniDesk.
CREATE ROLE bad_other LOGIN IN ROLE unidesk_user;
SET SESSION AUTHORIZATION bad_other;
SELECT test.bad('SELECT unidesk.create_project(''x'')'), unidesk.me(), unidesk.is_admin(), unidesk.my_projects();
RESET SESSION AUTHORIZATION;
DROP ROLE bad_other;
-- In a transaction that cannot write.
BEGIN READ ONLY;
SELECT test.bad('SELECT unidesk.create_user(''x'')'), test.bad('SELECT unidesk.create_project(''x'')'), test.bad('SELECT unidesk.add_member(''bad-alpha'', ''bad_eve'')'), test.bad('SELECT unidesk.create_node(''x'')');
COMMIT;
BEGIN;
SELECT 1 / 0;
SELECT unidesk.me();
ROLLBACK;
SELECT test.state() = :'before' AS nothing_changed;

-- A failed CREATE ROLE shows its statement, but not the password in it.
CREATE FUNCTION test.context(statement text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	context text;
BEGIN
	EXECUTE statement;
	RETURN 'fine';
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS context = PG_EXCEPTION_CONTEXT;
	RETURN SQLSTATE || ' ' || SQLERRM || ' ' || context;
END
$$;
SELECT c LIKE '%CREATE ROLE bad_ada%SCRAM-SHA-256$%' AS shows_a_verifier, c LIKE '%udp_canary%' AS shows_the_password
	FROM test.context('SELECT unidesk._create_login(''bad_ada'', ''udp_'' || ''canary'', false)') c;
-- What is stored is a verifier and a hash.
SELECT rolpassword ~ '^SCRAM-SHA-256\$' AS verifier FROM pg_authid WHERE rolname = 'bad_ada';
SELECT unidesk.create_node('bad-node') AS token \gset
SELECT count(*) AS shows_the_token FROM unidesk_data.node n WHERE n::text LIKE '%' || :'token' || '%';
SELECT token_hash = sha256(convert_to(:'token', 'UTF8')) AS hash FROM unidesk_data.node WHERE name = 'bad-node';
DROP ROLE bad_ada, bad_eve;
DELETE FROM unidesk_data.member m USING unidesk_data.account a WHERE a.id = m.account_id AND a.role_name ~ '^bad_';
DELETE FROM unidesk_data.account WHERE role_name ~ '^bad_';
