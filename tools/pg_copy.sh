#!/usr/bin/env bash
#
# pg_copy.sh DIRECTORY
#	  Copy the installation of PostgreSQL below DIRECTORY, at its own paths, and
#	  install the extension there: the server finds its files relative to
#	  itself, nothing of the system is touched, and runs side by side never meet.
#
# Settings: PG_CONFIG (pg_config).
set -euo pipefail

ROOT=$(cd "$(dirname "$0")/.." && pwd)
PG_CONFIG=${PG_CONFIG:-pg_config}

die() { printf 'pg_copy.sh: %s\n' "$*" >&2; exit 1; }

[ $# -eq 1 ] || die "usage: pg_copy.sh DIRECTORY"
command -v "$PG_CONFIG" >/dev/null || die "no pg_config: tools/packages.sh check"
bindir=$("$PG_CONFIG" --bindir)
[ -x "$bindir/postgres" ] || die "no server in $bindir: tools/packages.sh check"

for dir in "$bindir" "$("$PG_CONFIG" --pkglibdir)" "$("$PG_CONFIG" --sharedir)"; do
	mkdir -p "$1$(dirname "$dir")"
	cp -a "$dir" "$1$(dirname "$dir")/"
done
mkdir -p "$ROOT/build"
flock "$ROOT/build/.extension.lock" \
	make -s -C "$ROOT/extension" PG_CONFIG="$PG_CONFIG" install DESTDIR="$1" >/dev/null
