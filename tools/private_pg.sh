#!/usr/bin/env bash
#
# private_pg.sh
#	  Run a command beside a PostgreSQL server of its own.
#
#	tools/private_pg.sh [--conf FILE] [--set NAME=VALUE]... [--no-extension] \
#	    [--keep-log FILE] [--data DIRECTORY] [--initdb OPTION]... -- COMMAND [ARGUMENT...]
#
# The server is a copy in a temporary directory (tools/pg_copy.sh) and listens
# on a socket in that directory only; the cluster lies there too, or in the empty
# directory --data, which stays.  It preloads unidesk for the database
# contrib_regression, which has the extension unless --no-extension is given.
# As root the server runs as the user postgres, or nobody where there is none.
#
# COMMAND finds it by PGHOST, PGPORT, PGUSER and PGDATABASE; PG_BIN is the
# folder of the copied programs, PG_ROOT the directory, PG_DATA the cluster,
# PG_LOG the server's log.  "tools/private_pg.sh --ctl ARGUMENT..." inside
# COMMAND is pg_ctl on that server as the right user (stop, start, restart);
# "tools/private_pg.sh --as-server COMMAND..." runs anything as that user.
#
# Exit status: the command's; 1 as well when the server crashed, could not be
# stopped, or logged a failed assertion.
#
# Settings: PG_CONFIG (pg_config), TMPDIR.
set -euo pipefail

ROOT=$(cd "$(dirname "$0")/.." && pwd)
PG_CONFIG=${PG_CONFIG:-pg_config}
# shellcheck source=tools/pg_user.sh
. "$ROOT/tools/pg_user.sh"

die() { printf 'private_pg.sh: %s\n' "$*" >&2; exit 1; }

pg_ctl()
{
	# The file descriptor of a lock must not live on in the server.
	as_server "$PG_BIN/pg_ctl" -D "$PG_DATA" -l "$PG_LOG" -w -t 60 -s "$@" 9>&-
}

if [ "${1:-}" = --ctl ]; then
	shift
	[ -n "${PG_ROOT:-}" ] || die "--ctl works only inside a command run by this script"
	pg_ctl "$@"
	exit
fi

if [ "${1:-}" = --as-server ]; then
	shift
	[ -n "${PG_ROOT:-}" ] || die "--as-server works only inside a command run by this script"
	as_server "$@" 9>&-
	exit
fi

conf=
keep_log=
extension=yes
data=
settings=()
initdb_options=()
while [ $# -gt 0 ]; do
	case $1 in
		--conf) conf=$2; shift 2 ;;
		--set) settings+=("$2"); shift 2 ;;
		--keep-log) keep_log=$2; shift 2 ;;
		--data) data=$2; shift 2 ;;
		--initdb) initdb_options+=("$2"); shift 2 ;;
		--no-extension) extension=no; shift ;;
		--) shift; break ;;
		*) die "unknown option: $1" ;;
	esac
done
[ $# -gt 0 ] || die "no command given"

BINDIR=$("$PG_CONFIG" --bindir) || die "no pg_config: tools/packages.sh check"

export PG_ROOT PG_BIN PG_DATA PG_LOG
PG_ROOT=$(mktemp -d "${TMPDIR:-/tmp}/unidesk-pg.XXXXXX")
PG_BIN=$PG_ROOT$BINDIR
PG_DATA=${data:-$PG_ROOT/data}
PG_LOG=$PG_ROOT/server.log
command_pid=

clean_up()
{
	local status=$?

	trap - EXIT
	# A second signal must not end this half-way.
	trap '' INT TERM HUP
	set +e
	if [ -n "$command_pid" ]; then
		kill "$command_pid" 2>/dev/null && wait "$command_pid"
	fi
	if [ -e "$PG_DATA/postmaster.pid" ]; then
		if ! pg_ctl -m fast stop; then
			printf 'private_pg.sh: the server did not stop when asked to\n' >&2
			pg_ctl -m immediate stop
			[ "$status" -ne 0 ] || status=1
		fi
	fi
	if grep -E 'was terminated by signal|PANIC:|TRAP: ' "$PG_LOG" 2>/dev/null; then
		printf 'private_pg.sh: the server crashed, see above\n' >&2
		[ "$status" -ne 0 ] || status=1
	fi
	[ -z "$keep_log" ] || cp "$PG_LOG" "$keep_log" 2>/dev/null
	rm -rf "$PG_ROOT"
	exit "$status"
}
trap clean_up EXIT
trap 'exit 130' INT TERM HUP

start_server()
{
	local setting

	touch "$PG_LOG"
	mkdir "$PG_ROOT/socket"
	if [ "$(id -u)" -eq 0 ]; then
		chown "$PG_SERVER_USER" "$PG_ROOT" "$PG_LOG" "$PG_ROOT/socket" ${data:+"$data"}
	fi
	as_server "$PG_BIN/initdb" -D "$PG_DATA" -U postgres -A trust -E UTF8 --no-locale -N "${initdb_options[@]}" \
		>"$PG_ROOT/initdb.log" 2>&1 || { cat "$PG_ROOT/initdb.log" >&2; exit 1; }
	{
		cat <<-END
			listen_addresses = ''
			unix_socket_directories = '$PG_ROOT/socket'
			unix_socket_permissions = 0777
			shared_preload_libraries = 'unidesk'
			unidesk.database = 'contrib_regression'
			fsync = off
			max_connections = 50
			max_prepared_transactions = 4
			shared_buffers = 64MB
			log_line_prefix = '%m [%p] %b %a '
			jit = off
			timezone = 'UTC'
		END
		[ -z "$conf" ] || cat "$conf"
		for setting in "${settings[@]}"; do
			printf "%s = '%s'\n" "${setting%%=*}" "${setting#*=}"
		done
	} >"$PG_ROOT/extra.conf"
	as_server sh -c "cat >> '$PG_DATA/postgresql.conf'" <"$PG_ROOT/extra.conf"
	pg_ctl start || { tail -n 30 "$PG_LOG" >&2; exit 1; }
}

"$ROOT/tools/pg_copy.sh" "$PG_ROOT"
start_server
export PGHOST=$PG_ROOT/socket PGPORT=5432 PGUSER=postgres PGDATABASE=contrib_regression
unset PGPASSWORD PGSERVICE PGOPTIONS
"$PG_BIN/psql" -X -q -v ON_ERROR_STOP=1 -d postgres -c 'CREATE DATABASE contrib_regression'
[ "$extension" = no ] || "$PG_BIN/psql" -X -q -v ON_ERROR_STOP=1 -c 'CREATE EXTENSION unidesk'

# In the background, so that a signal to us is acted upon at once.
"$@" </dev/stdin &
command_pid=$!
status=0
wait "$command_pid" || status=$?
command_pid=
exit "$status"
