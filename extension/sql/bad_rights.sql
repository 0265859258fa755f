-- What a person with psql tries: to write or read tables, to be somebody else,
-- and to make our functions use what is not ours.
SELECT unidesk.create_user('bad_ada') IS NOT NULL AND unidesk.create_user('bad_eve') IS NOT NULL AS made;
SET SESSION AUTHORIZATION bad_ada;
SELECT unidesk.create_project('bad-ours') IS NOT NULL AS made;
SELECT test.submit('bad-ours', labels => '{"site": "nowhere"}') AS task \gset
SET SESSION AUTHORIZATION bad_eve;
SELECT unidesk.create_project('bad-theirs') IS NOT NULL AS made;
SELECT test.submit('bad-theirs', labels => '{"site": "nowhere"}') AS theirs \gset
RESET SESSION AUTHORIZATION;
INSERT INTO unidesk_data.log_chunk (task_id, attempt, "offset", stream, segment, at, bytes) VALUES (:theirs, 1, 0, 1, 0, now(), 'secret');
INSERT INTO unidesk_data.attempt (task_id, attempt, incarnation, node_id, state, reason, placed_at, ended_at) VALUES (:theirs, 1, 1, 1, 8, 100, now(), now());
SELECT test.state() AS before \gset

-- Every table and sequence, and partitions past their parent: no write, and no row of a project that is not hers.
SET SESSION AUTHORIZATION bad_ada;
SELECT c.relname, w AS write, test.bad(format(w, c.oid::regclass, a.attname)) FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = 1,
	unnest(ARRAY['INSERT INTO %s DEFAULT VALUES', 'UPDATE %s SET %I = DEFAULT', 'DELETE FROM %s', 'TRUNCATE %s', 'LOCK TABLE %s', 'ALTER TABLE %s DISABLE ROW LEVEL SECURITY', 'DROP TABLE %s']) w
	WHERE c.relnamespace = 'unidesk_data'::regnamespace AND c.relkind IN ('r', 'p') AND NOT c.relispartition
		AND test.bad(format(w, c.oid::regclass, a.attname)) !~ '^42501\|(permission denied for|must be owner of) (table|relation) ' ORDER BY 1, 2;
SELECT c.oid::regclass AS readable, c.relrowsecurity AND c.relforcerowsecurity AS by_row FROM pg_class c
	WHERE c.relnamespace = 'unidesk_data'::regnamespace AND c.relkind IN ('r', 'p', 'v') AND has_any_column_privilege(c.oid, 'SELECT') ORDER BY 1;
SELECT count(*) AS usable_sequences FROM pg_class c WHERE c.relnamespace = 'unidesk_data'::regnamespace AND CASE c.relkind WHEN 'S' THEN has_sequence_privilege(c.oid, 'USAGE, SELECT, UPDATE') END;
SELECT test.bad('SELECT token_hash FROM unidesk_data.node'), test.bad('SELECT declared_labels FROM unidesk_data.node'), test.bad('SELECT * FROM unidesk_data.task_first'), test.bad('SELECT * FROM unidesk_data.idempotency'), test.bad('SELECT * FROM unidesk_data.incarnation');
-- Every view and table with rows of projects shows hers alone.
SELECT (SELECT array_agg(DISTINCT name) FROM unidesk.projects) AS projects, (SELECT array_agg(DISTINCT project) FROM unidesk.members) AS members, (SELECT array_agg(DISTINCT project) FROM unidesk.tasks) AS tasks,
	(SELECT array_agg(DISTINCT task = :task) FROM unidesk.task_events) AS events, (SELECT count(*) FROM unidesk.attempts) AS attempts,
	(SELECT count(*) FROM unidesk.task_log(:theirs)) AS log, unidesk.task_log_text(:theirs) AS text;
SELECT (SELECT count(*) FROM unidesk_data.project) AS project, (SELECT count(*) FROM unidesk_data.member) AS member, (SELECT count(*) FROM unidesk_data.task) AS task, (SELECT count(*) FROM unidesk_data.live) AS live, (SELECT count(*) FROM unidesk_data.spec) AS spec,
	(SELECT count(DISTINCT task_id) FROM unidesk_data.task_event) AS task_event, (SELECT count(*) FROM unidesk_data.attempt) AS attempt, (SELECT count(*) FROM unidesk_data.log_chunk) AS log_chunk;
-- A function of hers that costs nothing is asked before the policy, if that were possible.
CREATE FUNCTION pg_temp.peek(bigint) RETURNS boolean LANGUAGE plpgsql COST 0.0001 AS $$ BEGIN RAISE NOTICE 'peeked at %', $1; RETURN true; END $$;
SELECT count(*) FROM unidesk_data.task WHERE pg_temp.peek(id) AND id <> :task;
SELECT count(*) FROM unidesk.tasks WHERE pg_temp.peek(id) AND id <> :task;
SET row_security = off;
SELECT test.bad('SELECT * FROM unidesk_data.task');
RESET row_security;

-- To be somebody else, with a connection of her own.
\connect - bad_ada
SELECT s, left(test.bad(s), 5) AS state FROM unnest(ARRAY['SET ROLE bad_eve', 'SET ROLE unidesk_owner', 'SET ROLE unidesk_admin', 'SET ROLE unidesk_bridge', 'SET SESSION AUTHORIZATION bad_eve', 'SET SESSION AUTHORIZATION unidesk_bridge', 'SELECT set_config(''role'', ''unidesk_owner'', false)',
	'SELECT set_config(''session_authorization'', ''bad_eve'', false)', 'SET unidesk.me = ''bad_eve''', 'SET unidesk.database = ''x''', 'SET unidesk.mock_clock = on', 'SET unidesk.lease = 1', 'ALTER ROLE bad_ada CREATEROLE', 'GRANT unidesk_admin TO bad_ada',
	'CREATE FUNCTION unidesk.mine() RETURNS int LANGUAGE sql AS ''SELECT 1''', 'CREATE TABLE unidesk_data.mine (i int)', 'CREATE FUNCTION pg_temp.x() RETURNS void LANGUAGE c AS ''unidesk'', ''unidesk_rescan''', 'LOAD ''unidesk''',
	'CREATE POLICY mine ON unidesk_data.task USING (true)', 'CREATE TRIGGER mine BEFORE INSERT ON unidesk_data.task EXECUTE FUNCTION suppress_redundant_updates_trigger()', 'COPY unidesk_data.task TO ''/tmp/x''']) s;
SET ROLE unidesk_user;
SELECT unidesk.me(), unidesk.is_admin();
RESET ROLE;
SET application_name = 'bad_eve';
SELECT unidesk.me();
RESET application_name;
SELECT test.bad('SELECT unidesk_bridge.tokens()');
-- The bridge, with a connection of its own, is nobody, and a person only after SET ROLE.
\connect - postgres
ALTER ROLE unidesk_bridge LOGIN;
\connect - unidesk_bridge
SELECT s, left(test.bad(s), 5) AS state FROM unnest(ARRAY['SELECT unidesk.me()', 'SELECT unidesk.create_project(''x'')', 'SELECT * FROM unidesk.tasks', 'SELECT * FROM unidesk_data.node', 'SET ROLE unidesk_owner', 'SET ROLE unidesk_admin', 'SET ROLE postgres', 'SET SESSION AUTHORIZATION bad_ada',
	'CREATE TABLE public.x (i int)']) s;
SELECT name, setting FROM pg_settings WHERE name IN ('statement_timeout', 'lock_timeout', 'idle_in_transaction_session_timeout') ORDER BY name;
SET ROLE bad_ada;
SELECT unidesk.me(), unidesk.is_admin(), (SELECT array_agg(name) FROM unidesk.projects) AS projects, test.bad('SELECT unidesk_bridge.tokens()');
\connect - postgres
ALTER ROLE unidesk_bridge NOLOGIN;
SELECT test.state() = :'before' AS nothing_changed;

-- Temporary objects and a search_path of hers: ours use what is ours.  What
-- captured raises is what would be called.
CREATE SCHEMA evil AUTHORIZATION bad_ada;
SET SESSION AUTHORIZATION bad_ada;
CREATE FUNCTION evil.captured() RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'captured, as %', current_user; END $$;
DO $$
DECLARE
	t text;
	o text;
	f record;
BEGIN
	FOREACH t IN ARRAY ARRAY['integer', 'bigint', 'smallint', 'text', 'name', 'uuid', 'boolean', 'bytea', 'jsonb', 'timestamptz', 'numeric'] LOOP
		EXECUTE format('CREATE FUNCTION evil.operator(%1$s, %1$s) RETURNS boolean LANGUAGE sql AS ''SELECT evil.captured()''', t);
		FOREACH o IN ARRAY ARRAY['=', '<>', '<', '>', '<=', '>=', '||', '~', '-', '+'] LOOP
			EXECUTE format('CREATE OPERATOR evil.%1$s (leftarg = %2$s, rightarg = %2$s, function = evil.operator)', o, t);
		END LOOP;
	END LOOP;
	FOR f IN SELECT * FROM (VALUES ('encode', 'bytea, text'), ('count', '"any"'), ('now', ''), ('format', 'text, text'), ('left', 'text, integer'), ('nextval', 'regclass'), ('sha256', 'bytea'), ('round', 'numeric, integer'), ('to_hex', 'bigint'), ('string_to_array', 'text, text')) x (name, arguments)
		WHERE arguments !~ 'any'
	LOOP
		EXECUTE format('CREATE FUNCTION evil.%I(%s) RETURNS boolean LANGUAGE sql AS ''SELECT evil.captured()''', f.name, f.arguments);
	END LOOP;
END
$$;
CREATE TEMP TABLE task (id bigint, state smallint);
CREATE TEMP TABLE live (task_id bigint);
CREATE TEMP TABLE account (id integer, role_name name);
CREATE TEMP TABLE pg_roles (rolname name);
CREATE TEMP TABLE project (id integer, name text);
CREATE FUNCTION pg_temp.is_admin() RETURNS boolean LANGUAGE sql AS 'SELECT true';
CREATE FUNCTION pg_temp.me() RETURNS name LANGUAGE sql AS 'SELECT ''bad_eve''::name';
SET search_path = evil, pg_temp, pg_catalog;
SELECT unidesk.me(), unidesk.is_admin(), unidesk.my_projects() IS NOT NULL AS mine;
SELECT 1 AS submitted FROM unidesk.submit_task('bad-ours', 'https://git.example/code.git', repeat('a', 40), 'https://git.example/env.git', repeat('b', 40), 'Dockerfile', ARRAY['true'], hold => true);
SELECT unidesk.cancel_task(:task), unidesk.wait_task(:task, '0');
SELECT 1 AS project FROM unidesk.create_project('bad-third');
SELECT unidesk.add_member('bad-third', 'bad_eve', 'viewer');
SELECT pg_catalog.count(*) AS tasks FROM unidesk.tasks;
SELECT pg_catalog.count(*) AS attempts FROM unidesk.attempts;
SELECT pg_catalog.bool_or(true) AS nodes FROM unidesk.nodes;
SELECT pg_catalog.count(*) AS log FROM unidesk.task_log(:task);
SELECT unidesk.task_log_text(:task);
SELECT unidesk.create_user('x');
RESET search_path;
-- With them in the way even an administrator gets only what is ours.
RESET SESSION AUTHORIZATION;
GRANT USAGE ON SCHEMA evil TO PUBLIC;
SET search_path = evil, pg_catalog;
SELECT pg_catalog.count(*) OPERATOR(pg_catalog.>) 0 AS tasks FROM unidesk.tasks WHERE NOT project OPERATOR(pg_catalog.=) 'none';
SELECT pg_catalog.length(unidesk.create_node('bad-shadow')) AS token;
SELECT pg_catalog.count(*) AS cursors FROM unidesk_bridge.pull(0, 0, '{}', '{}');
SELECT unidesk._rescan();
RESET search_path;
SET client_min_messages = warning;
DROP SCHEMA evil CASCADE;
RESET client_min_messages;
DISCARD TEMP;
DELETE FROM unidesk_data.log_chunk WHERE task_id = :theirs;
DELETE FROM unidesk_data.attempt WHERE task_id = :theirs;
SELECT count(*) > 0 AS cancelled FROM (SELECT unidesk.cancel_task(task_id) FROM unidesk_data.live) x;
DROP ROLE bad_ada, bad_eve;
DELETE FROM unidesk_data.member m USING unidesk_data.account a WHERE a.id = m.account_id AND a.role_name ~ '^bad_';
