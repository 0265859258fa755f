# shellcheck shell=bash
#
# pg_user.sh
#	  The user that a test's server runs as, since it refuses root: postgres, or
#	  nobody where there is none.  Sourced.

if [ -z "${PG_SERVER_USER:-}" ]; then
	PG_SERVER_USER=$(id -un)
	if [ "$(id -u)" -eq 0 ]; then
		PG_SERVER_USER=postgres
		id postgres >/dev/null 2>&1 || PG_SERVER_USER=nobody
	fi
	export PG_SERVER_USER
fi

# as_server COMMAND...: as that user, at home in PG_ROOT.
as_server()
{
	if [ "$(id -u)" -eq 0 ]; then
		(cd "$PG_ROOT" && setpriv --reuid="$PG_SERVER_USER" --regid="$(id -g "$PG_SERVER_USER")" \
			--clear-groups --inh-caps=-all env HOME="$PG_ROOT" "$@")
	else
		"$@"
	fi
}
