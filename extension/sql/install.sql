-- What CREATE EXTENSION leaves: owned, commented, dumped, and not for PUBLIC.
SELECT extversion FROM pg_extension WHERE extname = 'unidesk';

-- Every object has a comment.
SELECT c.oid::regclass AS uncommented FROM pg_class c
	JOIN pg_depend d ON d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e'
	WHERE c.relkind IN ('r', 'p', 'v') AND obj_description(c.oid, 'pg_class') IS NULL;
SELECT p.oid::regprocedure AS uncommented FROM pg_proc p
	JOIN pg_depend d ON d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e'
	WHERE p.pronamespace <> 'pg_catalog'::regnamespace AND obj_description(p.oid, 'pg_proc') IS NULL;

-- Every table and sequence is carried by pg_dump, but the incarnation.
SELECT c.relname AS not_dumped FROM pg_class c WHERE c.relnamespace = 'unidesk_data'::regnamespace
	AND c.relkind IN ('r', 'p', 'S')
	AND EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e')
	AND c.oid <> ALL ((SELECT extconfig FROM pg_extension WHERE extname = 'unidesk')::oid[]);

-- Everything belongs to the owner, who cannot log in.
SELECT c.oid::regclass AS foreign_owner FROM pg_class c WHERE c.relnamespace IN ('unidesk'::regnamespace, 'unidesk_data'::regnamespace)
	AND c.relkind IN ('r', 'p', 'v', 'S') AND c.relowner <> 'unidesk_owner'::regrole;
SELECT p.oid::regprocedure AS foreign_owner FROM pg_proc p
	WHERE p.pronamespace IN ('unidesk'::regnamespace, 'unidesk_data'::regnamespace, 'unidesk_bridge'::regnamespace)
	AND p.proowner <> 'unidesk_owner'::regrole;
SELECT rolname, rolcanlogin, rolsuper, rolcreaterole, rolbypassrls FROM pg_roles WHERE rolname ~ '^unidesk_' ORDER BY 1;

-- A function that runs as the owner has a pinned search_path.
SELECT p.oid::regprocedure AS hijackable FROM pg_proc p
	WHERE p.pronamespace IN ('unidesk'::regnamespace, 'unidesk_data'::regnamespace, 'unidesk_bridge'::regnamespace)
	AND p.prosecdef AND NOT coalesce(p.proconfig @> ARRAY['search_path=pg_catalog, pg_temp'], false);

-- Nobody but the owner writes tables; PUBLIC calls one function.
SELECT grantee, table_name, privilege_type FROM information_schema.role_table_grants
	WHERE table_schema IN ('unidesk', 'unidesk_data') AND grantee <> 'unidesk_owner' AND privilege_type <> 'SELECT';
SELECT p.oid::regprocedure AS for_public FROM pg_proc p, aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) a
	WHERE p.pronamespace IN ('unidesk'::regnamespace, 'unidesk_data'::regnamespace, 'unidesk_bridge'::regnamespace)
	AND a.grantee = 0;
-- The bridge: its functions and nothing else.
SELECT p.oid::regprocedure AS for_bridge FROM pg_proc p, aclexplode(p.proacl) a
	WHERE a.grantee = 'unidesk_bridge'::regrole ORDER BY p.proname;

-- Settings, with their units; docs/settings.md lists these.
SELECT name, setting, unit, context FROM pg_settings WHERE name ~ '^unidesk\.' ORDER BY name;

-- The extension belongs into one database.
CREATE DATABASE other_database;
\connect other_database
CREATE EXTENSION unidesk;
\connect contrib_regression
DROP DATABASE other_database;
