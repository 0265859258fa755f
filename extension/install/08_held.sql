-- What nodes hold of another incarnation, after a restore: found in inventories,
-- shown, and stopped when somebody or time says so.

CREATE FUNCTION unidesk._note_node(node integer) RETURNS void
	LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'unidesk_note_node_sql';
COMMENT ON FUNCTION unidesk._note_node(integer) IS 'Let the background worker read what it knows of a node again when this transaction commits.';

-- Inventory of a node against the rows.  After a restore a node may have
-- attempts of another incarnation.  Three numbers decide: one that the rows
-- know as ended is named, so that the node sends what is missing of its log
-- and removes it; any other is held until somebody wants it gone.
CREATE FUNCTION unidesk_data._unwanted(for_node integer, inventory jsonb, at timestamptz, stale smallint)
	RETURNS TABLE (incarnation bigint, task bigint, attempt integer, want smallint, told smallint)
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
	own bigint := (SELECT value FROM unidesk_data.incarnation);
	item record;
	known text;
	foreign_found boolean := false;
BEGIN
	FOR item IN
		SELECT DISTINCT ON (1, 2, 3) ('x' || i.incarnation)::bit(64)::bigint AS incarnation, i.task, i.attempt,
			coalesce(i.state, '') NOT IN ('finishing', 'succeeded', 'failed', 'cancelled', 'timed_out', 'preempted', 'lost', 'rejected') AS runs,
			coalesce((SELECT s::smallint FROM generate_series(1, 13) s WHERE unidesk._attempt_state_name(s::smallint) = i.state), 4::smallint) AS state,
			least(greatest(coalesce(i.cpus_milli, 0), 0), 100000000)::integer AS cpus_milli,
			least(greatest(coalesce(i.memory, 0), 0), 1::bigint << 50) AS memory,
			(SELECT coalesce(bit_or(1::bigint << g.index), 0) FROM unidesk_data.gpu g
				WHERE g.node_id = for_node AND i.gpus @> to_jsonb(g.uuid)) AS gpu_mask
		FROM jsonb_to_recordset(inventory -> 'attempts')
			AS i (incarnation text, task bigint, attempt integer, state text, cpus_milli bigint, memory bigint, gpus jsonb)
		WHERE i.incarnation ~ '^[0-9a-f]{16}$' AND i.task IS NOT NULL AND i.attempt IS NOT NULL
			-- What goes on as it should is most of any inventory.
			AND NOT EXISTS (SELECT FROM unidesk_data.live l WHERE l.task_id = i.task AND l.attempt = i.attempt
				AND lpad(to_hex(l.incarnation), 16, '0') = i.incarnation AND l.node_id = for_node AND l.state = 4 AND l.left_on IS NULL)
		ORDER BY 1, 2, 3
	LOOP
		known := CASE
			WHEN EXISTS (SELECT FROM unidesk_data.task t WHERE t.id = item.task AND t.attempts = item.attempt
				AND t.incarnation = item.incarnation AND t.node_id = for_node AND t.state = 5) THEN 'ended'
			-- The result of one that was given up is on its way: removed before it is told, nobody would hear of it.
			ELSE (SELECT CASE WHEN a.state = 12 AND item.runs THEN 'lost' ELSE 'ended' END FROM unidesk_data.attempt a WHERE a.task_id = item.task
				AND a.attempt = item.attempt AND a.incarnation = item.incarnation AND a.node_id = for_node LIMIT 1) END;
		CONTINUE WHEN known = 'ended' AND item.incarnation = own;
		want := CASE WHEN known = 'ended' THEN 2 WHEN known = 'lost' OR item.incarnation = own THEN 3 END;
		IF want IS NULL THEN
			foreign_found := true;
			INSERT INTO unidesk_data.held AS h (incarnation, task_id, attempt, node_id, cpus_milli, memory, gpus, gpu_mask, reason, since)
				SELECT item.incarnation, item.task, item.attempt, for_node, r.cpus_milli, r.memory, bit_count(r.mask::bit(64)), r.mask, stale, at
				FROM (SELECT CASE WHEN item.runs THEN item.cpus_milli ELSE 0 END, CASE WHEN item.runs THEN item.memory ELSE 0 END,
					CASE WHEN item.runs THEN item.gpu_mask ELSE 0 END) AS r (cpus_milli, memory, mask)
			ON CONFLICT (incarnation, task_id, attempt) DO UPDATE SET node_id = excluded.node_id, cpus_milli = excluded.cpus_milli,
				memory = excluded.memory, gpus = excluded.gpus, gpu_mask = excluded.gpu_mask
			RETURNING CASE WHEN h.stop_asked OR h.since + current_setting('unidesk.foreign_keep')::interval <= at THEN 3 END INTO want;
		END IF;
		IF want IS NOT NULL THEN
			incarnation := item.incarnation;
			task := item.task;
			attempt := item.attempt;
			told := CASE WHEN known = 'lost' THEN item.state ELSE 0 END;
			RETURN NEXT;
		END IF;
	END LOOP;
	IF foreign_found THEN
		-- It does run there, whatever was granted: the CHECKs of node_use hold.
		UPDATE unidesk_data.node_use u SET cpus_milli = greatest(u.cpus_milli, a.cpus), memory = greatest(u.memory, a.memory),
			gpus = greatest(u.gpus, a.gpus) FROM unidesk_data.allocated a WHERE a.node_id = for_node AND u.node_id = for_node;
	END IF;
END
$$;
COMMENT ON FUNCTION unidesk_data._unwanted(integer, jsonb, timestamptz, smallint) IS
	'Attempts in a node''s inventory that are not live here, with what is wanted of them: 2 stop, 3 remove, and, of those that were given up, the state to tell of. Those of another incarnation that nobody has decided about are held, with what they take.';

CREATE VIEW unidesk.held WITH (security_invoker) AS
	SELECT n.name AS node, lpad(to_hex(h.incarnation), 16, '0') AS incarnation, h.task_id AS task, h.attempt,
		round(h.cpus_milli / 1000.0, 3) AS cpus, h.memory, h.gpus, unidesk._reason_name(h.reason) AS reason, h.since,
		h.incarnation <> i.value AS "foreign", h.stop_asked,
		CASE WHEN h.incarnation <> i.value AND NOT h.stop_asked THEN h.since + current_setting('unidesk.foreign_keep')::interval END AS stopped_after,
		h.left_on IS NOT NULL AS "left"
	FROM unidesk_data.held h JOIN unidesk_data.node n ON n.id = h.node_id, unidesk_data.incarnation i;
COMMENT ON VIEW unidesk.held IS
	'What nodes hold without a live attempt: of this incarnation after a lease, until the node says that nothing of it runs; of another one (foreign) after a restore, until stop_held or stopped_after; left: on a machine that another one replaced, until that one returns or accept_machine. For administrators.';

CREATE FUNCTION unidesk.stop_held(node text, incarnation text DEFAULT NULL, task bigint DEFAULT NULL, attempt integer DEFAULT NULL) RETURNS integer
	LANGUAGE plpgsql VOLATILE SECURITY DEFINER PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	target integer;
	stopped integer;
BEGIN
	PERFORM unidesk._require_admin('stop what a node holds');
	IF node IS NULL THEN
		RAISE EXCEPTION 'node is missing'
			USING ERRCODE = 'null_value_not_allowed', HINT = 'For example SELECT unidesk.stop_held(''lab1''); SELECT * FROM unidesk.held shows what nodes hold.';
	END IF;
	IF incarnation !~ '^[0-9a-f]{16}$' THEN
		RAISE EXCEPTION 'incarnation is not 16 lower-case hexadecimal digits'
			USING ERRCODE = 'invalid_parameter_value', HINT = 'Take it from SELECT * FROM unidesk.held.';
	END IF;
	SELECT n.id INTO target FROM unidesk_data.node n WHERE n.name = stop_held.node;
	IF target IS NULL THEN
		RAISE EXCEPTION 'node "%" does not exist', unidesk._shown(node)
			USING ERRCODE = 'undefined_object', HINT = 'SELECT name FROM unidesk.nodes shows them.';
	END IF;
	UPDATE unidesk_data.held h SET stop_asked = true
		WHERE h.node_id = target AND h.incarnation <> (SELECT i.value FROM unidesk_data.incarnation i)
			AND (stop_held.incarnation IS NULL OR h.incarnation = ('x' || stop_held.incarnation)::bit(64)::bigint)
			AND (stop_held.task IS NULL OR h.task_id = stop_held.task)
			AND (stop_held.attempt IS NULL OR h.attempt = stop_held.attempt);
	GET DIAGNOSTICS stopped = ROW_COUNT;
	IF stopped = 0 THEN
		RAISE EXCEPTION 'node "%" holds nothing like that of another incarnation', unidesk._shown(node)
			USING ERRCODE = 'undefined_object', HINT = 'SELECT * FROM unidesk.held shows what nodes hold; tasks of this incarnation are cancelled with unidesk.cancel_task.';
	END IF;
	INSERT INTO unidesk_data.node_event (at, node_id, what, actor_kind, actor_id, data)
		VALUES (clock_timestamp(), target, 'stop_held', 1, unidesk._caller_account(), stopped || ' attempts of another incarnation');
	PERFORM unidesk._note_node(target);
	RETURN stopped;
END
$$;
COMMENT ON FUNCTION unidesk.stop_held(text, text, bigint, integer) IS
	'Stop and remove what a node holds of another incarnation, after a restore; NULL stands for all. Returns how many attempts; view held shows them until the node has nothing of them. Administrators only.';
