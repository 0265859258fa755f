-- What the bridge calls, called wrongly: NULL, arrays that do not belong
-- together, of two dimensions, with NULL in them, huge; a bridge that is over.
SELECT unidesk_bridge.register('bad', 1) AS bridge \gset
SELECT test.state() AS before \gset
SELECT e, test.bad(format('SELECT unidesk_bridge.register(%s)', e)) FROM (VALUES (1, 'NULL, 1'), (2, '''x'', NULL'), (3, ''''', 1'), (4, '''x'', 0'), (5, '''x'', -1'), (6, '''x'', 2147483648'), (7, 'repeat(''x'', 1 << 20), 1'),
	(8, 'E''a\nb'', 1'), (9, 'E''\x1b[2J'', 1'), (10, 'U&''\202E'', 1')) AS x (n, e) ORDER BY n;
SELECT e, test.bad(format('SELECT unidesk_bridge.beat(%s)', e)) FROM (VALUES (1, 'NULL, 0'), (2, '1, NULL'), (3, '0, 0'), (4, '-1, 0'), (5, '2147483647, 0'), (6, '1, -1'), (7, '1, 2147483648')) AS x (n, e) ORDER BY n;
SELECT e, test.bad(format('SELECT unidesk_bridge.pull(%s)', e)) FROM (VALUES (1, 'NULL, 0, ''{}'', ''{}'''), (2, '1, NULL, ''{}'', ''{}'''), (3, '1, 0, NULL, ''{}'''), (4, '1, 0, ''{}'', NULL'), (5, '1, 0, ''{1}'', ''{}'''),
	(6, '1, 0, ''{1,NULL}'', ''{1,2}'''), (7, '1, 0, ''{1}'', ''{NULL}'''), (8, '1, 0, ''{{1},{2}}'', ''{1,2}'''), (9, '1, 0, ''{1,2}'', ''{{1,2}}'''),
	(10, '1, 0, array_fill(1::bigint, ARRAY[1000000]), array_fill(1::bigint, ARRAY[1000000])')) AS x (n, e) ORDER BY n;
-- Unknown bridges and sessions, odd cursors, other lower bounds: there is nothing for them.
SELECT e, test.bad(format('SELECT unidesk_bridge.pull(%s)', e)) FROM (VALUES (1, '0, 0, ''{}'', ''{}'''), (2, '-2147483648, -1, ''{}'', ''{}'''), (3, '2147483647, -9223372036854775808, ''{}'', ''{}'''), (4, '1, 9223372036854775807, ''{}'', ''{}'''),
	(5, '1, 0, ''[7:8]={1,2}'', ''[0:1]={-1,9223372036854775807}''')) AS x (n, e) ORDER BY n;
SELECT e, test.bad(format('SELECT unidesk_bridge.close_session(%s)', e)) FROM (VALUES (1, 'NULL, ''{}'''), (2, '1, NULL'), (3, '1, ''{NULL}'''), (4, '1, ''{{1},{2}}'''), (5, '1, array_fill(1::bigint, ARRAY[1000000])'), (6, '0, ''{1}'''), (7, '-1, ''{}''')) AS x (n, e) ORDER BY n;
SELECT e, test.bad(format('SELECT unidesk_bridge.deregister(%s)', e)) FROM (VALUES (1, 'NULL'), (2, '0'), (3, '-1'), (4, '2147483647'), (5, '2147483648')) AS x (n, e) ORDER BY n;
SELECT test.bad('SELECT unidesk_bridge.api_version(1)'), test.bad('SELECT unidesk_bridge.tokens(1)');

-- One array of a good call to receive replaced by another.
CREATE FUNCTION test.receive(n int, expression text) RETURNS text LANGUAGE sql AS $$
	SELECT test.bad('SELECT unidesk_bridge.receive(' || string_agg(CASE i WHEN n THEN expression ELSE e END, ', ' ORDER BY i) || ')')
	FROM unnest(ARRAY['1', '''{1}''', '''{1}''', '''{NULL}''', '''{1}''', '''{3}''', '''{0}''', '''{0}''', '''{1}''', '''{1}''', '''{1}''', '''{1}''', '''{1}''', '''{""}''']) WITH ORDINALITY AS good (e, i)
$$;
SELECT i, test.receive(i, 'NULL') FROM generate_series(1, 14) i;
SELECT i, e, test.receive(i, e) FROM generate_series(2, 14) i, unnest(ARRAY['''{}''', '''{1,2}''', '''{{1}}''', '''{NULL}''']) e ORDER BY i, e;
SELECT i, e, test.receive(i, e) FROM (VALUES (2, 'array_fill(1, ARRAY[1000000])'), (6, '''{32768}'''), (10, '''{9223372036854775808}'''), (13, '''{x}'''), (14, '''{"\\\\xzz"}''')) AS x (i, e);
SELECT test.bad(format('SELECT unidesk_bridge.receive(1%s)', repeat(', ''{}''', 13))) AS empty_batch;
SELECT test.state() = :'before' AS nothing_changed;

-- In a transaction that cannot write, in one that is over, and as a person.
BEGIN READ ONLY;
SELECT test.bad('SELECT unidesk_bridge.register(''x'', 1)'), test.bad('SELECT unidesk_bridge.beat(1, 0)'), test.bad('SELECT unidesk_bridge.pull(1, 0, ''{}'', ''{}'')'), test.bad('SELECT unidesk_bridge.close_session(1, ''{}'')'),
	test.bad('SELECT unidesk_bridge.deregister(1)'), test.receive(1, '1');
COMMIT;
BEGIN;
SELECT 1 / 0;
SELECT unidesk_bridge.beat(1, 0);
ROLLBACK;
SELECT unidesk.create_user('bad_ada') IS NOT NULL AND unidesk.create_user('bad_root', true) IS NOT NULL AS made;
SET SESSION AUTHORIZATION bad_root;
SELECT test.bad('SELECT unidesk_bridge.register(''x'', 1)'), test.bad('SELECT unidesk_bridge.tokens()');
SET SESSION AUTHORIZATION bad_ada;
SELECT test.bad('SELECT unidesk_bridge.api_version()'), test.bad('SELECT unidesk_bridge.register(''x'', 1)'), test.bad('SELECT unidesk_bridge.tokens()'), test.receive(1, '1');
RESET SESSION AUTHORIZATION;
DROP ROLE bad_ada, bad_root;
DELETE FROM unidesk_data.account WHERE role_name ~ '^bad_';

-- A bridge that is over: it registers again, and does not speak for nodes.
SELECT unidesk_bridge.deregister(:bridge), unidesk_bridge.deregister(:bridge);
SELECT replace(test.bad(format('SELECT unidesk_bridge.beat(%s, 0)', :bridge)), :'bridge', 'N');
SELECT unidesk_bridge.close_session(:bridge, '{1}');
SELECT count(*) AS cursors FROM unidesk_bridge.pull(:bridge, 0, '{}', '{}') WHERE kind = 4;
SELECT unidesk_bridge.register('bad', 1) <> :bridge AS another;
SELECT unidesk_bridge.deregister(id) FROM unidesk_data.bridge WHERE name = 'bad' AND ended_at IS NULL;
DELETE FROM unidesk_data.bridge WHERE name = 'bad';
