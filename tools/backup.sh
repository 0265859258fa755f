#!/bin/bash
#
# backup.sh
#	  Ask the running platform for a backup now, and wait until it is proven.
set -euo pipefail

# shellcheck source=tools/platform.sh
. "$(dirname "$0")/platform.sh"

find_compose || die "neither docker compose nor docker-compose works" "run: tools/packages.sh demo"
[ -n "$(docker ps -q --filter "label=com.docker.compose.project=$UNIDESK_PROJECT" \
	--filter label=com.docker.compose.service=backup)" ] ||
	die "the service backup does not run" "start the platform: make demo" "or look: $(compose_text ps)"
in_service backup unidesk-backup now </dev/null
say "all of them: SELECT * FROM unidesk.backups"
say "onto another machine: docker cp $(container_of backup):/backup - | ssh HOST tar -x -C /srv"
