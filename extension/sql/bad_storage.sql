-- Retention and the volume, with every kind of bad argument.
SELECT unidesk.create_project('bad-storage') IS NOT NULL AS made;
SELECT test.state() AS before \gset
SELECT a, test.bad(format('SELECT unidesk.set_retention(%s)', a)) FROM (VALUES (1, 'NULL'), (2, ''''''), (3, '''nowhere'''), (4, 'repeat(''x'', 1000000)'),
	(5, '''bad-storage'', ''0'''), (6, '''bad-storage'', ''-1 day'''), (7, '''bad-storage'', ''23 hours'''), (8, '''bad-storage'', ''36500 days 1 second'''),
	(9, '''bad-storage'', ''-178956970 years -8 mons'''), (10, '''bad-storage'', ''178956970 years'''), (11, '''bad-storage'', ''soon'''),
	(12, '''bad-storage'', NULL, -1'), (13, '''bad-storage'', NULL, 0'), (14, '''bad-storage'', NULL, 1048575'), (15, '''bad-storage'', NULL, 9223372036854775808'),
	(16, '''bad-storage'', ''9 days'', -9223372036854775808')) AS x (n, a) ORDER BY n;
-- For tests only, and so only beside the clock that tests set.
SELECT test.bad('SELECT unidesk._mock_volume(-1)') AS below, test.bad('SELECT unidesk._mock_volume(101)') AS above;
SELECT unidesk._mock_volume(NULL);
SELECT unidesk._table_bytes(NULL), unidesk._table_bytes(''), unidesk._table_bytes('nothing of the kind');
SELECT test.bad('SELECT unidesk._tidy(1)') AS tidy, test.bad('SELECT unidesk._volume(1)') AS volume;
SELECT test.state() = :'before' AS nothing_changed;
-- What its bounds let through, and back to the default.
SELECT unidesk.set_retention('bad-storage', '1 day', 1048576), unidesk.set_retention('bad-storage', '36500 days', 9223372036854775807);
SELECT unidesk.set_retention('bad-storage');
SELECT keep, log_bytes, is_default FROM unidesk.retention WHERE project = 'bad-storage';
-- People do none of it.
SELECT unidesk.create_user('bad_keeper') IS NOT NULL AS made;
SET SESSION AUTHORIZATION bad_keeper;
SELECT test.bad('SELECT unidesk.set_retention(''bad-storage'', ''9 days'')') AS foreign_project, test.bad('SELECT unidesk._mock_volume(99)') AS mock, test.bad('SELECT unidesk._tidy()') AS tidy;
SELECT count(*) AS visible FROM unidesk.retention;
RESET SESSION AUTHORIZATION;
DROP ROLE bad_keeper;
