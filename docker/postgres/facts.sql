-- What a restore is compared by: one fact a line.  A dump records it in its
-- own snapshot; psql runs it again where the dump was restored.
SET search_path = pg_catalog, pg_temp;
SELECT format('SELECT %L, count(*) FROM %s', 'rows of ' || relname, oid::regclass) FROM pg_class
	WHERE relnamespace = 'unidesk_data'::regnamespace AND relkind IN ('r', 'p') AND NOT relispartition AND relname <> 'incarnation'
	ORDER BY relname \gexec
SELECT 'highest task', coalesce(max(id), 0) FROM unidesk_data.task;
SELECT 'people with a role', count(*) FROM unidesk_data.account a JOIN pg_roles r ON r.rolname = a.role_name;
-- The rules of unidesk.check_invariants that rows alone decide.
SELECT format('SELECT %L, count(*) FROM %s', 'violations of ' || code, replace(source, '$1', '0'))
	FROM unidesk.invariants WHERE checks = 'history' ORDER BY code \gexec
