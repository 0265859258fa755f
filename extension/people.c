/*
 * people.c
 *	  Who is calling, and what that person may do.
 *
 * People are database roles.  Inside a SECURITY DEFINER function the current
 * user is the owner, so rights follow unidesk.me() and nothing else: a GUC
 * could be forged by anyone with psql.
 */
#include "unidesk.h"

#include "catalog/pg_authid.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "libpq/crypt.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/syscache.h"

#include "people.h"

#define ADMIN_ROLE "unidesk_admin"

Oid
unidesk_me_oid(void)
{
	Oid			session_user = GetSessionUserId();
	Oid			bridge = get_role_oid(UNIDESK_BRIDGE_ROLE, true);

	if (session_user != bridge)
		return session_user;
	if (GetOuterUserId() == bridge)
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("the bridge acts for nobody here"),
				 errhint("Set the role of the person first.")));
	return GetOuterUserId();
}

bool
unidesk_me_is_admin(void)
{
	Oid			me = unidesk_me_oid();
	Oid			admin = get_role_oid(ADMIN_ROLE, true);

	return superuser_arg(me) || (OidIsValid(admin) && is_member_of_role_nosuper(me, admin));
}

void
unidesk_require_admin(const char *what)
{
	if (!unidesk_me_is_admin())
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("only administrators %s", what),
				 errhint("Ask a member of role unidesk_admin.")));
}

PG_FUNCTION_INFO_V1(unidesk_me);
Datum
unidesk_me(PG_FUNCTION_ARGS)
{
	Name		name = palloc0(NAMEDATALEN);

	namestrcpy(name, GetUserNameFromId(unidesk_me_oid(), false));
	PG_RETURN_NAME(name);
}

PG_FUNCTION_INFO_V1(unidesk_is_admin);
Datum
unidesk_is_admin(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(unidesk_me_is_admin());
}

int32
unidesk_caller_account(void)
{
	static SPIPlanPtr find_plan;
	static SPIPlanPtr add_plan;
	UnideskArgs args = {0};
	char	   *role = GetUserNameFromId(unidesk_me_oid(), false);

	unidesk_arg_text(&args, role);
	if (unidesk_execute(&find_plan,
						"SELECT id FROM unidesk_data.account WHERE role_name = $1::name", &args) == 1)
		return unidesk_column_int32(0, 1);
	if (!unidesk_me_is_admin())
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("role \"%s\" is not a user of UniDesk", unidesk_shown(role)),
				 errhint("Ask an administrator for a user of your own: SELECT unidesk.create_user(name).")));
	unidesk_execute(&add_plan,
					"INSERT INTO unidesk_data.account (role_name) VALUES ($1::name)"
					" ON CONFLICT (role_name) DO UPDATE SET role_name = excluded.role_name RETURNING id", &args);
	return unidesk_column_int32(0, 1);
}

#define MEMBERSHIP_OF_CALLER \
	"SELECT p.id, CASE m.role WHEN 'viewer' THEN 1 WHEN 'member' THEN 2 WHEN 'manager' THEN 3 ELSE 0 END" \
	" FROM unidesk_data.project p LEFT JOIN unidesk_data.member m ON m.project_id = p.id" \
	" AND m.account_id = (SELECT a.id FROM unidesk_data.account a WHERE a.role_name = $2::name)"

static void
check_membership(int held, UnideskMembership least, const char *what)
{
	static const char *const names[] = {"", "viewer", "member", "manager"};

	if (held < (int) least)
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("you are a %s of %s, and this needs a %s", names[held], what, names[least]),
				 errhint("Ask one of its managers for SELECT unidesk.add_member(project, user, '%s').", names[least])));
}

int32
unidesk_project_for(const char *name, UnideskMembership least)
{
	static SPIPlanPtr plan;
	UnideskArgs args = {0};
	bool		admin = unidesk_me_is_admin();
	int			held;

	unidesk_arg_text(&args, name);
	unidesk_arg_text(&args, GetUserNameFromId(unidesk_me_oid(), false));
	unidesk_execute(&plan, MEMBERSHIP_OF_CALLER " WHERE p.name = $1", &args);
	held = SPI_processed == 1 ? unidesk_column_int32(0, 2) : 0;
	/* Who is no member learns nothing about what exists. */
	if (SPI_processed == 0 || (held == 0 && !admin))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("project \"%s\" does not exist", unidesk_shown(name)),
				 errhint("SELECT name FROM unidesk.projects shows yours.")));
	if (!admin)
		check_membership(held, least, psprintf("project \"%s\"", name));
	return unidesk_column_int32(0, 1);
}

void
unidesk_check_task_access(int64 task_id, UnideskMembership least)
{
	static SPIPlanPtr plan;
	UnideskArgs args = {0};
	bool		admin = unidesk_me_is_admin();
	int			held;

	unidesk_arg_int64(&args, task_id);
	unidesk_arg_text(&args, GetUserNameFromId(unidesk_me_oid(), false));
	unidesk_execute(&plan, MEMBERSHIP_OF_CALLER
					" WHERE p.id = (SELECT t.project_id FROM unidesk_data.task t WHERE t.id = $1)", &args);
	held = SPI_processed == 1 ? unidesk_column_int32(0, 2) : 0;
	if (SPI_processed == 0 || (held == 0 && !admin))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("task %lld does not exist", (long long) task_id),
				 errhint("SELECT id FROM unidesk.tasks shows those of your projects.")));
	if (!admin)
		check_membership(held, least, "its project");
}

PG_FUNCTION_INFO_V1(unidesk_create_login);

/*
 * unidesk._create_login(name, password, admin): CREATE ROLE ... LOGIN.  The
 * owner has no right to make roles, on purpose: on PostgreSQL 15 CREATEROLE
 * is nearly superuser.  So this one statement, its parts quoted, runs as the
 * bootstrap superuser, for administrators only.  It carries a verifier and not
 * the password: an error shows its text.
 */
Datum
unidesk_create_login(PG_FUNCTION_ARGS)
{
	char	   *name = text_to_cstring(PG_GETARG_TEXT_PP(0));
	char	   *verifier = encrypt_password(PASSWORD_TYPE_SCRAM_SHA_256, name, text_to_cstring(PG_GETARG_TEXT_PP(1)));
	bool		admin = PG_GETARG_BOOL(2);
	Oid			saved_user;
	int			saved_context;
	char	   *role = pstrdup(quote_identifier(name));

	unidesk_require_admin("create users");
	SPI_connect();
	GetUserIdAndSecContext(&saved_user, &saved_context);
	/* An ERROR below ends the transaction, which restores the user as well. */
	SetUserIdAndSecContext(BOOTSTRAP_SUPERUSERID, saved_context | SECURITY_LOCAL_USERID_CHANGE);
	SPI_execute(psprintf("CREATE ROLE %s LOGIN INHERIT NOSUPERUSER NOCREATEDB NOCREATEROLE PASSWORD %s IN ROLE %s",
						 role, quote_literal_cstr(verifier), admin ? ADMIN_ROLE : "unidesk_user"), false, 0);
	SPI_execute(psprintf("GRANT %s TO " UNIDESK_BRIDGE_ROLE, role), false, 0);
	SPI_execute(psprintf("ALTER ROLE %s SET idle_in_transaction_session_timeout = '30s'", role), false, 0);
	SetUserIdAndSecContext(saved_user, saved_context);
	SPI_finish();
	PG_RETURN_VOID();
}

PG_FUNCTION_INFO_V1(unidesk_random_token);

/*
 * unidesk._random_token(prefix): prefix and 43 characters of base62, about
 * 256 random bits.
 */
Datum
unidesk_random_token(PG_FUNCTION_ARGS)
{
	static const char digits[] = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
	char	   *prefix = text_to_cstring(PG_GETARG_TEXT_PP(0));
	char		token[44];
	int			length = 0;

	while (length < 43)
	{
		uint8		byte;

		if (!pg_strong_random(&byte, 1))
			ereport(ERROR, (errmsg("could not get random bytes")));
		/* 248 = 4 * 62: the rest would favour some digits. */
		if (byte < 248)
			token[length++] = digits[byte % 62];
	}
	token[length] = '\0';
	PG_RETURN_TEXT_P(cstring_to_text(psprintf("%s%s", prefix, token)));
}
