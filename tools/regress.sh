#!/usr/bin/env bash
#
# regress.sh
#	  The extension's SQL tests on a server of their own.
#
#	tools/regress.sh regress|isolation [TEST...]
#
# regress runs extension/sql/*.sql in alphabetical order, isolation runs
# extension/specs/*.spec; both compare with extension/expected.  The extension
# exists in the test database when the first test starts.  Results land in
# build/regress/pgNN.  extension/regress.conf, where it exists, is added to
# the server's configuration.
set -euo pipefail
ROOT=$(cd "$(dirname "$0")/.." && pwd)
# shellcheck source=tools/results.sh
. "$ROOT/tools/results.sh"

kind=$1
shift
PG_CONFIG=${PG_CONFIG:-pg_config}
src_test=$(dirname "$("$PG_CONFIG" --pgxs)")/../test
major=$("$PG_CONFIG" --version | sed 's/^[^0-9]*\([0-9]*\).*/\1/')
out=$ROOT/build/regress/pg$major/$kind
case $kind in
	regress)
		runner=$src_test/regress/pg_regress
		folder=sql ending=sql
		;;
	isolation)
		runner=$src_test/isolation/pg_isolation_regress
		folder=specs ending=spec
		;;
	*)
		echo "usage: tools/regress.sh regress|isolation [TEST...]" >&2
		exit 2
		;;
esac
[ -x "$runner" ] || { echo "regress.sh: no $runner: tools/packages.sh test" >&2; exit 1; }

tests=("$@")
if [ ${#tests[@]} -eq 0 ]; then
	for file in "$ROOT/extension/$folder"/*."$ending"; do
		[ -e "$file" ] && tests+=("$(basename "$file" ".$ending")")
	done
fi
if [ ${#tests[@]} -eq 0 ]; then
	echo "regress.sh: no tests in extension/$folder" >&2
	result_not_ok "$kind" "no tests found"
	exit 1
fi

rm -rf "$out"
mkdir -p "$out/results" "$out/log"
conf=()
[ ! -e "$ROOT/extension/regress.conf" ] || conf=(--conf "$ROOT/extension/regress.conf")

# pg_regress is to start beside the server, so its arguments that name the
# server are filled in there.
run_tests()
{
	# shellcheck disable=SC2016 # expanded by the shell beside the server
	"$ROOT/tools/private_pg.sh" "${conf[@]}" --keep-log "$out/server.log" -- \
		bash -c '"$0" --bindir="$PG_BIN" --host="$PGHOST" --port="$PGPORT" --user="$PGUSER" \
			--use-existing --dbname="$PGDATABASE" "$@"' \
		"$runner" --inputdir="$ROOT/extension" --outputdir="$out" "${tests[@]}"
}

status=0
(cd "$out" && run_tests) 2>&1 | tee "$out/output" || status=$?

# "test name ... ok 12 ms" and FAILED up to 15, TAP from 16 on.
sed -n -E \
	-e "s/^(test)? +([A-Za-z0-9_-]+) +\\.\\.\\. ok .*/ok $kind: \\2/p" \
	-e "s/^(test)? +([A-Za-z0-9_-]+) +\\.\\.\\. FAILED.*/not ok $kind: \\2/p" \
	-e "s/^ok [0-9]+ +[-+] ([A-Za-z0-9_-]+) .*/ok $kind: \\1/p" \
	-e "s/^not ok [0-9]+ +[-+] ([A-Za-z0-9_-]+) .*/not ok $kind: \\1/p" \
	"$out/output" >"$out/list"
cat "$out/list" >>"$CHECK_RESULTS"
# A wait of the scheduler for somebody's transaction ends as an ERROR in the log.
if [ "$kind" = isolation ]; then
	expect isolation 'the scheduler waits for nobody' eval \
		'! grep -A 4 -E "unidesk scheduler +(ERROR|FATAL:.*lock)" "$out/server.log"' || status=1
fi
[ ! -s "$out/regression.diffs" ] || head -n 400 "$out/regression.diffs"
if [ "$status" -ne 0 ] && ! grep -q '^not ok' "$out/list"; then
	result_not_ok "$kind" "run (exit status $status, see build/regress/pg$major/$kind/server.log)"
	tail -n 20 "$out/server.log" 2>/dev/null || true
fi
exit "$status"
