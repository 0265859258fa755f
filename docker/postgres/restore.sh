#!/bin/bash
#
# restore.sh check FILE | FILE
#	  check   is this backup whole, and is there room for it?
#	  FILE    a new cluster from it; the one that is there is kept aside
#
# FILE is the .dump.  The restored database is a new incarnation.  The new
# cluster takes its place when it is complete: whatever fails before leaves
# everything as it was.  The server must not run.
#
# Settings: PGDATA, PGDATABASE, UNIDESK_SECRETS (/run/secrets).
set -uo pipefail

export UNIDESK_SECRETS=${UNIDESK_SECRETS:-/run/secrets}
# The server's log is then inside the container.
WORK=$(mktemp -d)
# shellcheck source=docker/postgres/cluster.sh
. "$(dirname "$(readlink -f "$0")")/cluster.sh"

die() { printf 'restore: %s\n' "$*" >&2; exit 1; }

check()
{
	local bytes free
	[ -e "$1.dump" ] || die "there is no $1.dump"
	for file in "$1".{globals.sql,facts,sha256}; do
		[ -e "$file" ] || die "$file is missing: a backup is .dump, .globals.sql, .facts and .sha256"
	done
	(cd "$(dirname "$1")" && sha256sum --check --status "$(basename "$1").sha256") ||
		die "$1: a file is damaged or not of this backup: its SHA-256 differs"
	bytes=$(sed -n 's/^# bytes|//p' "$1.facts")
	free=$(df -B1 --output=avail "$(dirname "$PGDATA")" | tail -n 1)
	[ "$free" -ge $((bytes + bytes / 4)) ] ||
		die "the database's volume has $free bytes free, and the restored database needs about $((bytes + bytes / 4))"
}

# The secrets may be newer than the backup, or another installation's.  And
# bridges and agents that have lived on must not take a new number for the one
# they have.
begin_anew()
{
	apart_psql -d "$PGDATABASE" <<-'SQL'
		\set password `cat "$UNIDESK_SECRETS/postgres_password"`
		ALTER ROLE postgres PASSWORD :'password';
		\set password `cat "$UNIDESK_SECRETS/bridge_password"`
		ALTER ROLE unidesk_bridge LOGIN PASSWORD :'password';
		SELECT setval(s, nextval(s) + 1000000) FROM unnest(ARRAY[pg_get_serial_sequence('unidesk_data.bridge', 'id')::regclass, 'unidesk_data.session']) AS s;
	SQL
}

restore()
{
	local new=$PGDATA.new aside
	rm -rf "$new"
	trap 'stop_apart "$PGDATA.new" immediate >/dev/null 2>&1; rm -rf "$PGDATA.new" "$WORK"' EXIT
	restore_cluster "$new" "$1.dump" "$1" && step 'beginning anew' begin_anew &&
		step 'stopping' stop_apart "$new" || die "nothing has changed"
	sync
	if [ -e "$PGDATA" ]; then
		aside=$(dirname "$PGDATA")/before-restore-$(date -u +%Y%m%dT%H%M%SZ)
		mv "$PGDATA" "$aside"
		printf 'the cluster that was there is now %s\n' "$aside"
	fi
	mv "$new" "$PGDATA" && sync "$(dirname "$PGDATA")"
	grep -v '^#' "$1.facts" | sed 's/|/: /'
}

case $#-${1:-} in
	2-check) check "${2%.dump}" ;;
	1-*) check "${1%.dump}" && restore "${1%.dump}" ;;
	*) die "usage: restore.sh check FILE | FILE" ;;
esac
