#!/usr/bin/env bash
#
# run_units.sh
#	  Run Check programs and note each of their tests.
#
#	tools/run_units.sh AREA PROGRAM...
#
# Each program runs in its own folder.  The single tests are taken from
# Check's TAP log, which it writes beside its ordinary output.
set -euo pipefail
# shellcheck source=tools/results.sh
. "$(dirname "$0")/results.sh"

area=$1
shift
failed=0
for program; do
	name=$(basename "$program")
	tap=$program.tap
	rm -f "$tap"
	status=0
	(cd "$(dirname "$program")" && CK_TAP_LOG_FILE_NAME=$tap "./$name") >"$tap.out" 2>&1 || status=$?
	cat "$tap.out"
	if [ -f "$tap" ]; then
		# "ok 1 - tests/check_x.c:case:test: Passed", the text below a failure
		sed -n -E "s|^(not )?ok [0-9]+ - [^:]*:([^:]*):([^:]*):.*|\\1ok units: $area/$name \\2 \\3|p" \
			"$tap" >>"$CHECK_RESULTS"
	fi
	if [ "$status" -ne 0 ]; then
		failed=1
		# It died before it could write down what failed.
		grep -qs '^not ok' "$tap" || result_not_ok units "$area/$name (exit status $status)"
	elif grep -q 'SKIPPED' "$tap.out"; then
		:							# what it needs is not here; it has said so
	elif ! grep -qs '^ok' "$tap"; then
		failed=1
		result_not_ok units "$area/$name (ran no test)"
	fi
done
exit "$failed"
