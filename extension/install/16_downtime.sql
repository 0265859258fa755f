-- Planned downtime: leases on nodes become longer before their contact is cut.

CREATE FUNCTION unidesk.announce_downtime(node text, until timestamptz, reason text DEFAULT NULL) RETURNS integer
	LANGUAGE plpgsql VOLATILE SECURITY DEFINER PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	at timestamptz := unidesk._now();
	target record;
	changed integer := 0;
BEGIN
	PERFORM unidesk._require_admin('announce downtime');
	IF until <= at THEN
		RAISE EXCEPTION 'the downtime would be over already'
			USING ERRCODE = 'invalid_parameter_value', HINT = 'Give when the nodes will be back, for example now() + ''2 hours''; NULL ends a downtime.';
	END IF;
	IF until > at + interval '168 hours' THEN
		RAISE EXCEPTION 'a downtime lasts at most 7 days'
			USING ERRCODE = 'invalid_parameter_value', HINT = 'Announce it again before it is over; tasks with on_lost => ''wait'' have no lease at all.';
	END IF;
	IF reason ~ '[[:cntrl:]]' OR length(reason) > 200 THEN
		RAISE EXCEPTION 'reason has control characters or more than 200 characters'
			USING ERRCODE = 'invalid_parameter_value', HINT = 'Give one short line.';
	END IF;
	IF node IS NOT NULL AND NOT EXISTS (SELECT FROM unidesk_data.node n WHERE n.name = announce_downtime.node) THEN
		RAISE EXCEPTION 'node "%" does not exist', unidesk._shown(node)
			USING ERRCODE = 'undefined_object', HINT = 'SELECT name FROM unidesk.nodes shows them; NULL stands for all.';
	END IF;
	FOR target IN SELECT n.id FROM unidesk_data.node n WHERE (n.name = announce_downtime.node OR announce_downtime.node IS NULL)
		AND n.status <> 5 ORDER BY n.id
	LOOP
		IF until IS NULL THEN
			UPDATE unidesk_data.downtime d SET until = at, ended_at = at, order_no = NULL, confirmed = false
				WHERE d.node_id = target.id AND d.ended_at IS NULL;
			CONTINUE WHEN NOT FOUND;
		ELSE
			-- What the node may have been told is never taken back while it is not
			-- known whether it heard of the end.
			INSERT INTO unidesk_data.downtime AS d (node_id, until, reason, announced_at, announced_by, extra_s)
				VALUES (target.id, announce_downtime.until, announce_downtime.reason, at, unidesk._caller_account(),
					ceil(extract(epoch FROM announce_downtime.until - least(at, greatest(unidesk._last_contact(target.id), at - interval '30 days')))))
			ON CONFLICT (node_id) DO UPDATE SET until = excluded.until, reason = excluded.reason, announced_at = excluded.announced_at,
				announced_by = excluded.announced_by, extra_s = greatest(d.extra_s, excluded.extra_s), order_no = NULL,
				confirmed = false, ended_at = NULL;
		END IF;
		INSERT INTO unidesk_data.node_event (at, node_id, what, actor_kind, actor_id, data)
			VALUES (at, target.id, CASE WHEN until IS NULL THEN 'downtime_over' ELSE 'downtime' END, 1, unidesk._caller_account(),
				concat_ws(': ', 'until ' || to_char(until AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS"Z"'), reason));
		PERFORM unidesk._note_node(target.id);
		changed := changed + 1;
	END LOOP;
	RETURN changed;
END
$$;
COMMENT ON FUNCTION unidesk.announce_downtime(text, timestamptz, text) IS
	'Leases on a node (NULL: on all) last that much longer, so that until then nothing there ends or is lost for lack of contact, and it gets no new tasks; NULL as until ends it. Returns how many nodes it is for; view nodes shows when a node has confirmed. Administrators only.';
