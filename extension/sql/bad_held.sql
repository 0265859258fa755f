-- stop_held and what the backup service calls, with every kind of bad argument.
SELECT unidesk.create_node('bad-held') IS NOT NULL AS made;
SELECT test.state() AS before \gset
SELECT a, test.bad(format('SELECT unidesk.stop_held(%s)', a)) FROM (VALUES (1, 'NULL'), (2, ''''''), (3, '''nobody'''), (4, 'repeat(''x'', 1000000)'), (5, '''bad-held'''),
	(6, '''bad-held'', '''''), (7, '''bad-held'', ''xyz'''), (8, '''bad-held'', ''00000000000000ff'''), (9, '''bad-held'', NULL, -1'), (10, '''bad-held'', NULL, 1, 0'),
	(11, '''bad-held'', NULL, 9223372036854775808'), (12, '''bad-held'', ''00000000000000FF''')) AS x (n, a) ORDER BY n;
SELECT test.bad('SELECT unidesk._note_node(NULL)') AS note_null, test.bad('SELECT unidesk._note_node(-1)') AS note_unknown;
SELECT test.bad('SELECT unidesk._backup_started(NULL)') AS no_file, test.bad('SELECT unidesk._backup_ended(NULL, NULL, NULL)') AS no_backup, test.bad('SELECT unidesk._backup_ended(-1, -1, ''x'')') AS unknown_backup;
SELECT test.state() = :'before' AS nothing_changed;
-- People are not the service, and only administrators stop what is held.
SELECT unidesk.create_user('bad_holder') IS NOT NULL AS made;
SET SESSION AUTHORIZATION bad_holder;
SELECT test.bad('SELECT unidesk.stop_held(''bad-held'')') AS stop, test.bad('SELECT unidesk._note_node(1)') AS note,
	test.bad('SELECT unidesk._backup_started(''f'')') AS started, test.bad('SELECT unidesk._backup_ended(1, 1, NULL)') AS ended;
SELECT count(*) AS held FROM unidesk.held;
RESET SESSION AUTHORIZATION;
