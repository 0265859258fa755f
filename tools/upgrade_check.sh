#!/usr/bin/env bash
#
# upgrade_check.sh
#	  Is an updated database the same as a new one?  Compare the catalogs after
#	  CREATE EXTENSION with those after CREATE EXTENSION VERSION 'X' and ALTER
#	  EXTENSION UPDATE, for every released X.
#
# What it prints is what the upgrade script lacks (+) or leaves over (-): a
# changed fact is one line of each.  The order of a table's columns may differ,
# and bodies are shown as their hash.  The last comparison's two lists stay in
# build/upgrade.
set -euo pipefail
ROOT=$(cd "$(dirname "$0")/.." && pwd)
# shellcheck source=tools/results.sh
. "$ROOT/tools/results.sh"
out=$ROOT/build/upgrade

# Without the worker: it would make partitions in one of the databases.
if [ -z "${PG_ROOT:-}" ]; then
	rm -rf "$out" && mkdir -p "$out"
	exec "$ROOT/tools/private_pg.sh" --no-extension --set unidesk.worker=off --keep-log "$out/server.log" -- "$0"
fi

sql() { "$PG_BIN/psql" -XAtq -v ON_ERROR_STOP=1 "$@"; }

# facts FILE STATEMENT...: of a new database after these statements.
facts()
{
	local file=$1 statement
	shift
	sql -d postgres -c "DROP DATABASE $PGDATABASE" -c "CREATE DATABASE $PGDATABASE"
	for statement; do sql -c "$statement" || return; done
	sql -f "$ROOT/tools/catalog.sql" >"$file"
}

same_facts()
{
	[ -s "$2" ] || return
	diff --unchanged-line-format= --old-line-format='- %L' --new-line-format='+ %L' "$1" "$2" && return
	printf '%s\n' 'upgrade_check.sh: write into extension/upgrade/ what is marked +, and undo there what is marked -'
	return 1
}

status=0
versions=()
for script in "$ROOT"/extension/released/unidesk--*.sql; do
	version=$(basename "$script" .sql)
	version=${version#unidesk--}
	# A script from one version to the next is not an installation.
	[[ $version == *--* ]] || versions+=("$version")
done

# Roles outlive a database: those of the updated ones have to come first.
for version in "${versions[@]}"; do
	facts "$out/$version" "CREATE EXTENSION unidesk VERSION '$version'" 'ALTER EXTENSION unidesk UPDATE' ||
		{ result_not_ok tap "$version can be installed and updated"; exit 1; }
done
facts "$out/new" 'CREATE EXTENSION unidesk' || { result_not_ok tap 'the extension can be installed'; exit 1; }
for version in "${versions[@]}"; do
	expect tap "after the update from $version everything is as in a new database" same_facts "$out/$version" "$out/new" || status=1
done
exit "$status"
