-- Logs such as a training writes them, sent by the nodes of task_cost.sql.
CREATE FUNCTION cost.log_line(i int) RETURNS text LANGUAGE sql AS $$
	SELECT CASE WHEN i % 50 = 0
		THEN format(E'%s INFO epoch %s took %s s, validation loss %s, accuracy %s %%\n', stamp, i / 50, round((random() * 100)::numeric, 2), round(random()::numeric, 4), round((random() * 100)::numeric, 2))
		ELSE format(E'%s INFO trainer.py:212 step %s/100000 loss=%s lr=%s grad_norm=%s tokens/s=%s mem=%sMiB\n', stamp, i, round((2 + random())::numeric, 4),
			round((0.0003 * random())::numeric, 8), round(random()::numeric, 4), 12000 + (random() * 900)::int, 18211 + (random() * 9)::int) END
	FROM to_char(timestamp '2026-11-24 10:00' + i * interval '1.37 s', 'YYYY-MM-DD HH24:MI:SS,MS') AS stamp
$$;

-- What each of these tasks has written: lines until it is that long.
CREATE TABLE cost.log AS SELECT NULL::bigint AS task, ''::bytea AS bytes LIMIT 0;
CREATE PROCEDURE cost.write_logs(newest int, size int) LANGUAGE plpgsql AS $$
DECLARE
	t record;
	answer record;
	chunk int := 16000;
BEGIN
	FOR t IN SELECT x.id, x.attempts, x.incarnation, n.session, n.id AS node FROM unidesk_data.task x JOIN unidesk_data.node n ON n.id = x.node_id ORDER BY x.id DESC LIMIT newest LOOP
		-- As if its node had said so: bytes past the end are not taken.
		UPDATE unidesk_data.task x SET log_end = size WHERE x.id = t.id;
		INSERT INTO cost.log SELECT t.id, convert_to(left(string_agg(cost.log_line(i), '' ORDER BY i), size), 'UTF8') FROM generate_series(1, size / 90) i;
		-- The first one is small, as an agent's is.
		FOR answer IN SELECT m.value FROM cost.log l, cost.run r,
			(SELECT 0 AS n, 1000 AS len UNION ALL SELECT n, chunk FROM generate_series(1000, size - 1, chunk) AS n) AS c,
			unidesk_bridge.receive(r.bridge, ARRAY[t.node], ARRAY[t.node], ARRAY[NULL]::bytea[], ARRAY[t.session], ARRAY[5::int2],
				ARRAY[(1 + c.n / chunk % 7 / 6)::int2], ARRAY[0::int2], ARRAY[t.incarnation], ARRAY[t.id], ARRAY[t.attempts],
				ARRAY[1::bigint], ARRAY[c.n::bigint], ARRAY[substring(l.bytes FROM c.n + 1 FOR c.len)]) m WHERE l.task = t.id
		LOOP
			IF answer.value = 0 THEN RAISE 'a log was not taken'; END IF;
		END LOOP;
		COMMIT;
	END LOOP;
END
$$;
