-- Agents replaced by order.  What becomes of an order is in update.c.

CREATE FUNCTION unidesk_data._check_image(image text) RETURNS void
	LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	IF length(image) > 400 OR image !~ '^([a-z0-9][a-z0-9.-]*(:[0-9]{1,5})?/)?[a-z0-9][a-z0-9._-]*(/[a-z0-9][a-z0-9._-]*)*(:[A-Za-z0-9_][A-Za-z0-9_.-]{0,127})?(@sha256:[0-9a-f]{64})?$' THEN
		RAISE EXCEPTION 'image "%" is no name of an image', unidesk._shown(image)
			USING ERRCODE = 'invalid_parameter_value', HINT = 'For example unidesk/agent:0.2 or registry.example/unidesk/agent:0.2@sha256:…; at most 400 characters.';
	END IF;
END
$$;
COMMENT ON FUNCTION unidesk_data._check_image(text) IS 'Raise unless this can name an image: registry/name:tag@digest.';

CREATE FUNCTION unidesk.update_agent(node text, image text) RETURNS text
	LANGUAGE plpgsql VOLATILE SECURITY DEFINER PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	target integer;
	known record;
	what text := 'update_ordered';
	told text := image;
BEGIN
	PERFORM unidesk._require_admin('update agents');
	target := unidesk_data._known_node(node, 'update_agent(''lab1'', ''unidesk/agent:0.2'')');
	IF image IS NULL THEN
		UPDATE unidesk_data.agent_update a SET outcome = 'withdrawn', message = NULL, ended_at = unidesk._now()
			WHERE a.node_id = target AND a.outcome IS NULL RETURNING a.image INTO told;
		IF NOT FOUND THEN
			RETURN coalesce((SELECT a.outcome FROM unidesk_data.agent_update a WHERE a.node_id = target), 'none');
		END IF;
		what := 'update_withdrawn';
	ELSE
		PERFORM unidesk_data._check_image(image);
		SELECT n.facts, n.status INTO known FROM unidesk_data.node n WHERE n.id = target;
		IF known.status = 5 THEN
			RAISE EXCEPTION 'node "%" is retired', node
				USING ERRCODE = 'object_not_in_prerequisite_state', HINT = 'Its agent is let in no more.';
		END IF;
		IF known.facts IS NULL THEN
			RAISE EXCEPTION 'no agent has connected as node "%" yet', node
				USING ERRCODE = 'object_not_in_prerequisite_state', HINT = 'Start it with the image that it is to run.';
		END IF;
		IF NOT coalesce(known.facts -> 'abilities' ? 'update', false) THEN
			RAISE EXCEPTION 'the agent of node "%" (%) cannot update itself', node, unidesk._shown(coalesce(known.facts ->> 'agent_version', 'of unknown version'))
				USING ERRCODE = 'object_not_in_prerequisite_state', HINT = 'Replace it once on its machine: docs/operations.md, "Upgrades".';
		END IF;
		INSERT INTO unidesk_data.agent_update AS a (node_id, number, image, ordered_at, ordered_by)
			VALUES (target, 1, update_agent.image, unidesk._now(), unidesk._caller_account())
			ON CONFLICT (node_id) DO UPDATE SET number = a.number + 1, image = excluded.image, ordered_at = excluded.ordered_at,
				ordered_by = excluded.ordered_by, sent_in = NULL, outcome = NULL, message = NULL, ended_at = NULL
			WHERE a.outcome IS NOT NULL OR a.image <> excluded.image;
		IF NOT FOUND THEN
			RETURN 'pending';
		END IF;
	END IF;
	INSERT INTO unidesk_data.node_event (at, node_id, what, actor_kind, actor_id, data)
		VALUES (unidesk._now(), target, what, 1, unidesk._caller_account(), told);
	RETURN CASE WHEN image IS NULL THEN 'withdrawn' ELSE 'pending' END;
END
$$;
COMMENT ON FUNCTION unidesk.update_agent(text, text) IS
	'Order a node to replace its agent by one of another image, which its owner has to allow (UNIDESK_UPDATE_IMAGES there); tasks run on, and the old agent goes on if the new one does not reach the server. NULL withdraws an order that is pending. Returns pending, withdrawn, or what became of the last one; view nodes shows it. Ordered again while pending changes nothing; afterwards it is a new order. Administrators only.';
