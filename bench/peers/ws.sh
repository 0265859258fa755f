#!/usr/bin/env bash
#
# ws.sh
#	  Bare libwebsockets (ws_echo.c), over loopback, no TLS: handshakes/s, memory
#	  of the server per idle connection, echoes/s of 100 bytes on 100 connections.
set -euo pipefail
cd "$(dirname "$0")/../.."
# shellcheck source=bench/measure.sh
. bench/measure.sh

connections=$(sized 10000 2000)
program=build/bench/ws_echo
mkdir -p build/bench
# shellcheck disable=SC2046 # a list of flags
cc -std=gnu17 -D_GNU_SOURCE -O2 -Wall -Wextra -o "$program" bench/peers/ws_echo.c $(pkg-config --cflags --libs libwebsockets) ||
	skip 'ws_echo.c could not be built: tools/packages.sh check'
ulimit -n 20000 2>/dev/null || connections=$(($(ulimit -n) / 2))

work=$(mktemp -d)
pids=()
trap 'for pid in "${pids[@]}"; do kill "$pid" 2>/dev/null || true; done; rm -rf "$work"' EXIT
trap 'exit 130' INT TERM

# A port that is free: the kernel gives a listener one of its own.
port=$(perl -MIO::Socket::INET -e 'print IO::Socket::INET->new(LocalAddr => "127.0.0.1", Listen => 1)->sockport')
mkfifo "$work/server"
"$program" server "$port" >"$work/server" &
server=$!
pids+=("$server")
read -r _ <"$work/server"
resident() { awk '$1 == "VmRSS:" { print $2 * 1024 }' "/proc/$server/status"; }

# client SECONDS [OPTION...]: its first line is in $opened, and it waits.
client()
{
	rm -f "$work/in" "$work/out"
	mkfifo "$work/in" "$work/out"
	"$program" client "$port" "$@" <"$work/in" >"$work/out" &
	pids+=($!)
	client_pid=$!
	exec 3>"$work/in" 4<"$work/out"
	read -r opened failed took <&4
	[ "$failed" -eq 0 ] || { say "$failed of $((opened + failed)) connections failed"; exit 1; }
}
go() { echo >&3; read -r count took <&4; exec 3>&- 4<&-; wait "$client_pid"; }

before=$(resident)
client "$connections" 0
emit lws_handshakes_per_s "$(compute "$opened / $took")" 1/s
emit lws_bytes_per_conn "$(compute "($(resident) - $before) / $opened")" bytes
go
client 100 2 16 100
go
emit lws_echoes_per_s "$(compute "$count / $took")" 1/s
