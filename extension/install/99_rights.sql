-- Who may call and read what, which rows are dumped, and who owns it all.  The
-- upgrade script ends with this file too (extension/Makefile): it says what
-- shall be, whatever is.

REVOKE ALL ON ALL FUNCTIONS IN SCHEMA unidesk, unidesk_data, unidesk_bridge FROM PUBLIC;
REVOKE ALL ON TYPE unidesk_bridge.message FROM PUBLIC;

GRANT USAGE ON SCHEMA unidesk, unidesk_data TO unidesk_user;
GRANT SELECT ON ALL TABLES IN SCHEMA unidesk TO unidesk_user;
GRANT SELECT ON unidesk_data.project, unidesk_data.member, unidesk_data.account, unidesk_data.task, unidesk_data.live,
	unidesk_data.spec, unidesk_data.task_event, unidesk_data.attempt, unidesk_data.log_chunk,
	unidesk_data.log_block, unidesk_data.log_piece, unidesk_data.retention,
	unidesk_data.node_live, unidesk_data.node_use, unidesk_data.node_event, unidesk_data.held, unidesk_data.incarnation,
	unidesk_data.backup, unidesk_data.downtime, unidesk_data.agent_update TO unidesk_user;
-- Not the hash of the token.
GRANT SELECT (id, name, created_by, created_at, status, status_since, scheduling, labels, session, bridge_id, facts,
	scheduling_since, scheduling_by, scheduling_reason, drain_deadline, refused,
	engine_down_since)
	ON unidesk_data.node TO unidesk_user;

DO $$
DECLARE
	f regprocedure;
BEGIN
	-- The names without an underscore are for people, and the views need the _names.
	FOR f IN SELECT p.oid FROM pg_proc p WHERE p.pronamespace = 'unidesk'::regnamespace
		AND (p.proname !~ '^_' OR p.proname ~ '^_((task_state|attempt_state|node_status|scheduling|phase|stream|reason)_name|transitions|last_seen|lossy_text|steps|volume|table_bytes)$')
	LOOP
		EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO unidesk_user', f);
	END LOOP;
END
$$;
GRANT EXECUTE ON FUNCTION unidesk_data._stages(integer[]), unidesk_data._image_text(bytea), unidesk_data._log_runs(integer[]),
	unidesk_data._block_bytes(bytea, integer[]),
	unidesk_data._engines_awaited(integer, bigint, integer, text, integer) TO unidesk_user;

GRANT USAGE ON SCHEMA unidesk_bridge TO unidesk_bridge;
GRANT USAGE ON TYPE unidesk_bridge.message TO unidesk_bridge;
GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA unidesk_bridge TO unidesk_bridge;

-- Rows that pg_dump has to carry; incarnation is left out on purpose, and
-- partitions that the worker made are tables of their own in a dump.
DO $$
DECLARE
	object regclass;
BEGIN
	FOR object IN
		SELECT c.oid FROM pg_class c JOIN pg_depend d ON d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e'
		WHERE c.relnamespace = 'unidesk_data'::regnamespace AND c.relkind IN ('r', 'p', 'S') AND c.relname <> 'incarnation'
		ORDER BY c.oid
	LOOP
		PERFORM pg_extension_config_dump(object, '');
	END LOOP;
END
$$;

-- Hand everything to the owner.
DO $$
DECLARE
	object record;
BEGIN
	FOR object IN SELECT nspname FROM pg_namespace WHERE nspname IN ('unidesk', 'unidesk_data', 'unidesk_bridge') LOOP
		EXECUTE format('ALTER SCHEMA %I OWNER TO unidesk_owner', object.nspname);
	END LOOP;
	FOR object IN SELECT c.oid::regclass AS name, c.relkind FROM pg_class c
		WHERE c.relnamespace IN ('unidesk'::regnamespace, 'unidesk_data'::regnamespace)
			AND c.relkind IN ('r', 'p', 'v', 'S')
			AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.objid = c.oid AND d.deptype = 'i' AND c.relkind = 'S')
	LOOP
		EXECUTE format('ALTER %s %s OWNER TO unidesk_owner',
			CASE object.relkind WHEN 'v' THEN 'VIEW' WHEN 'S' THEN 'SEQUENCE' ELSE 'TABLE' END, object.name);
	END LOOP;
	FOR object IN SELECT p.oid::regprocedure AS name FROM pg_proc p
		WHERE p.pronamespace IN ('unidesk'::regnamespace, 'unidesk_data'::regnamespace, 'unidesk_bridge'::regnamespace)
	LOOP
		EXECUTE format('ALTER FUNCTION %s OWNER TO unidesk_owner', object.name);
	END LOOP;
	ALTER TYPE unidesk_bridge.message OWNER TO unidesk_owner;
END
$$;

-- The worker may have been waiting for this, or remember an earlier install.
SELECT unidesk._rescan();
