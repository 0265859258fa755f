-- accept_machine and rename_node with every kind of bad argument.
SELECT unidesk.create_node('bad-iden') IS NOT NULL AS made, unidesk.create_node('bad-iden2') IS NOT NULL AS other;
SELECT test.state() AS before \gset
SELECT a, test.bad(format('SELECT unidesk.accept_machine(%s)', a)) FROM (VALUES (1, 'NULL'), (2, ''''''), (3, '''nobody'''), (4, 'repeat(''x'', 1000000)'), (5, 'E''\u202e\n''')) AS x (n, a) ORDER BY n;
SELECT a, test.bad(format('SELECT unidesk.rename_node(%s)', a)) FROM (VALUES (1, 'NULL, NULL'), (2, '''bad-iden'', NULL'), (3, 'NULL, ''bad-iden3'''), (4, '''nobody'', ''x'''), (5, '''bad-iden'', '''''), (6, '''bad-iden'', ''A'''),
	(7, '''bad-iden'', repeat(''x'', 64)'), (8, '''bad-iden'', ''bad-iden2'''), (9, '''bad-iden'', ''bad-iden'''), (10, '''bad-iden'', E''a\nb''')) AS x (n, a) ORDER BY n;
SELECT test.bad('SELECT unidesk._end_left(NULL)') AS end_null, test.bad('SELECT unidesk._end_left(-1)') AS end_unknown;
SELECT test.state() = :'before' AS nothing_changed;
SELECT unidesk.create_user('bad_identity') IS NOT NULL AS made;
SET SESSION AUTHORIZATION bad_identity;
SELECT test.bad('SELECT unidesk.accept_machine(''bad-iden'')') AS accept, test.bad('SELECT unidesk.rename_node(''bad-iden'', ''x'')') AS rename,
	test.bad('SELECT unidesk._end_left(1)') AS end_left, test.bad('SELECT seal FROM unidesk_data.node') AS seal;
RESET SESSION AUTHORIZATION;
