-- unidesk.allowed_git_hosts: which hosts the repositories of new tasks may lie on.
CREATE FUNCTION test.submit_from(code_url text, env_url text DEFAULT 'https://git.example/env.git') RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	hint text;
BEGIN
	PERFORM unidesk.submit_task('demo', code_url, repeat('a', 40), env_url, repeat('b', 40), 'Dockerfile', ARRAY['true'], labels => '{"site": "nowhere"}');
	RETURN 'fine';
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS hint = PG_EXCEPTION_HINT;
	RETURN format('%s %s [%s]', SQLSTATE, SQLERRM, hint);
END
$$;
SHOW unidesk.allowed_git_hosts;
SELECT test.submit_from(url) FROM (VALUES (1, 'https://anywhere.example:8443/x'), (2, 'https://[::1]:8443/x'), (3, 'https://a:0/x'), (4, 'https://a:65536/x'), (5, 'https://a:/x'),
	(6, 'https://a:8o/x'), (7, 'https://[::1/x'), (8, 'https://::1/x'), (9, 'https://%6c/x'), (10, 'https://-a/x'), (11, E'https://g\u00ed\u0165/x')) AS x (n, url) ORDER BY n;
SELECT count(*) AS before FROM unidesk.tasks \gset
SET unidesk.allowed_git_hosts = 'git.example, lan.example:8080,[fd00::1]:8443';
SELECT test.submit_from(url) FROM (VALUES (1, 'https://git.example/x'), (2, 'https://GIT.Example:443/x'), (3, 'http://lan.example:8080/x'), (4, 'https://[FD00::1]:8443/x'),
	(5, 'https://git.example:444/x'), (6, 'http://git.example/x'), (7, 'https://lan.example/x'), (8, 'https://git.example.evil.example/x'),
	(9, 'https://evil.example/git.example'), (10, 'https://git.example./x'), (11, 'https://xgit.example/x')) AS x (n, url) ORDER BY n;
SELECT test.submit_from('https://git.example/x', 'https://evil.example/x');
SELECT count(*) - :before AS stored FROM unidesk.tasks;
SET unidesk.allowed_git_hosts = '';
SELECT test.submit_from('https://git.example/x');
SET unidesk.allowed_git_hosts = 'git.example,https://x';
SET unidesk.allowed_git_hosts = '*.example';
SET unidesk.allowed_git_hosts = 'git.example:70000';
SHOW unidesk.allowed_git_hosts;
RESET unidesk.allowed_git_hosts;
SET ROLE unidesk_bridge;
SET unidesk.allowed_git_hosts = '*';
RESET ROLE;
