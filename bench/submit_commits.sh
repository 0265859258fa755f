#!/usr/bin/env bash
#
# submit_commits.sh
#	  Commits of submit_task by 8 clients, against one plain statement that
#	  inserts the same rows into tables of the same shape and indexes, without
#	  the extension.  Both on one server, by turns.
#
# The plain statement is made from the rows that a submit has written, so it
# follows the schema.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=bench/measure.sh
. bench/measure.sh
[ -n "${PG_ROOT:-}" ] || beside_server --set unidesk.disk_floor=64MB

clients=8
each=$(sized 400 150)
turns=$(sized 4 3)
work=$(mktemp -d)
trap 'cpu_close; rm -rf "$work"' EXIT

psql -c "SELECT unidesk.create_project('bench')" >/dev/null
cat >"$work/submit.sql" <<-'END'
	SELECT unidesk.submit_task(project => 'bench', code_repo_url => 'https://git.example/code.git',
		code_commit_id => '0123456789012345678901234567890123456789', env_repo_url => 'https://git.example/env.git',
		env_commit_id => '0123456789012345678901234567890123456789', dockerfile_path => 'Dockerfile', command => ARRAY['true']);
END
psql -f "$work/submit.sql" >/dev/null
psql -v plain="$work/plain.sql" -f bench/submit_plain.sql

run() { "$PG_BIN/pgbench" -n -M prepared -f "$work/$1.sql" -c "$clients" -j 1 -t "$2" 2>&1; }
# rate WHAT: commits/s of one turn, appended to its file.
rate()
{
	local said
	said=$(run "$1" "$each") && grep -q "processed: $((clients * each))/" <<<"$said" || { say "$said"; return 1; }
	sed -n 's/^tps = \([0-9.]*\).*/\1/p' <<<"$said" >>"$work/$1"
}
run submit 20 >/dev/null
run plain 20 >/dev/null
psql -c CHECKPOINT

with_cpu=yes
cpu_open server && cpu_adopt_server server || with_cpu=
: >"$work/cpu"
# Whoever begins meets another server than whoever follows: each begins in turn.
for turn in $(seq "$turns"); do
	order='submit plain'
	[ $(((turn + BENCH_ROUND) % 2)) -eq 0 ] || order='plain submit'
	for what in $order; do
		[ -z "$with_cpu" ] || before=$(cpu_us server)
		rate "$what"
		[ -z "$with_cpu" ] || echo "$what $(($(cpu_us server) - before))" >>"$work/cpu"
	done
done

# Of one round there is one pair: the turns of both have the same neighbours.
harmonic() { awk '{ s += 1 / $1 } END { printf "%.1f", NR / s }' "$1"; }
emit submit_commits_per_s "$(harmonic "$work/submit")" commits/s
emit plain_insert_commits_per_s "$(harmonic "$work/plain")" commits/s
[ -n "$with_cpu" ] || exit 0
for what in submit plain; do
	used=$(awk -v w="$what" '$1 == w { s += $2 } END { print s }' "$work/cpu")
	emit "${what}_pg_cpu_us_per_commit" "$(compute "$used / ($turns * $clients * $each)")" us
done
