#!/bin/bash
#
# restore.sh FILE
#	  Put a backup in the place of the database: FILE is the name of a dump in
#	  the backup volume, or its path on this machine, with its three companions
#	  beside it.
#
# The cluster that is there is kept aside in its volume.  The database that
# comes back is a new incarnation: what nodes run since the backup is held and
# shown, and not adopted.  YES=1 asks nothing.
set -euo pipefail

# shellcheck source=tools/platform.sh
. "$(dirname "$0")/platform.sh"

FILE=${1:-}
FILE=${FILE%.dump}
NAME=$(basename -- "$FILE")

# What reads backups and makes clusters: the database's image, without a
# network, on the volumes.
tool()
{
	docker run --rm -i --label "unidesk.project=$UNIDESK_PROJECT" --network none --read-only --cap-drop ALL \
		--security-opt no-new-privileges --tmpfs /tmp:mode=1777 -v "$DATABASE_VOLUME:/data" -v "$BACKUP_VOLUME:/backup" \
		-v "$UNIDESK_SECRETS/postgres_password:/run/secrets/postgres_password:ro" \
		-v "$UNIDESK_SECRETS/bridge_password:/run/secrets/bridge_password:ro" \
		"$UNIDESK_PROJECT/postgres" "$@"
}

list() { docker run --rm --network none -v "$BACKUP_VOLUME:/backup" "$UNIDESK_PROJECT/postgres" find /backup -name 'unidesk-*.dump' -printf '%f\n' | sort; }

import()
{
	local ending
	for ending in dump globals.sql facts sha256; do
		[ -r "$FILE.$ending" ] || die "there is no $FILE.$ending" "a backup is .dump, .globals.sql, .facts and .sha256"
	done
	for ending in globals.sql facts sha256 dump; do
		# shellcheck disable=SC2016 # expanded in the container
		tool bash -c 'umask 077 && cat >"$1.new" && mv "$1.new" "$1"' import "/backup/$NAME.$ending" <"$FILE.$ending"
	done
}

confirm()
{
	local answer
	[ "${YES:-}" != 1 ] || return 0
	say "This stops $UNIDESK_PROJECT and puts $NAME in the place of its database."
	say "What happened since that backup is not in it. Running tasks that it does not know are held on their nodes."
	read -r -p 'Type yes: ' answer && [ "$answer" = yes ] || die "nothing was done"
}

start_all()
{
	start_services postgres git
	wait_healthy postgres
	start_services bridge agent backup
	for service in bridge agent; do wait_healthy "$service"; done
}

find_compose || die "neither docker compose nor docker-compose works" "run: tools/packages.sh demo"
docker image inspect "$UNIDESK_PROJECT/postgres" >/dev/null 2>&1 && [ -s "$UNIDESK_SECRETS/node_token" ] ||
	die "the platform $UNIDESK_PROJECT is not here: its images or its secrets are missing" "make it first: make demo"
[ -n "$FILE" ] || die "FILE is missing" "make restore FILE=unidesk-….dump" "there are:" "$(list)"
[[ $NAME =~ ^[A-Za-z0-9][A-Za-z0-9._-]{0,100}$ ]] || die "this is not a name of a backup: $NAME"
UNIDESK_DOCKER_SOCKET=$("$ROOT/docker/engine.sh" socket)
export UNIDESK_DOCKER_SOCKET
lock_state
"$ROOT/docker/volume.sh" create "$DATABASE_VOLUME" "$UNIDESK_VOLUME_GB" "$UID_POSTGRES" >/dev/null
if [ "$FILE" != "$NAME" ] || [ -e "$FILE.dump" ]; then
	import
fi
tool unidesk-restore check "/backup/$NAME.dump" </dev/null || die "nothing was done" "there are:" "$(list)"
confirm

say "stopping"
compose stop agent bridge backup postgres >>"$STATE/log/compose.log" 2>&1 || die "could not stop the services" "see: $(compose_text ps)"
# With the old one where it fails, with the new one where it does not.
status=0
tool unidesk-restore "/backup/$NAME.dump" </dev/null || status=$?
say "starting"
start_all
[ "$status" = 0 ] || die "the backup could not be restored; the database is the one that was there"
cat <<-END
	restored $NAME as a new incarnation.
	What nodes have and this database does not know is held: SELECT * FROM unidesk.held;
	stop it with SELECT unidesk.stop_held('NODE'), or it goes by itself after unidesk.foreign_keep.
	Tasks of the backup that had not ended go on where their nodes still have them, and else run again.
	To remove the cluster from before: $(compose_text exec postgres sh -c "'rm -rf /data/before-restore-*'")
END
