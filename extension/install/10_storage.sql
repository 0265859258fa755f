-- Room: partitions, retention, and what takes how much.  The keeper calls the
-- functions here, each step in a transaction of its own.

-- Partitions are made here and never by the install script: what a script
-- makes is not dumped as a table, and a restore on another day would collide.
CREATE FUNCTION unidesk_data._make_partition(parent text, suffix text, from_value text, to_value text, key text, in_use boolean) RETURNS void
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	name text := parent || '_' || suffix;
BEGIN
	IF to_regclass(format('unidesk_data.%I', name)) IS NOT NULL THEN
		RETURN;
	END IF;
	IF in_use THEN
		-- Rows of its range are being written: an insert that has chosen the
		-- default partition already would fail once this one is attached.
		EXECUTE format('LOCK TABLE unidesk_data.%I IN ACCESS EXCLUSIVE MODE', parent);
	END IF;
	EXECUTE format('CREATE TABLE unidesk_data.%I (LIKE unidesk_data.%I INCLUDING ALL EXCLUDING COMMENTS)%s', name, parent || '_default',
		CASE parent WHEN 'task' THEN ' WITH (fillfactor = 40)' ELSE '' END);
	-- Rows that came before their partition wait in the default one.
	EXECUTE format('WITH moved AS (DELETE FROM unidesk_data.%I WHERE %I >= %L AND %I < %L RETURNING *) INSERT INTO unidesk_data.%I SELECT * FROM moved',
		parent || '_default', key, from_value, key, to_value, name);
	EXECUTE format('ALTER TABLE unidesk_data.%I ATTACH PARTITION unidesk_data.%I FOR VALUES FROM (%L) TO (%L)', parent, name, from_value, to_value);
	EXECUTE format('COMMENT ON TABLE unidesk_data.%I IS %L', name, format('Partition of %s: from %s to %s.', parent, from_value, to_value));
END
$$;
COMMENT ON FUNCTION unidesk_data._make_partition(text, text, text, text, text, boolean) IS 'Make one range partition unless it exists, and move rows of its range out of the default partition. in_use: rows of its range are written now.';

CREATE FUNCTION unidesk_data._keep_live(partition text, to_day date) RETURNS void
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	EXECUTE format('UPDATE unidesk_data.log_block b SET expires = %L WHERE b.tableoid = %L::regclass AND EXISTS'
		' (SELECT FROM unidesk_data.live l WHERE l.task_id = b.task_id)', to_day, 'unidesk_data.' || partition);
END
$$;
COMMENT ON FUNCTION unidesk_data._keep_live(text, date) IS 'Move the logs of live tasks out of a partition that is to go.';

CREATE FUNCTION unidesk_data._note_removed(projects integer[], until timestamptz[]) RETURNS void
	LANGUAGE sql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp AS $$
	INSERT INTO unidesk_data.retention AS r (project_id, removed_before)
		SELECT p, max(u) FROM unnest(projects, until) AS x (p, u) GROUP BY p
	ON CONFLICT (project_id) DO UPDATE SET removed_before = greatest(r.removed_before, excluded.removed_before)
$$;
COMMENT ON FUNCTION unidesk_data._note_removed(integer[], timestamptz[]) IS 'Remember how far logs of projects are removed, so that readers are told.';

CREATE FUNCTION unidesk_data._drop_logs(partition text, to_day date) RETURNS void
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	projects integer[];
	until timestamptz[];
BEGIN
	EXECUTE format('LOCK TABLE unidesk_data.%I IN ACCESS EXCLUSIVE MODE', partition);
	PERFORM unidesk_data._keep_live(partition, to_day);
	EXECUTE format('SELECT array_agg(project_id), array_agg(until) FROM (SELECT project_id, max(at) AS until FROM unidesk_data.%I GROUP BY project_id) x', partition)
		INTO projects, until;
	PERFORM unidesk_data._note_removed(projects, until);
	-- Chunks that wait to be emptied would count again once their block is gone.
	EXECUTE format('DELETE FROM unidesk_data.log_chunk c USING unidesk_data.%I b WHERE c.task_id = b.task_id AND c.attempt = b.attempt'
		' AND c."offset" >= b."offset" AND c."offset" < b."offset" + b.length', partition);
	EXECUTE format('DROP TABLE unidesk_data.%I', partition);
END
$$;
COMMENT ON FUNCTION unidesk_data._drop_logs(text, date) IS 'Drop a partition of log_block whose day has come; what is left of live tasks moves to another day.';

CREATE FUNCTION unidesk_data._block_bytes(bytes bytea, runs integer[]) RETURNS bigint
	LANGUAGE sql IMMUTABLE PARALLEL SAFE
	RETURN pg_column_size(bytes)::bigint + pg_column_size(runs) + 140;
COMMENT ON FUNCTION unidesk_data._block_bytes(bytea, integer[]) IS 'What a block of log takes on disk, about: its value as it is stored, the rest of the row, its index entries.';

CREATE FUNCTION unidesk_data._remove_logs(of_project integer, excess bigint, before timestamptz, at_once bigint) RETURNS bigint
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	freed bigint;
BEGIN
	WITH logs AS (
		SELECT b.task_id, b.attempt, max(b.at) AS at, sum(unidesk_data._block_bytes(b.bytes, b.runs)) AS size
		FROM unidesk_data.log_block b
		WHERE (of_project IS NULL OR b.project_id = of_project) AND NOT EXISTS (SELECT FROM unidesk_data.live l WHERE l.task_id = b.task_id)
		GROUP BY b.task_id, b.attempt
	), oldest AS (
		SELECT task_id, attempt FROM (
			SELECT task_id, attempt, at, sum(size) OVER (ORDER BY at, task_id, attempt) - size AS older FROM logs WHERE at < before) x
		WHERE older < least(excess, at_once) ORDER BY at, task_id, attempt LIMIT 1000
	), gone AS (
		DELETE FROM unidesk_data.log_block b USING oldest o WHERE b.task_id = o.task_id AND b.attempt = o.attempt
		RETURNING b.task_id, b.attempt, b."offset", b.length, b.project_id, b.at, unidesk_data._block_bytes(b.bytes, b.runs) AS size
	), waiting AS (
		-- Chunks that wait to be emptied would count again once their block is gone.
		DELETE FROM unidesk_data.log_chunk c USING gone g WHERE c.task_id = g.task_id AND c.attempt = g.attempt
			AND c."offset" >= g."offset" AND c."offset" < g."offset" + g.length
	), noted AS (
		SELECT unidesk_data._note_removed(array_agg(g.project_id), array_agg(greatest(g.at, t.ended_at)))
		FROM gone g JOIN unidesk_data.task t ON t.id = g.task_id
	)
	SELECT coalesce(sum(size), 0) INTO freed FROM gone, noted;
	RETURN freed;
END
$$;
COMMENT ON FUNCTION unidesk_data._remove_logs(integer, bigint, timestamptz, bigint) IS
	'Remove the oldest logs of ended tasks, of one project or of all, that were merged before a time, until excess bytes are gone; about at_once in one call, since deleting writes WAL. Returns the bytes removed.';

CREATE FUNCTION unidesk_data._shrink_logs(room bigint) RETURNS void
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	part record;
BEGIN
	-- One at a time: it is locked while it is written anew.
	SELECT i.inhrelid::regclass AS name, c.relname AS index_name INTO part
		FROM pg_inherits i JOIN pg_index x ON x.indrelid = i.inhrelid JOIN pg_class c ON c.oid = x.indexrelid
		LEFT JOIN (SELECT tableoid, sum(unidesk_data._block_bytes(bytes, runs)) AS used FROM unidesk_data.log_block GROUP BY tableoid) b ON b.tableoid = i.inhrelid
		WHERE i.inhparent = 'unidesk_data.log_block'::regclass AND pg_total_relation_size(i.inhrelid) > coalesce(b.used, 0) * 2 + 262144
			-- What fills the volume up also takes the room of WAL.
			AND coalesce(b.used, 0) * 4 <= room
		ORDER BY pg_total_relation_size(i.inhrelid) DESC LIMIT 1;
	IF FOUND THEN
		EXECUTE format('CLUSTER %s USING %I', part.name, part.index_name);
	END IF;
END
$$;
COMMENT ON FUNCTION unidesk_data._shrink_logs(bigint) IS 'Write the partition of log_block anew that has the most to give back, when half of it or more is empty and what is left fits well into the volume''s room.';

CREATE FUNCTION unidesk_data._delete_old(before timestamptz, keys_before timestamptz) RETURNS void
	LANGUAGE sql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp AS $$
	DELETE FROM unidesk_data.node_event WHERE ctid = ANY (ARRAY(SELECT e.ctid FROM unidesk_data.node_event e WHERE e.at < before LIMIT 10000));
	DELETE FROM unidesk_data.idempotency WHERE ctid = ANY (ARRAY(SELECT k.ctid FROM unidesk_data.idempotency k
		WHERE k.created_at < keys_before AND NOT EXISTS (SELECT FROM unidesk_data.live l WHERE l.task_id = k.task_id) LIMIT 10000));
	DELETE FROM unidesk_data.bridge WHERE ctid = ANY (ARRAY(SELECT b.ctid FROM unidesk_data.bridge b
		WHERE b.ended_at < keys_before AND NOT EXISTS (SELECT FROM unidesk_data.node n WHERE n.bridge_id = b.id) LIMIT 10000));
$$;
COMMENT ON FUNCTION unidesk_data._delete_old(timestamptz, timestamptz) IS 'Delete events of nodes that are past their days, and idempotency keys of ended tasks and ended bridges that are past theirs; some at a time.';

CREATE FUNCTION unidesk_data._partitions_to_make(today date, event_days integer, log_days integer,
	OUT parent text, OUT suffix text, OUT from_value text, OUT to_value text, OUT key text, OUT in_use boolean) RETURNS SETOF record
	LANGUAGE sql STABLE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp SET timezone = 'UTC' AS $$
	SELECT * FROM (
		-- Also of rows that came while nobody made partitions.
		SELECT 'task_event', to_char(day, 'YYYYMMDD'), day::date || ' 00:00+00', day::date + 1 || ' 00:00+00', 'at', day::date = today
			FROM (SELECT generate_series(today, today + 2, interval '1 day')::date UNION SELECT e.at::date FROM unidesk_data.task_event_default e) AS d (day)
		UNION ALL
		SELECT DISTINCT 'log_block', to_char(day, 'YYYYMMDD'), day::date::text, (day::date + 1)::text, 'expires', false
			FROM (SELECT generate_series(today + k.days, today + k.days + 2, interval '1 day')::date
				FROM (SELECT log_days UNION SELECT keep_days FROM unidesk_data.retention WHERE keep_days IS NOT NULL) AS k (days)
				UNION SELECT b.expires FROM unidesk_data.log_block_default b) AS d (day)
		UNION ALL
		SELECT 'attempt', to_char(month, 'YYYYMM'), month::date || ' 00:00+00', (month + interval '1 month')::date || ' 00:00+00', 'ended_at', month <= today
			FROM (SELECT generate_series(date_trunc('month', today::timestamp), date_trunc('month', today::timestamp) + interval '1 month', interval '1 month')
				UNION SELECT date_trunc('month', a.ended_at AT TIME ZONE 'UTC') FROM unidesk_data.attempt_default a) AS d (month)
		UNION ALL
		SELECT 'task', 'from_' || (n + 1) * 2 || 'm', ((n + 1) * 2000000)::text, ((n + 2) * 2000000)::text, 'id', false
			FROM (SELECT last_value / 2000000 FROM unidesk_data.task_id) AS x (n)
	) AS p (parent, suffix, from_value, to_value, key, in_use)
	WHERE to_regclass(format('unidesk_data.%I', parent || '_' || suffix)) IS NULL
$$;
COMMENT ON FUNCTION unidesk_data._partitions_to_make(date, integer, integer) IS 'Partitions that are to be there ahead of time, and are not.';

CREATE FUNCTION unidesk_data._partitions_to_drop(today date, event_days integer, OUT parent text, OUT name text) RETURNS SETOF record
	LANGUAGE sql STABLE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp AS $$
	SELECT p.relname, c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid JOIN pg_class p ON p.oid = i.inhparent,
		-- A project that keeps its logs longer keeps its events as long.
		(SELECT today - greatest(event_days, max(keep_days)) FROM unidesk_data.retention) AS e (oldest)
	WHERE p.relnamespace = 'unidesk_data'::regnamespace AND CASE p.relname
		WHEN 'task_event' THEN c.relname ~ '_[0-9]{8}$' AND right(c.relname, 8) < to_char(e.oldest, 'YYYYMMDD')
		WHEN 'attempt' THEN c.relname ~ '_[0-9]{6}$' AND right(c.relname, 6) < to_char(e.oldest, 'YYYYMM')
		WHEN 'log_block' THEN c.relname ~ '_[0-9]{8}$' AND right(c.relname, 8) < to_char(today, 'YYYYMMDD')
		ELSE false END
	ORDER BY c.relname
$$;
COMMENT ON FUNCTION unidesk_data._partitions_to_drop(date, integer) IS 'Partitions whose days are over for every project.';

CREATE FUNCTION unidesk_data._logs_stored() RETURNS TABLE (project_id integer, bytes bigint)
	LANGUAGE sql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
	SELECT b.project_id, sum(unidesk_data._block_bytes(b.bytes, b.runs))::bigint FROM unidesk_data.log_block b GROUP BY b.project_id
$$;
COMMENT ON FUNCTION unidesk_data._logs_stored() IS 'Bytes that the merged logs of each project take on disk.';

CREATE FUNCTION unidesk_data._tidy_steps(at timestamptz, event_days integer, log_days integer, default_bytes bigint, key_days integer, excess bigint, room bigint, at_once bigint) RETURNS SETOF text
	LANGUAGE plpgsql STABLE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp SET timezone = 'UTC' AS $$
DECLARE
	today date := at::date;
BEGIN
	RETURN QUERY SELECT format('SELECT unidesk_data._make_partition(%L, %L, %L, %L, %L, %L)', p.parent, p.suffix, p.from_value, p.to_value, p.key, p.in_use)
		FROM unidesk_data._partitions_to_make(today, event_days, log_days) p;
	RETURN QUERY SELECT CASE p.parent WHEN 'log_block' THEN format('SELECT unidesk_data._drop_logs(%L, %L)', p.name, today + log_days)
		ELSE format('DROP TABLE unidesk_data.%I', p.name) END
		FROM unidesk_data._partitions_to_drop(today, event_days) p;
	RETURN QUERY SELECT format('SELECT unidesk_data._remove_logs(%L, %L, %L, %L)', s.project_id, s.bytes - coalesce(r.log_bytes, default_bytes), at + interval '1 day', at_once)
		FROM unidesk_data._logs_stored() s LEFT JOIN unidesk_data.retention r ON r.project_id = s.project_id
		WHERE s.bytes > coalesce(r.log_bytes, nullif(default_bytes, 0));
	IF excess > 0 THEN
		-- What was written in the last hour is what somebody is about to read.
		RETURN NEXT format('SELECT unidesk_data._remove_logs(NULL, %L, %L, %L)', excess, at - interval '1 hour', at_once);
	END IF;
	RETURN NEXT format('SELECT unidesk_data._shrink_logs(%L)', room);
	RETURN NEXT format('SELECT unidesk_data._delete_old(%L, %L)', at - make_interval(days => event_days), at - make_interval(days => key_days));
END
$$;
COMMENT ON FUNCTION unidesk_data._tidy_steps(timestamptz, integer, integer, bigint, integer, bigint, bigint, bigint) IS
	'The statements of one round of the keeper, in order. excess: bytes by which the volume is too full; room: bytes that are free; at_once: bytes of logs to remove in one step.';

CREATE FUNCTION unidesk._tidy() RETURNS void
	LANGUAGE C VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'unidesk_tidy';
COMMENT ON FUNCTION unidesk._tidy() IS 'Let the keeper make a whole round now - merge logs, make and drop partitions, remove what is past its days - and wait for it.';

CREATE FUNCTION unidesk._volume(OUT used bigint, OUT size bigint, OUT level text) RETURNS record
	LANGUAGE C VOLATILE PARALLEL SAFE AS 'MODULE_PATHNAME', 'unidesk_volume';
COMMENT ON FUNCTION unidesk._volume() IS 'Bytes used and in all of the database''s volume, and the level of its guards, as last measured.';

CREATE FUNCTION unidesk._mock_volume(percent integer) RETURNS void
	LANGUAGE C VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'unidesk_mock_volume';
COMMENT ON FUNCTION unidesk._mock_volume(integer) IS 'Let the volume seem this full; NULL: as it is. Needs unidesk.mock_clock; for tests.';

CREATE FUNCTION unidesk.set_retention(project text, keep interval DEFAULT NULL, log_bytes bigint DEFAULT NULL) RETURNS void
	LANGUAGE plpgsql VOLATILE SECURITY DEFINER PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	target integer;
	days integer;
BEGIN
	IF project IS NULL THEN
		RAISE EXCEPTION 'project is missing'
			USING ERRCODE = 'null_value_not_allowed', HINT = 'For example SELECT unidesk.set_retention(''demo'', ''90 days'', 1000000000).';
	END IF;
	SELECT p.id INTO target FROM unidesk_data.project p
		WHERE p.name = set_retention.project AND (unidesk.is_admin() OR p.id = ANY (unidesk.my_projects()));
	IF target IS NULL THEN
		RAISE EXCEPTION 'project "%" does not exist', unidesk._shown(project)
			USING ERRCODE = 'undefined_object', HINT = 'SELECT name FROM unidesk.projects shows yours.';
	END IF;
	IF NOT unidesk.is_admin() AND NOT EXISTS (SELECT FROM unidesk_data.member m
			WHERE m.project_id = target AND m.account_id = unidesk._caller_account() AND m.role = 'manager') THEN
		RAISE EXCEPTION 'only managers of project "%" set its retention', project
			USING ERRCODE = 'insufficient_privilege', HINT = 'Ask one of its managers.';
	END IF;
	IF keep < interval '1 day' OR keep > interval '36500 days' THEN
		RAISE EXCEPTION 'keep is out of range: %', keep
			USING ERRCODE = 'invalid_parameter_value', HINT = 'Give an interval from 1 day to 36500 days, or NULL for the default of unidesk.log_keep.';
	END IF;
	IF log_bytes < 1048576 THEN
		RAISE EXCEPTION 'log_bytes is out of range: %', log_bytes
			USING ERRCODE = 'invalid_parameter_value', HINT = 'Give at least 1 MB in bytes, for example pg_size_bytes(''500 MB''), or NULL for the default of unidesk.log_keep_size.';
	END IF;
	days := ceil(extract(epoch FROM keep) / 86400);
	INSERT INTO unidesk_data.retention AS r (project_id, keep_days, log_bytes) VALUES (target, days, set_retention.log_bytes)
		ON CONFLICT (project_id) DO UPDATE SET keep_days = excluded.keep_days, log_bytes = excluded.log_bytes;
END
$$;
COMMENT ON FUNCTION unidesk.set_retention(text, interval, bigint) IS
	'Set how long a project''s logs are kept (whole days, for what is written from now on) and how many bytes they may take on disk, compressed; the oldest of ended tasks go first. NULL: the default. Managers and administrators only.';

CREATE VIEW unidesk.retention WITH (security_invoker) AS
	SELECT p.name AS project, make_interval(days => coalesce(r.keep_days, current_setting('unidesk.log_keep')::integer)) AS keep,
		coalesce(r.log_bytes, nullif(pg_size_bytes(current_setting('unidesk.log_keep_size')), 0)) AS log_bytes,
		coalesce((SELECT sum(unidesk_data._block_bytes(b.bytes, b.runs)) FROM unidesk_data.log_block b WHERE b.project_id = p.id), 0)::bigint AS log_bytes_stored, r.removed_before AS logs_removed_before,
		r.keep_days IS NULL AND r.log_bytes IS NULL AS is_default
	FROM unidesk_data.project p LEFT JOIN unidesk_data.retention r ON r.project_id = p.id;
COMMENT ON VIEW unidesk.retention IS
	'How long the logs of your projects are kept and how many bytes they may take (NULL: no limit), what they take now, and up to which end of a task some were removed. unidesk.set_retention changes it.';

CREATE FUNCTION unidesk._table_bytes(of_kind text) RETURNS bigint
	LANGUAGE sql VOLATILE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
	SELECT coalesce(sum(pg_total_relation_size(c.oid)), 0)::bigint FROM pg_class c
	WHERE c.relnamespace = 'unidesk_data'::regnamespace AND c.relkind = 'r' AND of_kind = CASE
		WHEN c.relname ~ '^log_' THEN 'logs'
		WHEN c.relname ~ '^(task_event|node_event)' THEN 'events'
		WHEN c.relname ~ '^(task|spec|attempt|live)' THEN 'tasks'
		ELSE 'other' END
$$;
COMMENT ON FUNCTION unidesk._table_bytes(text) IS 'Bytes of all tables of a kind with their indexes: tasks, events, logs, other.';

CREATE VIEW unidesk.storage WITH (security_invoker) AS
	SELECT v.level, v.used, v.size, round(100.0 * v.used / nullif(v.size, 0), 1) AS percent,
		unidesk._table_bytes('tasks') AS tasks, unidesk._table_bytes('events') AS events,
		unidesk._table_bytes('logs') AS logs, unidesk._table_bytes('other') AS other
	FROM unidesk._volume() v;
COMMENT ON VIEW unidesk.storage IS
	'The database''s volume: level of its guards (fine, warn: old logs go early, no logs: log bytes stay on their nodes, no submits: nothing is taken or placed but results), bytes used and in all, and what the tables of each kind take.';
