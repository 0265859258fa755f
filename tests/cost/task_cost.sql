-- A bridge and agents, played by SQL, take tasks from submit to end (nodes, 100,
-- with cpus, 100, each):
-- two reports each, in calls of up to 500 messages, one commit per call.
\set QUIET on
\if :{?nodes}
\else
\set nodes 100
\endif
\if :{?cpus}
\else
\set cpus 100
\endif
\set ON_ERROR_STOP on
CREATE SCHEMA cost;
SELECT unidesk.create_project('cost') \gset
CREATE TABLE cost.run AS SELECT unidesk_bridge.register('cost', 1) AS bridge, 0::bigint AS cursor;
CREATE TABLE cost.node (n int PRIMARY KEY, token text, id int, session bigint UNIQUE);

CREATE FUNCTION cost.send(nodes int[], type int, states int[], sessions bigint[], tokens bytea[], incarnation bigint, tasks bigint[], attempts int[], bodies bytea[])
	RETURNS SETOF unidesk_bridge.message LANGUAGE sql AS $$
	SELECT m.* FROM cost.run r, unidesk_bridge.receive(r.bridge, nodes, nodes, tokens, sessions, array_fill(type::int2, ARRAY[cardinality(nodes)]),
		states::int2[], array_fill(0::int2, ARRAY[cardinality(nodes)]), array_fill(incarnation, ARRAY[cardinality(nodes)]), tasks, attempts,
		array_fill(1::bigint, ARRAY[cardinality(nodes)]), array_fill(0::bigint, ARRAY[cardinality(nodes)]), bodies) m
$$;

-- Nodes up to this number, connected.
CREATE PROCEDURE cost.add_nodes(up_to int, cpus int) LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO cost.node SELECT i, unidesk.create_node('cost' || i) FROM generate_series((SELECT coalesce(max(n), 0) + 1 FROM cost.node), up_to) i;
	UPDATE cost.node c SET id = n.id FROM unidesk_data.node n WHERE c.id IS NULL AND n.name = 'cost' || c.n;
	PERFORM count(*) FROM cost.node c, cost.send(ARRAY[c.id], 1, ARRAY[0], ARRAY[0]::bigint[], ARRAY[sha256(convert_to(c.token, 'UTF8'))], 0, ARRAY[0]::bigint[], ARRAY[0],
		ARRAY[convert_to(format('{"proto_min":1,"proto_max":1,"boot_id":"b","engine_id":"e","attempts":[],"resources":{"cpus_milli":%s,"memory":1000000000000}}', 1000 * cpus), 'UTF8')])
		WHERE c.session IS NULL;
	UPDATE cost.node c SET session = n.session FROM unidesk_data.node n WHERE n.id = c.id;
END
$$;

-- Report the same state for these tasks.
CREATE FUNCTION cost.report(state int, body bytea, tasks bigint[], attempts int[], sessions bigint[], nodes int[], incarnation bigint) RETURNS bigint LANGUAGE sql AS $$
	SELECT count(*) FROM cost.send(nodes, 4, array_fill(state, ARRAY[cardinality(nodes)]), sessions, array_fill(NULL::bytea, ARRAY[cardinality(nodes)]), incarnation,
		tasks, attempts, array_fill(body, ARRAY[cardinality(nodes)])) m WHERE m.kind = 0 AND m.type = 133 AND m.flags <> 2
$$;

CREATE PROCEDURE cost.drain(wanted bigint) LANGUAGE plpgsql AS $$
DECLARE
	done bigint := 0;
	orders record;
	incarnation bigint := (SELECT value FROM unidesk_data.incarnation);
	running bytea := '';
	ended bytea := convert_to('{"exit_code":0,"log_end":0,"image_id":"sha256:' || repeat('0a', 32) || '","stage_ms":{"fetch":1,"build":1,"stage_in":1,"run":1}}', 'UTF8');
	idle int := 0;
BEGIN
	WHILE done < wanted AND idle < 5000 LOOP
		CREATE TEMP TABLE pulled ON COMMIT DROP AS SELECT p.*, row_number() OVER () / 500 AS batch
			FROM cost.run r, unidesk_bridge.pull(r.bridge, r.cursor, '{}', '{}') p;
		UPDATE cost.run r SET cursor = p.value FROM pulled p WHERE p.kind = 4;
		IF (SELECT count(*) FROM pulled WHERE kind = 0) = 0 THEN
			COMMIT;
			PERFORM pg_sleep(0.002);
			idle := idle + 1;
			CONTINUE;
		END IF;
		idle := 0;
		FOR orders IN
			SELECT array_agg(p.task ORDER BY p.task) AS tasks, array_agg(p.attempt ORDER BY p.task) AS attempts,
				array_agg(p.session ORDER BY p.task) AS sessions, array_agg((SELECT n.id FROM cost.node n WHERE n.session = p.session) ORDER BY p.task) AS nodes
			FROM pulled p WHERE p.kind = 0 GROUP BY p.batch
		LOOP
			PERFORM cost.report(4, running, orders.tasks, orders.attempts, orders.sessions, orders.nodes, incarnation);
			COMMIT;
			done := done + cost.report(7, ended, orders.tasks, orders.attempts, orders.sessions, orders.nodes, incarnation);
			COMMIT;
		END LOOP;
		COMMIT;
	END LOOP;
	IF done < wanted THEN RAISE 'only % of % tasks ended', done, wanted; END IF;
END
$$;
CALL cost.add_nodes(:nodes, :cpus);
ANALYZE cost.node;
