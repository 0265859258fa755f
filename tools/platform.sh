# shellcheck shell=bash
#
# platform.sh
#	  What the scripts that bring the platform up and down share.  Sourced.
#
# Settings, all of them environment variables:
#	UNIDESK_PROJECT    name of this installation (unidesk): containers, images,
#	                   volumes, networks and .unidesk/NAME follow it, so that
#	                   several live beside each other
#	UNIDESK_BIND       address on which ports are published (127.0.0.1)
#	UNIDESK_PORT       the bridge's port there (7080)
#	UNIDESK_PG_PORT    PostgreSQL's port there (7432)
#	UNIDESK_VOLUME_GB  size of the database's volume (10)
#	UNIDESK_HEALTHY_LIMIT_S  how long a service may take to become healthy (180)

# shellcheck disable=SC2034 # the scripts that source this use them
ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
export UNIDESK_PROJECT=${UNIDESK_PROJECT:-unidesk}
export UNIDESK_BIND=${UNIDESK_BIND:-127.0.0.1}
export UNIDESK_PORT=${UNIDESK_PORT:-7080}
export UNIDESK_PG_PORT=${UNIDESK_PG_PORT:-7432}
export UNIDESK_VOLUME_GB=${UNIDESK_VOLUME_GB:-10}

STATE=$ROOT/.unidesk/$UNIDESK_PROJECT
UNIDESK_SECRETS=$STATE/secrets
BASE_IMAGE=unidesk-base/debian:trixie
DATABASE_VOLUME=${UNIDESK_PROJECT}_postgres
BACKUP_VOLUME=${UNIDESK_PROJECT}_backup
NODE_VOLUME=${UNIDESK_PROJECT}_node
IMAGES=(build git postgres bridge agent)

# Users inside the images; the secrets' files and the volume belong to them.
UID_POSTGRES=5432
UID_BRIDGE=5433

PROGRAM=$(basename "$0")
say() { printf '%s\n' "$*"; }
warn() { printf '%s: warning: %s\n' "$PROGRAM" "$*" >&2; }
# die MESSAGE [HINT...]: each hint is a line of its own.
die()
{
	printf '%s: %s\n' "$PROGRAM" "$1" >&2
	shift
	local hint
	for hint in "$@"; do printf '  %s\n' "$hint" >&2; done
	exit 1
}

[[ $UNIDESK_PROJECT =~ ^[a-z0-9][a-z0-9_-]{0,40}$ ]] ||
	die "UNIDESK_PROJECT must be 1 to 41 of a-z 0-9 _ - and not start with _ or -: $UNIDESK_PROJECT"
for number in "$UNIDESK_PORT" "$UNIDESK_PG_PORT" "$UNIDESK_VOLUME_GB"; do
	[[ $number =~ ^[1-9][0-9]{0,4}$ ]] || die "not a port or a size in GB: $number"
done

readonly HEALTHY_LIMIT_S=${UNIDESK_HEALTHY_LIMIT_S:-180}
[[ $HEALTHY_LIMIT_S =~ ^[1-9][0-9]{0,5}$ ]] || die "UNIDESK_HEALTHY_LIMIT_S is a number of seconds"

# The plugin where it is there, else the program of the same name.
COMPOSE=()
find_compose()
{
	if docker compose version >/dev/null 2>&1; then
		COMPOSE=(docker compose)
	elif command -v docker-compose >/dev/null; then
		COMPOSE=(docker-compose)
	else
		return 1
	fi
}

compose() { "${COMPOSE[@]}" -p "$UNIDESK_PROJECT" -f "$ROOT/docker-compose.yml" "$@"; }
# The same as text, for messages; to be run in the checkout.
compose_text()
{
	[ "$UNIDESK_PROJECT" = unidesk ] || printf 'UNIDESK_PROJECT=%s ' "$UNIDESK_PROJECT"
	printf '%s -p %s %s' "${COMPOSE[*]}" "$UNIDESK_PROJECT" "$*"
}

# Id of a service's container; empty when there is none.
container_of()
{
	docker ps -aq --filter "label=com.docker.compose.project=$UNIDESK_PROJECT" \
		--filter "label=com.docker.compose.service=$1" | head -n 1
}

# in_service SERVICE COMMAND...: run it there, standard input passed on.
in_service()
{
	local service=$1 container
	shift
	container=$(container_of "$service")
	[ -n "$container" ] || die "the service $service has no container" "see: $(compose_text ps)"
	docker exec -i "$container" "$@"
}

start_services()
{
	local log=$STATE/log/compose.log
	compose up -d --no-build "$@" >"$log" 2>&1 || {
		tail -n 25 "$log" >&2
		die "could not start: $*" "see: $(compose_text ps)" "and: $(compose_text logs --tail 50 "$*")"
	}
}

wait_healthy()
{
	local service=$1 status='' container deadline=$((SECONDS + HEALTHY_LIMIT_S))
	while [ "$status" != healthy ]; do
		container=$(container_of "$service")
		status=$(docker inspect --format '{{.State.Health.Status}}' "$container" 2>/dev/null || true)
		if [ "$status" != healthy ] && [ "$SECONDS" -ge "$deadline" ]; then
			docker logs --tail 20 "$container" >&2 || true
			die "$service is not healthy after $HEALTHY_LIMIT_S s (${status:-no container})" \
				"its log: $(compose_text logs "$service")" \
				"its health check: docker inspect --format '{{json .State.Health}}' $container"
		fi
		[ "$status" = healthy ] || sleep 0.5
	done
	printf 'service %-9s healthy\n' "$service"
}

# Other installations of UniDesk on this engine, one project name a line.
other_projects()
{
	docker ps -a --filter label=unidesk.project --format '{{.Label "unidesk.project"}}' 2>/dev/null |
		grep -vx "$UNIDESK_PROJECT" | sort -u || true
}

# Things made outside of compose are noted, so that demo-down removes them and
# nothing else.
note_made() { grep -qxF "$1" "$STATE/made" 2>/dev/null || printf '%s\n' "$1" >>"$STATE/made"; }
was_made() { grep -qxF "$1" "$STATE/made" 2>/dev/null; }

# One installation is brought up or down by one program at a time.
lock_state()
{
	mkdir -p "$STATE/log"
	chmod 0700 "$ROOT/.unidesk" "$STATE"
	exec 9>"$STATE/lock"
	flock -w 5 9 || die "another make demo or make demo-down works on $UNIDESK_PROJECT"
}
