-- Rules that hold for every object of ours, as queries over the catalog: each
-- prints what breaks it.  A new object is measured without being named here.
CREATE VIEW test.function AS SELECT p.*, n.nspname FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace WHERE n.nspname IN ('unidesk', 'unidesk_data', 'unidesk_bridge');
CREATE VIEW test.relation AS SELECT c.*, n.nspname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname IN ('unidesk', 'unidesk_data', 'unidesk_bridge');
CREATE VIEW test.acl AS
	SELECT p.oid::regprocedure::text AS object, a.* FROM test.function p, aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) a
	UNION ALL SELECT c.oid::regclass::text, a.* FROM test.relation c, aclexplode(coalesce(c.relacl, acldefault(CASE c.relkind WHEN 'S' THEN 's' ELSE 'r' END::"char", c.relowner))) a WHERE c.relkind IN ('r', 'p', 'v', 'm', 'S', 'f')
	UNION ALL SELECT c.oid::regclass || '.' || t.attname, a.* FROM test.relation c JOIN pg_attribute t ON t.attrelid = c.oid, aclexplode(t.attacl) a
	UNION ALL SELECT t.oid::regtype::text, a.* FROM pg_type t JOIN pg_namespace n ON n.oid = t.typnamespace, aclexplode(coalesce(t.typacl, acldefault('T', t.typowner))) a
		WHERE n.nspname IN ('unidesk', 'unidesk_data', 'unidesk_bridge') AND t.typelem = 0 AND (t.typrelid = 0 OR EXISTS (SELECT FROM pg_class c WHERE c.oid = t.typrelid AND c.relkind = 'c'))
	UNION ALL SELECT 'schema ' || n.nspname, a.* FROM pg_namespace n, aclexplode(coalesce(n.nspacl, acldefault('n', n.nspowner))) a WHERE n.nspname IN ('unidesk', 'unidesk_data', 'unidesk_bridge');
CREATE FUNCTION test.broken(OUT rule text, OUT object text) RETURNS SETOF record LANGUAGE sql AS $$
	SELECT 'PUBLIC has nothing', a.object || ' ' || privilege_type FROM test.acl a WHERE grantee = 0
	UNION ALL SELECT 'nobody passes on a right', a.object FROM test.acl a WHERE is_grantable AND grantee <> 'unidesk_owner'::regrole
	UNION ALL SELECT 'rights are for users and the bridge', a.object || ' to ' || grantee::regrole FROM test.acl a WHERE grantee NOT IN ('unidesk_owner'::regrole, 'unidesk_user'::regrole, 'unidesk_admin'::regrole, 'unidesk_bridge'::regrole, 0)
	UNION ALL SELECT 'people write no table', a.object || ' ' || privilege_type FROM test.acl a WHERE grantee <> 'unidesk_owner'::regrole AND privilege_type NOT IN ('SELECT', 'EXECUTE', 'USAGE')
	UNION ALL SELECT 'people use no sequence', a.object FROM test.acl a JOIN test.relation c ON c.oid::regclass::text = a.object WHERE c.relkind = 'S' AND grantee <> 'unidesk_owner'::regrole
	UNION ALL SELECT 'the bridge has its schema and nothing else', a.object FROM test.acl a WHERE grantee = 'unidesk_bridge'::regrole AND a.object !~ '^(unidesk_bridge\.|schema unidesk_bridge$)'
	UNION ALL SELECT 'its schema is the bridge''s alone', a.object FROM test.acl a WHERE grantee NOT IN ('unidesk_bridge'::regrole, 'unidesk_owner'::regrole) AND a.object ~ '^(unidesk_bridge\.|schema unidesk_bridge$)'
	UNION ALL SELECT 'everything belongs to the owner', p.oid::regprocedure::text FROM test.function p WHERE p.proowner <> 'unidesk_owner'::regrole
	UNION ALL SELECT 'everything belongs to the owner', c.oid::regclass::text FROM test.relation c WHERE c.relowner <> 'unidesk_owner'::regrole
	UNION ALL SELECT 'everything belongs to the owner', t.oid::regtype::text FROM pg_type t JOIN pg_namespace n ON n.oid = t.typnamespace WHERE n.nspname ~ '^unidesk' AND t.typowner <> 'unidesk_owner'::regrole
	UNION ALL SELECT 'everything belongs to the owner', n.nspname FROM pg_namespace n WHERE n.nspname ~ '^unidesk' AND n.nspowner <> 'unidesk_owner'::regrole
	UNION ALL SELECT 'everything belongs to the extension', p.oid::regprocedure::text FROM test.function p WHERE NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e')
	UNION ALL SELECT 'a function as its owner pins pg_catalog, pg_temp', p.oid::regprocedure::text FROM test.function p WHERE p.prosecdef AND NOT coalesce(p.proconfig @> ARRAY['search_path=pg_catalog, pg_temp'], false)
	UNION ALL SELECT 'a function with names in it pins pg_catalog, pg_temp', p.oid::regprocedure::text FROM test.function p JOIN pg_language l ON l.oid = p.prolang
		WHERE l.lanname <> 'c' AND p.prosqlbody IS NULL AND NOT coalesce(p.proconfig @> ARRAY['search_path=pg_catalog, pg_temp'], false)
	UNION ALL SELECT 'languages are C, SQL and PL/pgSQL', p.oid::regprocedure::text FROM test.function p JOIN pg_language l ON l.oid = p.prolang WHERE l.lanname NOT IN ('c', 'sql', 'plpgsql')
	UNION ALL SELECT 'the bridge''s functions run as the owner', p.oid::regprocedure::text FROM test.function p WHERE p.nspname = 'unidesk_bridge' AND p.proname <> 'api_version' AND NOT p.prosecdef
	UNION ALL SELECT 'a person calls no internal function as its owner', p.oid::regprocedure::text FROM test.function p WHERE p.prosecdef AND p.proname ~ '^_' AND has_function_privilege('unidesk_user', p.oid, 'EXECUTE')
	UNION ALL SELECT 'no function claims not to leak', p.oid::regprocedure::text FROM test.function p WHERE p.proleakproof
	UNION ALL SELECT 'a view shows what the caller may see', c.oid::regclass::text FROM test.relation c WHERE c.relkind = 'v' AND has_table_privilege('unidesk_user', c.oid, 'SELECT') AND NOT coalesce(c.reloptions && ARRAY['security_invoker=true', 'security_invoker=on', 'security_invoker=1', 'security_invoker'], false)
	UNION ALL SELECT 'no materialized views', c.oid::regclass::text FROM test.relation c WHERE c.relkind = 'm'
	UNION ALL SELECT 'no rules and no triggers', c.oid::regclass::text FROM test.relation c WHERE EXISTS (SELECT FROM pg_rewrite r WHERE r.ev_class = c.oid AND r.rulename <> '_RETURN') OR EXISTS (SELECT FROM pg_trigger t WHERE t.tgrelid = c.oid AND NOT t.tgisinternal)
	UNION ALL SELECT 'a readable table that says whose a row is shows rows by policy', c.oid::regclass::text FROM test.relation c WHERE c.relkind IN ('r', 'p') AND has_any_column_privilege('unidesk_user', c.oid, 'SELECT')
		AND EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attname IN ('project_id', 'task_id')) AND NOT (c.relrowsecurity AND c.relforcerowsecurity AND EXISTS (SELECT FROM pg_policy y WHERE y.polrelid = c.oid AND y.polroles = ARRAY['unidesk_user'::regrole::oid]))
	UNION ALL SELECT 'row security is forced', c.oid::regclass::text FROM test.relation c WHERE c.relrowsecurity <> c.relforcerowsecurity
	UNION ALL SELECT 'policies for people are for SELECT', c.oid::regclass || ' ' || y.polname FROM test.relation c JOIN pg_policy y ON y.polrelid = c.oid WHERE y.polroles <> ARRAY['unidesk_owner'::regrole::oid] AND (y.polcmd <> 'r' OR y.polroles <> ARRAY['unidesk_user'::regrole::oid])
	UNION ALL SELECT 'partitions are read through their parent', c.oid::regclass::text FROM test.relation c WHERE c.relispartition AND c.relkind = 'r' AND has_any_column_privilege('unidesk_user', c.oid, 'SELECT')
	UNION ALL SELECT 'nobody reads tokens and keys', c.oid::regclass || '.' || a.attname FROM test.relation c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
		WHERE c.relkind IN ('r', 'p', 'v') AND (a.attname ~ 'token|password|secret' OR c.relname = 'idempotency') AND (has_column_privilege('unidesk_user', c.oid, a.attnum, 'SELECT') OR has_column_privilege('unidesk_bridge', c.oid, a.attnum, 'SELECT'))
	UNION ALL SELECT 'our roles have no attributes', r.rolname FROM pg_roles r WHERE r.rolname IN ('unidesk_owner', 'unidesk_admin', 'unidesk_user', 'unidesk_bridge') AND (r.rolsuper OR r.rolcreaterole OR r.rolcreatedb OR r.rolreplication OR r.rolbypassrls OR r.rolcanlogin)
	UNION ALL SELECT 'nobody is a member of the owner', m.member::regrole::text FROM pg_auth_members m WHERE m.roleid = 'unidesk_owner'::regrole
	UNION ALL SELECT 'the owner is a member of nothing', m.roleid::regrole::text FROM pg_auth_members m WHERE m.member = 'unidesk_owner'::regrole
	UNION ALL SELECT 'the bridge''s role inherits nothing', r.rolname FROM pg_roles r WHERE r.rolname = 'unidesk_bridge' AND r.rolinherit
	UNION ALL SELECT 'the bridge''s role has its timeouts', s FROM unnest(ARRAY['statement_timeout', 'lock_timeout', 'idle_in_transaction_session_timeout']) s
		WHERE NOT EXISTS (SELECT FROM pg_db_role_setting d, unnest(d.setconfig) c WHERE d.setrole = 'unidesk_bridge'::regrole AND d.setdatabase = 0 AND c ~ ('^' || s || '=[1-9]'))
	UNION ALL SELECT 'people set none of our settings', s.name FROM pg_settings s WHERE s.name ~ '^unidesk\.' AND s.context NOT IN ('postmaster', 'sighup', 'superuser')
	UNION ALL SELECT 'an administrator that is not a superuser cannot install it', e.name FROM pg_available_extension_versions e WHERE e.name = 'unidesk' AND (e.trusted OR NOT e.superuser OR e.relocatable)
$$;
SELECT * FROM test.broken() ORDER BY 1, 2;
-- Each rule finds what breaks it.
BEGIN;
CREATE FUNCTION unidesk.open() RETURNS int LANGUAGE sql SECURITY DEFINER AS 'SELECT 1';
CREATE FUNCTION unidesk_data._open() RETURNS int LANGUAGE plpgsql LEAKPROOF SECURITY DEFINER SET search_path = pg_catalog AS 'BEGIN RETURN 1; END';
CREATE FUNCTION unidesk_bridge.open() RETURNS int LANGUAGE internal AS 'pg_backend_pid';
GRANT EXECUTE ON FUNCTION unidesk_bridge.open() TO unidesk_user WITH GRANT OPTION;
CREATE VIEW unidesk.open AS SELECT * FROM unidesk_data.task;
ALTER VIEW unidesk.open OWNER TO unidesk_owner;
CREATE MATERIALIZED VIEW unidesk.open_store AS SELECT 1;
CREATE TABLE unidesk_data.open (task_id bigint, secret text);
ALTER TABLE unidesk_data.open ENABLE ROW LEVEL SECURITY;
CREATE RULE open AS ON INSERT TO unidesk_data.open DO INSTEAD NOTHING;
CREATE POLICY open ON unidesk_data.open USING (true);
GRANT SELECT, INSERT ON unidesk_data.open TO unidesk_user, unidesk_bridge, pg_monitor;
GRANT SELECT ON unidesk.open, unidesk_data.task_first, unidesk_data.incarnation, unidesk_data.node TO unidesk_user;
GRANT USAGE ON SEQUENCE unidesk_data.task_id TO unidesk_user;
ALTER SCHEMA unidesk OWNER TO postgres;
ALTER ROLE unidesk_owner LOGIN;
GRANT unidesk_owner TO unidesk_bridge;
GRANT pg_monitor TO unidesk_owner;
ALTER ROLE unidesk_bridge INHERIT;
ALTER ROLE unidesk_bridge RESET lock_timeout;
SELECT DISTINCT rule COLLATE "C" AS found FROM test.broken() ORDER BY 1;
ROLLBACK;

-- A view of the owner's that forgets who asks shows nothing of other projects.
SELECT unidesk.create_user('sec_ada') IS NOT NULL AS made;
SELECT test.submit(labels => '{"site": "nowhere"}') AS task \gset
BEGIN;
CREATE VIEW unidesk.forgetful AS SELECT id FROM unidesk_data.task;
ALTER VIEW unidesk.forgetful OWNER TO unidesk_owner;
GRANT SELECT ON unidesk.forgetful TO unidesk_user;
SET LOCAL SESSION AUTHORIZATION sec_ada;
SELECT count(*) AS seen FROM unidesk.forgetful;
ROLLBACK;
SELECT unidesk.cancel_task(:task);
DROP ROLE sec_ada;
DELETE FROM unidesk_data.account WHERE role_name = 'sec_ada';

-- CREATE EXTENSION takes no schema, function or role that somebody prepared;
-- all of this is rolled back.
CREATE ROLE sec_eve LOGIN;
SET client_min_messages = warning;
BEGIN;
DROP EXTENSION unidesk CASCADE;
DROP SCHEMA unidesk CASCADE;
CREATE FUNCTION test.prepared(statement text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
	EXECUTE statement;
	RETURN test.bad('CREATE EXTENSION unidesk; SELECT 1 / (SELECT 0 FROM pg_extension WHERE extname = ''unidesk'')');
END
$$;
SAVEPOINT clean;
-- Nothing prepared, or what a restore has made: it is installed, and the division fails.
SELECT test.prepared('SELECT');
ROLLBACK TO clean;
SELECT test.prepared('CREATE SCHEMA unidesk; ALTER SCHEMA unidesk OWNER TO unidesk_owner');
ROLLBACK TO clean;
SELECT test.prepared('CREATE SCHEMA unidesk AUTHORIZATION sec_eve');
ROLLBACK TO clean;
SELECT test.prepared('CREATE SCHEMA unidesk; GRANT CREATE ON SCHEMA unidesk TO sec_eve');
ROLLBACK TO clean;
SELECT test.prepared('CREATE SCHEMA unidesk; CREATE FUNCTION unidesk.me() RETURNS name LANGUAGE sql AS ''SELECT NULL::name''; ALTER FUNCTION unidesk.me() OWNER TO sec_eve');
ROLLBACK TO clean;
SELECT test.prepared('CREATE SCHEMA unidesk CREATE TABLE bait (i int)');
ROLLBACK TO clean;
SELECT test.prepared('CREATE SCHEMA unidesk_data AUTHORIZATION sec_eve'), test.prepared('CREATE SCHEMA unidesk_bridge');
ROLLBACK TO clean;
SELECT test.prepared('GRANT unidesk_owner TO sec_eve');
ROLLBACK TO clean;
SELECT test.prepared('ALTER ROLE unidesk_owner LOGIN');
ROLLBACK TO clean;
SELECT test.prepared('ALTER ROLE unidesk_bridge SUPERUSER');
ROLLBACK TO clean;
SELECT test.prepared('GRANT pg_monitor TO unidesk_user');
ROLLBACK TO clean;
-- Nor what a search_path finds before ours.
SELECT test.prepared('CREATE SCHEMA sec_evil; CREATE FUNCTION sec_evil.sha256(bytea) RETURNS bytea LANGUAGE plpgsql AS ''BEGIN RAISE EXCEPTION $m$captured$m$; END''; SET LOCAL search_path = sec_evil, pg_catalog');
ROLLBACK;
RESET client_min_messages;
DROP ROLE sec_eve;
