# shellcheck shell=bash
#
# helpers.sh
#	  What system tests say in common.  Sourced; the caller has a function
#	  "sql STATEMENT" that prints its one value.

# is WANTED QUERY: its one value.
is()
{
	local got
	got=$(sql "$2") || return
	[ "$got" = "$1" ] || { printf '  wanted "%s", got "%s": %s\n' "$1" "$got" "$2"; return 1; }
}

# within SECONDS COMMAND...: tried until it succeeds.
within()
{
	local limit=$((SECONDS + $1))
	shift
	while ! "$@" >/dev/null 2>&1; do
		if [ "$SECONDS" -ge "$limit" ]; then
			"$@"
			return
		fi
		sleep 0.1
	done
}

# Nothing is as it must not be; prints what is.
invariants_hold()
{
	local violations
	violations=$(sql 'SELECT code, task, attempt, node, detail FROM unidesk.check_invariants()') || return
	[ -z "$violations" ] || { printf '  violated: %s\n' "$violations"; return 1; }
}

# A TCP port of the loopback interface that nobody listens on.
free_port()
{
	local port
	while :; do
		port=$((20000 + RANDOM % 10000))
		(exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null || break
	done
	echo "$port"
}
