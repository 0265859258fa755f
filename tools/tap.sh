#!/usr/bin/env bash
#
# tap.sh
#	  The extension's TAP tests, which start and stop servers of their own.
#
#	tools/tap.sh [TEST...]
#
# First tools/upgrade_check.sh, unless tests are named; then extension/t/*.pl by
# PostgreSQL's PostgreSQL::Test::Cluster, on a copy of the installation and as an
# unprivileged user.  What a test printed and its servers' logs are in build/tap.
set -euo pipefail
ROOT=$(cd "$(dirname "$0")/.." && pwd)
PG_CONFIG=${PG_CONFIG:-pg_config}
# shellcheck source=tools/results.sh
. "$ROOT/tools/results.sh"
# shellcheck source=tools/pg_user.sh
. "$ROOT/tools/pg_user.sh"
out=$ROOT/build/tap

die() { printf 'tap.sh: %s\n' "$*" >&2; exit 1; }

perl -MIPC::Run -e 1 2>/dev/null || die "no IPC::Run: tools/packages.sh check"
bindir=$("$PG_CONFIG" --bindir) || die "no pg_config: tools/packages.sh check"
src_test=$(cd "$(dirname "$("$PG_CONFIG" --pgxs)")/../test" && pwd)
[ -e "$src_test/perl/PostgreSQL/Test/Cluster.pm" ] || die "no Cluster.pm in $src_test/perl: tools/packages.sh check"

tests=("$@")
failed=0
if [ ${#tests[@]} -eq 0 ]; then
	"$ROOT/tools/upgrade_check.sh" || failed=1
	for file in "$ROOT"/extension/t/*.pl; do tests+=("$(basename "$file" .pl)"); done
fi

PG_ROOT=$(mktemp -d "${TMPDIR:-/tmp}/unidesk-tap.XXXXXX")
running=
clean_up()
{
	local status=$? pidfile

	trap - EXIT
	trap '' INT TERM HUP
	set +e
	# A test stops its servers when it ends; one that was killed could not.
	if [ -n "$running" ]; then kill "$running" 2>/dev/null && wait "$running"; fi
	for pidfile in "$PG_ROOT"/*/tmp_check/*/pgdata/postmaster.pid; do
		[ -e "$pidfile" ] && as_server "$PG_ROOT$bindir/pg_ctl" -D "$(dirname "$pidfile")" -s -w -m immediate stop
	done
	rm -rf "$PG_ROOT"
	exit "$status"
}
trap clean_up EXIT
trap 'exit 130' INT TERM HUP

"$ROOT/tools/pg_copy.sh" "$PG_ROOT"
# The user may not be allowed to look into this checkout.
mkdir "$PG_ROOT/extension"
cp -r "$ROOT/extension/t" "$ROOT/extension/sql" "$PG_ROOT/extension/"
[ "$(id -u)" -ne 0 ] || chown "$PG_SERVER_USER" "$PG_ROOT"
rm -rf "$out" && mkdir -p "$out"

# run_test NAME: its lines of TAP, on the way into the results.
run_test()
{
	local name=$1 began=$SECONDS status=0 bad=0 line

	as_server mkdir "$PG_ROOT/$name"
	as_server env -u PGHOST -u PGPORT -u PGSERVICE -u PGOPTIONS -u PGPASSWORD \
		PATH="$PG_ROOT$bindir:$PATH" PG_REGRESS="$src_test/regress/pg_regress" PERL5LIB="$src_test/perl" \
		PG_TEST_TIMEOUT_DEFAULT=60 TESTDIR="$PG_ROOT/$name" TESTDATADIR="$PG_ROOT/$name/tmp_check" TESTLOGDIR="$PG_ROOT/$name/tmp_check/log" LC_ALL=C \
		perl "$PG_ROOT/extension/t/$name.pl" >"$out/$name.tap" 2>&1 &
	running=$!
	wait "$running" || status=$?
	running=
	cp -r "$PG_ROOT/$name/tmp_check/log" "$out/$name.log" 2>/dev/null || true
	while IFS= read -r line; do
		case $line in
			'ok '*) result_ok tap "$name: ${line#* - }" ;;
			*) result_not_ok tap "$name: ${line#* - }"; bad=1 ;;
		esac
	done < <(grep -E '^(not )?ok [0-9]+' "$out/$name.tap")
	printf '%s %s (%d s)\n' "$([ "$status" -eq 0 ] && echo ok || echo 'not ok')" "$name" "$((SECONDS - began))"
	[ "$status" -ne 0 ] || return 0
	[ "$bad" -ne 0 ] || result_not_ok tap "$name: exit status $status"
	grep -vE '^ok ' "$out/$name.tap" | tail -n 60
	return 1
}

for name in "${tests[@]}"; do run_test "$name" || failed=1; done
exit "$failed"
