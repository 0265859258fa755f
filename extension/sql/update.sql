-- Agents replaced by order: unidesk.update_agent and what nodes answer.
\set VERBOSITY terse
-- So many seconds later; what nodes are told by the worker it tells in its turn.
CREATE FUNCTION test.after(seconds int) RETURNS void LANGUAGE sql AS $$ SELECT unidesk._tick(unidesk._now() + make_interval(secs => seconds)) $$;
-- A hello or inventory with that answer to an order; what comes back of an order.
CREATE FUNCTION test.answer(node_name text, type int, answer jsonb DEFAULT NULL, abilities jsonb DEFAULT '["update"]', version text DEFAULT '0.2.0', OUT got text)
	LANGUAGE plpgsql AS $$
BEGIN
	SELECT string_agg(CASE WHEN r.kind = 2 THEN format('close(%s: %s)', r.reply_value, r.reply_body) WHEN r.kind = 3 THEN 'busy'
		WHEN r.reply = 139 THEN format('update %s %s', r.reply_value, r.reply_body) ELSE r.reply::text END, ', ') INTO got
	FROM test.send(node_name, type, body => jsonb_strip_nulls(jsonb_build_object('proto_min', 1, 'proto_max', 1, 'boot_id', node_name, 'engine_id', node_name,
		'agent_version', version, 'abilities', abilities, 'attempts', '[]'::jsonb, 'update', answer,
		'resources', '{"cpus_milli":1000,"memory":1000000000,"gpus":[]}'::jsonb))::text) r WHERE r.kind <> 1;
	UPDATE test.node t SET session = n.session FROM unidesk.nodes n WHERE n.name = t.name AND t.name = node_name AND n.connected;
END
$$;
CREATE FUNCTION test.said(number int, state text, message text DEFAULT NULL, incarnation text DEFAULT NULL) RETURNS jsonb LANGUAGE sql AS $$
	SELECT jsonb_build_object('incarnation', coalesce(incarnation, (SELECT lpad(to_hex(value), 16, '0') FROM unidesk_data.incarnation)),
		'order', number, 'state', state, 'message', message)
$$;
CREATE FUNCTION test.updates(node_name text, OUT image text, OUT outcome text, OUT message text, OUT by name, OUT since_s int) LANGUAGE sql AS $$
	SELECT update_image, update_outcome, update_message, update_by, extract(epoch FROM unidesk._now() - update_since) FROM unidesk.nodes WHERE name = node_name
$$;
CREATE FUNCTION test.update_events(node_name text) RETURNS SETOF text LANGUAGE sql AS $$
	SELECT concat_ws(' | ', what, actor, data) FROM unidesk.node_events WHERE node = node_name AND what LIKE 'update%' ORDER BY at, what DESC, data
$$;
-- They take nothing of what other tests have left.
BEGIN;
SELECT test.hello('u-one', machine => 'u-one'), test.hello('u-two', machine => 'u-two');
SELECT test.scheduling('^u-', 3::smallint);
COMMIT;
-- An agent of before cannot.
SELECT test.bad('SELECT unidesk.update_agent(''u-one'', ''unidesk/agent:2'')');
SELECT test.answer('u-one', 1), test.answer('u-two', 1);
-- Ordered: told by the answer to the inventory that the next beat is asked for, once.
SELECT unidesk.update_agent('u-one', 'unidesk/agent:2'), unidesk.update_agent('u-one', 'unidesk/agent:2');
SELECT test.after(1);
SELECT reply FROM test.send('u-one', 3);
SELECT test.answer('u-one', 2);
SELECT test.after(2);
SELECT reply FROM test.send('u-one', 3);
SELECT test.answer('u-one', 2);
SELECT test.updates('u-one');
-- It comes back without an answer: it is told again, and while it is at work it is not.
SELECT test.answer('u-one', 1);
SELECT test.answer('u-one', 2, test.said(1, 'begun'));
-- What others say of it, or of another order or incarnation, says nothing.
SELECT test.answer('u-two', 2, test.said(1, 'failed', 'not mine')), test.answer('u-one', 2, test.said(2, 'failed', 'of another order')),
	test.answer('u-one', 2, test.said(1, 'failed', 'of another incarnation', '0123456789abcdef'));
SELECT test.updates('u-one'), test.updates('u-two');
-- The new agent's word; said again it is no news.
SELECT test.after(5);
SELECT test.answer('u-one', 1, test.said(1, 'applied'), version => '0.2.1');
SELECT test.answer('u-one', 2, test.said(1, 'applied'), version => '0.2.1');
SELECT test.answer('u-one', 2, test.said(1, 'failed', 'after all'), version => '0.2.1');
SELECT test.updates('u-one'), agent_version, facts ? 'update' AS kept FROM unidesk.nodes WHERE name = 'u-one';
-- A failed one is not tried again before it is ordered again.
SELECT unidesk.update_agent('u-one', 'unidesk/agent:3');
SELECT test.after(1);
SELECT test.answer('u-one', 2);
SELECT test.answer('u-one', 2, test.said(2, 'failed', 'the new agent ended: no libraries'));
SELECT test.answer('u-one', 1);
SELECT test.updates('u-one');
SELECT unidesk.update_agent('u-one', NULL) AS nothing_to_withdraw;
SELECT unidesk.update_agent('u-one', 'unidesk/agent:3');
SELECT test.after(1);
-- Withdrawn before it was told; another image in place of one that is pending.
SELECT unidesk.update_agent('u-one', NULL), unidesk.update_agent('u-one', NULL);
SELECT test.answer('u-one', 2);
SELECT test.updates('u-one');
SELECT unidesk.update_agent('u-one', 'unidesk/agent:4'), unidesk.update_agent('u-one', 'other/agent:4');
SELECT test.answer('u-one', 2);
-- Withdrawn too late: what had been begun has its outcome all the same.
SELECT unidesk.update_agent('u-one', NULL);
SELECT test.answer('u-one', 2, test.said(5, 'refused', 'UNIDESK_UPDATE_IMAGES does not allow it'));
SELECT test.updates('u-one');
SELECT unidesk.update_agent('u-two', 'unidesk/agent:2');
-- Ordered while away, and back with an agent that cannot.
SELECT unidesk_bridge.close_session((SELECT id FROM test.bridge), ARRAY[(SELECT session FROM test.node WHERE name = 'u-two')]);
SELECT test.after(1);
SELECT test.updates('u-two'), connected FROM unidesk.nodes WHERE name = 'u-two';
SELECT test.answer('u-two', 1, abilities => '[]', version => '0.1.0');
SELECT test.updates('u-two');
SELECT unidesk.update_agent('u-none', NULL);
SELECT test.update_events('u-one');
SELECT test.update_events('u-two');
SELECT unidesk._tick(unidesk._now() + interval '200 s');
