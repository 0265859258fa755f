#!/usr/bin/env bash
#
# dockerfile.sh
#	  Dockerfiles of all kinds through the whole path, builds that fail, babble
#	  or never end; and build contexts beside those that Docker's own client
#	  makes of the same files.
#
# Needs root.  Logs: build/dockerfile.
set -uo pipefail
ROOT=$(cd "$(dirname "$0")/../.." && pwd)
cd "$ROOT" || exit 1
# shellcheck source=tools/results.sh
. tools/results.sh

out=$ROOT/build/dockerfile
failed=0
check() { expect dockerfile "$@" || { failed=1; return 1; }; }

if [ -z "${PG_ROOT:-}" ]; then
	# shellcheck source=tests/system/engine.sh
	. tests/system/engine.sh
	run_beside_server dockerfile \
		--set unidesk.beat_interval=1s --set unidesk.report_repeat=1s --set unidesk.disk_floor=64MB \
		--set unidesk.infra_retries=1 --set unidesk.retry_backoff=1s --set unidesk.exclude_for=0 \
		--set unidesk.build_timeout=25s
fi

# shellcheck source=tests/system/host_platform.sh
. tests/system/host_platform.sh

# Layers of builds that failed are this run's too: they carry its label.
recorder_pid=
finish_builds()
{
	local ids
	[ -z "$recorder_pid" ] || kill "$recorder_pid" 2>/dev/null
	finish
	while ids=$(docker image ls -aq --filter "label=unidesk.test=$project") && [ -n "$ids" ]; do
		xargs docker image rm -f <<<"$ids" >/dev/null 2>&1 || break
	done
}
trap finish_builds EXIT

# ---- contexts beside Docker's own ------------------------------------------

tests/system/context_recorder.pl "$work/recorder" "$work/recorded.tar" >"$work/recorder.out" &
recorder_pid=$!
within 5 test -s "$work/recorder.out"

# One tree for all patterns.
mkdir -p "$work/ctx" "$work/mirror"
(
	cd "$work/ctx" || exit 1
	git init -q -b main .
	mkdir -p dir/sub env deep/a/b/c 'with blank' only/ignored
	touch a b a.md README.md .hidden dir/a dir/b.md dir/sub/a dir/sub/c.o deep/a/b/c/x deep/a/b/y 'with blank/x y' '#hash' only/ignored/f '!bang' '[x]' 'a+b'
	chmod +x dir/a
	ln -s dir link
	ln -s /etc/passwd out
	ln -s nowhere dangling
	printf 'FROM scratch\n' | tee Dockerfile >env/Dockerfile
)

# names TAR: its entries in order of their names: kind and mode, name, target.
# A directory that something lies in is there in any case, listed or not.
names()
{
	LC_ALL=C tar --numeric-owner -tvf "$1" | sed -E 's/^(\S+) +\S+ +\S+ +\S+ +\S+ /\1 /' |
		perl -ne 'print; s/^\S+ | -> .*//g; while (s{/?[^/]+/?\n?$}{}) { print "drwxr-xr-x $_/\n" if $_ ne "" }' | LC_ALL=C sort -u -k2
}

# make_contexts PATTERNS [DOCKERFILE]: the client's and ours; where the client
# refuses the patterns, so do we.
make_contexts()
{
	local hex dockerfile=${2:-Dockerfile} theirs=0 ours=0
	printf "$1" >"$work/ctx/.dockerignore"
	hex=$(
		cd "$work/ctx" || exit 1
		git add -A
		git -c user.name=t -c user.email=t@t commit -q --allow-empty -m x
		git rev-parse HEAD
	)
	git -C "$work/ctx" update-ref "refs/unidesk/$hex" "$hex"
	rm -f "$work/recorded.tar"
	mv "$work/ctx/.git" "$work/ctx.git"
	DOCKER_BUILDKIT=0 DOCKER_HOST=unix://$work/recorder timeout 20 docker build -q -f "$work/ctx/$dockerfile" "$work/ctx" >"$work/client.log" 2>&1 || theirs=1
	mv "$work/ctx.git" "$work/ctx/.git"
	build/release/git/unidesk-git context --mirror "$work/ctx/.git" --commit "$hex" --dockerfile "$dockerfile" >"$work/ours.tar" 3>"$work/ours.status" || ours=1
	[ "$theirs" -eq "$ours" ] || { cat "$work/client.log" "$work/ours.status"; return 1; }
	[ "$theirs" -eq 0 ] || { : >"$work/recorded.names"; : >"$work/ours.names"; return 0; }
	names "$work/recorded.tar" >"$work/recorded.names"
	names "$work/ours.tar" >"$work/ours.names"
}

same_context() { make_contexts "$@" && diff "$work/recorded.names" "$work/ours.names"; }

# The classic client does not look into a directory that is left out for what a
# "!" with wildcards takes back; BuildKit does, and so do we.
wider_context()
{
	make_contexts "$1" && ! grep -vxF -f "$work/ours.names" "$work/recorded.names" &&
		grep -q " $2$" "$work/ours.names" && ! grep -q " $2$" "$work/recorded.names"
}

patterns=(
	'' 'a\n' '*\n' '**\n' '*\n!dir\n' '*\n!dir/sub/a\n' 'dir\n!dir/b.md\n' '**/a\n' '**/*.o\n' 'dir/*\n!dir/sub\n' '*/a\n' '*/*/a\n'
	'/a\n/dir/\n' './a\n' 'dir/../a\n' '../a\n' '.\n' '?\n' '[ab]\n' '[^a]\n' '[a-b].md\n' 'a.*\n' '*.md\n!README.md\n' '!README.md\n*.md\n'
	'#hash\n' '\\#hash\n' ' a \n' 'with blank\n' 'with*\n' 'Dockerfile\n.dockerignore\n' 'env\n' '**/Dockerfile\n' 'a\r\nb\r\n' '\xef\xbb\xbfa\nb\n' '\n\n a\n'
	'link\n' 'link/a\n' 'out\ndangling\n' 'deep/**/x\n' 'deep/**\n!deep/a/b/y\n' '**/b/**\n' 'deep/a/b/c\n' 'only/ignored\n' 'only/*\n' 'only/**\n' '!bang\n' '\\!bang\n' '\\[x\\]\n'
	'[a\n' 'a\\\n' '!\n' '[]a]\n' '[x-]\n' '***\n' 'dir**\n' '**dir\n' 'dir\n!dir\n' 'DIR\nA\n' 'dir/sub/\n' 'dir//sub\n' '/\n' '//\n' '/*\n!/a\n' 'a\n!a\na\n' '*/\n' '.*\n' '.*\n!.hidden\n'
)
# Clients before 23 take the plus for a repetition.
docker_client=$(docker version -f '{{.Client.Version}}')
if [ "${docker_client%%.*}" -ge 23 ]; then patterns+=('a+b\n'); fi
for pattern in "${patterns[@]}"; do
	check "context with $(printf '%q' "$pattern") is Docker's" same_context "$pattern"
done
check 'wildcards take back what lies below' wider_context '*\n!**/a\n' dir/sub/a
check 'and in between' wider_context '*\n!*/a\n' dir/a
check 'and by their ending' wider_context '*/*\n!**/c.o\n' dir/sub/c.o
check 'a context always has its Dockerfile' same_context 'env\nDockerfile\n' env/Dockerfile
many=$(for ((i = 0; i < 1500; i++)); do printf 'x%d*/**/y%d\\n' "$i" "$i"; done)
check 'a context with 1 500 patterns is the same' same_context "${many}a\\n"

# ---- Dockerfiles through the whole path ---------------------------------------

platform_set_up || exit 1
base_id=$(docker image inspect -f '{{.Id}}' unidesk-base/debian:trixie)
# dockerfile NAME LINE...: a Dockerfile of the environment.
dockerfile() { printf '%s\n' "${@:2}" >"$work/env/$1"; }
from='FROM unidesk-base/debian:trixie'
label="LABEL unidesk.test=$project"

: >"$work/env/empty"
mkdir -p "$work/env/folder"
: >"$work/env/folder/x"
ln -s env/Dockerfile "$work/env/link"
ln -s /etc/hostname "$work/env/escape"
head -c 1100000 /dev/zero | tr '\0' '#' >"$work/env/huge"
printf '%s\n\0' "$from" >"$work/env/nul"
dockerfile comments '# nothing' ''
dockerfile syntax-error "$from" "$label" 'RUNN true'
dockerfile frontend '# syntax=docker/dockerfile:1' "$from" "$label"
dockerfile from-cache "FROM unidesk-cache/$project:latest"
dockerfile from-ours 'FROM unidesk/agent'
dockerfile from-id "FROM $base_id"
dockerfile from-short-id "FROM ${base_id:7:12}"
dockerfile copy-from-cache "$from" "$label" "COPY --from=unidesk-cache/$project:latest / /x"
dockerfile from-nowhere 'FROM no-such-registry.invalid/x:1' "$label"
dockerfile from-refusing 'FROM 127.0.0.1:1/x:1' "$label"
# The engine takes a registry on loopback by http.
for status in 401 403 404 429 503; do dockerfile "from-$status" "FROM ${url#http://}/status-$status:1" "$label"; done
dockerfile copy-from-nowhere "$from" "$label" 'COPY --from=no-such-registry.invalid/x:1 / /x'
dockerfile says-it "$from" "$label" 'RUN echo no such host: connection refused; exit 3'
dockerfile stages "$from AS one" "$label" 'RUN echo from-one >/one' 'FROM one AS two' 'RUN echo from-two >/two' "$from" "$label" \
	'COPY --from=two /one /two /' 'COPY --from=0 /one /zero'
dockerfile arg 'ARG VERSION=trixie' 'FROM unidesk-base/debian:${VERSION}' "$label" 'RUN echo by-arg >/arg'
dockerfile arg-cache 'ARG NAME=unidesk' 'FROM ${NAME}-cache/x' "$label"
dockerfile onbuild "$from" "$label" 'ONBUILD RUN true' 'RUN echo still >/still'
dockerfile heredoc "$from" "$label" 'RUN <<EOF' 'echo x' 'EOF'
dockerfile secret "$from" "$label" 'RUN --mount=type=secret,id=x cat /run/secrets/x'
dockerfile fails "$from" "$label" 'RUN echo "to be seen"; exit 7'
dockerfile babbles "$from" "$label" 'RUN i=0; while [ $i -lt 100000 ]; do i=$((i+1)); echo "line $i of many"; done; exit 3'
dockerfile one-line "$from" "$label" "RUN head -c 20000000 /dev/zero | tr '\\0' x; printf '\\033[2J\\302\\233\\n'; exit 3"
dockerfile hungry "$from" "$label" 'RUN tail /dev/zero'
dockerfile never-ends "$from" "$label" "RUN echo begun-$project; exec sleep 86400"
dockerfile never-ends-too "$from" "$label" "RUN echo again-$project; exec sleep 86401"
dockerfile capabilities "$from" "$label" 'RUN grep CapEff /proc/self/status >/capabilities'
dockerfile outside "$from" "$label" 'COPY ../../etc/passwd /x'
dockerfile copies-link "$from" "$label" 'COPY escape /x'
environment=$(commit env)

start_bridge
start_agent
check 'the node comes online' within 20 is online "SELECT status FROM unidesk.nodes WHERE name = 'here'" || exit 1

refused_at_submit()
{
	local answer
	answer=$(dockerfile=$1 submit true 2>&1) && { printf '  taken: %s\n' "$1"; return 1; }
	grep -q 'not a path inside the repository' <<<"$answer" || { printf '%s\n' "$answer"; return 1; }
}
for path in /env/Dockerfile ../Dockerfile env/../../Dockerfile env/ $'env\nDockerfile' '-f'; do
	check "path $(printf '%q' "$path") is refused at submit" refused_at_submit "$path"
done

# bad NAME REASON TEXT [ATTEMPTS]: its Dockerfile ends the task so, its message like TEXT.
names=() tasks=() reasons=() texts=() counts=()
bad()
{
	names+=("$1") reasons+=("$2") texts+=("$3") counts+=("${4:-1}")
	tasks+=("$(dockerfile=$1 submit true)")
}
ended_badly()
{
	[ -n "$1" ] || return 1
	ends_in "$1" failed 120 &&
		is "$2|$4" "SELECT reason, attempts FROM unidesk.tasks WHERE id = $1" &&
		is t "SELECT message LIKE '%$3%' AND length(message) <= 4000 FROM unidesk.tasks WHERE id = $1" &&
		is f "SELECT message ~ E'[\\u0001-\\u0008\\u000b-\\u001f\\u007f-\\u009f]' FROM unidesk.tasks WHERE id = $1" ||
		{ sql "SELECT '  ' || coalesce(right(message, 500), 'no message') FROM unidesk.tasks WHERE id = $1"; return 1; }
}

bad never-ends prep.timeout "begun-$project"
cancelled=$(dockerfile=never-ends-too submit true)
bad missing prep.dockerfile_not_found 'there is no'
bad folder prep.dockerfile_not_found 'not a regular file'
bad folder/x prep.dockerfile_not_found 'is empty'
bad empty prep.dockerfile_not_found 'is empty'
bad link prep.dockerfile_not_found 'not a regular file'
bad escape prep.dockerfile_not_found 'not a regular file'
bad huge prep.dockerfile_not_found 'larger than'
bad nul prep.from_refused 'NUL'
bad comments prep.build_failed 'no instructions'
bad syntax-error prep.build_failed 'unknown instruction: RUNN'
bad frontend prep.from_refused 'remote frontend'
bad from-cache prep.from_refused 'own namespace'
bad from-ours prep.from_refused 'own namespace'
bad from-id prep.from_refused 'image id'
bad from-short-id prep.from_refused 'could be an image id'
bad copy-from-cache prep.from_refused 'own namespace'
bad arg-cache prep.from_refused 'own namespace'
bad from-nowhere prep.pull_failed 'gave up: 2 attempts%no-such-registry.invalid' 2
bad from-refusing prep.pull_failed 'connection refused' 2
bad from-401 prep.credential ''
bad from-403 prep.credential ''
bad from-404 prep.build_failed 'manifest unknown'
bad from-429 prep.repo_throttled 'gave up: 2 attempts%toomanyrequests' 2
bad from-503 prep.pull_failed '503' 2
bad copy-from-nowhere prep.pull_failed 'no-such-registry.invalid' 2
bad says-it prep.build_failed 'connection refused'
bad heredoc prep.build_failed ''
bad secret prep.build_failed 'BuildKit'
bad fails prep.build_failed 'to be seen'
bad babbles prep.build_failed 'line 100000 of many'
bad one-line prep.build_failed 'returned a non-zero code: 3'
bad hungry prep.build_failed 'non-zero code'
bad outside prep.build_failed ''
bad copies-link prep.build_failed ''

build_runs() { docker ps --no-trunc --format '{{.Command}}' | grep -q "$1-$project"; }
check 'a build runs' within 60 build_runs again
sql_user -c "SELECT unidesk.cancel_task($cancelled)" >/dev/null
check 'cancel ends a build' ends_in "$cancelled" cancelled 20
for i in "${!names[@]}"; do
	check "${names[i]}: ${reasons[i]}" ended_badly "${tasks[i]}" "${reasons[i]}" "${texts[i]}" "${counts[i]}"
done
no_build_runs() { ! docker ps -a --no-trunc --format '{{.Command}}' | grep -e "begun-$project" -e "again-$project"; }
check 'no container of a build is left' within 20 no_build_runs
check "the agent's memory stayed small" eval '[ "$(sed -n "s/^VmHWM:[^0-9]*\([0-9]*\).*/\1/p" "/proc/$agent_pid/status")" -lt 100000 ]'

task=$(dockerfile=stages submit 'cat /one /two /zero')
check 'stages may build on each other' ends_in "$task" succeeded 90
check 'and copy from each other' same $'from-one\nfrom-two\nfrom-one' "$(log_text "$task")"
task=$(dockerfile=arg submit 'cat /arg')
check 'FROM may have an ARG' ends_in "$task" succeeded 60
task=$(dockerfile=onbuild submit 'cat /still')
check 'ONBUILD is nothing bad' ends_in "$task" succeeded 60
task=$(dockerfile=capabilities submit 'cat /capabilities; grep CapEff /proc/self/status')
check 'a build has capabilities' ends_in "$task" succeeded 60
build_has_more()
{
	local build run
	read -r _ build _ run <<<"$(log_text "$1" | tr '\n\t' '  ')"
	[ $((16#$build & 16#$run)) -eq $((16#$run)) ] && [ "$build" != "$run" ] || { printf '  build %s, run %s\n' "$build" "$run"; return 1; }
}
check 'a few more than its task' build_has_more "$task"

# ---- .dockerignore files that are none ------------------------------------------

ignore_case()
{
	environment=$(commit env)
	bad "$1" prep.tree_invalid '.dockerignore'
}
rm -f "$work/env/.dockerignore"
names=() tasks=() reasons=() texts=() counts=()
printf '[a\n' >"$work/env/.dockerignore"
ignore_case arg
rm "$work/env/.dockerignore"
ln -s env/Dockerfile "$work/env/.dockerignore"
ignore_case arg
rm "$work/env/.dockerignore"
head -c 300000 /dev/zero | tr '\0' x >"$work/env/.dockerignore"
ignore_case arg
for i in "${!names[@]}"; do
	check ".dockerignore $i: ${reasons[i]}" ended_badly "${tasks[i]}" "${reasons[i]}" "${texts[i]}" "${counts[i]}"
done

check 'nothing is left on the node' within 20 nothing_on_node
check 'the agent ends at the end' ends "$agent_pid" 15
agent_pid=
if [ "$failed" -ne 0 ]; then echo 'logs are in build/dockerfile'; fi
exit "$failed"
