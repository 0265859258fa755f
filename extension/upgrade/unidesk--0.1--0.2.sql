-- From 0.1 to 0.2: what extension/install/ says now and did not say in 0.1.
-- make adds install/99_rights.sql at the end: grants, owners and the rescan
-- are not repeated here.  tools/upgrade_check.sh shows what is missing.

\echo Use "ALTER EXTENSION unidesk UPDATE" to load this file. \quit

SET LOCAL search_path = pg_catalog, pg_temp;

-- The incarnation knows its timeline, and the worker renews it on another.

CREATE FUNCTION unidesk_data._timeline() RETURNS integer
	LANGUAGE sql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
	AS $$ SELECT ('x' || left(pg_walfile_name(pg_current_wal_lsn()), 8))::bit(32)::integer $$;
COMMENT ON FUNCTION unidesk_data._timeline() IS 'The server''s timeline: another one after a promotion or a recovery to a point in time.';

ALTER TABLE unidesk_data.incarnation ADD COLUMN timeline integer NOT NULL DEFAULT unidesk_data._timeline();
COMMENT ON TABLE unidesk_data.incarnation IS
	'Random number of this life of the database, first part of every fence. Excluded from dumps, so that a restore gets a new one; the worker renews it when the server''s timeline is another.';

CREATE FUNCTION unidesk_data._random_incarnation() RETURNS bigint
	LANGUAGE sql VOLATILE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
	AS $$ SELECT ('x' || encode(substr(sha256(uuid_send(gen_random_uuid())), 1, 8), 'hex'))::bit(64)::bigint $$;
COMMENT ON FUNCTION unidesk_data._random_incarnation() IS 'A number for a new incarnation.';

CREATE FUNCTION unidesk_data._follow_timeline() RETURNS boolean
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	UPDATE unidesk_data.incarnation SET value = unidesk_data._random_incarnation(), since = now(), timeline = unidesk_data._timeline()
		WHERE timeline <> unidesk_data._timeline();
	IF NOT FOUND THEN
		RETURN false;
	END IF;
	-- Bridges register anew, so that every node hears of it in its welcome.
	UPDATE unidesk_data.bridge SET ended_at = now() WHERE ended_at IS NULL;
	RETURN true;
END
$$;
COMMENT ON FUNCTION unidesk_data._follow_timeline() IS
	'Begin a new incarnation if the server''s timeline is not the stored one: another server may go on with the old. The worker calls it first; true: it was renewed.';
