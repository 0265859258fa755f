#!/usr/bin/env bash
#
# check.sh
#	  Run test suites and add up their single tests.
#
#	tools/check.sh SUITE...
#	tools/check.sh --sum
#
# Suites, in the order in which make check runs them:
#	build       everything compiles
#	exports     the extension's shared object shows its own names only
#	units       the folders' tests/check_*.c
#	regress     extension/sql on a private server
#	isolation   extension/specs on a private server
#	tap         extension/t: restarts, crashes, promotion, restore, update
#	cost        tests/cost/*.sh: what a task costs the database
#	websocket   tests/system/websocket.sh: hostile clients of the bridge; no engine
#	config      tests/system/config.sh: settings that cannot be used; no engine
#	restore     tests/system/restore.sh: dump, restore, go on
#	path        tests/system/path.sh: bridge and agent on this host
#	lease       tests/system/lease.sh: a node that is silent for too long, during an announced downtime, and without a lease
#	identity    tests/system/identity.sh: copies, second agents, other machines, reboots, names
#	limits      tests/system/limits.sh: limits of a task, its warning, its checkpoint
#	container   tests/system/container.sh: every way in which a container can be wrong or end
#	node        tests/system/node.sh: caches, leftovers, the disk, the data mount
#	fleet       tests/system/fleet.sh: two bridges, three agents, two engines
#	replace     tests/system/replace.sh: an agent's container by one of another image
#	restarts    tests/system/restarts.sh: engine, agent, link, database and machine go and come back
#	drill       tests/system/drill.sh: the database is lost, its last backup restored
#	demo        tests/system/demo.sh: make demo, twice, a backup, and make demo-down
#	demo_down   tests/system/demo_down.sh: make demo-down stops no engine that a test run uses
#	git         tests/system/git.sh: repositories of all kinds, a proxy, bytes
#	dockerfile  tests/system/dockerfile.sh: Dockerfiles of all kinds, .dockerignore
#	canary      tests/system/canary.sh: no secret in logs, dumps, processes, containers
#	volume      tests/system/volume.sh: a volume of 300 MB is filled
#	pg17        tests/system/pg17.sh: the SQL tests on PostgreSQL 17, in an image build
#
# Every suite runs, also after another has failed; without a build there is
# nothing to run.  The last line is "N passed, N failed"; --sum prints that
# line of the run before.  The single results are in build/check.results.
set -uo pipefail
ROOT=$(cd "$(dirname "$0")/.." && pwd)
cd "$ROOT" || exit 1
# shellcheck source=tools/results.sh
. tools/results.sh
# shellcheck source=tests/system/engine.sh
. tests/system/engine.sh

count() { grep -c "^$1 " "$CHECK_RESULTS" 2>/dev/null || true; }

sum()
{
	local failed
	[ -s "$CHECK_RESULTS" ] || result_not_ok check "nothing ran"
	failed=$(count 'not ok')
	printf '%d passed, %d failed\n' "$(count ok)" "$failed"
	[ "$failed" -eq 0 ]
}

if [ "${1:-}" = --sum ]; then
	sum
	exit
fi

run_suite()
{
	local script status=0

	case $1 in
		build) make --no-print-directory all ;;
		exports) tools/check_exports.sh ;;
		units) make --no-print-directory units ;;
		regress)
			tools/regress.sh regress || status=1
			expect regress 'docs/states.md is what the extension says' tools/states.sh --check || status=1
			return "$status"
			;;
		isolation) tools/regress.sh isolation ;;
		tap) tools/tap.sh ;;
		cost)
			for script in tests/cost/*.sh; do
				[ -e "$script" ] || continue
				"$script" || status=1
			done
			return "$status"
			;;
		*)
			if [ ! -x "tests/system/$1.sh" ]; then
				echo "check.sh: no such suite: $1" >&2
				return 2
			fi
			"tests/system/$1.sh"
			;;
	esac
}

: >"$CHECK_RESULTS"
trap 'exit 130' INT TERM

# With the system tests an engine is there from the start, so that the units
# find it too.
case " $* " in
	*' path '* | *' drill '* | *' demo '*)
		trap engine_leave EXIT
		engine_enter || result_not_ok check 'no engine'
		;;
esac
timings=()
for suite; do
	printf '== %s\n' "$suite"
	began=$SECONDS
	failed_before=$(count 'not ok')
	status=0
	run_suite "$suite" || status=$?
	# A suite that fails has to say which test did; if it cannot, itself did.
	if [ "$status" -ne 0 ] && [ "$(count 'not ok')" -eq "$failed_before" ]; then
		result_not_ok "$suite" "exit status $status"
	elif [ "$status" -eq 0 ] && [ "$suite" = build ]; then
		result_ok build all
	fi
	timings+=("$suite $((SECONDS - began)) s")
	printf '== %s: %d s\n' "$suite" "$((SECONDS - began))"
	if [ "$status" -ne 0 ] && [ "$suite" = build ]; then break; fi
done

printf '\n%s\n' "$(printf '%s, ' "${timings[@]}" | sed 's/, $//')"
grep '^not ok' "$CHECK_RESULTS"
sum
