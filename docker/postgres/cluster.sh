# shellcheck shell=bash
#
# cluster.sh
#	  A new cluster from a backup, on a server that nobody else reaches.
#	  Sourced: backup.sh proves every backup with what restore.sh restores by.
#
# A backup is four files of one name: NAME.dump (pg_dump -Fc), NAME.globals.sql
# (roles, with the verifiers of their passwords), NAME.facts (what was in it),
# NAME.sha256 (of these three).
#
# The caller sets WORK, an empty directory of its own for socket, logs and what
# was found, and PGDATABASE.

: "${WORK:?}" "${PGDATABASE:?}"
FACTS=$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/facts.sql

# step WHAT COMMAND...: silent; a failure is told in one line, without the
# text of statements, because those may hold verifiers of passwords.
step()
{
	local what=$1
	shift
	"$@" >"$WORK/output" 2>&1 9>&- && return
	printf '%s failed: %s\n' "$what" "$(tail -n 3 "$WORK/output" | tr -c '[:print:]' ' ' | cut -c 1-500)" >&2
	return 1
}

# On the server in WORK.
apart() { env -u PGPASSFILE PGHOST="$WORK" PGPORT=5432 PGUSER=postgres PGOPTIONS='' "$@"; }
apart_psql() { apart psql -XAtq -v ON_ERROR_STOP=1 -v VERBOSITY=terse "$@"; }

# start_apart DATA [SETTING...]: with no worker, or that would make partitions
# before the dump brings those of the same names.
start_apart()
{
	local data=$1 options setting
	shift
	printf 'local all all trust\n' >"$WORK/hba"
	options="-c unix_socket_directories=$WORK -c listen_addresses= -c hba_file=$WORK/hba -c port=5432"
	options+=" -c shared_preload_libraries=unidesk -c unidesk.database=$PGDATABASE -c unidesk.worker=off"
	options+=' -c shared_buffers=64MB -c max_connections=10 -c autovacuum=off -c log_min_error_statement=panic'
	for setting; do options+=" -c $setting"; done
	pg_ctl --pgdata="$data" --wait --timeout=60 --log="$WORK/server.log" --options="$options" start
}

stop_apart() { pg_ctl --pgdata="$1" --wait --timeout=120 --mode="${2:-fast}" stop; }

# The superuser is there already.
restore_globals() { sed '/^CREATE ROLE postgres;$/d' "$1" | apart_psql -d postgres; }

same_facts()
{
	apart_psql -f "$FACTS" >"$WORK/facts" && diff <(grep -v '^#' "$1") "$WORK/facts"
}

# restore_cluster DATA DUMP NAME [SETTING...]: a cluster in the new directory
# DATA, its server running, with everything that was in the backup.
restore_cluster()
{
	local data=$1 dump=$2 name=$3 sync=()
	shift 3
	[[ " $* " != *' fsync=off '* ]] || sync=(--no-sync)
	step initdb initdb "${sync[@]}" --pgdata="$data" --username=postgres --encoding=UTF8 --locale=C.UTF-8 --data-checksums \
		--auth-local=peer --auth-host=scram-sha-256 &&
		step 'starting a server apart' start_apart "$data" "$@" &&
		step 'restoring roles' restore_globals "$name.globals.sql" &&
		step 'restoring the dump' apart pg_restore --exit-on-error --create -d postgres "$dump" &&
		step 'comparing what was restored' same_facts "$name.facts"
}
