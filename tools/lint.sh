#!/usr/bin/env bash
#
# lint.sh
#	  Static analysis of all C, and of all shell scripts.
#
# cppcheck and clang's analyzer read the C, shellcheck the scripts.  A tool that
# is not installed is skipped, and that is said.  Neither of the first two knows
# of __attribute__((cleanup)): what they say about leaks is left to the
# sanitizers (make asan).  The tests are left out of the second, because it
# does not know that a failed ck_assert ends a test.
set -uo pipefail
ROOT=$(cd "$(dirname "$0")/.." && pwd)
cd "$ROOT" || exit 1
failed=0

have()
{
	command -v "$1" >/dev/null && return
	echo "lint.sh: skipped $1, which is not installed here"
	return 1
}

if have cppcheck; then
	echo "  LINT  cppcheck"
	folders=()
	for folder in agent bench bridge cli common init placement sim; do
		[ -z "$(find "$folder" -name '*.c' -print -quit 2>/dev/null)" ] || folders+=("$folder")
	done
	mkdir -p build/cppcheck
	queue=$(find /usr/include -path '*sys/queue.h' | head -n 1)
	cppcheck --quiet --std=c11 --language=c --enable=warning,performance,portability --library=posix \
		--inline-suppr --suppress=missingIncludeSystem --suppress=memleak --suppress=resourceLeak \
		--suppress=uninitvar --suppress=nullPointerRedundantCheck \
		--suppress=readdirCalled --suppress=ctuPointerArith --cppcheck-build-dir=build/cppcheck \
		${queue:+--include="$queue"} --error-exitcode=1 \
		-D_GNU_SOURCE -I. "${folders[@]}" || failed=1
fi

# analyze FILE: what clang's analyzer says about it; fails when it says something.
analyze()
{
	local flags=(-std=gnu17 -D_GNU_SOURCE -I. -I"$(dirname "$1")") output

	case $1 in extension/*) flags+=(-I"$(pg_config --includedir-server)") ;; esac
	# shellcheck disable=SC2046 # a list of flags
	output=$(clang --analyze -Xclang -analyzer-output=text -Xclang -analyzer-disable-checker \
		-Xclang unix.Malloc,core.StackAddressEscape,deadcode.DeadStores "${flags[@]}" \
		$(pkg-config --cflags libpq libwebsockets json-c libgit2) "$1" -o /dev/null 2>&1) &&
		[ -z "$output" ] && return
	printf '%s\n' "$output"
	return 1
}

if have clang && have pg_config; then
	echo "  LINT  clang"
	export -f analyze
	find agent bench bridge cli common extension init placement sim -name '*.c' \
		-not -path '*/tests/*' 2>/dev/null | sort |
		xargs -P 2 -I '{}' bash -c 'analyze {}' || failed=1
fi

if have shellcheck; then
	echo "  LINT  scripts"
	mapfile -t scripts < <(
		find .ci bench docker examples extension tests tools -type f -size -200k 2>/dev/null |
			while read -r file; do
				if head -n 1 "$file" | grep -qE '^#!.*(bash|/sh)|^# shellcheck shell='; then
					echo "$file"
				fi
			done | sort
	)
	shellcheck -x -S warning "${scripts[@]}" || failed=1
fi
exit "$failed"
