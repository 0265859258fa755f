-- The state machines: every pair of states, and every path.
SELECT machine, from_state, to_state, by_agent, by_worker, by_person FROM unidesk.transition ORDER BY machine, from_state COLLATE "C", to_state COLLATE "C";

-- Nothing leaves a terminal state.
SELECT * FROM unidesk.transition WHERE (machine = 'task' AND from_state IN ('succeeded', 'failed', 'cancelled', 'skipped'))
	OR (machine = 'attempt' AND from_state IN ('succeeded', 'failed', 'cancelled', 'timed_out', 'preempted', 'lost', 'rejected'));

-- Every path that a report of an agent may walk, from each state to each.
SELECT f.name AS from_state, t.name AS to_state, unidesk._attempt_walk(f.name, t.name, false, 1::int2) AS walk
	FROM (SELECT s, unidesk._attempt_state_name(s::int2) AS name FROM generate_series(1, 13) s) f,
		(SELECT s, unidesk._attempt_state_name(s::int2) AS name FROM generate_series(1, 13) s) t
	WHERE unidesk._attempt_walk(f.name, t.name, false, 1::int2) IS NOT NULL ORDER BY f.s, t.s;
-- The same when the container ran: the walk passes running.
SELECT f.name AS from_state, t.name AS to_state, unidesk._attempt_walk(f.name, t.name, true, 1::int2) AS walk
	FROM (SELECT s, unidesk._attempt_state_name(s::int2) AS name FROM generate_series(1, 3) s) f,
		(SELECT s, unidesk._attempt_state_name(s::int2) AS name FROM generate_series(7, 13) s) t
	WHERE unidesk._attempt_walk(f.name, t.name, true, 1::int2) IS NOT NULL ORDER BY f.s, t.s;
-- Each step of each walk is in the table.
WITH w AS (SELECT string_to_array(f.name || ' ' || unidesk._attempt_walk(f.name, t.name, r.ran, b.by::int2), ' ') AS steps, b.by
	FROM (SELECT unidesk._attempt_state_name(s::int2) AS name FROM generate_series(1, 13) s) f,
		(SELECT unidesk._attempt_state_name(s::int2) AS name FROM generate_series(1, 13) s) t,
		(VALUES (true), (false)) r (ran), (VALUES (1), (2), (4)) b (by)
	WHERE unidesk._attempt_walk(f.name, t.name, r.ran, b.by::int2) IS NOT NULL)
SELECT count(*) > 100 AS many, count(*) FILTER (WHERE NOT EXISTS (SELECT FROM unidesk.transition x WHERE x.machine = 'attempt'
		AND x.from_state = w.steps[i] AND x.to_state = w.steps[i + 1]
		AND CASE w.by WHEN 1 THEN x.by_agent WHEN 2 THEN x.by_worker ELSE x.by_person END)) AS not_in_table
	FROM w, generate_series(1, array_length(w.steps, 1) - 1) i;
SELECT unidesk._attempt_walk('nowhere', 'running', false, 1::int2), unidesk._attempt_walk('running', 'running', false, 1::int2);
