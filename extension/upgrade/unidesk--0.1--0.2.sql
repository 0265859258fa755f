-- From 0.1 to 0.2: what extension/install/ says now and did not say in 0.1.
-- make adds the files of install/ that are new since then, and 99_rights.sql at
-- the end: they are not repeated here.  tools/upgrade_check.sh shows what is missing.

\echo Use "ALTER EXTENSION unidesk UPDATE" to load this file. \quit

SET LOCAL search_path = pg_catalog, pg_temp;

-- The incarnation knows its timeline, and the worker renews it on another.

CREATE FUNCTION unidesk_data._timeline() RETURNS integer
	LANGUAGE sql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
	AS $$ SELECT ('x' || left(pg_walfile_name(pg_current_wal_lsn()), 8))::bit(32)::integer $$;
COMMENT ON FUNCTION unidesk_data._timeline() IS 'The server''s timeline: another one after a promotion or a recovery to a point in time.';

ALTER TABLE unidesk_data.incarnation ADD COLUMN timeline integer NOT NULL DEFAULT unidesk_data._timeline();
COMMENT ON TABLE unidesk_data.incarnation IS
	'Random number of this life of the database, first part of every fence. Excluded from dumps, so that a restore gets a new one; the worker renews it when the server''s timeline is another.';

CREATE FUNCTION unidesk_data._random_incarnation() RETURNS bigint
	LANGUAGE sql VOLATILE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
	AS $$ SELECT ('x' || encode(substr(sha256(uuid_send(gen_random_uuid())), 1, 8), 'hex'))::bit(64)::bigint $$;
COMMENT ON FUNCTION unidesk_data._random_incarnation() IS 'A number for a new incarnation.';

CREATE FUNCTION unidesk_data._follow_timeline() RETURNS boolean
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	UPDATE unidesk_data.incarnation SET value = unidesk_data._random_incarnation(), since = now(), timeline = unidesk_data._timeline()
		WHERE timeline <> unidesk_data._timeline();
	IF NOT FOUND THEN
		RETURN false;
	END IF;
	-- Bridges register anew, so that every node hears of it in its welcome.
	UPDATE unidesk_data.bridge SET ended_at = now() WHERE ended_at IS NULL;
	RETURN true;
END
$$;
COMMENT ON FUNCTION unidesk_data._follow_timeline() IS
	'Begin a new incarnation if the server''s timeline is not the stored one: another server may go on with the old. The worker calls it first; true: it was renewed.';

-- What nodes hold of another incarnation.

ALTER TABLE unidesk_data.held ADD COLUMN stop_asked boolean NOT NULL DEFAULT false, ADD COLUMN left_on uuid;
COMMENT ON TABLE unidesk_data.held IS
	'What still holds something on a node without being a live attempt: one that ended without a confirmed stop, or one of another incarnation, found on the node after a restore (stop_asked: an administrator wants it gone). Deleted when the node has nothing of it, or, where another machine took the node over (left_on), when the one before returns or an administrator calls accept_machine. Allocated = live + held.';

CREATE POLICY administrators_see ON unidesk_data.held FOR SELECT TO unidesk_user USING ((SELECT unidesk.is_admin()));

CREATE FUNCTION unidesk._shown(given text) RETURNS text
	LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'unidesk_shown_text';
COMMENT ON FUNCTION unidesk._shown(text) IS 'What somebody gave as a name, for a message: without control characters, and cut.';

-- Which machine a node's agent is, and what was left on one before it.

ALTER TABLE unidesk_data.node ADD COLUMN data_id uuid, ADD COLUMN seal bigint, ADD COLUMN seal_before bigint,
	ADD COLUMN seal_incarnation bigint, ADD COLUMN accepts_until timestamptz,
	ADD COLUMN engine_down_since timestamptz, ADD COLUMN engine_up_at timestamptz;
ALTER TABLE unidesk_data.live ADD COLUMN left_on uuid, ADD COLUMN left_at timestamptz;
COMMENT ON TABLE unidesk_data.live IS
	'One row for each task that has not ended, its live attempt and allocation inline. The key makes two live attempts impossible; nothing else is indexed, so that updates stay HOT. left_on: the machine that has the attempt, where another one took the node over (identity.c); left_at: the last contact with it.';

-- Logs: taken in by turns, merged into blocks, kept as each project says.  The
-- keeper of 0.2 makes the partitions.

DROP FUNCTION unidesk_data._maintain_partitions(integer, integer);
DROP FUNCTION unidesk_data._drop_partitions(text, date);
DROP FUNCTION unidesk_data._make_partition(text, text, text, text, text, boolean);
COMMENT ON TABLE unidesk_data.task_default IS 'Partition of task for ids without one; the keeper moves its rows.';
COMMENT ON TABLE unidesk_data.attempt_default IS 'Partition of attempt for times without one; the keeper moves its rows.';
COMMENT ON TABLE unidesk_data.task_event_default IS 'Partition of task_event for times without one; the keeper moves its rows.';

ALTER TABLE unidesk_data.log_chunk RENAME TO log_chunk_by_day;

-- A partition is emptied whole and never vacuumed: extension/segment.c.
CREATE TABLE unidesk_data.log_chunk (
	task_id		bigint NOT NULL,
	attempt		integer NOT NULL,
	"offset"	bigint NOT NULL,
	stream		smallint NOT NULL,
	segment		smallint NOT NULL,
	at			timestamptz NOT NULL,
	bytes		bytea NOT NULL
) PARTITION BY LIST (segment);
CREATE TABLE unidesk_data.log_chunk_0 PARTITION OF unidesk_data.log_chunk FOR VALUES IN (0) WITH (autovacuum_enabled = off, toast.autovacuum_enabled = off);
CREATE TABLE unidesk_data.log_chunk_1 PARTITION OF unidesk_data.log_chunk FOR VALUES IN (1) WITH (autovacuum_enabled = off, toast.autovacuum_enabled = off);
CREATE TABLE unidesk_data.log_chunk_2 PARTITION OF unidesk_data.log_chunk FOR VALUES IN (2) WITH (autovacuum_enabled = off, toast.autovacuum_enabled = off);
CREATE TABLE unidesk_data.log_chunk_3 PARTITION OF unidesk_data.log_chunk FOR VALUES IN (3) WITH (autovacuum_enabled = off, toast.autovacuum_enabled = off);
CREATE INDEX ON unidesk_data.log_chunk_0 (task_id, attempt, "offset");
CREATE INDEX ON unidesk_data.log_chunk_1 (task_id, attempt, "offset");
CREATE INDEX ON unidesk_data.log_chunk_2 (task_id, attempt, "offset");
CREATE INDEX ON unidesk_data.log_chunk_3 (task_id, attempt, "offset");
COMMENT ON TABLE unidesk_data.log_chunk IS 'Logs as they come in: exact bytes; one offset space per attempt over both streams. Those before the end of the attempt''s last log_block are in a block already. Read logs by the view log_piece.';
COMMENT ON TABLE unidesk_data.log_chunk_0 IS 'Partition of log_chunk: they take in by turns.';
COMMENT ON TABLE unidesk_data.log_chunk_1 IS 'Partition of log_chunk: they take in by turns.';
COMMENT ON TABLE unidesk_data.log_chunk_2 IS 'Partition of log_chunk: they take in by turns.';
COMMENT ON TABLE unidesk_data.log_chunk_3 IS 'Partition of log_chunk: they take in by turns.';

CREATE TABLE unidesk_data.log_block (
	expires		date NOT NULL,
	task_id		bigint NOT NULL,
	attempt		integer NOT NULL,
	"offset"	bigint NOT NULL,
	length		integer NOT NULL,
	project_id	integer NOT NULL,
	at			timestamptz NOT NULL,
	runs		integer[] NOT NULL,
	bytes		bytea NOT NULL
) PARTITION BY RANGE (expires);
CREATE TABLE unidesk_data.log_block_default PARTITION OF unidesk_data.log_block DEFAULT;
CREATE INDEX ON unidesk_data.log_block_default (task_id, attempt, "offset");
COMMENT ON TABLE unidesk_data.log_block IS 'Logs merged into blocks, compressed. runs: stretches of one stream, each as length * 4 + stream. A partition holds what goes on one day, whatever project it is of, and is dropped whole.';
COMMENT ON TABLE unidesk_data.log_block_default IS 'Partition of log_block for days without one; the keeper moves its rows.';

CREATE TABLE unidesk_data.retention (
	project_id	integer PRIMARY KEY REFERENCES unidesk_data.project,
	keep_days	integer CHECK (keep_days > 0),
	log_bytes	bigint CHECK (log_bytes > 0),
	removed_before timestamptz
);
COMMENT ON TABLE unidesk_data.retention IS 'What projects keep, where it is not the default: days and stored bytes of logs; and how far logs are removed. An attempt that ended until removed_before, wrote a log and has none stored, had it removed.';

INSERT INTO unidesk_data.log_chunk (task_id, attempt, "offset", stream, segment, at, bytes)
	SELECT task_id, attempt, "offset", stream, 0, at, bytes FROM unidesk_data.log_chunk_by_day;
-- DROP TABLE alone would leave their numbers with the tables to dump.
ALTER EXTENSION unidesk DROP TABLE unidesk_data.log_chunk_by_day;
ALTER EXTENSION unidesk DROP TABLE unidesk_data.log_chunk_default;
DROP TABLE unidesk_data.log_chunk_by_day;

CREATE FUNCTION unidesk_data._log_runs(runs integer[], OUT start integer, OUT length integer, OUT stream smallint) RETURNS SETOF record
	LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
BEGIN ATOMIC
	SELECT sum(run >> 2) OVER (ORDER BY n)::integer - (run >> 2), run >> 2, (run & 3)::smallint
	FROM unnest(runs) WITH ORDINALITY AS r (run, n);
END;
COMMENT ON FUNCTION unidesk_data._log_runs(integer[]) IS 'The stretches of one stream in a block of log: where each begins, its length, its stream.';

CREATE VIEW unidesk_data.log_piece WITH (security_invoker) AS
	-- The concatenation decompresses a block once and not for each run.
	SELECT b.task_id, b.attempt, b."offset" + r.start AS "offset", r.stream, r.length,
		substring(b.bytes FROM r.start + 1 FOR r.length) AS bytes,
		b."offset" AS stored_from, b."offset" + b.length AS stored_until
	FROM (SELECT task_id, attempt, "offset", length, runs, bytes || ''::bytea AS bytes FROM unidesk_data.log_block) b
	CROSS JOIN LATERAL unidesk_data._log_runs(b.runs) r
	UNION ALL
	SELECT c.task_id, c.attempt, c."offset", c.stream, octet_length(c.bytes), c.bytes,
		c."offset", c."offset" + octet_length(c.bytes)
	FROM unidesk_data.log_chunk c
	LEFT JOIN (SELECT task_id, attempt, max("offset" + length) AS covered FROM unidesk_data.log_block GROUP BY task_id, attempt) b
		ON b.task_id = c.task_id AND b.attempt = c.attempt
	WHERE c."offset" >= coalesce(b.covered, 0);
COMMENT ON VIEW unidesk_data.log_piece IS 'All stored bytes of logs, each once, whether they are in a block or still a chunk. stored_from, stored_until: the block or chunk, for reading a part without the rest.';

CREATE OR REPLACE FUNCTION unidesk.task_log(task bigint)
	RETURNS TABLE (attempt integer, stream text, "offset" bigint, bytes bytea)
	LANGUAGE sql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
	WITH stored AS MATERIALIZED (
		SELECT p.attempt, p.stream, p."offset", p.bytes FROM unidesk_data.log_piece p WHERE p.task_id = task_log.task
	), gone AS (
		SELECT s.attempt, min(s."offset") AS bytes FROM stored s GROUP BY s.attempt HAVING min(s."offset") > 0
		UNION ALL
		SELECT a.attempt, a.log_bytes FROM unidesk.attempts a
		JOIN unidesk_data.task t ON t.id = a.task JOIN unidesk_data.retention r ON r.project_id = t.project_id
		WHERE a.task = task_log.task AND a.log_bytes > 0 AND a.ended_at <= r.removed_before
			AND NOT EXISTS (SELECT FROM stored s WHERE s.attempt = a.attempt)
	)
	SELECT g.attempt, 'marker', 0, convert_to(format(E'[unidesk: retention removed %s bytes of log here]\n', g.bytes), 'UTF8') FROM gone g
	UNION ALL
	SELECT s.attempt, unidesk._stream_name(s.stream), s."offset", s.bytes FROM stored s
	ORDER BY 1, 3
$$;
COMMENT ON FUNCTION unidesk.task_log(bigint) IS
	'The log of a task, exact bytes in order of arrival: attempt, stream (stdout, stderr, or marker where bytes were cut or removed), offset of the first byte within the attempt, bytes.';

-- Row-level security binds the owner too, who sees all when working as itself.

DO $$
DECLARE
	name text;
BEGIN
	FOREACH name IN ARRAY ARRAY['project', 'member', 'task', 'live', 'spec', 'task_event', 'attempt', 'log_chunk', 'log_block', 'retention', 'held'] LOOP
		EXECUTE format('ALTER TABLE unidesk_data.%I ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY', name);
		EXECUTE format('CREATE POLICY owner_works ON unidesk_data.%I TO unidesk_owner USING (current_user = ''unidesk_owner'') WITH CHECK (true)', name);
	END LOOP;
END
$$;

CREATE POLICY members_see ON unidesk_data.log_chunk FOR SELECT TO unidesk_user
	USING ((SELECT unidesk.is_admin()) OR EXISTS (SELECT FROM unidesk_data.task t WHERE t.id = task_id));
CREATE POLICY members_see ON unidesk_data.log_block FOR SELECT TO unidesk_user
	USING ((SELECT unidesk.is_admin()) OR project_id = ANY ((SELECT unidesk.my_projects())::integer[]));
CREATE POLICY members_see ON unidesk_data.retention FOR SELECT TO unidesk_user
	USING ((SELECT unidesk.is_admin()) OR project_id = ANY ((SELECT unidesk.my_projects())::integer[]));

-- Answers to bad arguments.

CREATE OR REPLACE FUNCTION unidesk_data._grant_gpus(for_node integer, reported jsonb) RETURNS integer
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	gpu record;
BEGIN
	IF EXISTS (SELECT FROM jsonb_to_recordset(reported) AS r (uuid text) WHERE r.uuid !~ '^[A-Za-z0-9._:/-]{1,200}$') THEN
		RAISE EXCEPTION 'a GPU has no usable name' USING ERRCODE = 'data_exception';
	END IF;
	-- A GPU that is gone stays while an attempt holds it.
	DELETE FROM unidesk_data.gpu g WHERE g.node_id = for_node AND g.holder_task IS NULL
		AND NOT EXISTS (SELECT FROM jsonb_to_recordset(reported) AS r (uuid text) WHERE r.uuid = g.uuid);
	FOR gpu IN
		SELECT DISTINCT ON (r.uuid) r.uuid, r.memory, left(r.model, 200) AS model
		FROM jsonb_to_recordset(reported) AS r (uuid text, memory bigint, model text) WHERE r.uuid IS NOT NULL
	LOOP
		INSERT INTO unidesk_data.gpu (node_id, index, uuid, memory, model)
			SELECT for_node, min(i), gpu.uuid, gpu.memory, gpu.model FROM generate_series(0, 62) AS i
			WHERE NOT EXISTS (SELECT FROM unidesk_data.gpu g WHERE g.node_id = for_node AND g.index = i)
			HAVING min(i) IS NOT NULL
		ON CONFLICT (node_id, uuid) DO UPDATE SET memory = excluded.memory, model = excluded.model;
	END LOOP;
	RETURN (SELECT count(*) FROM unidesk_data.gpu g WHERE g.node_id = for_node);
END
$$;

CREATE OR REPLACE FUNCTION unidesk.create_user(name text, admin boolean DEFAULT false) RETURNS text
	LANGUAGE plpgsql VOLATILE SECURITY DEFINER PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	password text := unidesk._random_token('udp_');
BEGIN
	PERFORM unidesk._require_admin('create users');
	PERFORM unidesk._check_name('name', name);
	IF name ~ '^(pg_|unidesk_)' OR name IN ('public', 'none') THEN
		RAISE EXCEPTION 'name "%" is reserved', name
			USING ERRCODE = 'reserved_name', HINT = 'Choose one that does not begin with pg_ or unidesk_, and is not public or none.';
	END IF;
	IF EXISTS (SELECT FROM pg_roles WHERE rolname = name) THEN
		RAISE EXCEPTION 'role "%" exists already', name
			USING ERRCODE = 'duplicate_object', HINT = 'Choose another name, or use the role that is there.';
	END IF;
	PERFORM unidesk._create_login(name, password, coalesce(admin, false));
	INSERT INTO unidesk_data.account (role_name) VALUES (name);
	RETURN password;
END
$$;

CREATE OR REPLACE FUNCTION unidesk.add_member(project text, "user" text, role text DEFAULT 'member') RETURNS void
	LANGUAGE plpgsql VOLATILE SECURITY DEFINER PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	target integer;
	person integer;
BEGIN
	IF project IS NULL OR "user" IS NULL OR role IS NULL THEN
		RAISE EXCEPTION 'project, user or role is missing'
			USING ERRCODE = 'null_value_not_allowed', HINT = 'For example SELECT unidesk.add_member(''demo'', ''ada'', ''member'').';
	END IF;
	IF role NOT IN ('viewer', 'member', 'manager') THEN
		RAISE EXCEPTION 'role "%" is unknown', unidesk._shown(role)
			USING ERRCODE = 'invalid_parameter_value', HINT = 'Give viewer, member or manager.';
	END IF;
	SELECT p.id INTO target FROM unidesk_data.project p
		WHERE p.name = add_member.project AND (unidesk.is_admin() OR p.id = ANY (unidesk.my_projects()));
	IF target IS NULL THEN
		RAISE EXCEPTION 'project "%" does not exist', unidesk._shown(project)
			USING ERRCODE = 'undefined_object', HINT = 'SELECT name FROM unidesk.projects shows yours.';
	END IF;
	IF NOT unidesk.is_admin() AND NOT EXISTS (SELECT FROM unidesk_data.member m
			WHERE m.project_id = target AND m.account_id = unidesk._caller_account() AND m.role = 'manager') THEN
		RAISE EXCEPTION 'only managers of project "%" add members', project
			USING ERRCODE = 'insufficient_privilege', HINT = 'Ask one of its managers.';
	END IF;
	SELECT a.id INTO person FROM unidesk_data.account a WHERE a.role_name = "user";
	IF person IS NULL THEN
		RAISE EXCEPTION 'user "%" does not exist', unidesk._shown("user")
			USING ERRCODE = 'undefined_object', HINT = 'An administrator creates users with SELECT unidesk.create_user(name).';
	END IF;
	INSERT INTO unidesk_data.member AS m (project_id, account_id, role) VALUES (target, person, add_member.role)
		ON CONFLICT (project_id, account_id) DO UPDATE SET role = excluded.role;
END
$$;

CREATE OR REPLACE FUNCTION unidesk.create_node(name text, cpus numeric DEFAULT NULL, memory bigint DEFAULT NULL,
	gpus integer DEFAULT NULL, labels jsonb DEFAULT NULL) RETURNS text
	LANGUAGE plpgsql VOLATILE SECURITY DEFINER PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	token text := unidesk._random_token('udn_');
	new_id integer;
BEGIN
	PERFORM unidesk._require_admin('create nodes');
	PERFORM unidesk._check_name('name', name);
	IF cpus = 'NaN' OR cpus NOT BETWEEN 0.01 AND 100000 THEN
		RAISE EXCEPTION 'cpus is out of range: %', unidesk._shown(cpus::text)
			USING ERRCODE = 'invalid_parameter_value', HINT = 'Give a number of CPUs from 0.01 to 100000, or NULL for what the node brings.';
	END IF;
	IF memory NOT BETWEEN 16777216 AND 1125899906842624 THEN
		RAISE EXCEPTION 'memory is out of range: %', memory
			USING ERRCODE = 'invalid_parameter_value', HINT = 'Give bytes from 16 MB to 1 PB, for example pg_size_bytes(''64 GB''), or NULL for what the node brings.';
	END IF;
	IF gpus NOT BETWEEN 0 AND 63 THEN
		RAISE EXCEPTION 'gpus is out of range: %', gpus
			USING ERRCODE = 'invalid_parameter_value', HINT = 'Give a number from 0 to 63, or NULL for what the node brings.';
	END IF;
	PERFORM unidesk._labels_canonical(labels);
	INSERT INTO unidesk_data.node AS n (name, token_hash, created_by, declared_cpus_milli, declared_memory, declared_gpus, declared_labels)
		VALUES (create_node.name, sha256(convert_to(token, 'UTF8')), unidesk._caller_account(),
			(cpus * 1000)::integer, create_node.memory, create_node.gpus, create_node.labels)
		ON CONFLICT DO NOTHING RETURNING n.id INTO new_id;
	IF new_id IS NULL THEN
		RAISE EXCEPTION 'node "%" exists already', name
			USING ERRCODE = 'duplicate_object', HINT = 'Choose another name.';
	END IF;
	IF new_id > current_setting('unidesk.max_nodes')::integer THEN
		RAISE EXCEPTION 'there is no room for another node'
			USING ERRCODE = 'configuration_limit_exceeded', HINT = 'Raise unidesk.max_nodes and restart the server.';
	END IF;
	NOTIFY unidesk_tokens;
	RETURN token;
END
$$;

CREATE OR REPLACE FUNCTION unidesk_data._stages(stage_ms integer[]) RETURNS jsonb
	LANGUAGE sql IMMUTABLE PARALLEL SAFE
	RETURN jsonb_strip_nulls(jsonb_build_object('fetch', stage_ms[1], 'build', stage_ms[2], 'stage_in', stage_ms[3], 'run', stage_ms[4]));

CREATE OR REPLACE FUNCTION unidesk_data._image_text(image_id bytea) RETURNS text
	LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
	RETURN 'sha256:' || encode(image_id, 'hex');

CREATE OR REPLACE FUNCTION unidesk_bridge.beat(bridge integer, queue_age_ms integer) RETURNS void
	LANGUAGE C VOLATILE SECURITY DEFINER PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
	AS 'MODULE_PATHNAME', 'unidesk_bridge_beat';

CREATE OR REPLACE FUNCTION unidesk_bridge.pull(bridge integer, cursor bigint, session bigint[], rev bigint[]) RETURNS SETOF unidesk_bridge.message
	LANGUAGE C VOLATILE SECURITY DEFINER PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
	AS 'MODULE_PATHNAME', 'unidesk_bridge_pull';

CREATE OR REPLACE FUNCTION unidesk_bridge.close_session(bridge integer, session bigint[]) RETURNS void
	LANGUAGE C VOLATILE SECURITY DEFINER PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
	AS 'MODULE_PATHNAME', 'unidesk_bridge_close_session';

CREATE OR REPLACE FUNCTION unidesk_bridge.deregister(bridge integer) RETURNS void
	LANGUAGE C VOLATILE SECURITY DEFINER PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
	AS 'MODULE_PATHNAME', 'unidesk_bridge_deregister';

-- Nodes are taken out of service by people, with a reason.

ALTER TABLE unidesk_data.node ADD COLUMN scheduling_since timestamptz NOT NULL DEFAULT pg_catalog.now(),
	ADD COLUMN scheduling_by integer REFERENCES unidesk_data.account,
	ADD COLUMN scheduling_reason text, ADD COLUMN drain_deadline timestamptz, ADD COLUMN refused text;
COMMENT ON TABLE unidesk_data.node IS
	'Nodes: what was declared, what the last hello brought (facts), status, the current session, and whether they take work (scheduling), since when, by whom, why; a draining one''s attempts are stopped at drain_deadline. refused: why the last hello was not taken, NULL after one that was. declared_* NULL means what the hello brings. data_id is the agent''s data directory; seal the number given to it by the last welcome, seal_before what it brought then, until its first beat. engine_down_since: its Docker Engine does not answer, NULL while it does; engine_up_at: when it last came back.';

-- Limits and checkpoints of tasks.

ALTER TABLE unidesk_data.live
	ADD COLUMN deadline timestamptz,
	ADD COLUMN idle_s integer,
	ADD COLUMN warn_s integer,
	ADD COLUMN warn_signal text,
	ADD COLUMN restart_exit_code smallint,
	ADD COLUMN retry_on smallint[],
	ADD COLUMN restarts integer,
	ADD COLUMN checkpoint_node integer;

DROP FUNCTION unidesk.submit_task(text, text, text, text, text, text, text[], numeric, bigint, integer, jsonb, jsonb, integer,
	interval, interval, interval, integer, text, text, interval, interval, boolean, timestamptz);
CREATE FUNCTION unidesk.submit_task(
	project text, code_repo_url text, code_commit_id text, env_repo_url text, env_commit_id text,
	dockerfile_path text, command text[],
	cpus numeric DEFAULT 1, memory bigint DEFAULT 1073741824, gpus integer DEFAULT 0,
	labels jsonb DEFAULT NULL, environment jsonb DEFAULT NULL, priority integer DEFAULT 0,
	queue_timeout interval DEFAULT NULL, prepare_timeout interval DEFAULT NULL, run_timeout interval DEFAULT NULL,
	max_retries integer DEFAULT 0, idempotency_key text DEFAULT NULL, on_lost text DEFAULT 'requeue',
	lease interval DEFAULT NULL, grace interval DEFAULT NULL, hold boolean DEFAULT false,
	not_before timestamptz DEFAULT NULL, retry_on integer[] DEFAULT NULL, total_timeout interval DEFAULT NULL,
	idle_timeout interval DEFAULT NULL, warn_before interval DEFAULT NULL, warn_signal text DEFAULT NULL,
	restart_exit_code integer DEFAULT NULL) RETURNS bigint
	LANGUAGE C VOLATILE SECURITY DEFINER PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
	AS 'MODULE_PATHNAME', 'unidesk_submit_task';
COMMENT ON FUNCTION unidesk.submit_task(text, text, text, text, text, text, text[], numeric, bigint, integer, jsonb, jsonb, integer,
	interval, interval, interval, integer, text, text, interval, interval, boolean, timestamptz, integer[], interval, interval, interval, text, integer) IS
	'Submit a task and return its id. It runs command (empty: the image''s own) with the code repository at its commit in /workspace, in an image built from dockerfile_path of the environment repository at its commit; commits are full hashes. cpus (CPUs), memory (bytes), gpus: what it gets. labels: what the node must have. environment: variables. priority: -1000 to 1000, more is sooner. queue_timeout, prepare_timeout, run_timeout: limits. max_retries: tries after failures of its own; those of infrastructure do not count. idempotency_key: the same key in a project gives the same task. on_lost: requeue, wait or fail when its node is lost; lease: how long a silent node keeps it (0: replaced at once). grace: TERM to KILL. hold: wait for a release. not_before: earliest start. retry_on: exit codes that max_retries applies to (NULL: any failure). total_timeout: from now to the end, over all attempts and waits. idle_timeout: longest silence of its log while it runs. warn_before: warn_signal (USR1) is sent so long before the end of run_timeout. restart_exit_code: an attempt that exits with it has saved what it has in /checkpoint and is started again, on the same node, without using up a retry.';

-- What a task was asked for with, so that it can be run again.  Of the tasks of
-- 0.1 only those that have not ended know it.

CREATE TABLE unidesk_data.terms (
	id			integer GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY,
	hash		uuid NOT NULL,
	request		jsonb NOT NULL
);
CREATE INDEX ON unidesk_data.terms (hash);
COMMENT ON TABLE unidesk_data.terms IS 'On what terms tasks were asked for, as submit_tasks takes it and without what is as by default: what rerun_task submits again. Shared by content hash, not unique, as spec.';

ALTER TABLE unidesk_data.task ADD COLUMN terms_id integer;

WITH asked AS MATERIALIZED (
	SELECT l.task_id, jsonb_strip_nulls(jsonb_build_object('cpus', l.cpus_milli / 1000.0, 'memory', l.memory, 'gpus', l.gpus,
		'labels', (SELECT jsonb_object_agg(split_part(x, '=', 1), substr(x, strpos(x, '=') + 1)) FROM string_to_table(nullif(l.labels, ''), E'\n') AS x),
		'priority', l.priority, 'queue_timeout', l.queue_s, 'prepare_timeout', l.prepare_s, 'run_timeout', l.run_s, 'max_retries', l.max_retries,
		'on_lost', CASE l.on_lost WHEN 1 THEN 'requeue' WHEN 2 THEN 'wait' ELSE 'fail' END,
		'lease', CASE WHEN l.on_lost <> 2 THEN l.lease_s END, 'grace', l.grace_s)) AS request
	FROM unidesk_data.live l
), added AS (
	INSERT INTO unidesk_data.terms (hash, request) SELECT DISTINCT md5(request::text)::uuid, request FROM asked RETURNING id, request
)
UPDATE unidesk_data.task t SET terms_id = added.id FROM asked JOIN added ON added.request = asked.request WHERE t.id = asked.task_id;

-- Rights that 0.1 gave and nobody needs.

REVOKE USAGE ON SCHEMA unidesk FROM PUBLIC;
REVOKE EXECUTE ON FUNCTION unidesk._check_name(text, text) FROM unidesk_user;

-- Planned downtime of nodes.

CREATE TABLE unidesk_data.downtime (
	node_id		integer PRIMARY KEY,
	until		timestamptz NOT NULL,
	reason		text,
	announced_at timestamptz NOT NULL,
	announced_by integer NOT NULL,
	extra_s		integer NOT NULL,
	order_no	bigint,
	confirmed	boolean NOT NULL DEFAULT false,
	ended_at	timestamptz
);
COMMENT ON TABLE unidesk_data.downtime IS 'Planned downtime of nodes. Leases there are extra_s longer, for the server until the row is gone: when the node has confirmed that it is over. Orders from order_no on carry the terms.';

CREATE TABLE unidesk_data.agent_update (
	node_id		integer PRIMARY KEY REFERENCES unidesk_data.node ON DELETE CASCADE,
	number		integer NOT NULL,
	image		text NOT NULL,
	ordered_at	timestamptz NOT NULL,
	ordered_by	integer NOT NULL REFERENCES unidesk_data.account,
	sent_in		bigint,
	outcome		text CONSTRAINT agent_update_outcome CHECK (outcome IN ('applied', 'failed', 'refused', 'withdrawn')),
	message		text,
	ended_at	timestamptz
);
COMMENT ON TABLE unidesk_data.agent_update IS
	'The last order to each node to replace its agent (unidesk.update_agent); number counts them. Pending while outcome is NULL; sent_in: the session in which the agent was told.';

CREATE OR REPLACE VIEW unidesk.nodes WITH (security_invoker) AS
	SELECT n.id, n.name, unidesk._node_status_name(n.status) AS status, n.status_since,
		unidesk._scheduling_name(n.scheduling) AS scheduling,
		greatest(unidesk._last_seen(n.id), l.last_seen) AS last_seen,
		n.session IS NOT NULL AS connected, n.session, n.bridge_id,
		round(u.cpus_milli / 1000.0, 3) AS cpus, round(u.used_cpus_milli / 1000.0, 3) AS cpus_used,
		u.memory, u.used_memory AS memory_used, u.gpus, u.used_gpus AS gpus_used,
		string_to_array(nullif(n.labels, ''), E'\n') AS labels,
		n.facts ->> 'agent_version' AS agent_version, n.facts ->> 'engine_version' AS engine_version,
		n.facts ->> 'os' AS os, n.facts, n.created_at,
		n.scheduling_since, a.role_name AS scheduling_by, n.scheduling_reason, n.drain_deadline, n.refused,
		d.until AS downtime_until, d.reason AS downtime_reason, d.confirmed AS downtime_confirmed,
		o.image AS update_image, o.ordered_at AS update_since, b.role_name AS update_by,
		CASE WHEN o.node_id IS NOT NULL THEN coalesce(o.outcome, 'pending') END AS update_outcome, o.message AS update_message, n.engine_down_since
	FROM unidesk_data.node n
	LEFT JOIN unidesk_data.node_use u ON u.node_id = n.id
	LEFT JOIN unidesk_data.node_live l ON l.node_id = n.id
	LEFT JOIN unidesk_data.account a ON a.id = n.scheduling_by
	LEFT JOIN unidesk_data.downtime d ON d.node_id = n.id AND d.ended_at IS NULL
	LEFT JOIN unidesk_data.agent_update o ON o.node_id = n.id
	LEFT JOIN unidesk_data.account b ON b.id = o.ordered_by;
COMMENT ON VIEW unidesk.nodes IS
	'Nodes: status (registered, online, offline, invalid, retired), whether they take work (scheduling: open, cordoned, draining, drained; since when, by whom, why), last contact, why the last one was refused, what they have and how much of it is allocated. downtime: announced, and whether the node knows of it. update: the last order to replace its agent (pending, applied, failed, refused, withdrawn), and why. engine_down_since: its Docker Engine does not answer, and nothing new is placed there.';
-- Retries say when they come.

COMMENT ON VIEW unidesk.task_events IS 'What happened to tasks, in order of seq. steps: the attempt states passed in one report. data: the node of a placement; of an attempt after which the task is queued again, JSON with the time before which it is not placed (not_before) and the failures so far.';

-- Nodes whose Docker Engine is down, and tasks that wait for that.

CREATE FUNCTION unidesk_data._engines_awaited(cpus_milli integer, memory bigint, gpus integer, labels text, only_node integer) RETURNS text
	LANGUAGE sql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
	AS $$
	SELECT format('waits for the Docker Engine of %s, which does not answer: nothing new is placed there until it does',
			string_agg(format('%s (since %s)', n.name, to_char(n.engine_down_since AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS"Z"')), ', ' ORDER BY n.id))
	FROM unidesk_data.node n JOIN unidesk_data.node_use u ON u.node_id = n.id
	WHERE n.session IS NOT NULL AND n.status = 2 AND n.scheduling = 1
		AND NOT EXISTS (SELECT FROM unidesk_data.downtime d WHERE d.node_id = n.id AND d.ended_at IS NULL)
		AND u.cpus_milli >= $1 AND u.memory >= $2 AND u.gpus >= $3
		AND string_to_array(n.labels, E'\n') @> string_to_array($4, E'\n') AND ($5 IS NULL OR n.id = $5)
	HAVING bool_and(n.engine_down_since IS NOT NULL)
	$$;
COMMENT ON FUNCTION unidesk_data._engines_awaited(integer, bigint, integer, text, integer) IS
	'For a queued task: in words, that every node that takes work and is large enough has an engine that is down; else NULL.';

CREATE OR REPLACE VIEW unidesk.tasks WITH (security_invoker) AS
	SELECT t.id, p.name AS project, a.role_name AS owner,
		unidesk._task_state_name(coalesce(t.state, l.state)) AS state,
		CASE WHEN n.status = 3 AND l.state = 4 THEN 'unknown' ELSE unidesk._attempt_state_name(l.attempt_state) END AS attempt_state,
		unidesk._phase_name(CASE l.attempt_state WHEN 3 THEN l.phase END) AS phase,
		CASE WHEN CASE WHEN l.state = 3 AND (SELECT EXISTS (SELECT FROM unidesk_data.node x WHERE x.engine_down_since IS NOT NULL))
			THEN unidesk_data._engines_awaited(l.cpus_milli, l.memory, l.gpus, l.labels, l.checkpoint_node) END IS NOT NULL
			THEN 'node.engine_down' ELSE unidesk._reason_name(coalesce(l.reason, t.reason)) END AS reason,
		coalesce(l.attempt, t.attempts) AS attempts, n.name AS node, t.exit_code,
		l.priority, round(l.cpus_milli / 1000.0, 3) AS cpus, l.memory, l.gpus,
		s.code_repo_url, pg_catalog.encode(t.code_commit, 'hex') AS code_commit,
		s.env_repo_url, pg_catalog.encode(s.env_commit, 'hex') AS env_commit,
		s.dockerfile_path, s.command, s.environment,
		unidesk_data._image_text(t.image_id) AS image_id, t.created_at,
		coalesce(l.placed_at, t.placed_at) AS placed_at, coalesce(l.started_at, t.started_at) AS started_at, t.ended_at,
		unidesk_data._stages(t.stage_ms) AS stage_ms, t.log_end AS log_bytes,
		coalesce(t.message, CASE WHEN l.state = 3 AND (SELECT EXISTS (SELECT FROM unidesk_data.node x WHERE x.engine_down_since IS NOT NULL))
			THEN unidesk_data._engines_awaited(l.cpus_milli, l.memory, l.gpus, l.labels, l.checkpoint_node) END) AS message, l.not_before
	FROM unidesk_data.task t
	JOIN unidesk_data.spec s ON s.id = t.spec_id
	JOIN unidesk_data.project p ON p.id = t.project_id
	LEFT JOIN unidesk_data.account a ON a.id = t.owner_id
	LEFT JOIN unidesk_data.live l ON l.task_id = t.id
	LEFT JOIN unidesk_data.node n ON n.id = coalesce(l.node_id, t.node_id);
COMMENT ON VIEW unidesk.tasks IS
	'Tasks of your projects: what was asked, where they are, how they ended. state: held, blocked, queued, active, succeeded, failed, cancelled, skipped; attempt_state while active, "unknown" while the node is offline. stage_ms: milliseconds of fetch, build, stage_in, run. While every node that could take a queued task has an engine that is down, reason is node.engine_down, and message names them.';
