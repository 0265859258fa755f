# shellcheck shell=bash
#
# results.sh
#	  The list of single tests behind the last line of `make check`.  Sourced.
#
# Every runner appends "ok SUITE: NAME" or "not ok SUITE: NAME" to the file
# CHECK_RESULTS; tools/check.sh adds them up.

CHECK_RESULTS=${CHECK_RESULTS:-$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)/build/check.results}
export CHECK_RESULTS
mkdir -p "$(dirname "$CHECK_RESULTS")"

result_ok() { printf 'ok %s: %s\n' "$1" "$2" >>"$CHECK_RESULTS"; }
result_not_ok() { printf 'not ok %s: %s\n' "$1" "$2" >>"$CHECK_RESULTS"; }

# expect SUITE NAME COMMAND...: one test, passed when the command succeeds.
expect()
{
	local suite=$1 name=$2
	shift 2
	if "$@"; then
		printf 'ok %s\n' "$name"
		result_ok "$suite" "$name"
	else
		printf 'not ok %s\n' "$name"
		result_not_ok "$suite" "$name"
		return 1
	fi
}
