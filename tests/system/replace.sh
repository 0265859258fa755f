#!/usr/bin/env bash
#
# replace.sh
#	  An agent in a container is replaced by one of another image while a task
#	  runs: by good ones and by bad ones, which are undone, and by a replacement
#	  that is killed half-way; by hand, and by an order through SQL.
#
# The images are made of this build's programs and the libraries they need.
# Needs root.  Logs: build/replace.
set -uo pipefail
ROOT=$(cd "$(dirname "$0")/../.." && pwd)
cd "$ROOT" || exit 1
# shellcheck source=tools/results.sh
. tools/results.sh

out=$ROOT/build/replace
failed=0
check() { expect replace "$@" || failed=1; }

if [ -z "${PG_ROOT:-}" ]; then
	# shellcheck source=tests/system/engine.sh
	. tests/system/engine.sh
	run_beside_server replace --set unidesk.beat_interval=1s --set unidesk.offline_after=30s
fi

# shellcheck source=tests/system/host_platform.sh
. tests/system/host_platform.sh
agent_name=unidesk-replace-$$
images=unidesk-test-replace-$$

remove_all()
{
	local ids agent_name=unidesk-replace-$$
	ids=$(docker ps -aq --filter "label=unidesk.test=$agent_name")
	[ -z "$ids" ] || xargs docker rm -f -v <<<"$ids" >/dev/null
	docker volume rm -f "$agent_name" >/dev/null
	ids=$(docker network ls -q --filter "label=unidesk.test=$agent_name")
	[ -z "$ids" ] || xargs docker network rm <<<"$ids" >/dev/null
	ids=$(docker image ls -q --no-trunc "$images" | sort -u)
	[ -z "$ids" ] || xargs docker image rm -f <<<"$ids" >/dev/null
	finish
}
trap remove_all EXIT

# image TAG CHANGE...: the programs with the libraries of this machine.
image()
{
	local changes=() change
	for change in "${@:2}"; do changes+=(--change "$change"); done
	docker import "${changes[@]}" "$work/image.tar" "$images:$1" >/dev/null
}

pack_image()
{
	local root=$work/image program file
	mkdir -p "$root/usr/bin" "$root/usr/lib/unidesk" "$root/etc" "$root/tmp" "$root/data"
	install -s build/release/agent/unidesk-agent "$root/usr/bin/"
	install -s build/release/git/unidesk-git build/release/init/unidesk-init "$root/usr/lib/unidesk/"
	printf 'root:x:0:0::/:\nnobody:x:%s:%s::/:\n' "$git_uid" "$git_uid" >"$root/etc/passwd"
	for program in agent/unidesk-agent git/unidesk-git; do
		for file in $(ldd "build/release/$program" | grep -o '/[^ ]*'); do
			mkdir -p "$root$(dirname "$file")" && cp -Ln "$file" "$root$file"
		done
	done
	tar -C "$root" -cf "$work/image.tar" .
}

start_agent_container()
{
	docker run -d --name "$agent_name" --restart always --network host --label "unidesk.test=$agent_name" \
		-e UNIDESK_URL="ws://$listen_on:$port/agent" -e UNIDESK_TOKEN_FILE=/token -v "$work/token:/token:ro" \
		-e UNIDESK_VOLUME="$agent_name" -v "$agent_name:/data" -e UNIDESK_GIT_UID="$git_uid" -e UNIDESK_ALLOWED_GIT_HOSTS="${url#http://}" \
		-e UNIDESK_LABELS=site=path -e UNIDESK_UPDATE_IMAGES="$images:*,localhost:1/unidesk/*" -v /var/run/docker.sock:/var/run/docker.sock "$images:first" >/dev/null
}

# replace IMAGE [SECONDS]: as docs/operations.md says.
replace()
{
	docker run --rm --network none --label "unidesk.test=${task_name:-$agent_name}" --volumes-from "$agent_name" -v /var/run/docker.sock:/var/run/docker.sock \
		"$images:first" unidesk-agent --replace "$agent_name" "$@" >"$out/replace.log" 2>&1
}
# refused TEXT IMAGE [SECONDS]
refused() { ! replace "${@:2}" && { grep -qF -- "$1" "$out/replace.log" || { cat "$out/replace.log"; false; }; }; }
about() { docker inspect -f "$1" "$agent_name"; }
is_online() { within 20 is t "SELECT status = 'online' AND connected FROM unidesk.nodes WHERE name = 'here'"; }
# The very container of before goes on, and nothing is left beside it.
goes_on_with() { same "$1 true" "$(about '{{.Id}} {{.State.Running}}')" && same '' "$(docker ps -aq --filter "name=^$agent_name-next\$")" && is_online; }
runs_image() { same "$(docker image inspect -f '{{.Id}}' "$images:$1") true always" "$(about '{{.Image}} {{.State.Running}} {{.HostConfig.RestartPolicy.Name}}')"; }
has_variable() { about '{{json .Config.Env}}' | grep -q "\"$1\""; }
# ordered IMAGE: through SQL, and carried out or not: outcome_is says what became of it.
ordered() { is pending "SELECT unidesk.update_agent('here', '$1')"; }
outcome_is() { is "$1" "SELECT concat_ws(': ', update_outcome, left(update_message, ${2:-200})) FROM unidesk.nodes WHERE name = 'here'"; }
no_helper() { same '' "$(docker ps -aq --filter "name=^$agent_name-update\$")"; }
logged_line() { logged "$task" "$1"; }

# Each task's image is this run's own.
platform_set_up || exit 1
pack_image
image first 'ENV PATH=/usr/bin' 'CMD ["unidesk-agent"]' 'ENV UNIDESK_TEST_IMAGE=first' && image second 'ENV PATH=/usr/bin' 'CMD ["unidesk-agent"]' 'ENV UNIDESK_TEST_IMAGE=second' &&
	image third 'ENV PATH=/usr/bin' 'CMD ["unidesk-agent"]' && image deaf 'ENV PATH=/usr/bin' 'CMD ["unidesk-agent"]' 'ENTRYPOINT ["/usr/lib/unidesk/unidesk-none"]' || exit 1
# One of another version.
sed -i 's/0\.2\.0/0.2.9/g' "$work/image/usr/bin/unidesk-agent" && tar -C "$work/image" -cf "$work/image.tar" . &&
	image newer 'ENV PATH=/usr/bin' 'CMD ["unidesk-agent"]' || exit 1
# One that ends, and one that never connects.
printf 'FROM unidesk-base/debian:trixie\nCMD ["sh", "-c", "echo has no libraries; exit 3"]\n' | DOCKER_BUILDKIT=0 docker build -q -t "$images:ends" - >/dev/null 2>&1
printf 'FROM unidesk-base/debian:trixie\nCMD ["sleep", "600"]\n' | DOCKER_BUILDKIT=0 docker build -q -t "$images:silent" - >/dev/null 2>&1
printf 'FROM unidesk-base/debian:trixie\nCMD ["sh", "-c", "echo gives up; sleep 5; exit 3"]\n' | DOCKER_BUILDKIT=0 docker build -q -t "$images:slow" - >/dev/null 2>&1
start_bridge
start_agent_container
check 'the agent in a container comes online' is_online
first=$(about '{{.Id}}')
task=$(submit 'i=0; while [ $i -lt 150 ]; do i=$((i + 1)); echo $i; sleep 0.2; done')
check 'its task runs' within 30 logged_line 1

check 'an image that is not there is refused' refused 'docker pull nowhere/none' nowhere/none
check 'the agent was not touched' goes_on_with "$first"
check 'an agent that ends is undone, with its words' refused 'the new agent ended: has no libraries' "$images:ends"
check 'the old one goes on' goes_on_with "$first"
check 'so is one that cannot be started' refused 'could not start the container' "$images:deaf"
check 'and the old one goes on' goes_on_with "$first"
check 'so is one that never connects' refused 'acknowledged no beat of it within 2 s' "$images:silent" 2
check 'and the old one goes on again' goes_on_with "$first"

# Killed in the middle: the old agent is stopped, the new one not proven.
docker run -d --name "$agent_name-replacing" --network none --label "unidesk.test=$agent_name" --volumes-from "$agent_name" -v /var/run/docker.sock:/var/run/docker.sock \
	"$images:first" unidesk-agent --replace "$agent_name" "$images:silent" 60 >/dev/null
check 'a replacement is under way' within 20 eval 'docker ps -q --filter "name=^$agent_name-next\$" | grep -q .'
docker kill -s TERM "$agent_name-replacing" >/dev/null
check 'it does not let itself be interrupted' same true "$(docker inspect -f '{{.State.Running}}' "$agent_name-replacing")"
docker kill -s KILL "$agent_name-replacing" >/dev/null
check 'it can be killed' same false "$(about '{{.State.Running}}')"
check 'and called again: a bad image is undone' refused 'docker pull nowhere/none' nowhere/none
check 'and the old agent goes on' goes_on_with "$first"

check 'a good image takes over' replace "$images:second"
check 'under its name, with its restart policy' runs_image second
check 'with the variables of the container' has_variable "UNIDESK_VOLUME=$agent_name"
check 'and of the new image' has_variable UNIDESK_TEST_IMAGE=second
check 'the node is online' is_online
check 'nothing is left beside it' same "$(about '{{.Id}}')" "$(docker ps -aq --no-trunc --filter "label=unidesk.test=$agent_name" --filter "name=$agent_name" | grep -v "$(docker inspect -f '{{.Id}}' "$agent_name-replacing")")"
check 'a second time too' eval 'replace "$images:third" && runs_image third && ! has_variable UNIDESK_TEST_IMAGE=second'

# Cut off between the removal of the old and the new one's getting its name.
docker rename "$agent_name" "$agent_name-next"
docker run --rm --network none --label "unidesk.test=$agent_name" --volumes-from "$agent_name-next" -v /var/run/docker.sock:/var/run/docker.sock \
	"$images:first" unidesk-agent --replace "$agent_name" "$images:second" >"$out/replace.log" 2>&1
check 'one that was cut off at its end is finished' runs_image second

check 'the task has noticed nothing' ends_in "$task" succeeded 60
check 'not one line is missing or twice' counts_to "$task" 150
check 'the invariants hold' is '' 'SELECT string_agg(code, $$ $$) FROM unidesk.check_invariants()'
# By order, while another task runs.
task=$(submit 'i=0; while [ $i -lt 150 ]; do i=$((i + 1)); echo $i; sleep 0.2; done')
check 'a task runs' within 30 logged_line 1
check 'an update is ordered through SQL' ordered "$images:newer"
check 'it is applied' within 40 outcome_is applied
check 'by the image, under the old name' runs_image newer
check 'its version is seen' is 0.2.9 "SELECT agent_version FROM unidesk.nodes WHERE name = 'here'"
check 'one event says so' is '1 unidesk-agent: version 0.2.9' "SELECT count(*) || ' ' || max(regexp_replace(data, '^.*:newer', 'unidesk-agent')) FROM unidesk.node_events WHERE node = 'here' AND what = 'updated'"
check 'what replaced it is gone' within 10 no_helper
newer=$(about '{{.Id}}')
check 'the same image again is no work' eval 'ordered "$images:newer" && within 20 outcome_is "applied: it ran that image already"'
check 'a broken image is ordered' ordered "$images:ends"
check 'it is rolled back, with the reason' within 40 outcome_is 'failed: the new agent ended: has no libraries'
check 'and the agent goes on as it was' goes_on_with "$newer"
check 'nothing is left of that either' within 10 no_helper
check 'an image that the owner does not allow is refused' eval 'ordered nowhere/none && within 20 outcome_is "refused: UNIDESK_UPDATE_IMAGES of this node does not allow \"nowhere/none:latest\""'
check 'one that cannot be pulled says why' eval 'ordered localhost:1/unidesk/agent:9 && within 60 outcome_is "failed: could not pull the image" 24'
check 'the agent was not touched by these' goes_on_with "$newer"
# The container that replaces it is killed: it is started again, and finishes.
check 'one whose replacement is killed half-way' ordered "$images:slow"
check 'is under way' within 20 eval 'docker ps -q --filter "name=^$agent_name-next\$" | grep -q .'
check 'and dies' kill -9 "$(docker inspect -f '{{.State.Pid}}' "$agent_name-update")"
check 'goes on by itself, and is rolled back' within 60 outcome_is 'failed: the new agent ended: gives up'
check 'with the agent as it was' goes_on_with "$newer"
check 'the task has not noticed' ends_in "$task" succeeded 60
check 'no line is missing or twice' counts_to "$task" 150
check 'nor is an invariant broken' is '' 'SELECT string_agg(code, $$ $$) FROM unidesk.check_invariants()'
check 'no command line that is wrong' eval '! build/release/agent/unidesk-agent --replace x 2>/dev/null && ! build/release/agent/unidesk-agent --replace x y 0 2>/dev/null && ! build/release/agent/unidesk-agent --replace x y 9 1 2>/dev/null'

# Networks, aliases and a host name of its own are kept; what stands for the
# agent here says at once that it works.
printf 'FROM unidesk-base/debian:trixie\nCMD ["sh", "-c", "sleep 0.2; date >/data/agent.alive; exec sleep 600"]\n' |
	DOCKER_BUILDKIT=0 docker build -q -t "$images:alive" - >/dev/null 2>&1
docker network create --label "unidesk.test=$agent_name" "$agent_name-a" >/dev/null && docker network create --label "unidesk.test=$agent_name" "$agent_name-b" >/dev/null
task_name=$agent_name agent_name=$agent_name-networks
docker run -d --name "$agent_name" --label "unidesk.test=$task_name" --network "$task_name-a" --network-alias one --hostname chosen \
	-v "$task_name:/data" -e SET=here --stop-signal KILL --memory 64m --cap-drop ALL "$images:silent" >/dev/null && docker network connect --alias two "$task_name-b" "$agent_name"
networks() { about '{{range $name, $network := .NetworkSettings.Networks}}{{$name}} {{range $network.Aliases}}{{.}} {{end}}{{end}}' | sed -E 's/ [0-9a-f]{12}//g'; }
before=$(networks)
in_networks() { replace "$images:alive" 10 && same "$before" "$(networks)" && same 'chosen 67108864 [ALL]' "$(about '{{.Config.Hostname}} {{.HostConfig.Memory}} {{.HostConfig.CapDrop}}')" && has_variable SET=here; }
check 'networks, aliases, host name and limits are kept' in_networks
one_that_is_removed()
{
	docker rm -f "$agent_name" >/dev/null
	docker run -d --rm --name "$agent_name" --label "unidesk.test=$task_name" -v "$task_name:/data" "$images:silent" >/dev/null &&
		refused 'was started with --rm' "$images:alive"
}
check 'one that would be removed when it is stopped is refused' one_that_is_removed
exit "$failed"
