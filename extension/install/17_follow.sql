-- Following logs.

CREATE FUNCTION unidesk.task_log_follow(task bigint, "offset" bigint DEFAULT 0, attempt integer DEFAULT NULL, timeout interval DEFAULT '60 s')
	RETURNS TABLE (attempt integer, stream text, "offset" bigint, bytes bytea)
	LANGUAGE C VOLATILE SECURITY DEFINER PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
	AS 'MODULE_PATHNAME', 'unidesk_task_log_follow';
COMMENT ON FUNCTION unidesk.task_log_follow(bigint, bigint, integer, interval) IS
	'The log of an attempt (NULL: the newest) from an offset on, at most 1 MB at once, as task_log gives it; the next call goes on where the last row ends. When there is nothing yet it waits: at most timeout (60 s per call, then no rows), or until the attempt has ended: one row with stream end and the offset where the log ends. The attempt after the newest is waited for too, and ends at once when the task has ended without it.';
