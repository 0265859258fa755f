#!/bin/bash
#
# packages.sh GROUP...
#	  Install the Debian packages that a group of tasks misses on this host, or
#	  print the one command that does, when this is not root.
#
# Groups:
#	demo    a Docker Engine, Compose, and what the demo's scripts call
#	base    what bootstraps the base image where no registry answers
#	build   what compiles everything on the host
#	check   build, and what the tests call
#	bench   what UniDesk is compared with; called in a throw-away root (bench/run.sh)
#
# An engine that is there, of any origin, is used: Debian's is installed only
# where there is none.
set -euo pipefail

die() { printf 'packages.sh: %s\n' "$*" >&2; exit 1; }

MISSING=()
installed() { dpkg-query -W -f '${db:Status-Status}\n' "$1" 2>/dev/null | grep -qx installed; }
need_package() { local p; for p in "$@"; do installed "$p" || MISSING+=("$p"); done; }
need_command() { command -v "$1" >/dev/null || MISSING+=("$2"); }
# Is there a package of this name to be had?
offered()
{
	local candidate
	candidate=$(LC_ALL=C apt-cache policy "$1" 2>/dev/null | sed -n 's/^ *Candidate: //p')
	[ -n "$candidate" ] && [ "$candidate" != '(none)' ]
}

# The first of several names that is offered: names differ between releases.
first_offered()
{
	local p
	for p in "$@"; do
		if offered "$p"; then
			echo "$p"
			return
		fi
	done
	die "none of these packages is offered here: $*"
}

engine_present()
{
	command -v dockerd >/dev/null || [ -S /var/run/docker.sock ] || [ -n "${DOCKER_HOST:-}" ] ||
		{ command -v docker >/dev/null && timeout 10 docker version >/dev/null 2>&1; }
}

need_engine()
{
	if ! engine_present; then
		MISSING+=(docker.io)
		# Without its parser no container starts on a kernel with AppArmor.
		if [ "$(cat /sys/module/apparmor/parameters/enabled 2>/dev/null)" = Y ]; then
			need_command apparmor_parser apparmor
		fi
	fi
	if ! command -v docker >/dev/null; then
		if installed docker-ce; then
			MISSING+=(docker-ce-cli)
		elif offered docker-cli; then
			MISSING+=(docker-cli)
		elif engine_present; then
			# Here the client comes only together with Debian's engine.
			die "a Docker Engine is here but its client, the command docker, is not: install the client that belongs to that engine"
		fi
	fi
	if ! docker compose version >/dev/null 2>&1 && ! command -v docker-compose >/dev/null; then
		MISSING+=("$(first_offered docker-compose-plugin docker-compose)")
	fi
}

group()
{
	case $1 in
		demo)
			need_engine
			need_command git git
			need_command mkfs.ext4 e2fsprogs
			need_command mount mount
			need_command flock util-linux
			;;
		base)
			need_command mmdebstrap mmdebstrap
			need_package debian-archive-keyring
			;;
		build)
			need_command gcc gcc
			need_command make make
			need_command pkg-config pkg-config
			need_package libc6-dev libcurl4-openssl-dev libgit2-dev libjson-c-dev \
				libev-dev libpq-dev libssl-dev libwebsockets-dev libwebsockets-evlib-ev "$(first_offered postgresql-server-dev-15 postgresql-server-dev-17)"
			;;
		check)
			group build
			need_package check iproute2 iptables libipc-run-perl openssl procps "$(first_offered postgresql-15 postgresql-17)"
			;;
		bench)
			need_package munge python3-celery python3-redis redis-server redis-tools slurm-client slurmctld slurmd
			need_command node nodejs
			need_command npm npm
			need_command ip iproute2
			;;
		*) die "no such group: $1 (demo, base, build, check, bench)" ;;
	esac
}

[ $# -gt 0 ] || die "usage: packages.sh GROUP..."
command -v apt-get >/dev/null || die "this is made for Debian 12 and 13: there is no apt-get here"

# A fresh machine has no package lists, and then nothing seems to be offered.
if [ "$(id -u)" = 0 ] && ! offered make; then
	apt-get update -qq || die "apt-get update failed: can this machine reach Debian's packages?"
fi
for name in "$@"; do group "$name"; done
[ ${#MISSING[@]} -gt 0 ] || exit 0
mapfile -t MISSING < <(printf '%s\n' "${MISSING[@]}" | sort -u)

if [ "$(id -u)" != 0 ]; then
	printf 'packages.sh: missing packages; as root, run:\n' >&2
	printf '  apt-get update && apt-get install -y --no-install-recommends %s\n' "${MISSING[*]}" >&2
	exit 1
fi
echo "installing ${MISSING[*]}"
log=$(mktemp)
trap 'rm -f "$log"' EXIT
export DEBIAN_FRONTEND=noninteractive
if ! { apt-get update && apt-get install -y --no-install-recommends "${MISSING[@]}"; } >"$log" 2>&1; then
	tail -n 20 "$log" >&2
	die "apt-get could not install: ${MISSING[*]}"
fi
