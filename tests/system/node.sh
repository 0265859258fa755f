#!/usr/bin/env bash
#
# node.sh
#	  The node stays clean: images and mirrors within their budgets, least
#	  recently used first, never what is in use or not ours; nothing left of
#	  builds that do not succeed; the disk floor; data that the engine does not
#	  see.
#
# Needs root.  Logs: build/node.
set -uo pipefail
ROOT=$(cd "$(dirname "$0")/../.." && pwd)
cd "$ROOT" || exit 1
# shellcheck source=tools/results.sh
. tools/results.sh

out=$ROOT/build/node
failed=0
check() { expect node "$@" || failed=1; }

if [ -z "${PG_ROOT:-}" ]; then
	# shellcheck source=tests/system/engine.sh
	. tests/system/engine.sh
	run_beside_server node \
		--set unidesk.beat_interval=1s --set unidesk.offline_after=8s --set unidesk.session_silent_after=4s \
		--set unidesk.report_repeat=1s --set unidesk.retry_backoff=1s --set unidesk.exclude_for=1s \
		--set unidesk.disk_floor=64MB --set unidesk.grace=3s
fi

# shellcheck source=tests/system/host_platform.sh
. tests/system/host_platform.sh

stranger=unidesk-stranger-$$
leave()
{
	docker rm -f "$stranger" >/dev/null 2>&1
	docker image rm -f "$stranger:kept" "unidesk-cache/$stranger:kept" "$untagged" >/dev/null 2>&1
	docker volume rm "$stranger" >/dev/null 2>&1
	[ -z "$agent_pid" ] || { kill -9 "$agent_pid" && wait "$agent_pid"; } 2>/dev/null
	agent_pid=''
	docker ps -aq --filter "label=unidesk.data=$work/data" | xargs -r docker rm -f -v >/dev/null
	if mountpoint -q "$work/data"; then umount -R "$work/data"; fi
	finish
}
untagged=''
trap leave EXIT

# A disk of its own, so that the floor can be reached.
mkdir -p "$work/data"
mount -t tmpfs -o size=256m,mode=0755 unidesk-node "$work/data" || exit 1
platform_set_up || exit 1

# ---- helpers ---------------------------------------------------------------

restart_agent() # [SETTING=VALUE...]
{
	[ -z "$agent_pid" ] || ends "$agent_pid" 15 || return
	local said
	said=$(said_lines 'connected as node')
	for setting; do export "${setting?}"; done
	start_agent
	within 20 connected_since "$said"
}
said_lines() { grep -cs -- "$1" "$out/agent.log" || [ -e "$out/agent.log" ] || echo 0; }
connected_since() { [ "$(said_lines 'connected as node')" -gt "$1" ]; }

image_of() { sql "SELECT image_id FROM unidesk.tasks WHERE id = $1"; }
has_image() { docker image inspect "$1" >/dev/null 2>&1; }
lacks_image() { ! has_image "$1"; }

# What the builds of this run left, by the mark in it.
marked()
{
	local id
	for id in $(docker image ls -aq --no-trunc | sort -u); do
		docker image inspect -f '{{.Id}} {{.Config.Env}}' "$id" 2>/dev/null | grep -F "UNIDESK_MARK=$work" | cut -d' ' -f1
	done
	for id in $(docker ps -aq --no-trunc); do
		docker container inspect -f '{{.Id}} {{.Config.Env}}' "$id" 2>/dev/null | grep -F "UNIDESK_MARK=$work" | cut -d' ' -f1
	done
}
marked_are() { [ "$(marked | sort)" = "$1" ] || { printf '  left: %s\n' "$(marked | tr '\n' ' ')"; return 1; }; }
builds() { docker ps -q --no-trunc | xargs -r docker inspect -f '{{.Config.Cmd}}' 2>/dev/null | grep -q "$1"; }
let_go()
{
	local output
	for output in "$work"/data/out/*/output; do touch "$output/go"; done
}
# What was there before may have gone to make room.
nothing_new_since() { local new; new=$(comm -13 <(echo "$1") <(marked | sort)); [ -z "$new" ] || { printf '  new: %s\n' "$new"; return 1; }; }
left_as() { ended_as "$1" cancelled && nothing_new_since "$2"; }
mirrors() { find "$work/data/mirrors" -mindepth 1 -maxdepth 1 | wc -l; }
mirrors_are() { same "$1" "$(mirrors)"; }
strangers()
{
	docker image inspect -f '{{.Id}} {{.RepoTags}}' "$stranger:kept" "unidesk-cache/$stranger:kept" "$untagged"
	docker container inspect -f '{{.Id}} {{.State.Status}}' "$stranger"
}

# ---- what is not ours ------------------------------------------------------

# The second looks like ours but for the label; the third is nobody's.
head -c 1024 /dev/zero | docker import -c "LABEL unidesk.data=$work/data" - "$stranger:kept" >/dev/null
head -c 1024 /dev/zero | docker import - "unidesk-cache/$stranger:kept" >/dev/null
untagged=$(head -c 1024 /dev/zero | docker import -c 'ENV STRANGER=1' -)
docker create --name "$stranger" "$untagged" /nothing >/dev/null
strangers_before=$(strangers)

# ---- data that the engine does not see -------------------------------------

start_bridge
fails_with() # TEXT SETTING=VALUE...
{
	local text=$1 status=0
	shift
	(
		for setting; do export "${setting?}"; done
		UNIDESK_URL=ws://127.0.0.1:$port/agent UNIDESK_TOKEN_FILE=$work/token UNIDESK_DATA=$work/data \
			UNIDESK_INIT=$ROOT/build/release/init/unidesk-init UNIDESK_GIT=$work/bin/unidesk-git \
			timeout 20 build/release/agent/unidesk-agent
	) >"$out/refused.log" 2>&1 || status=$?
	same 1 "$status" && grep -qF -- "$text" "$out/refused.log" || { cat "$out/refused.log"; return 1; }
}
volume_exists() { docker volume inspect "$1" >/dev/null 2>&1; }
probes_left()
{
	docker ps -aq --filter label=unidesk.probe --filter "label=unidesk.data=$1"
	docker image ls -q --filter 'reference=unidesk-probe' --filter "label=unidesk.data=$1"
}
no_probe() { [ -z "$(probes_left "$1")" ]; }

check 'a volume that does not exist is refused' fails_with "there is no volume \"$stranger\"" "UNIDESK_VOLUME=$stranger"
check 'and not made' eval '! volume_exists "$stranger"'
docker volume create "$stranger" >/dev/null
check 'another volume is refused' fails_with "node.no_data_mount: UNIDESK_VOLUME is \"$stranger\"" "UNIDESK_VOLUME=$stranger"
volume_path=$(docker volume inspect -f '{{.Mountpoint}}' "$stranger")
mkdir "$volume_path/probe"
check 'also when it looks alike' fails_with 'a file written here does not appear there' "UNIDESK_VOLUME=$stranger"
printf %016d 7 >"$volume_path/probe/nonce"
check 'or is of another agent' fails_with 'a file written here has another content there' "UNIDESK_VOLUME=$stranger"
check 'so is another directory' fails_with 'node.no_data_mount: UNIDESK_DATA_HOST is' "UNIDESK_DATA_HOST=$work/git"
check 'the node took no work meanwhile' is registered "SELECT status FROM unidesk.nodes WHERE name = 'here'"
check 'nothing of the probes is left' eval 'no_probe "$volume_path" && no_probe "$work/git"'

# ---- budgets ---------------------------------------------------------------

check 'with the right directory the node comes online' restart_agent UNIDESK_IMAGE_BUDGET=36MB UNIDESK_MIRROR_BUDGET=100MB
check 'and its probe is gone' no_probe "$work/data"
if [ "$failed" -ne 0 ]; then
	tail -n 20 "$out/bridge.log" "$out/agent.log"
	exit 1
fi
check 'what people see are the versions that run there' is \
	"$(build/release/agent/unidesk-agent --version | cut -d' ' -f2)|$(docker version -f '{{.Server.Version}}')|$(docker info -f '{{.LiveRestoreEnabled}}')" \
	"SELECT agent_version, engine_version, facts ->> 'live_restore' FROM unidesk.nodes WHERE name = 'here'"

declare -a env_of image
for i in 1 2 3 4; do
	env_of[i]=$(environment_of "RUN head -c 10000000 /dev/urandom >/big$i")
done
run_in() # ENVIRONMENT [SCRIPT]: a task that succeeds; its image is in last_image.
{
	local task
	environment=$1
	task=$(submit "${2:-true}") && ends_in "$task" succeeded 60 && last_image=$(image_of "$task")
}
for i in 1 2 3; do
	run_in "${env_of[i]}"
	image[i]=$last_image
done
check 'three images fit' eval 'has_image "${image[1]}" && has_image "${image[2]}" && has_image "${image[3]}"'
check 'the first is used again' eval 'run_in "${env_of[1]}" && same "${image[1]}" "$last_image"'
check 'the agent restarts' restart_agent
check 'a fourth image is built' run_in "${env_of[4]}"
image[4]=$last_image
check 'the least recently used one goes' within 20 lacks_image "${image[2]}"
check 'the others stay, the one used again too' eval 'has_image "${image[1]}" && has_image "${image[3]}" && has_image "${image[4]}"'
check 'what people see says how much it is' is t "SELECT (facts -> 'cache' ->> 'images')::bigint BETWEEN 30000000 AND 36 * 1048576
	AND (facts -> 'cache' ->> 'images_budget')::bigint = 36 * 1048576 AND (facts -> 'cache' ->> 'mirrors')::bigint > 0 FROM unidesk.nodes WHERE name = 'here'"

# ---- in use ----------------------------------------------------------------

environment=${env_of[3]}
held=$(submit 'echo up; until [ -e /output/go ]; do sleep 0.1; done; cat /big3 >/dev/null; echo done')
within 30 logged "$held" up
check 'no room for any image or mirror' restart_agent UNIDESK_IMAGE_BUDGET=0 UNIDESK_MIRROR_BUDGET=0
check 'the unused images go' within 20 eval 'lacks_image "${image[1]}" && lacks_image "${image[4]}"'
check 'the one in use stays' has_image "${image[3]}"
check 'the mirrors go' within 20 mirrors_are 0
let_go
check 'its task succeeds' ends_in "$held" succeeded
check 'then its image goes, with all that builds left' within 30 marked_are ''
check 'a task works without any of them' run_in "${env_of[1]}"
check 'and they go again' within 30 eval 'marked_are "" && mirrors_are 0'

# ---- killed in the middle of a removal -------------------------------------

kept=$work/data/mirrors/$(printf %064d 1)
mkdir -p "$kept/objects" "$kept/pack"
head -c 100000 /dev/zero >"$kept/pack/x"
mount -t tmpfs -o size=1m unidesk-node "$kept/objects"
restart_agent
check 'a removal that gets stuck goes on later' within 20 test -e "$kept.gone"
killed "$agent_pid"
agent_pid=''
umount "$kept.gone/objects"
check 'the agent restarts after it was killed' restart_agent UNIDESK_IMAGE_BUDGET=100MB UNIDESK_MIRROR_BUDGET=100MB
check 'what was half removed is gone' eval '[ ! -e "$kept.gone" ] && [ ! -e "$kept" ]'

# ---- builds that do not succeed --------------------------------------------

environment=$(environment_of 'COPY env/Dockerfile /copied' "RUN sleep 61$$")
task=$(submit 'true')
check 'a build runs' within 30 builds "sleep 61$$"
sql_user -c "SELECT unidesk.cancel_task($task)" >/dev/null
check 'it is cancelled' ends_in "$task" cancelled
check 'a cancelled build leaves nothing' within 10 marked_are ''
environment=$(environment_of 'RUN echo 1 >/one' 'RUN false')
task=$(submit 'true')
check 'a build fails' ends_in "$task" failed
check 'and leaves nothing either' within 10 marked_are ''
# It prints what looks like the engine's words about somebody else's image.
environment=$(environment_of "RUN printf ' ---> %s\\n' ${untagged:7:12}" 'RUN false')
task=$(submit 'true')
check 'a build that lies fails' ends_in "$task" failed
environment=$(environment_of 'RUN echo 2 >/two' "RUN sleep 62$$")
task=$(submit 'true')
within 30 builds "sleep 62$$"
killed "$agent_pid"
agent_pid=''
sql_user -c "SELECT unidesk.cancel_task($task)" >/dev/null
check 'the agent restarts after it was killed in a build' restart_agent
check 'its task is cancelled' ends_in "$task" cancelled
check 'nothing is left of the build' within 15 marked_are ''
good=$(environment_of 'RUN echo 3 >/three' 'FROM unidesk-base/debian:trixie' "ENV UNIDESK_MARK=$work" 'RUN echo 4 >/four')
check 'a build of two stages succeeds' run_in "$good" 'test -e /four -a ! -e /three'
docker image rm -f "$last_image" >/dev/null 2>&1
check 'an image that somebody removed is built again' run_in "$good" 'test -e /four'
check 'without room' restart_agent UNIDESK_IMAGE_BUDGET=0
check 'the first stage goes as well' within 20 marked_are ''

# ---- the disk --------------------------------------------------------------

restart_agent UNIDESK_IMAGE_BUDGET=100MB
environment=${env_of[1]}
task=$(task_memory=1000000000 submit 'echo full; cat /dev/zero >/output/fill; sleep 60' 'max_retries => 3')
check 'a task that fills the disk fails' ends_in "$task" failed 60
check 'with the reason, once' is '1|run.disk|t' "SELECT attempts, reason, message LIKE '%disk was almost full%' FROM unidesk.tasks WHERE id = $task"
check 'its log is there' logged "$task" full
check 'nothing of it is left' within 20 nothing_on_node
check 'the node goes on' run_in "${env_of[1]}"

small=$(submit 'echo small; until [ -e /output/go ]; do sleep 0.1; done')
within 30 logged "$small" small
head -c 210000000 /dev/zero >"$work/data/junk"
check 'the agent says that it takes no work' within 10 grep -q 'no work is taken' "$out/agent.log"
task=$(submit 'true')
check 'a task is refused while the disk is full' within 20 is 'rejected|node.disk_full' "SELECT state, reason FROM unidesk.attempts WHERE task = $task ORDER BY attempt LIMIT 1"
check 'and told why' is t "SELECT message LIKE '%fewer than the floor%' FROM unidesk.attempts WHERE task = $task ORDER BY attempt LIMIT 1"
check 'one that wrote little is not ended for it' has_attempt_state "$small" running
rm "$work/data/junk"
let_go
check 'it succeeds' ends_in "$small" succeeded
check 'the refused one runs when there is room' ends_in "$task" succeeded 60

environment=$(environment_of "RUN sleep 63$$")
before=$(marked | sort)
task=$(submit 'true')
within 30 builds "sleep 63$$"
head -c 240000000 /dev/zero >"$work/data/junk" 2>/dev/null
check 'a build is given up when the disk gets full' within 20 is 'failed|node.disk_full' "SELECT state, reason FROM unidesk.attempts WHERE task = $task ORDER BY attempt LIMIT 1"
sql_user -c "SELECT unidesk.cancel_task($task)" >/dev/null
rm "$work/data/junk"
check 'and leaves nothing' within 15 left_as "$task" "$before"

# ---- the end ---------------------------------------------------------------

check 'nothing is left on the node' within 20 nothing_on_node
check 'what is not ours is as it was' same "$strangers_before" "$(strangers)"
check 'the agent ends' ends "$agent_pid" 15
agent_pid=''
check 'the bridge ends' ends "$bridge_pid" 15
bridge_pid=''
if [ "$failed" -ne 0 ]; then
	echo "logs are in build/node"
	tail -n 40 "$out/agent.log"
fi
exit "$failed"
