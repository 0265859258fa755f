-- Who may ask for violations, and how; and the functions that only it may call.
\set VERBOSITY default
\set SHOW_CONTEXT never
CREATE ROLE checked LOGIN IN ROLE unidesk_user;
SET SESSION AUTHORIZATION checked;
SELECT * FROM unidesk.check_invariants();
SELECT unidesk._now();
SELECT unidesk._last_contact(1);
SELECT unidesk._wait_passes(1, 1);
SELECT unidesk._attempt_walk_allowed(1::smallint, '', 2::smallint, 1::smallint);
SELECT count(*) FROM unidesk_data.invariant_live_task;
SELECT count(*) FROM unidesk_data._history_log(0);
-- What is checked is no secret.
SELECT count(*) > 0 AS listed FROM unidesk.invariants;
RESET SESSION AUTHORIZATION;
DROP ROLE checked;
SELECT * FROM unidesk.check_invariants('-1 s');
SELECT count(*) FROM unidesk.check_invariants('170000000 years');
SELECT count(*) FROM unidesk.check_invariants(NULL);
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT * FROM unidesk.check_invariants();
ROLLBACK;
-- Out of range is nothing that there is.
SELECT unidesk._last_contact(NULL), unidesk._last_contact(-1) = unidesk._last_contact(2147483647) AS worker_start;
SELECT unidesk._wait_passes(NULL, 1), unidesk._wait_passes(-1, -1), unidesk._wait_passes(2147483647, 1);
SELECT unidesk._attempt_walk_allowed(NULL, '', 2::smallint, 1::smallint) AS a, unidesk._attempt_walk_allowed(1::smallint, '', 2::smallint, 1::smallint) AS b,
	unidesk._attempt_walk_allowed(1::smallint, '', 2::smallint, 0::smallint) AS c, unidesk._attempt_walk_allowed((-1)::smallint, '', 32767::smallint, 7::smallint) AS d,
	unidesk._attempt_walk_allowed(1::smallint, '\x0203', 3::smallint, 1::smallint) AS e, unidesk._attempt_walk_allowed(1::smallint, '\x0203', 4::smallint, 1::smallint) AS f,
	unidesk._attempt_walk_allowed(1::smallint, decode(repeat('00ff', 10000), 'hex'), 255::smallint, 7::smallint) AS g;
