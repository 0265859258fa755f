-- unidesk.update_agent with every kind of bad argument, and answers that are none.
SELECT unidesk.create_node('bad-update') IS NOT NULL AS made, unidesk.create_user('bad_updater') IS NOT NULL AS user_made;
SELECT test.hello('bad-old', machine => 'bad-old');
SELECT test.state() AS before \gset
SELECT e AS node, test.bad(format('SELECT unidesk.update_agent(%s, ''unidesk/agent'')', e)) FROM (VALUES (1, 'NULL'), (2, ''''''), (3, '''nobody'''), (4, '''BAD-UPDATE'''),
	(5, 'E''bad\nupdate'''), (6, 'repeat(''x'', 1000000)'), (7, '''bad-update'''), (8, '''bad-old'''), (9, '7')) AS x (n, e) ORDER BY n;
SELECT left(e, 60) AS image, test.bad(format('SELECT unidesk.update_agent(''bad-old'', %s)', e)) FROM (VALUES (1, ''''''), (2, ''' '''), (3, '''a b'''), (4, 'E''a\nb'''), (5, '''a:'''), (6, '''a::b'''),
	(7, '''a@sha256:'''), (8, '''a@sha256:'' || repeat(''g'', 64)'), (9, '''a@md5:'' || repeat(''0'', 32)'), (10, '''../a'''), (11, '''a/../b'''), (12, '''a//b'''), (13, '''/a'''), (14, '''a/'''),
	(15, '''-a'''), (16, '''A/b'''), (17, '''a?x=1'''), (18, '''a#b'''), (19, '''a,b'''), (20, '''*'''), (21, '''a:'' || repeat(''x'', 129)'), (22, 'repeat(''x'', 401)'), (23, 'repeat(''a.'', 500000)'),
	(24, 'U&''\202e'''), (25, '''https://a/b''')) AS x (n, e) ORDER BY n;
SELECT unidesk.update_agent('bad-update', NULL) AS nothing_to_withdraw;
SET SESSION AUTHORIZATION bad_updater;
SELECT test.bad('SELECT unidesk.update_agent(''bad-old'', ''a'')'), test.bad('SELECT unidesk.update_agent(NULL, NULL)');
RESET SESSION AUTHORIZATION;
BEGIN READ ONLY;
SELECT test.bad('SELECT unidesk.update_agent(''bad-old'', ''a'')');
COMMIT;
SELECT test.state() = :'before' AS nothing_changed;
-- What could be an image passes that check.
SELECT unidesk_data._check_image(i) FROM unnest(ARRAY['a', 'unidesk/agent:0.2', 'localhost:5000/x/y_z:T-1', 'registry.example/a/b@sha256:' || repeat('0', 64), 'a:b@sha256:' || repeat('f', 64)]) i;
-- Answers that are none: the connection is closed, and nothing is written.
SELECT left(a::text, 60) AS answer, (SELECT string_agg(concat_ws(' ', s.kind, s.reply_value, s.reply_body), ', ') FROM test.send('bad-old', 2, body => jsonb_build_object('attempts', '[]'::jsonb, 'update', a)::text) s)
	FROM unnest(ARRAY['1', '"x"', '[]', '{}', '{"order":1}', 'null', '{"incarnation":"00f3a1b2c3d4e5f6","order":0,"state":"failed"}', '{"incarnation":"00f3a1b2c3d4e5f6","order":-1,"state":"failed"}',
		'{"incarnation":"00f3a1b2c3d4e5f6","order":1e9,"state":"failed"}', '{"incarnation":"00f3a1b2c3d4e5f6","order":9999999999,"state":"failed"}', '{"incarnation":"x","order":1,"state":"failed"}',
		'{"incarnation":"00f3a1b2c3d4e5f6","order":1,"state":"withdrawn"}', '{"incarnation":"00f3a1b2c3d4e5f6","order":1,"state":"failed","message":"a\nb"}']::jsonb[]
		|| jsonb_build_object('incarnation', repeat('0', 16), 'order', 1, 'state', 'failed', 'message', repeat('x', 1001))) AS x (a);
-- At the edge: fine, and about no order.
SELECT reply FROM test.send('bad-old', 2, body => jsonb_build_object('attempts', '[]'::jsonb, 'update', jsonb_build_object('incarnation', repeat('0', 16), 'order', 1, 'state', 'failed', 'message', repeat('x', 1000)))::text);
SELECT test.hello('bad-old', machine => 'bad-old');
SELECT kind, reply_value, reply_body FROM test.send('bad-old', 1, body => '{"proto_min":1,"proto_max":1,"boot_id":"bad-old","engine_id":"bad-old","attempts":[],"abilities":7,"resources":{"cpus_milli":1,"memory":1},"update":{"order":1}}');
SELECT count(*) FROM unidesk.node_events WHERE node LIKE 'bad-%' AND what LIKE 'update%';
SELECT test.scheduling('^bad-', 3::smallint);
DROP ROLE bad_updater;
DELETE FROM unidesk_data.account WHERE role_name = 'bad_updater';
