#!/bin/bash
#
# demo_down.sh
#	  Remove everything that demo.sh made for UNIDESK_PROJECT: containers, the
#	  tasks' included, networks, volumes with their data, images, secrets, and
#	  the engine where demo.sh started one.  Debian packages stay.
set -euo pipefail

# shellcheck source=tools/platform.sh
. "$(dirname "$0")/platform.sh"

OTHERS=''
# A file, because what fails often does so in a subshell.
FAILED=$(mktemp)
trap 'rm -f "$FAILED"' EXIT
failed() { warn "$*"; echo >>"$FAILED"; }

# A client that waits for ever must not make this wait for ever.
docker() { command timeout 120 docker "$@"; }

# Ids, one a line on standard input, removed by the command given.
remove_each()
{
	local what=$1 id
	shift
	while read -r id; do
		[ -z "$id" ] || "$@" "$id" >/dev/null || failed "could not remove the $what $id"
	done
}

# A task's container is this installation's when its agent's data lies in the
# node volume.
task_containers()
{
	local mountpoint
	mountpoint=$(docker volume inspect --format '{{.Mountpoint}}' "$NODE_VOLUME" 2>/dev/null) || return 0
	docker ps -aq --filter "label=unidesk.data=$mountpoint"
}

# What an interrupted build has left runs a shell; an agent that this machine
# runs for another server has the label too, from its image, and stays.
build_containers()
{
	local id
	docker ps -aq --filter "label=unidesk.project=$UNIDESK_PROJECT" | while read -r id; do
		if [ "$(docker inspect --format '{{.Path}}' "$id" 2>/dev/null)" = /bin/sh ]; then
			echo "$id"
		fi
	done
}

# Names of the images that the node built from environments: those that demo.sh
# noted and, where the database still runs, those of all its attempts.
environments()
{
	local container id
	{
		sed -n 's/^environment //p' "$STATE/made" 2>/dev/null || true
		container=$(container_of postgres)
		[ -z "$container" ] || docker exec "$container" psql -XAtqc \
			'SELECT image_id FROM unidesk.attempts WHERE image_id IS NOT NULL' 2>/dev/null || true
	} | sort -u | while read -r id; do
		docker image inspect --format '{{range .RepoTags}}{{println .}}{{end}}' "$id" 2>/dev/null |
			grep '^unidesk-cache/' || true
	done
}

# Agents of other installations may have built the same: what a container of
# theirs uses stays.
remove_environment()
{
	if [ -n "$(docker ps -aq --filter "ancestor=$1")" ]; then
		say "keeping the image $1: containers of others use it" >&2
	else
		docker image rm "$1"
	fi
}

remove_images()
{
	local name round ids
	for name in "${IMAGES[@]}"; do
		if docker image inspect "$UNIDESK_PROJECT/$name" >/dev/null 2>&1; then
			echo "$UNIDESK_PROJECT/$name"
		fi
	done | remove_each image docker image rm
	# Older builds and the stages that only compiled something, leaves first.
	for round in 1 2 3 4; do
		ids=$(docker image ls -q --no-trunc --filter dangling=true --filter "label=unidesk.project=$UNIDESK_PROJECT" | sort -u)
		[ -n "$ids" ] || return 0
		remove_each "image (round $round)" docker image rm <<<"$ids"
	done
}

remove_base()
{
	local image
	[ -e "$STATE/made" ] || return 0
	if [ -n "$OTHERS" ]; then
		say "keeping the base image, which is used by: ${OTHERS//$'\n'/ }"
		return
	fi
	for image in "$BASE_IMAGE" debian:trixie-slim; do
		if was_made "image $image" && docker image inspect "$image" >/dev/null 2>&1; then
			echo "$image"
		fi
	done | remove_each image docker image rm
}

# An engine that was started by hand is stopped by the last that uses it: test
# runs share the lock on .users while they do (tests/system/engine.sh).
stop_engine()
{
	if [ "$(id -u)" -eq 0 ]; then
		exec 6>/run/unidesk-check.users 7>/run/unidesk-check.lock
		flock 7
		if ! flock -n 6; then
			say "keeping the Docker Engine: a test run uses it"
			return
		fi
	fi
	[ -n "$(docker ps -aq)" ] || "$ROOT/docker/engine.sh" stop
}

main()
{
	local built
	if ! command -v docker >/dev/null; then
		say "there is no Docker here: only the secrets are removed"
		rm -rf "$STATE"
		return
	fi
	"$ROOT/docker/engine.sh" start
	lock_state

	OTHERS=$(other_projects)
	built=$(environments)
	docker ps -aq --filter "label=com.docker.compose.project=$UNIDESK_PROJECT" |
		remove_each container docker rm -f -v
	build_containers | remove_each container docker rm -f -v
	task_containers | remove_each container docker rm -f -v
	docker network ls -q --filter "label=com.docker.compose.project=$UNIDESK_PROJECT" |
		remove_each network docker network rm
	docker volume ls -q --filter "label=com.docker.compose.project=$UNIDESK_PROJECT" |
		remove_each volume docker volume rm
	"$ROOT/docker/volume.sh" remove "$DATABASE_VOLUME" || failed "could not remove the volume $DATABASE_VOLUME"
	remove_each environment remove_environment <<<"$built"
	remove_images
	remove_base

	if [ -s "$FAILED" ]; then
		die "not everything could be removed, see above" "run make demo-down again"
	fi
	rm -rf "$STATE"
	rmdir "$ROOT/.unidesk" 2>/dev/null || true
	stop_engine
	say "removed everything that make demo made for $UNIDESK_PROJECT"
}

main "$@"
