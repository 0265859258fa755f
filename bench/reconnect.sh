#!/usr/bin/env bash
#
# reconnect.sh
#	  The bridge is killed and started again: how fast all agents are back, and
#	  what a session costs.
#
# AGENTS (10000), ROUNDS (3) times.  BACKOFF_MS (500): the agents wait at most
# so long before they connect again, so that the bridge is what is measured and
# not the agents' patience; CONNECTING (64) handshakes are under way at once.
set -uo pipefail
ROOT=$(cd "$(dirname "$0")/.." && pwd)
cd "$ROOT" || exit 1
# shellcheck source=bench/platform.sh
. bench/platform.sh

AGENTS=${AGENTS:-10000}
ROUNDS=${ROUNDS:-3}
BACKOFF_MS=${BACKOFF_MS:-500}
CONNECTING=${CONNECTING:-64}
out=$ROOT/build/bench-reconnect

platform_beside_server bench-reconnect
platform_begin
make_nodes "$AGENTS"
start_bridge
online_s=300 start_agents "$AGENTS" --backoff-ms "$BACKOFF_MS" --connecting "$CONNECTING" --seconds 1800 || exit 1
for round in $(seq "$ROUNDS"); do
	sleep 2
	mark
	began=$(date +%s%N)
	kill -9 "${bridge_pids[0]}"
	wait "${bridge_pids[0]}" 2>/dev/null
	start_bridge
	within 300 were_online $((round + 1)) || exit 1
	took_ms=$((($(date +%s%N) - began) / 1000000))
	since
	echo "$took_ms" >>"$out/took"
	ratio $((AGENTS * 1000)) "$took_ms" >>"$out/rate"; echo >>"$out/rate"
	for what in cpu_server cpu_bridge cpu_agents wal; do
		ratio "${!what}" "$AGENTS" >>"$out/$what"
		echo >>"$out/$what"
	done
	awk '/^VmRSS/ { print $2 }' "/proc/${bridge_pids[0]}/status" >>"$out/rss"
	say "round $round: $AGENTS agents back after $took_ms ms"
done
stop_agents
invariants_hold >&2 || exit 1
median() { percentile 50 <"$out/$1"; }
emit reconnect.all_online "$(median took)" ms
emit reconnect.rate "$(median rate)" handshakes/s
emit reconnect.cpu.server "$(median cpu_server)" us/handshake
emit reconnect.cpu.bridge "$(median cpu_bridge)" us/handshake
emit reconnect.cpu.agents "$(median cpu_agents)" us/handshake
emit reconnect.wal "$(median wal)" bytes/handshake
emit reconnect.bridge_rss "$(median rss)" KiB
