#!/usr/bin/env bash
#
# git.sh
#	  Repositories of all kinds through the whole path: hosts that are not
#	  allowed, servers that fail, lie or fall silent, trees that no git would
#	  make; then a proxy, and how many bytes a fetch of one commit more takes.
#
# Needs root.  Logs: build/git.
set -uo pipefail
ROOT=$(cd "$(dirname "$0")/../.." && pwd)
cd "$ROOT" || exit 1
# shellcheck source=tools/results.sh
. tools/results.sh

out=$ROOT/build/git
failed=0
check() { expect git "$@" || failed=1; }

if [ -z "${PG_ROOT:-}" ]; then
	# shellcheck source=tests/system/engine.sh
	. tests/system/engine.sh
	# One retry for what may pass, none for what cannot: attempts tell which.
	run_beside_server git \
		--set unidesk.beat_interval=1s --set unidesk.report_repeat=1s --set unidesk.disk_floor=64MB \
		--set unidesk.infra_retries=1 --set unidesk.retry_backoff=1s --set unidesk.exclude_for=0 \
		--set unidesk.fetch_timeout=25s
fi

# shellcheck source=tests/system/host_platform.sh
. tests/system/host_platform.sh
platform_set_up || exit 1
git_port=${url##*:}

# ---- repositories ----------------------------------------------------------

declare -A commit_of
while read -r name id; do commit_of[$name]=$id; done < <(tests/system/hostile_repos.pl "$work/git")

# 2 500 commits of a file each, and one more that no branch has yet.
history_repo=$work/git/history.git
git init -q --bare "$history_repo"
perl -e '
	srand 7;
	for my $n (1 .. 2501) {
		printf "commit refs/heads/%s\ncommitter t <t\@t> %d +0000\ndata 1\nx\n%sM 100644 inline d%d/f%d\ndata 400\n%s\n",
			$n == 2501 ? "next" : "main", 1600000000 + $n, $n == 2501 ? "from refs/heads/main\n" : "",
			$n % 50, $n, join "", map { chr(33 + int rand 90) } 1 .. 400;
	}' | git -C "$history_repo" fast-import --quiet
history=$(git -C "$history_repo" rev-parse main)
history_next=$(git -C "$history_repo" rev-parse next)
git -C "$history_repo" update-ref -d refs/heads/next

# ---- what the database refuses ----------------------------------------------

refused_at_submit()
{
	local answer
	answer=$(code_url=$1 submit true 2>&1) && { printf '  taken: %s\n' "$1"; return 1; }
	grep -q "$2" <<<"$answer" || { printf '%s\n' "$answer"; return 1; }
}
check 'ssh is refused at submit' refused_at_submit ssh://git@host.example/x.git 'not an http or https URL'
check 'so is what git takes for ssh' refused_at_submit git@host.example:x.git 'not an http or https URL'
check 'so is a local path' refused_at_submit "$work/git/code.git" 'not an http or https URL'
check 'so is an option' refused_at_submit --upload-pack=x 'not an http or https URL'
check 'so is a password' refused_at_submit https://u:p@host.example/x.git 'user name or password'
check 'so is a line feed' refused_at_submit $'https://host.example/x\nHost: y' 'not the URL'
check 'so is a port that is none' refused_at_submit https://host.example:0/x.git 'no valid host or port'
check 'so is a branch' eval '! answer=$(code=main submit true 2>&1) && grep -q "full commit id" <<<"$answer"'

# ---- what the node refuses ---------------------------------------------------

start_bridge
# Any public host, and the test's own.
git_hosts="*,127.0.0.1:$git_port"
start_agent
check 'the node comes online' within 20 is online "SELECT status FROM unidesk.nodes WHERE name = 'here'"
[ "$failed" -eq 0 ] || exit 1

names=() tasks=() reasons=() counts=() texts=()

# bad NAME REASON ATTEMPTS TEXT URL COMMIT: a task that has to end so, its
# message like TEXT; submitted now, looked at by look_at_bad.
bad()
{
	names+=("$1") reasons+=("$2") counts+=("$3") texts+=("$4")
	tasks+=("$(code_url=$5 code=$6 submit true 'max_retries => 3')")
}

# Nothing in a message that a terminal would obey or a reader could not see.
ended_badly()
{
	[ -n "$1" ] || return 1
	ends_in "$1" failed 90 &&
		is "$2|$3" "SELECT reason, attempts FROM unidesk.tasks WHERE id = $1" &&
		is t "SELECT message ILIKE '%$4%' FROM unidesk.tasks WHERE id = $1" &&
		is f "SELECT message ~ E'[\\u0001-\\u001f\\u007f-\\u009f\\u200e\\u200f\\u202a-\\u202e\\u2066-\\u2069]' FROM unidesk.tasks WHERE id = $1" ||
		{ sql "SELECT '  ' || coalesce(message, 'no message') FROM unidesk.tasks WHERE id = $1"; return 1; }
}

look_at_bad()
{
	local i
	for i in "${!names[@]}"; do
		check "${names[i]}: ${reasons[i]}" ended_badly "${tasks[i]}" "${reasons[i]}" "${counts[i]}" "${texts[i]}"
	done
	names=() tasks=() reasons=() counts=() texts=()
}

refused=prep.repo_refused unreachable=prep.repo_unreachable credential=prep.credential
# Those that take until the limit are first; the rest goes on beside them.
bad 'silent server' prep.timeout 1 'did not finish in' "$url/silent/code.git" "$code"
bad 'a byte a second' prep.timeout 1 'did not finish in' "$url/drip/code.git" "$code"
bad 'silent in the middle of the pack' prep.timeout 1 'did not finish in' "$url/stall/history.git" "$history"
bad '10 000 000 000 files' prep.tree_invalid 1 'more than 1000000 entries' "$url/bad.git" "${commit_of[many]}"

bad 'loopback by https' "$refused" 1 'not public' https://127.0.0.1:1/x.git "$code"
bad 'loopback by name' "$refused" 1 'not public' https://localhost:1/x.git "$code"
bad 'loopback as one number' "$refused" 1 'not public' "https://2130706433:$git_port/x.git" "$code"
bad 'loopback in octal' "$refused" 1 'not public' "https://017700000001:$git_port/x.git" "$code"
bad 'loopback in hexadecimal' "$refused" 1 'not public' "https://0x7f.1:$git_port/x.git" "$code"
bad 'loopback of IPv6' "$refused" 1 'not public' https://[::1]:1/x.git "$code"
bad 'IPv4 in IPv6' "$refused" 1 'not public' "https://[::ffff:127.0.0.1]:$git_port/x.git" "$code"
bad 'no address at all' "$refused" 1 'not public' https://0.0.0.0:1/x.git "$code"
bad 'private address' "$refused" 1 'not public' https://10.1.2.3/x.git "$code"
bad 'metadata' "$refused" 1 'not public' https://169.254.169.254/latest.git "$code"
bad 'metadata of IPv6' "$refused" 1 'not public' 'https://[fd00:ec2::254]/x.git' "$code"
bad 'http to a host that is not listed' "$refused" 1 'https only' http://host.example/x.git "$code"
bad 'the listed host at another port' "$refused" 1 'https only' http://127.0.0.1:1/x.git "$code"
bad 'another name of the listed host' "$refused" 1 'https only' "http://localhost:$git_port/code.git" "$code"
bad 'a host that does not exist' "$unreachable" 2 'could not resolve' https://no-such-host.invalid/x.git "$code"
bad 'a redirect to another host' "$refused" 1 'redirect' "$url/elsewhere/code.git" "$code"
bad 'a redirect to metadata' "$refused" 1 'redirect' "$url/metadata/code.git" "$code"
bad 'a redirect to another port' "$refused" 1 'another host' "$url/port/code.git" "$code"
bad '401' "$credential" 1 'password' "$url/status-401/x.git" "$code"
bad '403' "$credential" 1 'refuses access' "$url/status-403/x.git" "$code"
bad '404' "$refused" 1 'no git repository' "$url/status-404/x.git" "$code"
bad '429' prep.repo_throttled 2 'limits requests' "$url/status-429/x.git" "$code"
bad '429 that names a wait' prep.repo_throttled 2 'gave up: 2 attempts%limits requests' "$url/status-429-after-7/x.git" "$code"
asked_by_seconds=${tasks[-1]}
bad '403 that names a wait' prep.repo_throttled 2 'limits requests' "$url/status-403-after-1/x.git" "$code"
bad '503 that names a date' "$unreachable" 2 'fails' "$url/status-503-date-9/x.git" "$code"
asked_by_date=${tasks[-1]}
bad '500' "$unreachable" 2 'fails' "$url/status-500/x.git" "$code"
bad '503' "$unreachable" 2 'fails' "$url/status-503/x.git" "$code"
bad 'a page for people' "$refused" 1 'no git repository' "$url/html/x.git" "$code"
bad 'a pack cut short' prep.fetch_failed 2 'could not fetch' "$url/cut/history.git" "$history"
none=1234567890123456789012345678901234567890
not_found=prep.commit_not_found
bad 'unknown commit' "$not_found" 1 'not in the repository' "$url/code.git" "$none"
bad 'commit that no branch reaches' "$not_found" 1 'not in the repository' "$url/bad.git" "${commit_of[unreachable]}"
bad 'a file as the commit' "$not_found" 1 'not in the repository' "$url/bad.git" "${commit_of[a-blob]}"
bad 'a tree as the commit' "$not_found" 1 'not in the repository' "$url/bad.git" "${commit_of[a-tree]}"
bad 'a commit named by SHA-256' "$not_found" 1 'SHA-256' "$url/code.git" "$none${none:16}"
bad 'an empty repository' "$not_found" 1 'not in the repository' "$url/empty.git" "$none"
for name in "${!commit_of[@]}"; do
	case $name in
		name-control-name) bad "$name" prep.tree_invalid 1 '.git:?[2J?' "$url/bad.git" "${commit_of[$name]}" ;;
		name-file-and-folder) bad "$name" prep.tree_invalid 1 'twice' "$url/bad.git" "${commit_of[$name]}" ;;
		tree-*) bad "$name" prep.tree_invalid 1 '' "$url/pack/$name/x.git" "${commit_of[$name]}" ;;
		name-* | link-* | submodule | lfs | file-is-tree | deep | long-path)
			bad "$name" prep.tree_invalid 1 '' "$url/bad.git" "${commit_of[$name]}"
			;;
		pack-good) ;;
		pack-bomb) bad "$name" "$refused" 1 'cannot be unpacked' "$url/pack/$name/x.git" "${commit_of[$name]}" ;;
		pack-lying-count) bad "$name" "$refused" 1 'too many objects' "$url/pack/$name/x.git" "${commit_of[$name]}" ;;
		pack-*) bad "$name" prep.fetch_failed 2 '' "$url/pack/$name/x.git" "${commit_of[$name]}" ;;
	esac
done
look_at_bad

# Between the end of the first attempt and the start of the second; what the
# event says is what happens.  A part of 1 s, the backoff, is left to chance.
waited()
{
	is t "SELECT w BETWEEN interval '$2 s' AND interval '$3 s' AND second.placed_at >= e.at + w
		FROM unidesk.task_events e, unidesk.attempts second, LATERAL (SELECT (e.data::jsonb ->> 'not_before')::timestamptz - e.at AS w) x
		WHERE e.task = $1 AND e.attempt = 1 AND e.attempt_state = 'failed' AND second.task = $1 AND second.attempt = 2" ||
		{ sql "SELECT '  ' || at || ' ' || task_state || ' ' || coalesce(data, '') FROM unidesk.task_events WHERE task = $1 ORDER BY seq"; return 1; }
}
check 'a wait in seconds is kept' waited "$asked_by_seconds" 7 7.5
# Whole seconds, on the way to which some of the first is over.
check 'and one until a date' waited "$asked_by_date" 7 9.5

# ---- nothing is left of them, and what is good works -------------------------

good=$(code_url=$url/bad.git code=${commit_of[good]} submit 'cat A a; ls | wc -l')
check 'names that differ in case only, and a line feed in one, are files' ends_in "$good" succeeded
check 'all of them' same $'hello\nhello\n5' "$(log_text "$good")"
large=$(code_url=$url/bad.git code=${commit_of[large]} submit 'stat -c %s zeros')
check 'a file of 100 MB is one' ends_in "$large" succeeded 60
check 'of that size' same 100000000 "$(log_text "$large")"
pack=$(code_url=$url/pack/pack-good/x.git code=${commit_of[pack-good]} submit 'cat hello')
check 'the packs are bad only where they were spoiled' ends_in "$pack" succeeded
aside=$(code_url=$url/aside/code.git submit 'cat hello')
check 'a redirect to another path is followed' ends_in "$aside" succeeded
check 'no process of theirs is left' eval '! pgrep -f "^$work/bin/unidesk-git"'
check 'no part of a pack is left' eval '[ -z "$(find "$work/data/mirrors" -name "pack_git2_*" -o -name "*.lock" -path "*/refs/*")" ]'
mirrors_keep_something()
{
	local mirror
	for mirror in "$work"/data/mirrors/*[0-9a-f]; do
		[ -n "$(ls "$mirror/refs/unidesk")" ] || { printf '  %s keeps nothing\n' "$mirror"; return 1; }
	done
	for mirror in "$work"/data/mirrors/*.lock; do
		[ -d "${mirror%.lock}" ] || { printf '  %s is left\n' "$mirror"; return 1; }
	done
}
check 'mirrors that keep nothing are gone' mirrors_keep_something
check 'nothing else is left on the node' within 20 nothing_on_node

# ---- bytes: through a proxy --------------------------------------------------

check 'the agent ends' ends "$agent_pid" 15
tests/system/proxy.pl >"$work/proxy_port" 2>>"$out/proxy.log" &
proxy_pid=$!
within 5 test -s "$work/proxy_port"
proxy=127.0.0.1:$(cat "$work/proxy_port")

export http_proxy=http://$proxy https_proxy=http://$proxy
start_agent
check 'the node comes online through a proxy' within 20 is online "SELECT status FROM unidesk.nodes WHERE name = 'here'"

# Bytes that came down for the repositories since the last call.
fetched()
{
	awk -v from="127.0.0.1:$git_port" '$2 == from {sum += $4} END {print sum + 0}' "$out/proxy.log"
	: >"$out/proxy.log"
}
history_task() { code_url=$url/history.git code=$1 submit 'find . -type f | wc -l'; }

fetched >/dev/null
task=$(history_task "$history")
check 'a history of 2 500 commits is fetched' ends_in "$task" succeeded 60
check 'whole' same 2500 "$(log_text "$task")"
full=$(fetched)
git -C "$history_repo" update-ref refs/heads/main "$history_next"
task=$(history_task "$history_next")
check 'so is one commit more' ends_in "$task" succeeded
check 'with its file' same 2501 "$(log_text "$task")"
more=$(fetched)
printf '  all of it: %d bytes; one commit more: %d bytes\n' "$full" "$more"
check 'all of it is over 1 MB' test "$full" -gt 1000000
check 'one more takes less than 5 %' test $((more * 20)) -lt "$full"
check 'and less than 64 kB' test "$more" -lt 65536
task=$(history_task "$history_next")
again=$(history_task "$history")
check 'what is there is not fetched again' ends_in "$task" succeeded
check 'nor what came before it' ends_in "$again" succeeded
check 'not a byte of it' same 0 "$(fetched)"

# What a name means behind a proxy, the proxy decides; the list holds all the same.
bad 'by a proxy, a private address is refused' "$refused" 1 'not public' https://10.1.2.3/x.git "$code"
bad 'by a proxy, the port that is not listed too' "$refused" 1 'https only' "http://$proxy/x.git" "$code"
bad 'a proxy that cannot reach it' "$unreachable" 2 '502' https://no-such-host.invalid/x.git "$code"
look_at_bad
check 'the proxy was asked to connect there' grep -q '^CONNECT no-such-host.invalid:443 ' "$out/proxy.log"


# The link itself, and what no_proxy says.
check 'the agent ends again' ends "$agent_pid" 15
within 5 grep -q "^CONNECT 127.0.0.1:$port " "$out/proxy.log"
check 'the link went through the proxy' grep -q "^CONNECT 127.0.0.1:$port " "$out/proxy.log"
: >"$out/proxy.log"
export no_proxy=127.0.0.1
start_agent
task=$(history_task "$history_next")
check 'no_proxy is heard' ends_in "$task" succeeded
ends "$agent_pid" 15
check 'by git and by the link' same '' "$(cat "$out/proxy.log")"
unset no_proxy
start_agent

check 'nothing is left on the node at the end' within 20 nothing_on_node
check 'the agent ends at the end' ends "$agent_pid" 15
agent_pid=
kill "$proxy_pid"
if [ "$failed" -ne 0 ]; then echo 'logs are in build/git'; fi
exit "$failed"
