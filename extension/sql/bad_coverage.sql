-- Every function that somebody may call by name has its test with bad
-- arguments: one that no bad_*.sql names is printed here.
\getenv inputdir PG_ABS_SRCDIR
\setenv BAD_TESTS :inputdir
\set tests `cat "$BAD_TESTS"/sql/bad_*.sql`
SELECT p.oid::regprocedure AS not_tested FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
	WHERE n.nspname IN ('unidesk', 'unidesk_bridge')
	AND :'tests' !~ format('%s\.%s\(|''%s''', n.nspname, p.proname, p.proname)
	ORDER BY p.oid::regprocedure::text COLLATE "C";
