# shellcheck shell=bash
#
# second_machine.sh
#	  A machine beside this one, as far as network and engine go: a network
#	  namespace that dials out and takes nothing in, with a Docker Engine in a
#	  mount namespace of its own.  Sourced.  In the host's namespaces a second
#	  engine would remove the first one's bridge.
#
# After machine_up DIR: $machine_socket (its engine), $machine_gateway (this
# machine's address as it sees it), $machine_address (its own); machine_run
# COMMAND... runs there; machine_down takes all of it away.

machine_dir='' machine_pid='' machine_space='' machine_name=unidesk-$$
machine_socket='' machine_gateway='' machine_address=''

# In words, for a program in the background whose pid must be the caller's $!.
on_machine="nsenter --net=/run/netns/$machine_name"
machine_run() { $on_machine "$@"; }

# A pair of addresses out of the range for benchmarks that nobody here uses.
machine_addresses()
{
	local net
	for _ in $(seq 50); do
		net=198.18.$((RANDOM % 256)).$((RANDOM % 64 * 4))
		machine_gateway=${net%.*}.$((${net##*.} + 1))
		machine_address=${net%.*}.$((${net##*.} + 2))
		ip -o addr show | grep -qF " $machine_gateway/" || return 0
	done
	return 1
}

machine_network_up()
{
	local link=ud$((RANDOM % 10000))n
	machine_addresses &&
		ip netns add "$machine_name" &&
		ip link add "$link" type veth peer name eth0 netns "$machine_name" &&
		ip addr add "$machine_gateway/30" dev "$link" &&
		ip link set "$link" up &&
		ip -n "$machine_name" link set lo up &&
		ip -n "$machine_name" addr add "$machine_address/30" dev eth0 &&
		ip -n "$machine_name" link set eth0 up &&
		ip -n "$machine_name" route add default via "$machine_gateway" &&
		machine_run iptables -w -A INPUT -i eth0 -m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT &&
		machine_run iptables -w -A INPUT -i eth0 -j DROP
}

# Its cable is pulled, and put back.
machine_link()
{
	local direction
	for direction in 'INPUT -i' 'OUTPUT -o'; do
		# shellcheck disable=SC2086 # words
		machine_run iptables -w "$1" $direction eth0 -j DROP || return
	done
}
machine_link_cut() { machine_link -I; }
machine_link_mend() { machine_link -D; }

machine_docker() { DOCKER_HOST=unix://$machine_socket docker "$@"; }

# Its mount namespace outlives a restart of the engine, as on any machine.
machine_space_up()
{
	mkdir -p /etc/docker "$machine_dir/etc"
	# Older engines keep the key there that says which engine they are.
	# shellcheck disable=SC2016 # expanded by the shell on the machine
	$on_machine unshare --mount --propagation private \
		bash -c 'mount --bind "$0" /etc/docker && exec sleep infinity' "$machine_dir/etc" 8>&- 9>&- &
	machine_space=$!
	within 5 grep -qsF "$machine_dir/" "/proc/$machine_space/mountinfo"
}

# machine_engine_up [OPTION...]: of dockerd.
# shellcheck disable=SC2120 # not everybody has options
machine_engine_up()
{
	[ -n "$machine_space" ] || machine_space_up || return
	rm -f "$machine_dir/engine.pid"
	# A zombie would be taken for one that runs, where nobody reaps orphans soon.
	case $(ps -o stat= -p "$(cat "$machine_dir/exec/containerd/containerd.pid" 2>/dev/null)" 2>/dev/null) in
		Z* | '') rm -f "$machine_dir/exec/containerd/containerd.pid" ;;
	esac
	$on_machine nsenter --mount="/proc/$machine_space/ns/mnt" \
		dockerd --host "unix://$machine_socket" --data-root "$machine_dir/data" --exec-root "$machine_dir/exec" \
		--pidfile "$machine_dir/engine.pid" "$@" >>"$machine_dir/engine.log" 2>&1 8>&- 9>&- &
	machine_pid=$!
	within 60 machine_docker version || { tail -n 15 "$machine_dir/engine.log"; return 1; }
}

# machine_engine_down [SIGNAL]: of the engine alone, TERM unless given.
machine_engine_down()
{
	kill "-${1:-TERM}" "$machine_pid"
	wait "$machine_pid" 2>/dev/null
	machine_pid=''
}

machine_up()
{
	machine_dir=$1
	mkdir -p "$machine_dir"
	machine_socket=$machine_dir/docker.sock
	machine_network_up && machine_engine_up &&
		docker save unidesk-base/debian:trixie | machine_docker load >/dev/null
}

# Whatever sees its file systems: engine, shims, containers.
machine_processes() { grep -lsF "$machine_dir/" /proc/[0-9]*/mountinfo | cut -d/ -f3; }

# Power is cut: the engine, which would write down the others' end, goes first.
machine_crash()
{
	local pid
	for pid in $machine_pid $(machine_processes); do kill -9 "$pid" 2>/dev/null; done
	wait "$machine_pid" "$machine_space" 2>/dev/null
	machine_pid='' machine_space=''
}

machine_is_clean()
{
	local left
	left=$(machine_docker ps -aq)
	[ -z "$left" ] || { printf '  left on the second engine: %s\n' "$left"; return 1; }
}

machine_down()
{
	[ -n "$machine_dir" ] || return 0
	if [ -n "$machine_pid" ]; then
		machine_docker ps -aq 2>/dev/null | xargs -r -n 20 env DOCKER_HOST="unix://$machine_socket" docker rm -f -v >/dev/null 2>&1
	fi
	machine_crash
	ip netns del "$machine_name" 2>/dev/null
	rm -rf "$machine_dir"
}
