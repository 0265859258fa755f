-- What the bridge calls; docs/bridge-api.md is the norm.

CREATE TYPE unidesk_bridge.message AS (
	kind smallint, conn integer, session bigint, type smallint, state smallint, flags smallint,
	incarnation bigint, task bigint, attempt integer, sequence bigint, value bigint, body bytea);
COMMENT ON TYPE unidesk_bridge.message IS 'What the bridge is to do: send a message, note a session, close a connection, offer again, move its cursor.';

CREATE FUNCTION unidesk_bridge.api_version() RETURNS integer
	LANGUAGE C IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'unidesk_bridge_api_version';
COMMENT ON FUNCTION unidesk_bridge.api_version() IS 'Version of these functions; a bridge refuses one it does not know.';

CREATE FUNCTION unidesk_bridge.register(name text, pid integer) RETURNS integer
	LANGUAGE C VOLATILE SECURITY DEFINER PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
	AS 'MODULE_PATHNAME', 'unidesk_bridge_register';
COMMENT ON FUNCTION unidesk_bridge.register(text, integer) IS 'Open a bridge''s instance, or find it again; ends older instances of the same name.';

CREATE FUNCTION unidesk_bridge.beat(bridge integer, queue_age_ms integer) RETURNS void
	LANGUAGE C VOLATILE SECURITY DEFINER PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
	AS 'MODULE_PATHNAME', 'unidesk_bridge_beat';
COMMENT ON FUNCTION unidesk_bridge.beat(integer, integer) IS 'The instance lives; age of its oldest queued message in milliseconds.';

CREATE FUNCTION unidesk_bridge.tokens() RETURNS TABLE (token_hash bytea, node_id integer)
	LANGUAGE sql STABLE SECURITY DEFINER PARALLEL SAFE SET search_path = pg_catalog, pg_temp
	AS $$ SELECT token_hash, id FROM unidesk_data.node WHERE status <> 5 $$;
COMMENT ON FUNCTION unidesk_bridge.tokens() IS 'Hashes of all valid node tokens.';

CREATE FUNCTION unidesk_bridge.receive(bridge integer, conn integer[], node integer[], token bytea[], session bigint[],
	type smallint[], state smallint[], flags smallint[], incarnation bigint[], task bigint[], attempt integer[],
	sequence bigint[], value bigint[], body bytea[]) RETURNS SETOF unidesk_bridge.message
	LANGUAGE C VOLATILE SECURITY DEFINER PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
	AS 'MODULE_PATHNAME', 'unidesk_bridge_receive';
COMMENT ON FUNCTION unidesk_bridge.receive(integer, integer[], integer[], bytea[], bigint[], smallint[], smallint[], smallint[],
	bigint[], bigint[], integer[], bigint[], bigint[], bytea[]) IS 'Take a batch of messages from agents; returns what to do.';

CREATE FUNCTION unidesk_bridge.pull(bridge integer, cursor bigint, session bigint[], rev bigint[]) RETURNS SETOF unidesk_bridge.message
	LANGUAGE C VOLATILE SECURITY DEFINER PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
	AS 'MODULE_PATHNAME', 'unidesk_bridge_pull';
COMMENT ON FUNCTION unidesk_bridge.pull(integer, bigint, bigint[], bigint[]) IS 'Orders for this bridge''s sessions that are newer than the cursor, or than rev for a newly opened session.';

CREATE FUNCTION unidesk_bridge.close_session(bridge integer, session bigint[]) RETURNS void
	LANGUAGE C VOLATILE SECURITY DEFINER PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
	AS 'MODULE_PATHNAME', 'unidesk_bridge_close_session';
COMMENT ON FUNCTION unidesk_bridge.close_session(integer, bigint[]) IS 'These connections are gone.';

CREATE FUNCTION unidesk_bridge.deregister(bridge integer) RETURNS void
	LANGUAGE C VOLATILE SECURITY DEFINER PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
	AS 'MODULE_PATHNAME', 'unidesk_bridge_deregister';
COMMENT ON FUNCTION unidesk_bridge.deregister(integer) IS 'The instance ends; its sessions end with it.';
