#!/usr/bin/env bash
#
# queue.sh graphile|pgboss
#	  A job queue for Node.js on a PostgreSQL of its own with the settings that
#	  UniDesk's has, durability on: jobs that do nothing, one worker process.
#
# bench/peers/{graphile,pgboss}.mjs say what is measured.
set -euo pipefail
cd "$(dirname "$0")/../.."
# shellcheck source=bench/measure.sh
. bench/measure.sh
# shellcheck source=bench/peers/throwaway.sh
. bench/peers/throwaway.sh
peer=$1
root_needs node Node.js
case $peer in
	graphile) root_needs /opt/bench/node_modules/graphile-worker/package.json graphile-worker ;;
	pgboss) root_needs /opt/bench/node_modules/pg-boss/package.json pg-boss ;;
	*) skip "no such queue: $peer" ;;
esac
[ -n "${PG_ROOT:-}" ] || beside_server "${without_unidesk[@]}"

trap cpu_close EXIT
cpu=
if cpu_open server; then
	cpu_adopt_server server
	cpu=$(cpu_file server)
fi
root_run env NODE_PATH=/opt/bench/node_modules SERVER_CPU="$cpu" QUICK="$BENCH_QUICK" node "bench/peers/$peer.mjs"
