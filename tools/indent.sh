#!/usr/bin/env bash
#
# indent.sh
#	  Bring all C sources into PostgreSQL's layout, or check that they are.
#
#	tools/indent.sh [--check] [FILE...]
#
# --check changes nothing, prints the differences and fails when there are
# any.  The names of types, which pg_bsd_indent has to know, come from the
# installed headers and the sources themselves by ctags.
set -euo pipefail
ROOT=$(cd "$(dirname "$0")/.." && pwd)
cd "$ROOT"

check=no
if [ "${1:-}" = --check ]; then
	check=yes
	shift
fi
for program in pg_bsd_indent ctags; do
	if ! command -v "$program" >/dev/null; then
		echo "indent.sh: skipped, there is no $program here (Debian: pg-bsd-indent, universal-ctags)"
		exit 0
	fi
done

files=("$@")
if [ ${#files[@]} -eq 0 ]; then
	mapfile -t files < <(find agent bench bridge cli common examples extension init placement sim tests \
		-name '*.[ch]' -not -path '*/build/*' 2>/dev/null | sort)
fi

work=$(mktemp -d "${TMPDIR:-/tmp}/unidesk-indent.XXXXXX")
trap 'rm -rf "$work"' EXIT

# typedefs LIST PATH...: the names of types declared below these paths.
typedefs()
{
	local list=$1
	shift
	{
		ctags -R --languages=C --langmap=c:.c.h --kinds-C=t -f - "$@" 2>/dev/null | cut -f 1
		# Of the C library, whose headers hide their names from ctags.
		printf '%s\n' bool size_t ssize_t off_t pid_t uid_t gid_t mode_t time_t FILE DIR va_list \
			socklen_t int8_t int16_t int32_t int64_t uint8_t uint16_t uint32_t uint64_t uintptr_t \
			intptr_t sigset_t pthread_t pthread_mutex_t pthread_cond_t atomic_bool atomic_int atomic_uint
	} | grep -v '^[(]' | sort -u >"$list"
}

libraries=()
for path in /usr/include/libwebsockets* /usr/include/ev.h /usr/include/json-c /usr/include/git2* /usr/include/check.h \
	/usr/include/*/curl /usr/include/curl "$(pg_config --includedir 2>/dev/null)/libpq-fe.h"; do
	[ ! -e "$path" ] || libraries+=("$path")
done
mapfile -t own < <(find agent bench bridge common extension init placement sim -maxdepth 1 2>/dev/null)
# The server's headers make types of words like "text": for the extension only.
typedefs "$work/programs.list" "${libraries[@]}" "${own[@]}" "${files[@]}"
typedefs "$work/extension.list" "${own[@]}" "$(pg_config --includedir-server 2>/dev/null)" "${files[@]}"

# indent FILE: the result on standard output.  The sed undoes what pgindent
# undoes too: the gap between a function's type and the star on its own line.
indent()
{
	local list=$work/programs.list

	case $1 in extension/*) list=$work/extension.list ;; esac
	pg_bsd_indent "${flags[@]}" "-U$list" <"$1" 2>"$work/errors" |
		sed -E 's/^([A-Za-z_][A-Za-z0-9_ ]*[A-Za-z0-9_])[ \t]+(\*+)$/\1 \2/'
}

flags=(-bad -bap -bbb -bc -bl -cli1 -cp33 -cdb -nce -d0 -di12 -nfc1 -i4 -l79 -lp -lpl -nip -npro
	-sac -tpg -ts4)
changed=0
broken=0
for file in "${files[@]}"; do
	if ! indent "$file" >"$work/out" || [ -s "$work/errors" ]; then
		printf '%s: pg_bsd_indent cannot read it:\n' "$file" >&2
		cat "$work/errors" >&2
		broken=1
		continue
	fi
	cmp -s "$file" "$work/out" && continue
	changed=$((changed + 1))
	if [ "$check" = yes ]; then
		diff -u --label "$file" --label "$file (indented)" "$file" "$work/out" || true
	else
		cat "$work/out" >"$file"
		echo "indented $file"
	fi
done
if [ "$check" = yes ] && [ "$changed" -gt 0 ]; then
	printf 'indent.sh: %d of %d files differ: make indent\n' "$changed" "${#files[@]}" >&2
	exit 1
fi
exit "$broken"
