-- Settings: who may change them, and which values they take.
SELECT name, context, setting, unit, min_val, max_val FROM pg_settings WHERE name ~ '^unidesk\.' AND name NOT IN
	('unidesk.mock_clock', 'unidesk.worker_nap', 'unidesk.bridge_silent_after', 'unidesk.verify_memory', 'unidesk.database') ORDER BY name;
-- Out of range, of the wrong unit or type, or none; each release words it in its way.
\set VERBOSITY sqlstate
ALTER SYSTEM SET unidesk.beat_interval = '0';
ALTER SYSTEM SET unidesk.beat_interval = '2h';
ALTER SYSTEM SET unidesk.beat_interval = '-1';
ALTER SYSTEM SET unidesk.beat_interval = 'often';
ALTER SYSTEM SET unidesk.log_credit = '1 s';
ALTER SYSTEM SET unidesk.worker = 'perhaps';
\set VERBOSITY default
-- No session, role or database has its own.
SET unidesk.lease = '1h';
SET LOCAL unidesk.mock_clock = off;
SET unidesk.no_such = 1;
ALTER ROLE unidesk_bridge SET unidesk.grace = '1s';
ALTER DATABASE contrib_regression SET unidesk.grace = '1s';
SET ROLE unidesk_bridge;
SET unidesk.lease = '1h';
ALTER SYSTEM SET unidesk.lease = '1h';
SELECT set_config('unidesk.mock_clock', 'off', true);
RESET ROLE;
