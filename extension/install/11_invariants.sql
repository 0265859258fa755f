-- What has to hold, as views and functions that return a row for every
-- violation, and the function that asks all of them.  docs/operations.md says
-- what to do with a row.
--
-- The name makes the code, and the COMMENT is the rule:
--
--	invariant_CODE	holds in every snapshot
--	settles_CODE	holds once the worker has caught up: it is reported when it
--					is still broken after several of the worker's passes
--	_history_CODE	holds in every snapshot, over the history of the tasks from
--					an id on; 12_history.sql
--
-- States are numbers here as in the rows: tasks 1 held, 2 blocked, 3 queued,
-- 4 active, from 5 succeeded on ended; attempts 1 assigned, 2 accepted,
-- 3 preparing, 4 running, 5 finishing, 6 stopping, from 7 succeeded on ended.

CREATE FUNCTION unidesk._now() RETURNS timestamptz
	LANGUAGE C STABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'unidesk_sql_now';
COMMENT ON FUNCTION unidesk._now() IS 'The time that all rules go by: the server''s clock, in tests the mock clock.';

CREATE FUNCTION unidesk._last_contact(node integer) RETURNS timestamptz
	LANGUAGE C VOLATILE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'unidesk_sql_last_contact';
COMMENT ON FUNCTION unidesk._last_contact(integer) IS 'From when a node''s silence counts: its last beat, or the background worker''s start if that was later.';

CREATE FUNCTION unidesk._wait_passes(passes integer, timeout_ms integer) RETURNS boolean
	LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'unidesk_sql_wait_passes';
COMMENT ON FUNCTION unidesk._wait_passes(integer, integer) IS 'Wait until the background worker has made so many passes; false when it has not in time.';

CREATE FUNCTION unidesk._attempt_walk_allowed(from_state smallint, steps bytea, to_state smallint, by_whom smallint) RETURNS boolean
	LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'unidesk_attempt_walk_allowed';
COMMENT ON FUNCTION unidesk._attempt_walk_allowed(smallint, bytea, smallint, smallint) IS
	'Is every step of a stored event in the attempt''s machine? No steps: from one state into the other. by_whom: bits 1 agent, 2 worker, 4 person.';

CREATE FUNCTION unidesk_data._node_name(for_node integer) RETURNS text
	LANGUAGE sql STABLE STRICT PARALLEL SAFE SET search_path = pg_catalog, pg_temp
	AS $$ SELECT coalesce((SELECT n.name FROM unidesk_data.node n WHERE n.id = for_node), '#' || for_node) $$;
COMMENT ON FUNCTION unidesk_data._node_name(integer) IS 'A node''s name, or # and the id that no node has.';

CREATE FUNCTION unidesk_data._long_ago(since timestamptz, wait interval) RETURNS boolean
	LANGUAGE sql STABLE PARALLEL SAFE RETURN since + wait + interval '60 s' < unidesk._now();
COMMENT ON FUNCTION unidesk_data._long_ago(timestamptz, interval) IS
	'Was something due so long ago that it should have been done? The worker looks every second; a minute forgives a loaded machine.';

-- ---- numbers that are given once ----

CREATE VIEW unidesk_data.invariant_incarnation AS
	SELECT NULL::bigint AS task, NULL::integer AS attempt, NULL::text AS node, format('incarnation has %s rows', count(*)) AS detail
	FROM unidesk_data.incarnation HAVING count(*) <> 1;
COMMENT ON VIEW unidesk_data.invariant_incarnation IS 'The database has exactly one incarnation: without it no attempt can be told from those of another life.';

CREATE VIEW unidesk_data.invariant_sequence AS
	SELECT NULL::bigint AS task, NULL::integer AS attempt, NULL::text AS node, format('%s %s was given, but its sequence is at %s', x.what, x.used, x.given) AS detail
	FROM (
		SELECT 'order', (SELECT max(order_no) FROM unidesk_data.live), (SELECT last_value FROM unidesk_data.order_no)
		UNION ALL SELECT 'session', (SELECT max(session) FROM unidesk_data.node), (SELECT last_value FROM unidesk_data.session)
		UNION ALL SELECT 'task', (SELECT max(id) FROM unidesk_data.task), (SELECT last_value FROM unidesk_data.task_id)
	) AS x (what, used, given) WHERE x.used > x.given;
COMMENT ON VIEW unidesk_data.invariant_sequence IS 'No order, session or task has a number above its sequence: the next one would be given twice.';

CREATE VIEW unidesk_data.invariant_order_number AS
	SELECT min(l.task_id) AS task, NULL::integer AS attempt, NULL::text AS node, format('order %s stands in %s rows', l.order_no, count(*)) AS detail
	FROM unidesk_data.live l WHERE l.order_no IS NOT NULL GROUP BY l.order_no HAVING count(*) > 1;
COMMENT ON VIEW unidesk_data.invariant_order_number IS 'An order has a number of its own: "greater than my cursor" would miss the second.';

CREATE VIEW unidesk_data.invariant_session_number AS
	SELECT NULL::bigint AS task, NULL::integer AS attempt, min(n.name) AS node, format('session %s is that of %s nodes', n.session, count(*)) AS detail
	FROM unidesk_data.node n WHERE n.session IS NOT NULL GROUP BY n.session HAVING count(*) > 1;
COMMENT ON VIEW unidesk_data.invariant_session_number IS 'A session belongs to one node.';

CREATE VIEW unidesk_data.invariant_bridge AS
	SELECT NULL::bigint AS task, NULL::integer AS attempt, NULL::text AS node, format('bridge "%s" has %s instances that are not over', b.name, count(*)) AS detail
	FROM unidesk_data.bridge b WHERE b.ended_at IS NULL GROUP BY b.name HAVING count(*) > 1;
COMMENT ON VIEW unidesk_data.invariant_bridge IS 'A bridge has one living instance: registering ends older ones of its name.';

-- ---- rows of live ----

CREATE VIEW unidesk_data.invariant_live_task AS
	SELECT l.task_id AS task, l.attempt, unidesk_data._node_name(l.node_id) AS node,
		CASE WHEN t.id IS NULL THEN 'it is live, but no such task was submitted'
			WHEN t.state IS NOT NULL THEN format('it is live, but ended as %s', unidesk._task_state_name(t.state))
			ELSE 'its project or owner is not that of its task' END AS detail
	FROM unidesk_data.live l LEFT JOIN unidesk_data.task t ON t.id = l.task_id
	WHERE t.id IS NULL OR t.state IS NOT NULL OR t.project_id <> l.project_id OR t.owner_id <> l.owner_id;
COMMENT ON VIEW unidesk_data.invariant_live_task IS 'A live task was submitted and has not ended.';

CREATE VIEW unidesk_data.invariant_live_columns AS
	SELECT l.task_id AS task, l.attempt, unidesk_data._node_name(l.node_id) AS node, w.wrong AS detail
	FROM unidesk_data.live l CROSS JOIN LATERAL (SELECT concat_ws('; ',
		CASE WHEN l.seq < 1 OR l.attempt < 0 THEN 'it counts below zero' END,
		CASE WHEN l.state <> 4 AND num_nonnulls(l.incarnation, l.node_id, l.session, l.gpu_mask, l.placed_at, l.started_at, l.order_no,
				l.attempt_state, l.phase, l.want, l.want_final, l.want_reason, l.left_on, l.left_at) > 0 THEN 'it is not active, but has something of an attempt' END,
		CASE WHEN l.state = 4 AND (num_nulls(l.incarnation, l.session, l.gpu_mask, l.placed_at, l.want) > 0 OR l.attempt = 0)
			THEN 'it is active, but its attempt lacks something' END,
		CASE WHEN l.attempt_state NOT BETWEEN 1 AND 6 THEN 'its attempt is in no living state' END,
		CASE WHEN (l.attempt_state <= 3 AND l.started_at IS NOT NULL) OR (l.attempt_state IN (4, 5) AND l.started_at IS NULL)
			THEN 'its start and its state do not agree' END,
		CASE WHEN l.want NOT IN (1, 2) OR (l.want = 2) <> (l.attempt_state = 6) OR (l.want = 2) <> (l.want_reason IS NOT NULL)
				OR (l.want = 2) <> (l.want_final IS NOT NULL) OR l.want_final NOT IN (9, 10, 11, 13)
			THEN 'what is wanted of it and its state do not agree' END,
		CASE WHEN (l.left_on IS NULL) <> (l.left_at IS NULL) THEN 'where and when it was left do not agree' END,
		CASE WHEN bit_count(l.gpu_mask::bit(64)) <> l.gpus THEN 'it does not have as many GPUs as it asked for' END
	) AS wrong) w
	WHERE w.wrong <> '';
COMMENT ON VIEW unidesk_data.invariant_live_columns IS 'A live task has an attempt''s columns if and only if it is active, and they agree with each other.';

CREATE VIEW unidesk_data.invariant_live_retries AS
	SELECT l.task_id AS task, l.attempt, NULL::text AS node,
		format('%s of %s retries of its own, %s of %s of infrastructure, %s of %s restarts, in %s attempts that ended', l.user_failures, l.max_retries,
			l.infra_failures, current_setting('unidesk.infra_retries'), coalesce(l.restarts, 0), current_setting('unidesk.checkpoint_restarts'),
			l.attempt - (l.state = 4)::integer) AS detail
	FROM unidesk_data.live l
	WHERE l.user_failures NOT BETWEEN 0 AND l.max_retries OR l.infra_failures NOT BETWEEN 0 AND current_setting('unidesk.infra_retries')::integer
		OR coalesce(l.restarts, 0) NOT BETWEEN 0 AND current_setting('unidesk.checkpoint_restarts')::integer
		OR l.user_failures + l.infra_failures + coalesce(l.restarts, 0) > l.attempt - (l.state = 4)::integer;
COMMENT ON VIEW unidesk_data.invariant_live_retries IS
	'Retries and restarts are at most what is allowed, and each was an attempt. After unidesk.infra_retries or unidesk.checkpoint_restarts was lowered, tasks that had more are shown until they end.';

CREATE VIEW unidesk_data.invariant_checkpoint AS
	SELECT l.task_id AS task, l.attempt, unidesk_data._node_name(l.checkpoint_node) AS node,
		CASE WHEN n.id IS NULL THEN 'the node with its checkpoint does not exist' ELSE 'it runs elsewhere than where its checkpoint is' END AS detail
	FROM unidesk_data.live l LEFT JOIN unidesk_data.node n ON n.id = l.checkpoint_node
	WHERE l.checkpoint_node IS NOT NULL AND (n.id IS NULL OR l.node_id <> l.checkpoint_node);
COMMENT ON VIEW unidesk_data.invariant_checkpoint IS 'A task with a checkpoint runs on the node that has it, or nowhere.';

CREATE VIEW unidesk_data.invariant_live_node AS
	SELECT l.task_id AS task, l.attempt, unidesk_data._node_name(l.node_id) AS node,
		CASE WHEN n.id IS NULL THEN 'its node does not exist' ELSE format('its session %s is newer than its node''s', l.session) END AS detail
	FROM unidesk_data.live l LEFT JOIN unidesk_data.node n ON n.id = l.node_id
	WHERE l.node_id IS NOT NULL AND (n.id IS NULL OR l.session > n.session);
COMMENT ON VIEW unidesk_data.invariant_live_node IS 'An attempt was placed on a node that exists, in its present session or an earlier one.';

-- ---- nodes and what is allocated on them ----

CREATE VIEW unidesk_data.invariant_node_columns AS
	SELECT NULL::bigint AS task, NULL::integer AS attempt, n.name AS node, w.wrong AS detail
	FROM unidesk_data.node n CROSS JOIN LATERAL (SELECT concat_ws('; ',
		CASE WHEN (n.session IS NULL) <> (n.bridge_id IS NULL) THEN 'it has a session without a bridge, or a bridge without a session' END,
		CASE WHEN n.session IS NOT NULL AND n.status NOT IN (2, 3, 4) THEN format('it has a session and is %s', unidesk._node_status_name(n.status)) END,
		CASE WHEN n.reconciled AND n.session IS NULL THEN 'it is reconciled without a session' END,
		CASE WHEN n.status IN (2, 3, 4) AND NOT EXISTS (SELECT FROM unidesk_data.node_use u WHERE u.node_id = n.id) THEN 'nothing was granted on it' END
	) AS wrong) w
	WHERE w.wrong <> '';
COMMENT ON VIEW unidesk_data.invariant_node_columns IS 'A node with a session has a bridge and has said hello; one that has said hello has its grant.';

CREATE VIEW unidesk_data.invariant_node_told AS
	SELECT NULL::bigint AS task, NULL::integer AS attempt, n.name AS node,
		format('it is %s since %s, and no event says so', unidesk._node_status_name(n.status), n.status_since) AS detail
	FROM unidesk_data.node n
	WHERE n.status <> 1 AND n.status_since > unidesk._now() - make_interval(days => current_setting('unidesk.event_keep')::integer - 1)
		AND NOT EXISTS (SELECT FROM unidesk_data.node_event e WHERE e.node_id = n.id
		AND e.what = unidesk._node_status_name(n.status) AND e.at BETWEEN n.status_since AND n.status_since + interval '60 s');
COMMENT ON VIEW unidesk_data.invariant_node_told IS 'A node''s status was told by an event when it changed, as long as events are kept.';

CREATE VIEW unidesk_data.invariant_oversubscribed AS
	SELECT NULL::bigint AS task, NULL::integer AS attempt, unidesk_data._node_name(a.node_id) AS node,
		format('attempts have %s mCPU, %s B, %s GPUs; counted as used are %s, %s, %s', a.cpus, a.memory, a.gpus,
			u.used_cpus_milli, u.used_memory, u.used_gpus) AS detail
	FROM unidesk_data.allocated a LEFT JOIN unidesk_data.node_use u ON u.node_id = a.node_id
	WHERE u.node_id IS NULL OR a.cpus > u.used_cpus_milli OR a.memory > u.used_memory OR a.gpus > u.used_gpus;
COMMENT ON VIEW unidesk_data.invariant_oversubscribed IS
	'What live and held attempts have on a node is counted as used, and so, by the CHECKs of node_use, at most what is granted.';

CREATE VIEW unidesk_data.invariant_gpu_shared AS
	SELECT NULL::bigint AS task, NULL::integer AS attempt, unidesk_data._node_name(a.node_id) AS node,
		format('tasks %s have GPUs in common', string_agg(a.task_id::text, ', ' ORDER BY a.task_id)) AS detail
	FROM unidesk_data.allocation a WHERE a.gpu_mask <> 0
	GROUP BY a.node_id HAVING sum(bit_count(a.gpu_mask::bit(64))) <> bit_count(bit_or(a.gpu_mask)::bit(64));
COMMENT ON VIEW unidesk_data.invariant_gpu_shared IS 'A GPU is given to one attempt at a time, held ones included.';

CREATE VIEW unidesk_data.invariant_gpu_exists AS
	SELECT a.task_id AS task, a.attempt, unidesk_data._node_name(a.node_id) AS node, 'it has a GPU that its node does not have' AS detail
	FROM unidesk_data.allocation a
	LEFT JOIN (SELECT g.node_id, bit_or(1::bigint << g.index) AS mask FROM unidesk_data.gpu g GROUP BY g.node_id) p ON p.node_id = a.node_id
	WHERE a.gpu_mask & ~coalesce(p.mask, 0) <> 0;
COMMENT ON VIEW unidesk_data.invariant_gpu_exists IS 'A GPU that an attempt has stays in the list of its node''s.';

CREATE VIEW unidesk_data.invariant_held AS
	SELECT h.task_id AS task, h.attempt, unidesk_data._node_name(h.node_id) AS node, w.wrong AS detail
	FROM unidesk_data.held h CROSS JOIN LATERAL (SELECT concat_ws('; ',
		CASE WHEN NOT EXISTS (SELECT FROM unidesk_data.node n WHERE n.id = h.node_id) THEN 'its node does not exist' END,
		CASE WHEN EXISTS (SELECT FROM unidesk_data.live l WHERE l.task_id = h.task_id AND l.attempt = h.attempt
			AND l.incarnation = h.incarnation) THEN 'it is held, but lives' END,
		-- Of another incarnation only the node knows.
		CASE WHEN NOT EXISTS (SELECT FROM unidesk_data.attempt a WHERE a.task_id = h.task_id AND a.attempt = h.attempt
				AND a.incarnation = h.incarnation AND a.node_id = h.node_id)
			AND h.incarnation = (SELECT value FROM unidesk_data.incarnation)
			THEN 'it is held, but no such attempt ended on its node' END,
		CASE WHEN bit_count(h.gpu_mask::bit(64)) <> h.gpus THEN 'its GPUs and their number do not agree' END
	) AS wrong) w
	WHERE w.wrong <> '';
COMMENT ON VIEW unidesk_data.invariant_held IS 'What is held belongs to an attempt that ended on that node, or comes from another incarnation.';

CREATE VIEW unidesk_data.invariant_worker_memory AS
	SELECT NULL::bigint AS task, NULL::integer AS attempt, NULL::text AS node,
		format('%s times since the server''s start', unidesk._memory_differences()) AS detail
	WHERE unidesk._memory_differences() > 0;
COMMENT ON VIEW unidesk_data.invariant_worker_memory IS 'What the background worker remembers was never found to differ from the rows; only with unidesk.verify_memory does it look.';

CREATE VIEW unidesk_data.settles_node_use AS
	SELECT NULL::bigint AS task, NULL::integer AS attempt, unidesk_data._node_name(u.node_id) AS node,
		format('counted as used are %s mCPU, %s B, %s GPUs; attempts have %s, %s, %s', u.used_cpus_milli, u.used_memory, u.used_gpus,
			coalesce(a.cpus, 0), coalesce(a.memory, 0), coalesce(a.gpus, 0)) AS detail
	FROM unidesk_data.node_use u LEFT JOIN unidesk_data.allocated a ON a.node_id = u.node_id
	WHERE u.used_cpus_milli <> coalesce(a.cpus, 0) OR u.used_memory <> coalesce(a.memory, 0) OR u.used_gpus <> coalesce(a.gpus, 0);
COMMENT ON VIEW unidesk_data.settles_node_use IS 'What is counted as used on a node is the sum of its live and held attempts: nothing leaks.';

CREATE VIEW unidesk_data.settles_gpu_holder AS
	SELECT g.holder_task AS task, g.holder_attempt AS attempt, unidesk_data._node_name(g.node_id) AS node,
		format('GPU %s is that of task %s, attempt %s', g.index, coalesce(a.task_id::text, '-'), coalesce(a.attempt::text, '-')) AS detail
	FROM unidesk_data.gpu g
	LEFT JOIN unidesk_data.allocation a ON a.node_id = g.node_id AND a.gpu_mask <> 0 AND (a.gpu_mask >> g.index) & 1 = 1
	WHERE g.holder_task IS DISTINCT FROM a.task_id OR g.holder_attempt IS DISTINCT FROM a.attempt;
COMMENT ON VIEW unidesk_data.settles_gpu_holder IS 'The holder of each GPU is the attempt that was given it.';

-- ---- what time brings about ----

CREATE FUNCTION unidesk_data._bridge_behind() RETURNS boolean
	LANGUAGE sql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
	AS $$ SELECT EXISTS (SELECT FROM unidesk_data.bridge b WHERE b.ended_at IS NULL
		AND b.queue_age_ms > extract(epoch FROM current_setting('unidesk.bridge_behind_after')::interval) * 1000) $$;
COMMENT ON FUNCTION unidesk_data._bridge_behind() IS 'Do messages wait in a bridge for so long that no node''s silence counts?';

CREATE VIEW unidesk_data.settles_bridge_silent AS
	SELECT NULL::bigint AS task, NULL::integer AS attempt, NULL::text AS node, format('bridge %s, "%s", is silent since %s and not over', b.id, b.name, b.last_beat) AS detail
	FROM unidesk_data.bridge b
	WHERE b.ended_at IS NULL AND unidesk_data._long_ago(greatest(b.last_beat, unidesk._last_contact(0)), current_setting('unidesk.bridge_silent_after')::interval);
COMMENT ON VIEW unidesk_data.settles_bridge_silent IS 'A bridge that is silent for unidesk.bridge_silent_after is over.';

CREATE VIEW unidesk_data.settles_session_bridge AS
	SELECT NULL::bigint AS task, NULL::integer AS attempt, n.name AS node, format('its session is on bridge %s, which is over', n.bridge_id) AS detail
	FROM unidesk_data.node n LEFT JOIN unidesk_data.bridge b ON b.id = n.bridge_id AND b.ended_at IS NULL
	WHERE n.bridge_id IS NOT NULL AND b.id IS NULL;
COMMENT ON VIEW unidesk_data.settles_session_bridge IS 'A session ends with its bridge.';

CREATE VIEW unidesk_data.settles_node_silent AS
	SELECT NULL::bigint AS task, NULL::integer AS attempt, n.name AS node,
		format('it is %s, but silent since %s', unidesk._node_status_name(n.status), unidesk._last_contact(n.id)) AS detail
	FROM unidesk_data.node n
	WHERE n.status IN (2, 4) AND unidesk_data._long_ago(unidesk._last_contact(n.id), current_setting('unidesk.offline_after')::interval)
		AND NOT unidesk_data._bridge_behind();
COMMENT ON VIEW unidesk_data.settles_node_silent IS 'A node that is silent for unidesk.offline_after is offline, unless a bridge is behind.';

CREATE VIEW unidesk_data.settles_node_heard AS
	SELECT NULL::bigint AS task, NULL::integer AS attempt, n.name AS node,
		format('it is offline since %s, but was heard after that', n.status_since) AS detail
	FROM unidesk_data.node n
	WHERE n.status = 3 AND n.session IS NOT NULL AND unidesk._last_seen(n.id) > n.status_since + interval '60 s';
COMMENT ON VIEW unidesk_data.settles_node_heard IS 'A node that beats again is asked for its inventory, and is online with its answer.';

CREATE VIEW unidesk_data.settles_lease AS
	SELECT l.task_id AS task, l.attempt, n.name AS node, format('its node is silent since %s, its lease is %s s', unidesk._last_contact(n.id), l.lease_s) AS detail
	FROM unidesk_data.live l JOIN unidesk_data.node n ON n.id = l.node_id
	LEFT JOIN unidesk_data.downtime d ON d.node_id = n.id
	WHERE n.status = 3 AND l.left_at IS NULL AND l.lease_s IS NOT NULL
		AND unidesk_data._long_ago(unidesk._last_contact(n.id), make_interval(secs => l.lease_s + coalesce(d.extra_s, 0)))
		AND NOT unidesk_data._bridge_behind();
COMMENT ON VIEW unidesk_data.settles_lease IS 'An attempt on an offline node is lost when its lease is over, unless a bridge is behind.';

CREATE VIEW unidesk_data.settles_left AS
	SELECT l.task_id AS task, l.attempt, unidesk_data._node_name(l.node_id) AS node, format('its machine was replaced and last heard at %s, its lease is %s s', l.left_at, coalesce(l.lease_s::text, 'endless')) AS detail
	FROM unidesk_data.live l
	WHERE unidesk_data._long_ago(l.left_at, coalesce(make_interval(secs => l.lease_s), current_setting('unidesk.left_limit')::interval));
COMMENT ON VIEW unidesk_data.settles_left IS 'An attempt on a machine that another one replaced is lost when its lease is over, without a lease after unidesk.left_limit.';

CREATE VIEW unidesk_data.settles_order AS
	SELECT l.task_id AS task, l.attempt, unidesk_data._node_name(l.node_id) AS node, 'its order has no number, so no bridge sends it' AS detail
	FROM unidesk_data.live l WHERE l.state = 4 AND l.order_no IS NULL AND unidesk_data._long_ago(l.state_at, '0');
COMMENT ON VIEW unidesk_data.settles_order IS 'Every assignment and every stop gets its order number.';

CREATE VIEW unidesk_data.settles_unanswered AS
	SELECT l.task_id AS task, l.attempt, n.name AS node, format('assigned at %s, neither answered nor withdrawn', l.placed_at) AS detail
	FROM unidesk_data.live l JOIN unidesk_data.node n ON n.id = l.node_id
	WHERE l.attempt_state = 1 AND l.want = 1 AND n.status <> 3 AND l.left_at IS NULL
		AND unidesk_data._long_ago(l.placed_at, current_setting('unidesk.withdraw_after')::interval);
COMMENT ON VIEW unidesk_data.settles_unanswered IS 'An assignment that is not answered for unidesk.withdraw_after is withdrawn.';

CREATE VIEW unidesk_data.settles_prepare_limit AS
	SELECT l.task_id AS task, l.attempt, n.name AS node, format('placed at %s, it may prepare for %s s', l.placed_at, l.prepare_s) AS detail
	FROM unidesk_data.live l JOIN unidesk_data.node n ON n.id = l.node_id
	WHERE l.attempt_state IN (2, 3) AND l.want = 1 AND n.status <> 3 AND l.left_at IS NULL AND l.prepare_s > 0
		AND unidesk_data._long_ago(l.placed_at, make_interval(secs => l.prepare_s));
COMMENT ON VIEW unidesk_data.settles_prepare_limit IS 'An attempt that prepares for longer than it may is stopped.';

CREATE VIEW unidesk_data.settles_prepare_unbounded AS
	SELECT l.task_id AS task, l.attempt, n.name AS node, format('placed at %s, it still prepares', l.placed_at) AS detail
	FROM unidesk_data.live l JOIN unidesk_data.node n ON n.id = l.node_id
	WHERE l.attempt_state IN (2, 3) AND l.want = 1 AND n.status <> 3 AND coalesce(l.prepare_s, 0) = 0
		AND unidesk_data._long_ago(l.placed_at, current_setting('unidesk.prepare_limit')::interval);
COMMENT ON VIEW unidesk_data.settles_prepare_unbounded IS 'An attempt without a limit of its own prepares for at most unidesk.prepare_limit.';

CREATE VIEW unidesk_data.settles_finishing AS
	SELECT l.task_id AS task, l.attempt, n.name AS node, format('its program ended at %s, its output is not stored', l.state_at) AS detail
	FROM unidesk_data.live l JOIN unidesk_data.node n ON n.id = l.node_id
	WHERE l.attempt_state = 5 AND n.status <> 3 AND unidesk_data._long_ago(l.state_at, current_setting('unidesk.output_limit')::interval);
COMMENT ON VIEW unidesk_data.settles_finishing IS 'An attempt is finishing for at most unidesk.output_limit.';

CREATE VIEW unidesk_data.settles_run_limit AS
	SELECT l.task_id AS task, l.attempt, n.name AS node, format('started at %s, it may run for %s s', l.started_at, l.run_s) AS detail
	FROM unidesk_data.live l JOIN unidesk_data.node n ON n.id = l.node_id
	WHERE l.attempt_state = 4 AND l.want = 1 AND n.status <> 3 AND l.left_at IS NULL AND l.run_s > 0
		AND unidesk_data._long_ago(l.started_at, make_interval(secs => l.run_s::float8 + l.grace_s + 30));
COMMENT ON VIEW unidesk_data.settles_run_limit IS 'An attempt that runs for longer than it may, its grace and 30 s is stopped.';

CREATE VIEW unidesk_data.settles_stopping AS
	SELECT l.task_id AS task, l.attempt, n.name AS node, format('asked to stop at %s, not confirmed', l.state_at) AS detail
	FROM unidesk_data.live l JOIN unidesk_data.node n ON n.id = l.node_id
	WHERE l.attempt_state = 6 AND n.status <> 3 AND l.left_at IS NULL
		AND unidesk_data._long_ago(l.state_at, make_interval(secs => l.grace_s) + current_setting('unidesk.stop_limit')::interval);
COMMENT ON VIEW unidesk_data.settles_stopping IS 'A stop is confirmed within the attempt''s grace and unidesk.stop_limit, or over without.';

CREATE VIEW unidesk_data.settles_queue_limit AS
	SELECT l.task_id AS task, l.attempt, NULL::text AS node, format('queued at %s, it may wait for %s s', l.queued_at, l.queue_s) AS detail
	FROM unidesk_data.live l
	WHERE l.state = 3 AND l.queue_s > 0 AND unidesk_data._long_ago(l.queued_at, make_interval(secs => l.queue_s));
COMMENT ON VIEW unidesk_data.settles_queue_limit IS 'A task that waits for longer than its queue_timeout fails.';

CREATE VIEW unidesk_data.settles_total_limit AS
	SELECT l.task_id AS task, l.attempt, unidesk_data._node_name(l.node_id) AS node, format('it may take until %s', l.deadline) AS detail
	FROM unidesk_data.live l
	WHERE (l.state = 3 OR (l.attempt_state <= 4 AND l.want = 1)) AND unidesk_data._long_ago(l.deadline, '0');
COMMENT ON VIEW unidesk_data.settles_total_limit IS 'A task that takes longer than its total_timeout fails, or is stopped.';

CREATE VIEW unidesk_data.settles_held_stays AS
	SELECT h.task_id AS task, h.attempt, n.name AS node, format('held since %s, although its node is there', h.since) AS detail
	FROM unidesk_data.held h JOIN unidesk_data.node n ON n.id = h.node_id
	WHERE n.status = 2 AND n.reconciled AND h.left_on IS NULL AND h.incarnation = (SELECT value FROM unidesk_data.incarnation)
		AND unidesk_data._long_ago(greatest(h.since, n.status_since), '10 min');
COMMENT ON VIEW unidesk_data.settles_held_stays IS 'A node that is online removes what ended attempts left, and is asked for its inventory every minute until it has.';

CREATE VIEW unidesk_data.settles_held_foreign AS
	SELECT h.task_id AS task, h.attempt, n.name AS node, format('of another incarnation, held since %s, although its node is there', h.since) AS detail
	FROM unidesk_data.held h JOIN unidesk_data.node n ON n.id = h.node_id
	WHERE n.status = 2 AND n.reconciled AND h.incarnation <> (SELECT value FROM unidesk_data.incarnation)
		AND unidesk_data._long_ago(greatest(h.since + current_setting('unidesk.foreign_keep')::interval, n.status_since), '10 min');
COMMENT ON VIEW unidesk_data.settles_held_foreign IS 'What is of another incarnation is stopped and removed after unidesk.foreign_keep by a node that is online.';

CREATE VIEW unidesk_data.settles_drain AS
	SELECT l.task_id AS task, l.attempt, n.name AS node,
		CASE WHEN n.scheduling = 5 THEN 'its node is drained'
			ELSE format('its node drains since %s, deadline %s, and it was not stopped', n.scheduling_since, coalesce(n.drain_deadline::text, 'none')) END AS detail
	FROM unidesk_data.live l JOIN unidesk_data.node n ON n.id = l.node_id
	WHERE n.scheduling = 5 OR (n.scheduling = 4 AND l.want = 1 AND l.attempt_state <> 5
		AND unidesk_data._long_ago(CASE l.attempt_state WHEN 1 THEN greatest(n.scheduling_since, l.placed_at) ELSE n.drain_deadline END, '0'))
	UNION ALL
	SELECT NULL, NULL, n.name, format('it drains since %s, and nothing is on it', n.scheduling_since)
	FROM unidesk_data.node n
	WHERE n.scheduling = 4 AND unidesk_data._long_ago(n.scheduling_since, '0')
		AND NOT EXISTS (SELECT FROM unidesk_data.live l WHERE l.node_id = n.id) AND NOT EXISTS (SELECT FROM unidesk_data.held h WHERE h.node_id = n.id);
COMMENT ON VIEW unidesk_data.settles_drain IS
	'On a node that drains no assignment waits, and nothing runs on after the deadline without being asked to stop; with nothing on it, it is drained, and stays empty.';

-- ---- partitions ----

CREATE VIEW unidesk_data.invariant_partition_default AS
	SELECT NULL::bigint AS task, NULL::integer AS attempt, NULL::text AS node, format('%s has rows', x.name) AS detail
	FROM (
		SELECT 'task_default', EXISTS (SELECT FROM unidesk_data.task_default)
		UNION ALL SELECT 'attempt_default', EXISTS (SELECT FROM unidesk_data.attempt_default WHERE ended_at < unidesk._now() - interval '1 hour')
		UNION ALL SELECT 'task_event_default', EXISTS (SELECT FROM unidesk_data.task_event_default WHERE at < unidesk._now() - interval '1 hour')
		UNION ALL SELECT 'log_block_default', EXISTS (SELECT FROM unidesk_data.log_block_default WHERE at < unidesk._now() - interval '1 hour')
	) AS x (name, has_rows) WHERE x.has_rows;
COMMENT ON VIEW unidesk_data.invariant_partition_default IS
	'No row stays in a default partition: the keeper makes partitions ahead of time, and moves what came before them within an hour.';

-- Asks the catalog only: the keeper could not make a partition while a query
-- on its parent waits for it.
CREATE VIEW unidesk_data.settles_partition_ahead AS
	SELECT NULL::bigint AS task, NULL::integer AS attempt, NULL::text AS node, format('%s does not exist', x.name) AS detail
	FROM (
		SELECT to_char(unidesk._now() AT TIME ZONE 'UTC' + interval '1 day', '"task_event_"YYYYMMDD')
		UNION ALL SELECT to_char(unidesk._now() AT TIME ZONE 'UTC' + make_interval(days => current_setting('unidesk.log_keep')::integer), '"log_block_"YYYYMMDD')
		UNION ALL SELECT to_char(unidesk._now() AT TIME ZONE 'UTC' + interval '1 day', '"attempt_"YYYYMM')
		UNION ALL SELECT format('task_from_%sm', (last_value / 2000000 + 1) * 2) FROM unidesk_data.task_id
	) AS x (name) WHERE to_regclass(format('unidesk_data.%I', x.name)) IS NULL;
COMMENT ON VIEW unidesk_data.settles_partition_ahead IS 'Partitions for tomorrow, and for the next two million tasks, exist.';
