-- Roles and schemas.  Roles outlive the extension, so a second install finds
-- them; everything else is made without IF NOT EXISTS or OR REPLACE, because
-- either would adopt an object that somebody prepared.

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

CREATE SCHEMA unidesk_data;
CREATE SCHEMA unidesk_bridge;

COMMENT ON SCHEMA unidesk IS 'UniDesk: functions and views for people. The frozen interface.';
COMMENT ON SCHEMA unidesk_data IS 'UniDesk: tables. Not an interface: use the views in schema unidesk.';
COMMENT ON SCHEMA unidesk_bridge IS 'UniDesk: functions that the bridge calls, and nobody else.';
