#!/bin/bash
#
# engine.sh start | stop | socket
#	  start    make sure that a Docker Engine answers: the one that runs, else
#	           the one that is installed, of whatever origin
#	  stop     stop the engine that start started by hand, no other
#	  socket   print the path of the engine's unix socket
#
# Where no init system runs, the engine is started by hand, in the background.
# It does not survive a reboot; start says so.
set -euo pipefail

readonly PID_FILE=/run/unidesk-dockerd.pid
readonly LOG_FILE=/var/log/unidesk-dockerd.log
readonly START_LIMIT_S=60
readonly STOP_LIMIT_S=40

die()
{
	printf 'engine.sh: %s\n' "$1" >&2
	shift
	local hint
	for hint in "$@"; do printf '  %s\n' "$hint" >&2; done
	exit 1
}

answers() { timeout 10 docker version --format '{{.Server.Version}}' >/dev/null 2>&1; }

# Wait until the engine answers, at most START_LIMIT_S; $1 is a pid that must
# stay alive, or empty.
wait_for_engine()
{
	local deadline=$((SECONDS + START_LIMIT_S))
	while ! answers; do
		[ -z "$1" ] || kill -0 "$1" 2>/dev/null || return 1
		[ "$SECONDS" -lt "$deadline" ] || return 1
		sleep 0.5
	done
}

# The engine needs control groups; with no init system nobody has mounted them.
mount_cgroups()
{
	mountpoint -q /sys/fs/cgroup && return
	mount -t cgroup2 cgroup2 /sys/fs/cgroup ||
		die "could not mount control groups at /sys/fs/cgroup" \
			"Docker cannot start here; is this a container without privileges?"
}

start_by_hand()
{
	mount_cgroups
	# What a crash left behind would make dockerd believe that it runs.
	if [ -e /run/docker.pid ] && ! kill -0 "$(cat /run/docker.pid)" 2>/dev/null; then
		rm -f /run/docker.pid
	fi
	setsid dockerd >>"$LOG_FILE" 2>&1 </dev/null 9>&- &
	local pid=$!
	echo "$pid" >"$PID_FILE"
	wait_for_engine "$pid" || {
		tail -n 15 "$LOG_FILE" >&2
		die "dockerd did not come up within $START_LIMIT_S s" "its log: $LOG_FILE"
	}
	echo "Started a Docker Engine by hand (pid $pid, log $LOG_FILE), because no init system runs here."
	echo "It does not survive a reboot: run make demo again after one."
}

start()
{
	answers && return
	case ${DOCKER_HOST:-unix:///var/run/docker.sock} in
		unix:///var/run/docker.sock | unix:///run/docker.sock) ;;
		*) die "no engine answers at DOCKER_HOST=$DOCKER_HOST" ;;
	esac
	[ "$(id -u)" = 0 ] ||
		die "no Docker Engine answers, or this user may not talk to it" \
			"docker version says: $(docker version 2>&1 | tail -n 1)" \
			"run this as root, or add the user to the group docker"
	if [ -d /run/systemd/system ]; then
		systemctl start docker ||
			die "systemctl start docker failed" "see: journalctl -u docker -n 50"
		wait_for_engine "" ||
			die "the Docker Engine does not answer" "see: journalctl -u docker -n 50"
	elif [ -e /etc/inittab ] && [ -x /etc/init.d/docker ]; then
		service docker start || die "service docker start failed" "see: /var/log/docker.log"
		wait_for_engine "" || die "the Docker Engine does not answer" "see: /var/log/docker.log"
	elif command -v dockerd >/dev/null; then
		start_by_hand
	else
		die "no Docker Engine answers and none is installed" "run: tools/packages.sh demo"
	fi
}

stop()
{
	[ -s "$PID_FILE" ] || return 0
	local pid deadline
	pid=$(cat "$PID_FILE")
	if [ "$(cat "/proc/$pid/comm" 2>/dev/null)" = dockerd ]; then
		kill -TERM "$pid"
		deadline=$((SECONDS + STOP_LIMIT_S))
		while kill -0 "$pid" 2>/dev/null; do
			[ "$SECONDS" -lt "$deadline" ] ||
				die "dockerd (pid $pid) has not stopped after $STOP_LIMIT_S s" "its log: $LOG_FILE"
			sleep 0.2
		done
		echo "Stopped the Docker Engine that was started by hand (pid $pid)."
	fi
	rm -f "$PID_FILE" "$LOG_FILE"
}

socket()
{
	local host
	host=${DOCKER_HOST:-$(docker context inspect --format '{{.Endpoints.docker.Host}}' 2>/dev/null || true)}
	host=${host:-unix:///var/run/docker.sock}
	case $host in
		unix://*) echo "${host#unix://}" ;;
		*) die "the agent needs the engine's unix socket, but Docker is used through $host" ;;
	esac
}

case ${1:-} in
	start) start ;;
	stop) stop ;;
	socket) socket ;;
	*) echo "usage: engine.sh start | stop | socket" >&2; exit 2 ;;
esac
