-- Roles and schemas.  Roles outlive the extension, so a second install finds
-- them, and looks at them first; everything else is made without IF NOT EXISTS
-- or OR REPLACE, because either would adopt an object that somebody prepared.

\echo Use "CREATE EXTENSION unidesk" to load this file. \quit

SET LOCAL search_path = pg_catalog, pg_temp;

DO $$
BEGIN
	IF pg_catalog.getdatabaseencoding() <> 'UTF8' THEN
		RAISE EXCEPTION 'extension "unidesk" needs a database with encoding UTF8'
			USING HINT = 'Create the database with ENCODING ''UTF8''.';
	END IF;
	IF pg_catalog.current_setting('unidesk.database', true) IS DISTINCT FROM pg_catalog.current_database()::text THEN
		RAISE EXCEPTION 'extension "unidesk" belongs into database "%"', pg_catalog.current_setting('unidesk.database', true)
			USING HINT = 'Put unidesk into shared_preload_libraries and set unidesk.database to this database, then restart the server.';
	END IF;
END
$$;

DO $$
DECLARE
	role_name text;
BEGIN
	FOREACH role_name IN ARRAY ARRAY['unidesk_owner', 'unidesk_admin', 'unidesk_user', 'unidesk_bridge'] LOOP
		IF NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = role_name) THEN
			EXECUTE pg_catalog.format('CREATE ROLE %I NOLOGIN NOINHERIT', role_name);
		END IF;
	END LOOP;
	-- An administrator is a user too.
	ALTER ROLE unidesk_admin INHERIT;
	GRANT unidesk_user TO unidesk_admin;
	ALTER ROLE unidesk_bridge SET statement_timeout = '30s';
	ALTER ROLE unidesk_bridge SET lock_timeout = '5s';
	ALTER ROLE unidesk_bridge SET idle_in_transaction_session_timeout = '30s';
END
$$;

-- Whoever is a member of the owner, or may become more than it is, would own
-- all that follows.  A role that was made for this is none of that.
DO $$
DECLARE
	bad name;
BEGIN
	SELECT rolname INTO bad FROM pg_catalog.pg_roles
		WHERE rolname IN ('unidesk_owner', 'unidesk_admin', 'unidesk_user', 'unidesk_bridge')
			AND (rolsuper OR rolcreaterole OR rolcreatedb OR rolbypassrls OR rolreplication
				OR (rolname = 'unidesk_owner' AND (rolcanlogin
					OR EXISTS (SELECT FROM pg_catalog.pg_auth_members m WHERE m.roleid = pg_roles.oid)))
				OR (rolname IN ('unidesk_owner', 'unidesk_user')
					AND EXISTS (SELECT FROM pg_catalog.pg_auth_members m WHERE m.member = pg_roles.oid)));
	IF bad IS NOT NULL THEN
		RAISE EXCEPTION 'role "%" exists and may do more than it should', bad
			USING ERRCODE = 'invalid_object_definition',
				HINT = 'DROP it, or take from it the right to log in and all attributes and memberships; then CREATE EXTENSION again.';
	END IF;
END
$$;

-- CREATE EXTENSION takes a schema that is there; a restore makes it first.
DO $$
DECLARE
	schema_oid oid := 'unidesk'::pg_catalog.regnamespace;
BEGIN
	IF EXISTS (SELECT FROM pg_catalog.pg_depend d WHERE d.refclassid = 'pg_catalog.pg_namespace'::pg_catalog.regclass
			AND d.refobjid = schema_oid AND d.classid <> 'pg_catalog.pg_extension'::pg_catalog.regclass) THEN
		RAISE EXCEPTION 'schema "unidesk" exists and is not empty'
			USING ERRCODE = 'object_not_in_prerequisite_state',
				HINT = 'What is in it would become part of the extension. Look at who made it, DROP SCHEMA unidesk CASCADE, and CREATE EXTENSION again.';
	END IF;
	IF EXISTS (SELECT FROM pg_catalog.pg_namespace n JOIN pg_catalog.pg_roles r ON r.oid = n.nspowner WHERE n.oid = schema_oid
			AND (NOT (r.rolsuper OR r.rolname = 'unidesk_owner')
				OR EXISTS (SELECT FROM pg_catalog.aclexplode(n.nspacl) a WHERE a.grantee <> n.nspowner))) THEN
		RAISE EXCEPTION 'schema "unidesk" exists, and others have rights on it'
			USING ERRCODE = 'object_not_in_prerequisite_state',
				HINT = 'Look at who made it, DROP SCHEMA unidesk, and CREATE EXTENSION again.';
	END IF;
END
$$;

CREATE SCHEMA unidesk_data;
CREATE SCHEMA unidesk_bridge;

COMMENT ON SCHEMA unidesk IS 'UniDesk: functions and views for people. The frozen interface.';
COMMENT ON SCHEMA unidesk_data IS 'UniDesk: tables. Not an interface: use the views in schema unidesk.';
COMMENT ON SCHEMA unidesk_bridge IS 'UniDesk: functions that the bridge calls, and nobody else.';
