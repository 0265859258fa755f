# shellcheck shell=bash
#
# lib.sh
#	  What the figures have in common.  Sourced, in the project's folder.

# shellcheck source=tools/results.sh
CHECK_RESULTS=/dev/null . tools/results.sh

# bench_beside_server NAME [OPTION...]: this script again, with everything
# built, an engine, and a server of its own that waits for its disk (options:
# tools/private_pg.sh).  Logs: build/NAME.
bench_beside_server()
{
	local name=$1
	shift
	rm -rf "build/$name"
	mkdir -p "build/$name"
	make -s --no-print-directory all && tools/packages.sh demo && docker/engine.sh start && docker/base.sh >/dev/null || exit 1
	exec tools/private_pg.sh --keep-log "build/$name/server.log" --set fsync=on --set unidesk.disk_floor=64MB "$@" -- "$0"
}

# percentile P [DIGITS]: of the numbers on standard input, one a line.
percentile() { sort -n | awk -v p="$1" -v d="${2:-1}" '{ v[NR] = $1 } END { i = int((NR - 1) * p / 100 + 0.5) + 1; printf "%.*f", d, v[i] }'; }
