-- Who is calling, and people, projects, nodes.

CREATE FUNCTION unidesk.me() RETURNS name
	LANGUAGE C STABLE PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'unidesk_me';
COMMENT ON FUNCTION unidesk.me() IS
	'The role on whose behalf this session acts: the session''s user in psql, the person behind the bridge. All rights follow it.';

CREATE FUNCTION unidesk.is_admin() RETURNS boolean
	LANGUAGE C STABLE PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'unidesk_is_admin';
COMMENT ON FUNCTION unidesk.is_admin() IS 'Is the caller a member of unidesk_admin, or a superuser?';

CREATE FUNCTION unidesk.my_projects() RETURNS integer[]
	LANGUAGE sql STABLE SECURITY DEFINER PARALLEL RESTRICTED SET search_path = pg_catalog, pg_temp AS $$
	SELECT coalesce(array_agg(m.project_id), '{}') FROM unidesk_data.member m
	JOIN unidesk_data.account a ON a.id = m.account_id WHERE a.role_name = unidesk.me()
$$;
COMMENT ON FUNCTION unidesk.my_projects() IS 'Ids of the projects the caller is a member of.';

CREATE FUNCTION unidesk._require_admin(what text) RETURNS void
	LANGUAGE plpgsql STABLE PARALLEL RESTRICTED SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	IF NOT unidesk.is_admin() THEN
		RAISE EXCEPTION 'only administrators %', what
			USING ERRCODE = 'insufficient_privilege', HINT = 'Ask a member of role unidesk_admin.';
	END IF;
END
$$;
COMMENT ON FUNCTION unidesk._require_admin(text) IS 'Raise unless the caller is an administrator.';

CREATE FUNCTION unidesk._check_name(what text, name text) RETURNS void
	LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	IF name IS NULL THEN
		RAISE EXCEPTION '% is missing', what
			USING ERRCODE = 'null_value_not_allowed', HINT = 'Give a name.';
	END IF;
	IF name !~ '^[a-z0-9]([a-z0-9._-]{0,61}[a-z0-9])?$' THEN
		RAISE EXCEPTION '% is not a name that can be used', what
			USING ERRCODE = 'invalid_parameter_value',
				HINT = 'Use 1 to 63 lower-case letters, digits, ".", "_" and "-", beginning and ending with a letter or digit.';
	END IF;
END
$$;
COMMENT ON FUNCTION unidesk._check_name(text, text) IS 'Raise unless a new project''s, node''s or user''s name is fine.';

CREATE FUNCTION unidesk._caller_account() RETURNS integer
	LANGUAGE plpgsql VOLATILE SECURITY DEFINER PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	id integer;
BEGIN
	SELECT a.id INTO id FROM unidesk_data.account a WHERE a.role_name = unidesk.me();
	IF id IS NULL THEN
		PERFORM unidesk._require_admin('act without an account');
		INSERT INTO unidesk_data.account AS a (role_name) VALUES (unidesk.me())
			ON CONFLICT (role_name) DO UPDATE SET role_name = excluded.role_name RETURNING a.id INTO id;
	END IF;
	RETURN id;
END
$$;
COMMENT ON FUNCTION unidesk._caller_account() IS 'The caller''s account, made on the fly for an administrator.';

CREATE FUNCTION unidesk.create_user(name text, admin boolean DEFAULT false) RETURNS text
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
COMMENT ON FUNCTION unidesk.create_user(text, boolean) IS
	'Create a person: a database role that may log in, use UniDesk, and be acted for by the bridge. Returns the password, shown this once; change it with \password. Administrators only.';

CREATE FUNCTION unidesk.create_project(name text) RETURNS integer
	LANGUAGE plpgsql VOLATILE SECURITY DEFINER PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	new_id integer;
	creator integer := unidesk._caller_account();
BEGIN
	PERFORM unidesk._check_name('name', name);
	INSERT INTO unidesk_data.project AS p (name, created_by) VALUES (create_project.name, creator)
		ON CONFLICT DO NOTHING RETURNING p.id INTO new_id;
	IF new_id IS NULL THEN
		RAISE EXCEPTION 'project "%" exists already', name
			USING ERRCODE = 'duplicate_object', HINT = 'Choose another name, or ask one of its managers to add you.';
	END IF;
	INSERT INTO unidesk_data.member (project_id, account_id, role) VALUES (new_id, creator, 'manager');
	RETURN new_id;
END
$$;
COMMENT ON FUNCTION unidesk.create_project(text) IS 'Create a project; the caller becomes its manager. Returns its id.';

CREATE FUNCTION unidesk.add_member(project text, "user" text, role text DEFAULT 'member') RETURNS void
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
COMMENT ON FUNCTION unidesk.add_member(text, text, text) IS
	'Add a user to a project as viewer (reads), member (submits, cancels) or manager (adds members), or change what the user is. Managers and administrators only.';

CREATE FUNCTION unidesk.create_node(name text, cpus numeric DEFAULT NULL, memory bigint DEFAULT NULL,
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
COMMENT ON FUNCTION unidesk.create_node(text, numeric, bigint, integer, jsonb) IS
	'Create a node. cpus (CPUs), memory (bytes), gpus and labels are what it must bring and at most what it gives; NULL: what its agent reports. Returns its token, shown this once and stored only as a hash. Administrators only.';
