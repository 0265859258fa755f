#!/usr/bin/env bash
#
# pg17.sh
#	  The extension's SQL tests on PostgreSQL 17 in Debian trixie, as a stage
#	  of an image build: docker/regress/Dockerfile.
#
# An engine is started where none runs, and then stopped again.
set -uo pipefail
ROOT=$(cd "$(dirname "$0")/../.." && pwd)
cd "$ROOT" || exit 1
# shellcheck source=tools/results.sh
. tools/results.sh

name=unidesk-check-$$
out=$ROOT/build/pg17.log
mkdir -p build
engine_was_there=yes
timeout 10 docker version >/dev/null 2>&1 || engine_was_there=no

finish()
{
	trap - EXIT
	docker image rm "$name/regress" "$name/build" >/dev/null 2>&1
	[ "$engine_was_there" = yes ] || docker/engine.sh stop
}
trap finish EXIT
trap 'exit 130' INT TERM HUP

tools/packages.sh demo && docker/engine.sh start && docker/base.sh >/dev/null || exit 1
export DOCKER_BUILDKIT=0
status=0
{
	docker build --force-rm -t "$name/build" docker/build &&
		docker build --force-rm --build-arg "BUILD_IMAGE=$name/build" -f docker/regress/Dockerfile -t "$name/regress" .
} >"$out" 2>&1 || status=$?

# A cached stage printed its tests when it was built: one result stands for it.
expect pg17 'SQL tests on PostgreSQL 17' [ "$status" -eq 0 ] || tail -n 80 "$out"
exit "$status"
