#!/usr/bin/env bash
#
# demo_down.sh
#	  make demo-down and the Docker Engine that was started by hand: it stays
#	  while a test run uses it, and is stopped by the last that does.
#
# In namespaces of its own, with an engine of its own at the usual place; all
# of it ends with the first process there.  As root.
set -uo pipefail
ROOT=$(cd "$(dirname "$0")/../.." && pwd)
cd "$ROOT" || exit 1
# shellcheck source=tools/results.sh
. tools/results.sh
# shellcheck source=tests/system/helpers.sh
. tests/system/helpers.sh

failed=0
check() { expect demo_down "$@" || failed=1; }
export UNIDESK_PROJECT=unidesk-check-down

if [ "$(id -u)" -ne 0 ]; then
	# shellcheck source=tests/system/engine.sh
	. tests/system/engine.sh
	as_root_by_engine tests/system/demo_down.sh
	exit
fi
if [ "${DEMO_DOWN_INSIDE:-}" != yes ]; then
	tools/packages.sh demo || exit
	unset DOCKER_HOST
	DEMO_DOWN_INSIDE=yes exec unshare --mount --net --pid --fork --kill-child --mount-proc --propagation private "$0"
fi

answers() { timeout 10 docker version >/dev/null 2>&1; }
stopped() { ! answers; }
# Its own lock is not the one of this run.
down() { tools/demo_down.sh 8>&- || return; }

mkdir -p /var/lib/docker || exit 1
for place in /run /var/lib/docker /var/log; do
	mount -t tmpfs tmpfs "$place" || exit 1
done
ip link set lo up || exit 1
docker/engine.sh start || exit 1
exec 8>/run/unidesk-check.users
flock -s 8
check "demo-down leaves the engine to a run that uses it" down
check "it answers" answers
flock -u 8
check "the last that used it is gone: demo-down again" down
check "it is stopped" stopped
exit "$failed"
