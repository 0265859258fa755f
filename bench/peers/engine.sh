#!/usr/bin/env bash
#
# engine.sh
#	  The Docker Engine without UniDesk: a container that does nothing by its API,
#	  with the networks "none" and "bridge", one and four at a time, and by "docker
#	  run --rm", four at a time.
set -euo pipefail
cd "$(dirname "$0")/../.."
# shellcheck source=bench/measure.sh
. bench/measure.sh
# shellcheck source=bench/lib.sh
. bench/lib.sh

timeout 10 docker version >/dev/null 2>&1 || skip 'no Docker Engine answers'
image=unidesk-base/debian:trixie
docker image inspect "$image" >/dev/null 2>&1 || skip "there is no image $image: docker/base.sh"
label=$$
# A container may be gone before it is asked to go.
remove()
{
	local ids
	ids=$(docker ps -aq --filter "label=unidesk.bench=$label")
	[ -z "$ids" ] || xargs docker rm -f <<<"$ids" >/dev/null 2>&1 || true
}
work=$(mktemp -d)
trap 'remove; rm -rf "$work"' EXIT
trap 'exit 130' INT TERM

perl bench/peers/engine.pl "$image" none "$label" 2 1 >/dev/null		# caches
for network in none bridge; do
	perl bench/peers/engine.pl "$image" "$network" "$label" "$(sized 12 6)" 1 >"$work/$network"
	ms=$(grep -v rate "$work/$network" | percentile 50)
	emit "engine_api_${network}_noop_ms" "$ms" ms
	perl bench/peers/engine.pl "$image" "$network" "$label" "$(sized 16 8)" 4 >"$work/$network"
	emit "engine_api_${network}_per_s" "$(sed -n 's/^rate //p' "$work/$network")" 1/s
done
count=$(sized 12 8)
began=$(now_us)
seq "$count" | xargs -P 4 -I '{}' docker run --rm --label "unidesk.bench=$label" "$image" /bin/true
emit docker_run_per_s "$(compute "$count * 1e6 / ($(now_us) - $began)")" 1/s
