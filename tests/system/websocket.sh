#!/usr/bin/env bash
#
# websocket.sh
#	  Hostile clients: a real bridge beside a real server gets what no agent
#	  would send.  tests/system/lib/Hostile.pm says what has to hold after each.
#
#	websocket_handshake.pl  requests, and upgrades that are wrong in one thing
#	websocket_frames.pl     WebSocket frames
#	websocket_messages.pl   frames and messages of docs/protocol.md
#	websocket_floods.pl     too much, too slow, too many
#	websocket_database.pl   the database is away
#
#	websocket.sh [PART...]
#
# Logs: build/websocket.  VARIANT=asan takes the bridge of that build; give it
# ASAN_OPTIONS=quarantine_size_mb=16, or its memory looks like a leak.
set -uo pipefail
ROOT=$(cd "$(dirname "$0")/../.." && pwd)
cd "$ROOT" || exit 1
# shellcheck source=tools/results.sh
. tools/results.sh
# shellcheck source=tests/system/helpers.sh
. tests/system/helpers.sh

out=$ROOT/build/websocket
if [ -z "${PG_ROOT:-}" ]; then
	rm -rf "$out"
	mkdir -p "$out"
	exec tools/private_pg.sh --keep-log "$out/server.log" \
		--set unidesk.beat_interval=15s --set unidesk.session_silent_after=30s \
		--set track_functions=all -- "$0" "$@"
fi

sql() { "$PG_BIN/psql" -XAtq -v ON_ERROR_STOP=1 -c "$1"; }

bridge_pid=
finish()
{
	trap - EXIT
	trap '' INT TERM HUP
	{ kill -9 "$bridge_pid" && wait "$bridge_pid"; } 2>/dev/null
}
trap finish EXIT
trap 'exit 130' INT TERM HUP

within 10 is t 'SELECT unidesk.worker_alive()' || exit 1
sql 'ALTER ROLE unidesk_bridge LOGIN' || exit 1
TOKEN_GOOD=$(sql "SELECT unidesk.create_node('good')")
TOKEN_VICTIM=$(sql "SELECT unidesk.create_node('victim')")
TOKENS_EVIL=$(sql "SELECT string_agg(unidesk.create_node('evil-' || i), ' ') FROM generate_series(1, 12) AS i")
PORT=$(free_port)
BRIDGE_LOG=$out/bridge.log
UNIDESK_DATABASE="host=$PGHOST port=$PGPORT dbname=$PGDATABASE user=unidesk_bridge" \
	UNIDESK_LISTEN=127.0.0.1:$PORT UNIDESK_BRIDGE_NAME=hostile UNIDESK_MAX_PER_ADDRESS=600 UNIDESK_LOG_LEVEL=debug \
	"build/${VARIANT:-release}/bridge/unidesk-bridge" 2>"$BRIDGE_LOG" &
bridge_pid=$!
export TOKEN_GOOD TOKEN_VICTIM TOKENS_EVIL PORT BRIDGE_LOG BRIDGE_PID=$bridge_pid
healthy()
{
	UNIDESK_LISTEN=127.0.0.1:$PORT "build/${VARIANT:-release}/bridge/unidesk-bridge" --health
}
within 20 healthy || exit 1

failed=0
[ $# -gt 0 ] || set -- handshake frames messages floods database
for part; do
	while IFS= read -r line; do
		printf '%s\n' "$line"
		case $line in
			'ok '*) result_ok websocket "${line#ok }" ;;
			'not ok '*) result_not_ok websocket "${line#not ok }"; failed=1 ;;
		esac
	done < <(timeout 240 "tests/system/websocket_$part.pl" 2>&1 || echo "not ok websocket_$part.pl ended with $?")
done
check() { expect websocket "$@" || failed=1; }
ends()
{
	local status=0
	kill -TERM "$bridge_pid"
	wait "$bridge_pid" || status=$?
	[ "$status" -eq 0 ] || { printf '  exit status %s\n' "$status"; return 1; }
}
check 'the bridge ends in order when asked' ends
exit "$failed"
