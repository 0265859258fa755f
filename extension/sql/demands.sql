-- One person's many different demands: so many are looked at, the others wait
-- and say why, and nobody else's task waits for them.
SELECT unidesk.create_user('many') IS NOT NULL AND unidesk.create_user('few') IS NOT NULL AND unidesk.create_project('demands') IS NOT NULL AS made;
SELECT unidesk.add_member('demands', 'many'), unidesk.add_member('demands', 'few');
ALTER SYSTEM SET unidesk.max_demands = 3;
SELECT pg_reload_conf();
SELECT test.hello('demands', cpus => 1, machine => 'demands', labels => '{"site": "demands"}');
SET SESSION AUTHORIZATION many;
-- Ten demands that fit nowhere, and five more tasks with the first of them.
SELECT count(test.submit('demands', cpus => 1 + i / 1000.0, labels => '{"site": "demands"}')) AS submitted FROM generate_series(1, 10) i;
SELECT count(test.submit('demands', cpus => 1.001, labels => '{"site": "demands"}')) AS same FROM generate_series(1, 5) i;
-- One that would fit, but is a demand too many.
SELECT test.submit('demands', cpus => 0.1, labels => '{"site": "demands"}') AS waits \gset
SET SESSION AUTHORIZATION few;
SELECT test.submit('demands', cpus => 0.2, labels => '{"site": "demands"}') AS goes \gset
RESET SESSION AUTHORIZATION;
SELECT created_at AS now FROM unidesk.tasks WHERE id = :goes \gset
SELECT test.until($$SELECT count(*) = 8 FROM unidesk.tasks WHERE project = 'demands' AND reason = 'policy.too_many_demands'$$);
SELECT test.until(format('SELECT state = ''active'' FROM unidesk.tasks WHERE id = %s', :goes));
SELECT owner, state, reason, count(*) FROM unidesk.tasks WHERE project = 'demands' GROUP BY 1, 2, 3 ORDER BY 1, 2, 3;
SELECT node FROM unidesk.tasks WHERE id = :goes;
-- Where there is room the next ones enter, in the order in which they came.
SELECT count(unidesk.cancel_task(id)) AS cancelled FROM unidesk.tasks WHERE project = 'demands' AND state = 'queued' AND reason IS NULL;
SELECT unidesk._tick(:'now');
SELECT id - :waits AS task, reason FROM unidesk.tasks WHERE project = 'demands' AND owner = 'many' AND state = 'queued' ORDER BY id;
-- The memory read anew counts the same.
SELECT unidesk._rescan();
SELECT unidesk._tick(:'now');
SELECT reason, count(*) FROM unidesk.tasks WHERE project = 'demands' AND state = 'queued' GROUP BY 1 ORDER BY 1;
-- A waiting task can be cancelled; with a higher limit the last one goes.
SELECT unidesk.cancel_task(max(id)) FROM unidesk.tasks WHERE project = 'demands' AND reason = 'policy.too_many_demands' AND id <> :waits;
ALTER SYSTEM RESET unidesk.max_demands;
SELECT pg_reload_conf();
-- The worker hears of it by a signal.
SELECT test.until(format('SELECT state = ''active'' FROM unidesk.tasks WHERE id = %s', :waits));
SELECT state, reason, node FROM unidesk.tasks WHERE id = :waits;
SELECT count(*) AS still_waiting FROM unidesk.tasks WHERE reason = 'policy.too_many_demands';
SELECT unidesk._memory_differences();
SELECT count(unidesk.cancel_task(id)) AS cancelled FROM unidesk.tasks WHERE project = 'demands' AND state = 'queued';
SELECT test.report('demands', t, 'failed', '{"exit_code": 1}') FROM unnest(ARRAY[:waits, :goes]) t;
DROP ROLE many, few;
