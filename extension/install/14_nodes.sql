-- Nodes out of service and back, by administrators.  docs/states.md has the
-- machine "scheduling"; what follows from the row, the worker does.

CREATE FUNCTION unidesk.cordon_node(node text, reason text) RETURNS text
	LANGUAGE C VOLATILE SECURITY DEFINER PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
	AS 'MODULE_PATHNAME', 'unidesk_cordon_node';
COMMENT ON FUNCTION unidesk.cordon_node(text, text) IS
	'Give a node no new tasks; what runs there runs on. Of a node that drains or is drained: no more than that. Returns its state; the last call''s reason counts. Administrators only.';

CREATE FUNCTION unidesk.drain_node(node text, deadline interval DEFAULT NULL, reason text DEFAULT NULL) RETURNS text
	LANGUAGE C VOLATILE SECURITY DEFINER PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
	AS 'MODULE_PATHNAME', 'unidesk_drain_node';
COMMENT ON FUNCTION unidesk.drain_node(text, interval, text) IS
	'Empty a node: no new tasks; what it has not accepted is withdrawn at once; what runs may end by itself, and at the deadline, if there is one, is stopped (TERM, grace, KILL) and runs again elsewhere without using up a retry. With nothing left it is drained, and stays so until open_node. Returns its state; the last call''s deadline, counted from that call, and reason count. Administrators only.';

CREATE FUNCTION unidesk.open_node(node text) RETURNS text
	LANGUAGE C VOLATILE SECURITY DEFINER PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
	AS 'MODULE_PATHNAME', 'unidesk_open_node';
COMMENT ON FUNCTION unidesk.open_node(text) IS
	'Give a node tasks again, whether it was cordoned, drains or is drained; stops that were asked for go on. Returns its state. Administrators only.';
