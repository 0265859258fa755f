# shellcheck shell=bash
#
# throwaway.sh
#	  A place to install peers into that leaves nothing behind: a copy-on-write
#	  view of this system in a mount namespace of its own.  Sourced, in the
#	  project's folder.
#
# root_start DIRECTORY makes it and exports BENCH_ROOT; it goes with the shell
# that made it, however that ends.  root_install COMMAND... runs a command in it
# with this machine's network.  root_run COMMAND... runs one with processes,
# network and host name (bench) of its own: any port is free, and every daemon
# that it leaves ends with it.  The project and TMPDIR are seen in both, at their
# own paths, and are no copies.

# root_start DIRECTORY: fails where that is not possible, and says why.
root_start()
{
	local dir=$1 holder _

	[ "$(id -u)" -eq 0 ] || { echo 'a throw-away root for peers needs root' >&2; return 1; }
	mkdir -p "$dir/layer" "$dir/root"
	setpriv --pdeathsig KILL unshare --mount --propagation private \
		bash -c "$root_mounts" throwaway "$dir" "$PWD" "$TMPDIR" </dev/null >"$dir/log" 2>&1 8>&- 9>&- &
	holder=$!
	for _ in $(seq 100); do
		if [ -e "$dir/ready" ]; then
			export BENCH_ROOT=$dir/root BENCH_ROOT_HOLDER=$holder
			return
		fi
		kill -0 "$holder" 2>/dev/null || break
		sleep 0.1
	done
	echo "no throw-away root: $(tail -n 1 "$dir/log")" >&2
	return 1
}

# Where the directory's file system cannot carry a layer, memory does.
# shellcheck disable=SC2016 # run by another shell
root_mounts='
	set -e
	dir=$1 project=$2 tmp=$3 root=$1/root
	overlay() { mkdir -p "$dir/layer/upper" "$dir/layer/work" && mount -t overlay overlay -o "lowerdir=/,upperdir=$dir/layer/upper,workdir=$dir/layer/work" "$root"; }
	overlay 2>/dev/null || { mount -t tmpfs tmpfs "$dir/layer" && overlay; }
	mkdir -p "$root$project" "$root$tmp"
	mount --bind "$project" "$root$project"
	mount --bind "$tmp" "$root$tmp"
	mount --rbind /dev "$root/dev"
	mount --rbind /sys "$root/sys"
	mount --bind /proc "$root/proc"
	mkdir -p "$root/run/lock"
	cat /etc/resolv.conf >"$root/etc/resolv.conf"
	echo "192.0.2.1 bench" >>"$root/etc/hosts"
	# No daemon is started by installing it.
	printf "#!/bin/sh\nexit 101\n" >"$root/usr/sbin/policy-rc.d"
	chmod +x "$root/usr/sbin/policy-rc.d"
	touch "$dir/ready"
	exec sleep infinity'

root_install()
{
	nsenter --target "$BENCH_ROOT_HOLDER" --mount chroot "$BENCH_ROOT" \
		env DEBIAN_FRONTEND=noninteractive TMPDIR="$TMPDIR" sh -c 'cd "$0" && exec "$@"' "$PWD" "$@"
}

# Names are looked up only where there is an address besides 127.0.0.1.
# shellcheck disable=SC2016 # run by another shell
root_run()
{
	nsenter --target "$BENCH_ROOT_HOLDER" --mount \
		unshare --mount --propagation private --pid --fork --kill-child --net --uts \
		sh -c 'root=$1 dir=$2; shift 2
			mount -t proc proc "$root/proc" && ip link set lo up && ip address add 192.0.2.1/32 dev lo && echo bench >/proc/sys/kernel/hostname &&
			exec chroot "$root" sh -c "cd \"\$0\" && exec \"\$@\"" "$dir" "$@"' sh "$BENCH_ROOT" "$PWD" "$@"
}

# root_needs COMMAND-OR-FILE WHAT: or this measurement is skipped.
root_needs()
{
	[ -n "${BENCH_ROOT:-}" ] || skip "$2: no throw-away root to install it into (run by bench/run.sh as root)"
	root_install sh -c 'command -v "$0" || test -e "$0"' "$1" >/dev/null || skip "$2 could not be installed: $(tail -n 1 "$(dirname "$BENCH_ROOT")/install.log")"
}
