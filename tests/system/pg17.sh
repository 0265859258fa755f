#!/usr/bin/env bash
#
# pg17.sh
#	  The extension's SQL tests on PostgreSQL 17 in Debian trixie, as a stage
#	  of an image build: docker/regress/Dockerfile.
#
# As root, or a member of docker.
set -uo pipefail
ROOT=$(cd "$(dirname "$0")/../.." && pwd)
cd "$ROOT" || exit 1
# shellcheck source=tools/results.sh
. tools/results.sh

name=unidesk-check-$$
out=$ROOT/build/pg17.log
mkdir -p build
# shellcheck source=tests/system/engine.sh
. tests/system/engine.sh

finish()
{
	trap - EXIT
	docker image rm "$name/regress" "$name/build" >/dev/null 2>&1
	engine_leave
}
trap finish EXIT
trap 'exit 130' INT TERM HUP

engine_enter || exit 1
export DOCKER_BUILDKIT=0
status=0
{
	docker build --force-rm -t "$name/build" docker/build &&
		docker build --force-rm --build-arg "BUILD_IMAGE=$name/build" -f docker/regress/Dockerfile -t "$name/regress" .
} >"$out" 2>&1 || status=$?

# A cached stage printed its tests when it was built: one result stands for it.
expect pg17 'SQL tests on PostgreSQL 17' [ "$status" -eq 0 ] || tail -n 80 "$out"
exit "$status"
