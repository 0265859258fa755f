#!/usr/bin/env bash
#
# run.sh
#	  The bench's own tests (bench/tests/*.t), each as one of the units.
set -uo pipefail
cd "$(dirname "$0")/../.." || exit 1
# shellcheck source=tools/results.sh
. tools/results.sh
failed=0
for test in bench/tests/*.t; do
	name=bench/$(basename "$test" .t)
	out=$(perl "$test" 2>&1) || { failed=1; printf '%s\n' "$out" | grep -v '^ok'; }
	printf '%s: %d tests\n' "$name" "$(grep -cE '^(not )?ok ' <<<"$out")"
	sed -n -E "s|^(not )?ok [0-9]+ - (.*)|\\1ok units: $name \\2|p" <<<"$out" >>"$CHECK_RESULTS"
	grep -q '^1\.\.[1-9]' <<<"$out" || { failed=1; result_not_ok units "$name (did not come to its end)"; }
done
exit "$failed"
