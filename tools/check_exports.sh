#!/usr/bin/env bash
#
# check_exports.sh
#	  What the extension's shared object shows must be its own names, which
#	  cannot meet another extension's or the server's.
set -euo pipefail
ROOT=$(cd "$(dirname "$0")/.." && pwd)
# shellcheck source=tools/results.sh
. "$ROOT/tools/results.sh"

object=$(make -s -C "$ROOT/extension" print-out)/unidesk.so
[ -e "$object" ] || { echo "check_exports.sh: no $object: make" >&2; exit 1; }
names=$(nm -D --defined-only "$object" | awk '{ print $3 }')

# all_match PATTERN: every line matches it.
all_match() { ! grep -vE "$1" <<<"$names"; }
is_there() { grep -qx "$1" <<<"$names"; }

status=0
expect exports 'every export is unidesk_*' all_match '^(unidesk_|pg_finfo_unidesk_|_PG_init$|Pg_magic_func$)' || status=1
# Were the list empty, the test above would prove nothing.
expect exports 'the module is one' is_there Pg_magic_func || status=1
exit "$status"
