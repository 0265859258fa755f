-- Which machine a node's agent is: what administrators say about it.  What is
-- decided by itself is in identity.c.

CREATE FUNCTION unidesk_data._machine(data_id text, engine_id text) RETURNS uuid
	LANGUAGE sql IMMUTABLE PARALLEL SAFE RETURN md5(concat_ws('@', coalesce(data_id, ''), engine_id))::uuid;
COMMENT ON FUNCTION unidesk_data._machine(text, text) IS 'A machine, as left_on names it: an agent''s data directory and its engine.';

CREATE FUNCTION unidesk._end_left(node integer) RETURNS integer
	LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'unidesk_end_left';
COMMENT ON FUNCTION unidesk._end_left(integer) IS 'Attempts that were left on a machine before the present one are lost, and nothing is held for them. Returns how many.';

CREATE FUNCTION unidesk_data._known_node(node text, example text) RETURNS integer
	LANGUAGE plpgsql STABLE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	known integer;
BEGIN
	IF node IS NULL THEN
		RAISE EXCEPTION 'node is missing'
			USING ERRCODE = 'null_value_not_allowed', HINT = format('For example SELECT unidesk.%s; SELECT name FROM unidesk.nodes shows them.', example);
	END IF;
	SELECT n.id INTO known FROM unidesk_data.node n WHERE n.name = node;
	IF known IS NULL THEN
		RAISE EXCEPTION 'node "%" does not exist', unidesk._shown(node)
			USING ERRCODE = 'undefined_object', HINT = 'SELECT name FROM unidesk.nodes shows them.';
	END IF;
	RETURN known;
END
$$;
COMMENT ON FUNCTION unidesk_data._known_node(text, text) IS 'The id of the node of that name; raises when there is none.';

CREATE FUNCTION unidesk.accept_machine(node text) RETURNS integer
	LANGUAGE plpgsql VOLATILE SECURITY DEFINER PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	target integer;
	ended integer;
	freed integer;
BEGIN
	PERFORM unidesk._require_admin('accept another machine as a node');
	target := unidesk_data._known_node(node, 'accept_machine(''lab1'')');
	UPDATE unidesk_data.node n SET accepts_until = unidesk._now() + interval '10 min' WHERE n.id = target;
	ended := unidesk._end_left(target);
	DELETE FROM unidesk_data.held h WHERE h.node_id = target AND h.left_on IS NOT NULL;
	GET DIAGNOSTICS freed = ROW_COUNT;
	INSERT INTO unidesk_data.node_event (at, node_id, what, actor_kind, actor_id, data)
		VALUES (unidesk._now(), target, 'machine_accepted', 1, unidesk._caller_account(),
			format('%s attempts of machines before it are lost, %s are held no longer', ended, freed));
	PERFORM unidesk._note_node(target);
	RETURN ended + freed;
END
$$;
COMMENT ON FUNCTION unidesk.accept_machine(text) IS
	'Say that the machines a node was before are gone for good: what was left running on them is lost now, what it held is free, and for 10 minutes any machine with the node''s token may take its place, a copied data directory too. Be sure that the one before is off: nothing else keeps a task from running twice. Returns how many attempts that concerned. Administrators only.';

CREATE FUNCTION unidesk.rename_node(name text, new_name text) RETURNS void
	LANGUAGE plpgsql VOLATILE SECURITY DEFINER PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	target integer;
BEGIN
	PERFORM unidesk._require_admin('rename nodes');
	target := unidesk_data._known_node(name, 'rename_node(''lab1'', ''lab2'')');
	PERFORM unidesk._check_name('new_name', new_name);
	BEGIN
		-- The name that it has is taken too.
		PERFORM FROM unidesk_data.node n WHERE n.name = rename_node.new_name;
		IF FOUND THEN
			RAISE unique_violation;
		END IF;
		UPDATE unidesk_data.node n SET name = rename_node.new_name WHERE n.id = target;
	EXCEPTION WHEN unique_violation THEN
		RAISE EXCEPTION 'node "%" exists already', new_name
			USING ERRCODE = 'duplicate_object', HINT = 'Choose another name.';
	END;
	INSERT INTO unidesk_data.node_event (at, node_id, what, actor_kind, actor_id, data)
		VALUES (unidesk._now(), target, 'renamed', 1, unidesk._caller_account(), format('from %s to %s', name, new_name));
	PERFORM unidesk._note_node(target);
END
$$;
COMMENT ON FUNCTION unidesk.rename_node(text, text) IS
	'Give a node another name. Its token, session and tasks stay; tasks that run keep the name they were started with in UNIDESK_NODE. Administrators only.';
