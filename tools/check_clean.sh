#!/usr/bin/env bash
#
# check_clean.sh [RELEASE]
#	  README's commands on a machine that has nothing: a bare Debian (bookworm
#	  unless RELEASE says trixie) in its own file system, network, mount and
#	  process namespaces, with a clone of what is committed here.
#
# Runs make demo, make demo-down and make check, and says how long each took.
# Takes 15 to 40 minutes.  Needs root.  What is not committed is not tested.
# Log: build/clean-RELEASE.log.
set -euo pipefail
ROOT=$(cd "$(dirname "$0")/.." && pwd)
RELEASE=${1:-bookworm}
case $RELEASE in
	bookworm | trixie) ;;
	*) echo "usage: tools/check_clean.sh [bookworm|trixie]" >&2; exit 2 ;;
esac
die() { printf 'check_clean.sh: %s\n' "$*" >&2; exit 1; }
[ "$(id -u)" -eq 0 ] || die "needs root: it makes namespaces and a file system"
for command in mmdebstrap ip iptables nsenter unshare git; do
	command -v "$command" >/dev/null || die "there is no $command: apt-get install mmdebstrap iproute2 iptables util-linux git"
done

mkdir -p "$ROOT/build"
log=$ROOT/build/clean-$RELEASE.log
dir=$(mktemp -d "${TMPDIR:-/tmp}/unidesk-clean.XXXXXX")
name=$(basename "$dir" | tr . -)
link=uc$((RANDOM % 10000))
net=198.19.$((RANDOM % 256)).$((RANDOM % 64 * 4))
gateway=${net%.*}.$((${net##*.} + 1))
address=${net%.*}.$((${net##*.} + 2))
machine_pid=

finish()
{
	trap - EXIT
	trap '' INT TERM HUP
	set +e
	# Everything in there dies with it.
	if [ -n "$machine_pid" ]; then
		kill -9 "$machine_pid"
		wait "$machine_pid"
	fi 2>/dev/null
	iptables -w -t nat -D POSTROUTING -s "$net/30" -j MASQUERADE 2>/dev/null
	iptables -w -D FORWARD -i "$link" -j ACCEPT 2>/dev/null
	iptables -w -D FORWARD -o "$link" -j ACCEPT 2>/dev/null
	ip netns del "$name" 2>/dev/null
	ip link del "$link" 2>/dev/null
	rm -rf --one-file-system "$dir"
}
trap finish EXIT
trap 'exit 130' INT TERM HUP

# Dials out through this machine; nothing dials in.
network_up()
{
	ip netns add "$name"
	ip link add "$link" type veth peer name eth0 netns "$name"
	ip addr add "$gateway/30" dev "$link"
	ip link set "$link" up
	ip -n "$name" link set lo up
	ip -n "$name" addr add "$address/30" dev eth0
	ip -n "$name" link set eth0 up
	ip -n "$name" route add default via "$gateway"
	[ "$(cat /proc/sys/net/ipv4/ip_forward)" = 1 ] || echo 1 >/proc/sys/net/ipv4/ip_forward
	iptables -w -t nat -A POSTROUTING -s "$net/30" -j MASQUERADE
	iptables -w -I FORWARD -i "$link" -j ACCEPT
	iptables -w -I FORWARD -o "$link" -j ACCEPT
}

echo "bootstrapping $RELEASE"
mmdebstrap --quiet --variant=minbase --include=ca-certificates "$RELEASE" "$dir/root" 2>"$log" ||
	{ tail -n 10 "$log" >&2; die "mmdebstrap failed"; }
git clone -q --bare "$ROOT" "$dir/root/srv/unidesk.git"
cp -L /etc/resolv.conf "$dir/root/etc/resolv.conf"
echo "127.0.0.1 localhost" >"$dir/root/etc/hosts"
cat >"$dir/root/root/first-day.sh" <<'END'
set -uo pipefail
run() { local began=$SECONDS status=0; echo "# $*"; "$@" || status=$?; echo "## $*: status $status, $((SECONDS - began)) s"; [ "$status" -eq 0 ] || failed=1; }
failed=0
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
run apt-get install -qq -y git make >/dev/null
run git clone -q /srv/unidesk.git unidesk && cd unidesk || exit 1
run make demo
run make demo
run make demo-down
run make check
# An engine that make demo or make check has started by hand is its own.
docker/engine.sh stop
exit "$failed"
END
network_up

# A root of its own, so that nothing of this machine is reachable from there.
# Devices and control groups are the kernel's and are shared.
# shellcheck disable=SC2016 # expanded by the shell inside
nsenter --net="/run/netns/$name" unshare --mount --pid --fork --kill-child --propagation private bash -c '
	set -e
	cd "$1"
	mount --bind . .
	cd "$1"
	mount -t proc proc proc
	mount -t sysfs sysfs sys
	mount --rbind /sys/fs/cgroup sys/fs/cgroup
	mount --rbind /dev dev
	mount -t tmpfs tmpfs run
	mkdir old
	pivot_root . old
	umount -l /old
	cd /root
	exec env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root TERM=dumb bash /root/first-day.sh
' bash "$dir/root" >>"$log" 2>&1 </dev/null &
machine_pid=$!
status=0
wait "$machine_pid" || status=$?
machine_pid=

grep -E '^## |^not ok|passed, .* failed|^build .* s$' "$log" || true
[ "$status" -eq 0 ] || die "exit status $status: see $log"
