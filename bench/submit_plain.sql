-- Tables like those that a submit writes to, and into the file named by the
-- variable plain one statement that inserts what the first submit has inserted.
CREATE SCHEMA plain;
CREATE SEQUENCE plain.ids CACHE 1;
CREATE TABLE plain.task (LIKE unidesk_data.task INCLUDING ALL, PRIMARY KEY (id)) WITH (fillfactor = 40);
CREATE INDEX ON plain.task (project_id, id);
CREATE TABLE plain.live (LIKE unidesk_data.live INCLUDING ALL) WITH (fillfactor = 30);
CREATE TABLE plain.task_event (LIKE unidesk_data.task_event INCLUDING ALL);
CREATE INDEX ON plain.task_event (task_id);

\o :plain
SELECT 'WITH n AS (SELECT nextval(''plain.ids'') AS id), '
	|| string_agg(CASE WHEN place < 3 THEN format('w%s AS (%s)', place, statement) END, ', ' ORDER BY place)
	|| ' ' || max(statement) FILTER (WHERE place = 3) || ';'
FROM (
	SELECT place, format('INSERT INTO plain.%I (%s) SELECT %s FROM n', name, string_agg(quote_ident(key), ', ' ORDER BY key),
		string_agg(CASE WHEN key = of_task THEN 'n.id' WHEN key = ANY (of_time) THEN 'now()' ELSE quote_literal(value) END, ', ' ORDER BY key)) AS statement
	FROM (
		SELECT 1 AS place, 'task' AS name, 'id' AS of_task, ARRAY['created_at'] AS of_time, to_jsonb(t) AS content FROM unidesk_data.task t
		UNION ALL SELECT 2, 'live', 'task_id', ARRAY['queued_at'], to_jsonb(l) FROM unidesk_data.live l
		UNION ALL SELECT 3, 'task_event', 'task_id', ARRAY['at'], to_jsonb(e) FROM unidesk_data.task_event e
	) r, jsonb_each_text(content)
	WHERE value IS NOT NULL
	GROUP BY place, name
) s;
\o
