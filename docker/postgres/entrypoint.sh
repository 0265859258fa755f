#!/bin/bash
#
# entrypoint.sh
#	  Run the server; on the first start make the cluster, the database and the
#	  extension before.
#
# The cluster is made aside and renamed when it is complete: an interrupted
# first start leaves nothing that a second one would take for a database.
set -euo pipefail

readonly NEW=$PGDATA.new
readonly SETTINGS=(-c config_file=/etc/unidesk/postgresql.conf -c hba_file=/etc/unidesk/pg_hba.conf
	-c ident_file=/etc/unidesk/pg_ident.conf)

make_cluster()
{
	local socket=/tmp/first-start
	rm -rf "$NEW" "$socket"
	mkdir -m 0700 "$socket"
	initdb --pgdata="$NEW" --username=postgres --pwfile=/run/secrets/postgres_password \
		--encoding=UTF8 --locale=C.UTF-8 --data-checksums \
		--auth-local=peer --auth-host=scram-sha-256
	# Reachable by nobody else until it is complete.
	pg_ctl --pgdata="$NEW" --wait --timeout=60 --log=/dev/stderr start \
		-o "${SETTINGS[*]} -c listen_addresses= -c unix_socket_directories=$socket"
	psql -X --quiet --set=ON_ERROR_STOP=1 --host="$socket" --dbname=postgres <<-'SQL'
		CREATE DATABASE unidesk;
		REVOKE ALL ON DATABASE unidesk FROM PUBLIC;
		\connect unidesk
		CREATE EXTENSION unidesk;
		GRANT CONNECT ON DATABASE unidesk TO unidesk_user, unidesk_admin, unidesk_bridge;
		\set password `cat /run/secrets/bridge_password`
		ALTER ROLE unidesk_bridge LOGIN PASSWORD :'password';
	SQL
	pg_ctl --pgdata="$NEW" --wait --timeout=60 --mode=fast stop
	rm -rf "$socket"
	mv "$NEW" "$PGDATA"
	sync "$(dirname "$PGDATA")"
}

if [ ! -e "$PGDATA" ]; then
	other=$(find "$(dirname "$PGDATA")" -maxdepth 1 -name 'pg[0-9]*' ! -path "$NEW" -print -quit)
	if [ -n "$other" ]; then
		echo "the volume holds $other, made by another major version of PostgreSQL: see docs/operations.md, Upgrades" >&2
		exit 1
	fi
	if [ -n "$(find "$(dirname "$PGDATA")" -maxdepth 1 -name "before-restore-*" -print -quit)" ]; then
		echo "a restore was interrupted at its end: run make restore again, or move a before-restore-… back to $PGDATA" >&2
		exit 1
	fi
	make_cluster
fi
exec postgres -D "$PGDATA" "${SETTINGS[@]}"
