-- unidesk.announce_downtime with every kind of bad argument.
SELECT unidesk.create_node('bad-downtime') IS NOT NULL AS made;
SELECT test.state() AS before \gset
SELECT a, test.bad(format('SELECT unidesk.announce_downtime(%s)', a)) FROM (VALUES (1, '''bad-downtime'', ''-infinity'''), (2, '''bad-downtime'', ''infinity'''),
	(3, '''bad-downtime'', ''2000-01-01 00:00+00'''), (4, '''bad-downtime'', unidesk._now()'), (5, '''bad-downtime'', unidesk._now() + interval ''169 hours'''),
	(6, '''nobody'', unidesk._now() + interval ''1 hour'''), (7, ''''', unidesk._now() + interval ''1 hour'''), (8, 'repeat(''x'', 1000000), NULL'), (9, '''nobody'', NULL'),
	(10, '''bad-downtime'', unidesk._now() + interval ''1 hour'', E''two\nlines'''), (11, '''bad-downtime'', unidesk._now() + interval ''1 hour'', repeat(''x'', 201)'),
	(12, 'NULL, unidesk._now() - interval ''1 s'''), (13, '''bad-downtime'', ''yesterday-ish''')) AS x (n, a) ORDER BY n;
SELECT unidesk.announce_downtime('bad-downtime', NULL) AS nothing_to_end;
SELECT test.state() = :'before' AS nothing_changed;
-- People that are no administrators.
SELECT unidesk.create_user('bad_announcer') IS NOT NULL AS made;
SET SESSION AUTHORIZATION bad_announcer;
SELECT test.bad('SELECT unidesk.announce_downtime(NULL, now() + interval ''1 hour'')') AS announce;
SELECT downtime_until FROM unidesk.nodes WHERE name = 'bad-downtime';
RESET SESSION AUTHORIZATION;
