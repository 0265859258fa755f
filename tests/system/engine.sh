# shellcheck shell=bash
#
# engine.sh
#	  A Docker Engine for the time of a test run.  Sourced, in the project's
#	  folder.
#
# An engine that answers is used.  One that had to be started by hand is
# stopped by the last run that uses it, unless containers run on it then:
# several runs, and a demo, go on side by side.

readonly ENGINE_STARTED_BY_TESTS=/run/unidesk-check.engine

# The engine and the base image are there until engine_leave.
engine_enter()
{
	# Only root can start an engine, so only root has one to stop.
	if [ "$(id -u)" -eq 0 ]; then
		exec 9>/run/unidesk-check.lock
		flock 9
	fi
	tools/packages.sh demo || return
	if ! timeout 10 docker version >/dev/null 2>&1; then
		docker/engine.sh start || return
		touch "$ENGINE_STARTED_BY_TESTS"
	fi
	docker/base.sh >/dev/null || return
	[ "$(id -u)" -ne 0 ] || flock -s 9
}

engine_leave()
{
	if [ -e "$ENGINE_STARTED_BY_TESTS" ] && flock -n 9 && [ -z "$(docker ps -q)" ]; then
		rm -f "$ENGINE_STARTED_BY_TESTS"
		docker/engine.sh stop
	fi
	if [ "$(id -u)" -eq 0 ]; then flock -u 9; fi
}

# run_beside_server SUITE [OPTION...]: this script again, beside a server of its
# own (options: tools/private_pg.sh) and an engine; then exit.  Logs: build/SUITE.
run_beside_server()
{
	local suite=$1 status=0
	shift
	if [ "$(id -u)" -ne 0 ]; then
		echo "$suite: needs root, because the agent hands files to other users" >&2
		exit 1
	fi
	rm -rf "build/$suite"
	mkdir -p "build/$suite"
	trap 'exit 130' INT TERM HUP
	trap engine_leave EXIT
	engine_enter || exit 1
	tools/private_pg.sh --keep-log "build/$suite/server.log" "$@" -- "$0" || status=$?
	exit "$status"
}
