-- The extension as the catalogs know it, one fact a line: object | what | value.
-- Sorted, and without anything that depends on the order in which it was made
-- (oids, columns' numbers); tools/upgrade_check.sh compares two of these.
\set QUIET on
\pset format unaligned
\pset fieldsep ' | '
\pset tuples_only on
SET search_path = pg_catalog;

CREATE TEMP VIEW here AS
	SELECT oid, nspname FROM pg_namespace WHERE nspname IN ('unidesk', 'unidesk_data', 'unidesk_bridge');
CREATE TEMP VIEW rel AS
	SELECT c.*, format('%s %I.%I', CASE c.relkind WHEN 'r' THEN 'table' WHEN 'p' THEN 'table' WHEN 'v' THEN 'view' WHEN 'm' THEN 'view'
		WHEN 'S' THEN 'sequence' WHEN 'c' THEN 'type' ELSE 'index' END, n.nspname, c.relname) AS name
	FROM pg_class c JOIN here n ON n.oid = c.relnamespace;
CREATE TEMP VIEW fn AS
	SELECT p.*, format('function %s', p.oid::regprocedure) AS name FROM pg_proc p JOIN here n ON n.oid = p.pronamespace;
-- Every right, also those that are there by default.
CREATE TEMP VIEW acl AS
	SELECT name, '' AS part, coalesce(relacl, acldefault(CASE relkind WHEN 'S' THEN 's' ELSE 'r' END::"char", relowner)) AS acl FROM rel WHERE relkind IN ('r', 'p', 'v', 'm', 'S')
	UNION ALL SELECT r.name, format(' (%I)', a.attname), a.attacl FROM rel r JOIN pg_attribute a ON a.attrelid = r.oid WHERE a.attacl IS NOT NULL
	UNION ALL SELECT name, '', coalesce(proacl, acldefault('f', proowner)) FROM fn
	UNION ALL SELECT 'schema ' || n.nspname, '', coalesce(n.nspacl, acldefault('n', n.nspowner)) FROM pg_namespace n JOIN here USING (oid)
	UNION ALL SELECT format('type %s', t.oid::regtype), '', coalesce(t.typacl, acldefault('T', t.typowner)) FROM pg_type t JOIN here n ON n.oid = t.typnamespace
		WHERE t.typtype IN ('d', 'e') OR t.typrelid IN (SELECT oid FROM rel WHERE relkind = 'c');

SELECT * FROM (
	SELECT name AS object, 'exists', format('%s by %s%s%s%s%s', relkind, relowner::regrole,
		' with ' || (SELECT string_agg(o, ', ' ORDER BY o) FROM unnest(reloptions) o),
		CASE WHEN relrowsecurity THEN ', row security' END, CASE WHEN relforcerowsecurity THEN ' forced' END,
		', ' || pg_get_expr(relpartbound, oid)) AS value FROM rel WHERE relkind NOT IN ('i', 'I')
	UNION ALL SELECT r.name, 'partitioned by', pg_get_partkeydef(r.oid) FROM rel r WHERE relkind = 'p'
	UNION ALL SELECT r.name, 'partition of', i.inhparent::regclass::text FROM rel r JOIN pg_inherits i ON i.inhrelid = r.oid WHERE relkind IN ('r', 'p')
	UNION ALL SELECT r.name, 'column ' || a.attname, concat_ws(' ', format_type(a.atttypid, a.atttypmod), CASE WHEN a.attnotnull THEN 'not null' END,
			'default ' || pg_get_expr(d.adbin, d.adrelid), 'identity ' || nullif(a.attidentity::text, ''), 'generated ' || nullif(a.attgenerated::text, ''),
			'collate ' || nullif(a.attcollation, t.typcollation)::regcollation::text, 'storage ' || a.attstorage::text, nullif(a.attcompression::text, ''))
		FROM rel r JOIN pg_attribute a ON a.attrelid = r.oid AND a.attnum > 0 AND NOT a.attisdropped JOIN pg_type t ON t.oid = a.atttypid
		LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum WHERE r.relkind IN ('r', 'p', 'v', 'm', 'c')
	UNION ALL SELECT r.name, 'constraint ' || c.conname, pg_get_constraintdef(c.oid) || CASE WHEN c.convalidated THEN '' ELSE ' not valid' END
		FROM rel r JOIN pg_constraint c ON c.conrelid = r.oid
	UNION ALL SELECT r.name, 'index', pg_get_indexdef(i.indexrelid) || CASE WHEN i.indisvalid THEN '' ELSE ' invalid' END FROM rel r JOIN pg_index i ON i.indrelid = r.oid
	UNION ALL SELECT r.name, 'policy ' || p.polname, format('%s %s to %s using %s check %s', p.polcmd, p.polpermissive,
			(SELECT string_agg(o::regrole::text, ', ' ORDER BY o::regrole::text) FROM unnest(p.polroles) o), pg_get_expr(p.polqual, r.oid), pg_get_expr(p.polwithcheck, r.oid))
		FROM rel r JOIN pg_policy p ON p.polrelid = r.oid
	UNION ALL SELECT r.name, 'trigger ' || t.tgname, pg_get_triggerdef(t.oid) FROM rel r JOIN pg_trigger t ON t.tgrelid = r.oid AND NOT t.tgisinternal
	UNION ALL SELECT r.name, 'query', md5(pg_get_viewdef(r.oid)) FROM rel r WHERE relkind IN ('v', 'm')
	UNION ALL SELECT r.name, 'columns in order', (SELECT string_agg(a.attname, ', ' ORDER BY a.attnum) FROM pg_attribute a WHERE a.attrelid = r.oid AND a.attnum > 0)
		FROM rel r WHERE relkind IN ('v', 'm', 'c')
	UNION ALL SELECT r.name, 'numbers', format('%s start %s by %s from %s to %s cache %s cycle %s', s.seqtypid::regtype, s.seqstart, s.seqincrement, s.seqmin, s.seqmax, s.seqcache, s.seqcycle)
		FROM rel r JOIN pg_sequence s ON s.seqrelid = r.oid
	UNION ALL SELECT name, 'exists', format('%s by %s, returns %s', prokind, proowner::regrole, pg_get_function_result(oid)) FROM fn
	UNION ALL SELECT name, 'arguments', pg_get_function_arguments(oid) FROM fn
	UNION ALL SELECT name, 'is', concat_ws(' ', l.lanname, CASE provolatile WHEN 'i' THEN 'immutable' WHEN 's' THEN 'stable' ELSE 'volatile' END,
			CASE WHEN proisstrict THEN 'strict' END, CASE WHEN prosecdef THEN 'security definer' END, CASE WHEN proleakproof THEN 'leakproof' END,
			'parallel', proparallel, 'cost', procost, 'rows', prorows, 'set', (SELECT string_agg(s, '; ' ORDER BY s) FROM unnest(proconfig) s))
		FROM fn JOIN pg_language l ON l.oid = prolang
	UNION ALL SELECT name, 'source', CASE WHEN probin IS NOT NULL THEN prosrc || ' in ' || probin ELSE md5(coalesce(pg_get_function_sqlbody(oid), prosrc)) END FROM fn
	UNION ALL SELECT format('type %s', t.oid::regtype), 'exists', concat_ws(' ', t.typtype, 'by', t.typowner::regrole,
			(SELECT string_agg(e.enumlabel, ', ' ORDER BY e.enumsortorder) FROM pg_enum e WHERE e.enumtypid = t.oid), nullif(t.typbasetype, 0)::regtype,
			(SELECT string_agg(pg_get_constraintdef(c.oid), ', ' ORDER BY c.conname) FROM pg_constraint c WHERE c.contypid = t.oid))
		FROM pg_type t JOIN here n ON n.oid = t.typnamespace WHERE t.typtype IN ('d', 'e')
	UNION ALL SELECT 'schema ' || n.nspname, 'exists', 'by ' || n.nspowner::regrole FROM pg_namespace n JOIN here USING (oid)
	UNION ALL SELECT acl.name, format('right%s of %s', acl.part, CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE a.grantee::regrole::text END),
			string_agg(a.privilege_type || CASE WHEN a.is_grantable THEN ' with grant option' ELSE '' END || ' from ' || a.grantor::regrole, ', ' ORDER BY a.privilege_type)
		FROM acl, aclexplode(acl.acl) a GROUP BY acl.name, acl.part, a.grantee
	UNION ALL SELECT o.type || ' ' || o.identity, 'comment', d.description FROM pg_description d, pg_identify_object(d.classoid, d.objoid, d.objsubid) o
		WHERE o.schema IN (SELECT nspname FROM here) OR o.type = 'schema' AND o.name IN (SELECT nspname FROM here) OR o.identity ~ '(unidesk|unidesk_data|unidesk_bridge)\.'
	UNION ALL SELECT o.type || ' ' || o.identity, 'belongs to the extension', 'yes' FROM pg_depend d, pg_identify_object(d.classid, d.objid, d.objsubid) o
		WHERE d.deptype = 'e' AND d.refclassid = 'pg_extension'::regclass AND d.refobjid = (SELECT oid FROM pg_extension WHERE extname = 'unidesk')
			AND d.classid <> 'pg_type'::regclass
	UNION ALL SELECT 'dump', c.oid::text, coalesce(nullif(c.condition, ''), 'all rows') FROM pg_extension e,
			LATERAL (SELECT u.oid::regclass, u.condition FROM unnest(e.extconfig, e.extcondition) AS u (oid, condition)) c WHERE e.extname = 'unidesk'
	UNION ALL SELECT 'extension', 'version', extversion FROM pg_extension WHERE extname = 'unidesk'
	UNION ALL SELECT 'role ' || r.rolname, 'is', format('%s %s %s %s %s %s: %s; in %s', rolcanlogin, rolinherit, rolsuper, rolcreaterole, rolcreatedb, rolbypassrls,
			(SELECT string_agg(s, ', ' ORDER BY s) FROM pg_db_role_setting d, unnest(d.setconfig) s WHERE d.setrole = r.oid),
			(SELECT string_agg(m.roleid::regrole::text, ', ' ORDER BY m.roleid::regrole::text) FROM pg_auth_members m WHERE m.member = r.oid))
		FROM pg_roles r WHERE r.rolname ~ '^unidesk_'
	UNION ALL SELECT r.name, 'rows from the script', (xpath('/row/n/text()', query_to_xml(format('SELECT count(*) AS n FROM %s', r.oid::regclass), false, true, '')))[1]::text
		FROM rel r WHERE r.relkind = 'r'
) AS facts ORDER BY 1, 2, 3;
