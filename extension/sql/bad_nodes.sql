-- Taking nodes out of service with every kind of bad argument.
SELECT unidesk.create_node('bad-drain') IS NOT NULL AS made, unidesk.create_user('bad_ada') IS NOT NULL AS user_made;
SELECT test.state() AS before \gset
SELECT e, test.bad(format('SELECT unidesk.cordon_node(%s, ''why'')', e)) AS cordon, test.bad(format('SELECT unidesk.drain_node(%s, reason => ''why'')', e)) AS drain, test.bad(format('SELECT unidesk.open_node(%s)', e)) AS open
	FROM (VALUES (1, 'NULL'), (2, ''''''), (3, '''nobody'''), (4, '''BAD-DRAIN'''), (5, 'E''bad\ndrain'''), (6, 'repeat(''x'', 1000000)'), (7, '7')) AS x (n, e) ORDER BY n;
SELECT left(e, 30) AS reason, test.bad(format('SELECT unidesk.cordon_node(''bad-drain'', %s)', e)) AS cordon, test.bad(format('SELECT unidesk.drain_node(''bad-drain'', NULL, %s)', e)) AS drain
	FROM (VALUES (1, 'NULL'), (2, ''''''), (3, '''  '''), (4, 'E''a\nb'''), (5, 'U&''\202e'''), (6, 'repeat(''x'', 501)')) AS x (n, e) ORDER BY n;
SELECT e AS deadline, test.bad(format('SELECT unidesk.drain_node(''bad-drain'', %s, ''why'')', e)) FROM (VALUES (1, '''-1 s'''), (2, '''-0.000001 s'''), (3, '''367 days'''), (4, '''2 years'''), (5, '''1 day -86401 s'''), (6, '''-178956970 years -8 mons'''),
	(7, '''178956970 years'''), (8, '''2562047788 hours'''), (9, '''soon'''), (10, '7')) AS x (n, e) ORDER BY n;
SELECT test.bad('SELECT unidesk.drain_node(''bad-drain'')') AS no_reason;
-- Neither users nor those who are none.
SET SESSION AUTHORIZATION bad_ada;
SELECT test.bad('SELECT unidesk.cordon_node(''bad-drain'', ''why'')'), test.bad('SELECT unidesk.drain_node(NULL)'), test.bad('SELECT unidesk.open_node(''nobody'')');
RESET SESSION AUTHORIZATION;
BEGIN READ ONLY;
SELECT test.bad('SELECT unidesk.cordon_node(''bad-drain'', ''why'')'), test.bad('SELECT unidesk.drain_node(''bad-drain'', reason => ''why'')'), test.bad('SELECT unidesk.open_node(''bad-drain'')');
COMMIT;
SELECT test.state() = :'before' AS nothing_changed;
-- What is possible at the edge.
SELECT unidesk.drain_node('bad-drain', '1 day -86400 s', repeat('x', 500));
SELECT unidesk.cordon_node('bad-drain', 'it''s "bad"; DROP TABLE node'), unidesk.drain_node('bad-drain', '366 days', 'why'), unidesk.open_node('bad-drain'), unidesk.cordon_node('bad-drain', 'why');
DROP ROLE bad_ada;
DELETE FROM unidesk_data.account WHERE role_name = 'bad_ada';
