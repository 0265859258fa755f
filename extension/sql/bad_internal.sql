-- Internal functions: only the owner, or the views, call them; they stand
-- everything all the same, for their arguments come out of rows.
SELECT test.state() AS before \gset
SELECT f, test.bad(format('SELECT unidesk.%s(NULL)', f)), n, test.bad(format('SELECT unidesk.%s((%s)::smallint)', f, n))
	FROM unnest(ARRAY['_task_state_name', '_attempt_state_name', '_node_status_name', '_scheduling_name', '_phase_name', '_stream_name', '_reason_name']) f, unnest(ARRAY[-32768, 0, 32767, 32768]) n ORDER BY f, n;
SELECT n, unidesk._task_state_name(n), unidesk._attempt_state_name(n), unidesk._node_status_name(n), unidesk._scheduling_name(n), unidesk._phase_name(n), unidesk._stream_name(n), unidesk._reason_name(n)
	FROM unnest(ARRAY[NULL, -32768, -1, 0, 99, 32767]::smallint[]) n;
SELECT unidesk._steps(NULL), unidesk._steps(''), unidesk._steps('\x00ff0163'), cardinality(unidesk._steps(decode(repeat('01', 1000000), 'hex')));
SELECT count(*) > 0 AS transitions, test.bad('SELECT unidesk._transitions(1)') FROM unidesk._transitions();
SELECT a, unidesk._attempt_walk(a, b, true, w::smallint) FROM (VALUES (NULL, 'running', 1), ('', '', 1), (repeat('x', 1 << 20), 'running', 1), ('assigned', E'\x1b', 1), ('assigned', 'running', -1), ('assigned', 'running', 32767), ('running', 'assigned', 1)) x (a, b, w) WHERE length(a) < 100 OR a IS NULL;
SELECT test.bad($$SELECT unidesk._attempt_walk(repeat('x', 1 << 20), 'running', true, 1::smallint)$$), unidesk._attempt_walk('assigned', 'running', NULL, 1::smallint);
SELECT unidesk._labels_canonical(NULL), test.bad($$SELECT unidesk._labels_canonical('[1]')$$), test.bad($$SELECT unidesk._labels_canonical('7')$$), test.bad($$SELECT unidesk._labels_canonical('{"a": "\u202e"}')$$);
SELECT unidesk._last_seen(n) FROM unnest(ARRAY[NULL, -2147483648, -1, 0, 2147483647]::integer[]) n;
SELECT unidesk._shown(NULL), unidesk._shown(''), unidesk._shown(E'a\nb\x1b\x7f') || unidesk._shown(U&'\0085\200E\2028\2066\FEFF\00E4'), length(unidesk._shown(repeat(U&'\00E4', 1 << 20)));
SELECT unidesk._lossy_text(NULL), unidesk._lossy_text(''), length(unidesk._lossy_text(decode(repeat('ff', 1000000), 'hex')));
SELECT unidesk._random_token(NULL), length(unidesk._random_token('')), unidesk._random_token('x') <> unidesk._random_token('x') AS differ;
SELECT test.bad('SELECT unidesk._check_name(NULL, NULL)'), test.bad('SELECT unidesk._check_name(''name'', NULL)'), test.bad('SELECT unidesk._check_name(''name'', repeat(''x'', 1 << 20))');
SELECT test.bad('SELECT unidesk._create_login(NULL, NULL, NULL)'), test.bad('SELECT unidesk._create_login(''postgres'', ''x'', true)');
SELECT test.bad('SELECT unidesk._tick(''infinity'')'), test.bad('SELECT unidesk._tick(''-infinity'')');
SELECT unidesk._wake(), unidesk._rescan(), unidesk._memory_differences();
BEGIN READ ONLY;
SELECT unidesk._wake(), unidesk._rescan();
COMMIT;
SELECT unidesk._caller_account() = (SELECT id FROM unidesk_data.account WHERE role_name = 'postgres') AS mine, test.bad('SELECT unidesk._require_admin(NULL)');
SELECT test.state() = :'before' AS nothing_changed;

-- A person calls none of them but what the views need.
SELECT unidesk.create_user('bad_ada') IS NOT NULL AS made;
SET SESSION AUTHORIZATION bad_ada;
SELECT p.oid::regprocedure AS callable FROM pg_proc p WHERE p.pronamespace IN ('unidesk'::regnamespace, 'unidesk_data'::regnamespace)
	AND (p.proname ~ '^_') AND has_function_privilege(p.oid, 'EXECUTE') ORDER BY p.oid::regprocedure::text COLLATE "C";
SELECT test.bad('SELECT unidesk._tick(now())'), test.bad('SELECT unidesk._create_login(''x'', ''y'', true)'), test.bad('SELECT unidesk._rescan()'), test.bad('SELECT unidesk._caller_account()');
RESET SESSION AUTHORIZATION;
DROP ROLE bad_ada;
DELETE FROM unidesk_data.account WHERE role_name = 'bad_ada';
