-- One task's life, three transactions, one event row in each (pgbench).
WITH t AS (
	INSERT INTO task (code_repo, code_commit, env_repo, env_commit, dockerfile)
	VALUES ('https://git.example/code.git', '0123456789012345678901234567890123456789',
		'https://git.example/env.git', '0123456789012345678901234567890123456789', 'Dockerfile')
	RETURNING id
) INSERT INTO event (task_id, state) SELECT id, 'queued' FROM t;
WITH c AS (
	SELECT id FROM task WHERE state = 'queued' ORDER BY priority DESC, id LIMIT 1 FOR UPDATE SKIP LOCKED
), u AS (
	UPDATE task t SET state = 'running', node = :client_id, started_at = now() FROM c WHERE t.id = c.id RETURNING t.id
), e AS (
	INSERT INTO event (task_id, state) SELECT id, 'running' FROM u
) SELECT coalesce(max(id), 0) AS claimed FROM u \gset
WITH u AS (
	UPDATE task SET state = 'done', ended_at = now() WHERE id = :claimed AND state = 'running' RETURNING id
) INSERT INTO event (task_id, state) SELECT id, 'done' FROM u;
