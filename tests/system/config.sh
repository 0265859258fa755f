#!/usr/bin/env bash
#
# config.sh
#	  Settings and arguments that cannot be used: each ends its program at once
#	  with its exit status and one line that names the setting and says what to
#	  do, and that shows no secret; or, where a program goes on, with that line.
#
# The exit statuses are in docs/settings.md.  Logs: build/config.
set -uo pipefail
ROOT=$(cd "$(dirname "$0")/../.." && pwd)
cd "$ROOT" || exit 1
# shellcheck source=tools/results.sh
. tools/results.sh
# shellcheck source=tests/system/helpers.sh
. tests/system/helpers.sh

bin=$ROOT/build/${VARIANT:-release}
out=$ROOT/build/config
if [ -z "${PG_ROOT:-}" ]; then
	rm -rf "$out"
	mkdir -p "$out"
fi
work=$(mktemp -d "${TMPDIR:-/tmp}/unidesk-config.XXXXXX")
mounted=
finish()
{
	trap - EXIT
	[ -z "$mounted" ] || umount "$mounted"
	rm -rf "$work"
}
trap finish EXIT
trap 'exit 130' INT TERM HUP

failed=0
check() { expect config "$@" || failed=1; }

# In values that are secret, and never in a line.
readonly SECRET=SECRETsecretSECRET0123456789
printf '%s\n' "$SECRET$SECRET" >"$work/token"
printf '%s\r\n' "$SECRET$SECRET" >"$work/token-crlf"
printf '%s\nmore\n' "$SECRET$SECRET" >"$work/token-two-lines"
printf '%s' "$SECRET" >"$work/password"
: >"$work/empty"
printf '\n' >"$work/newline"
head -c 5000 /dev/zero | tr '\0' x >"$work/long"
head -c 40 /dev/zero >"$work/zeroes"
chmod 600 "$work"/*
install -m 0644 "$work/token" "$work/token-open"
mkfifo -m 600 "$work/fifo"
mkdir "$work/data" "$work/directory"
chmod 700 "$work/directory"

# ends STATUS PATTERN COMMAND...: in a clean environment, at once, in one line.
ends()
{
	local wanted=$1 pattern=$2 status=0 text
	shift 2
	# Descriptor 3 is where unidesk-git says what it has to say.
	text=$(timeout 10 env -i PATH="$PATH" "$@" 2>&1 3>&1 </dev/null) || status=$?
	printf '%s: %s\n' "$*" "$text" >>"$out/lines.log"
	if [ "$status" -ne "$wanted" ] || ! grep -qE -- "$pattern" <<<"$text" ||
		[ "$(grep -vc 'info:' <<<"$text")" -ne 1 ] || grep -q "$SECRET" <<<"$text"; then
		printf '  status %s (wanted %s), pattern %s: %s\n' "$status" "$wanted" "$pattern" "$text"
		return 1
	fi
}

bridge()
{
	local pattern=$1
	shift
	ends 2 "$pattern" UNIDESK_DATABASE='host=/nonexistent user=unidesk_bridge' "$@" "$bin/bridge/unidesk-bridge"
}

agent_environment=(UNIDESK_URL=ws://127.0.0.1:1/agent UNIDESK_TOKEN_FILE="$work/token" UNIDESK_DATA="$work/data"
	UNIDESK_DATA_HOST="$work/data" UNIDESK_INIT="$bin/init/unidesk-init" UNIDESK_GIT="$bin/git/unidesk-git"
	UNIDESK_DOCKER_SOCKET="$work/no.sock")
agent()
{
	local pattern=$1
	shift
	ends 2 "$pattern" "${agent_environment[@]}" "$@" "$bin/agent/unidesk-agent"
}

# all PROGRAM VARIABLE VALUE...: each is refused by name.
all()
{
	local program=$1 variable=$2 value
	shift 2
	for value; do
		"$program" "$variable" "$variable=$value" || return
	done
}

# says PATTERN COMMAND...: it goes on, and says so; then it is asked to end.
says()
{
	local pattern=$1 status=0 pid
	shift
	env -i PATH="$PATH" "$@" >"$work/said" 2>&1 </dev/null &
	pid=$!
	within 10 grep -qE -- "$pattern" "$work/said" || status=1
	kill -TERM "$pid" 2>/dev/null
	wait "$pid" 2>/dev/null
	cat "$work/said" >>"$out/lines.log"
	grep -q "$SECRET" "$work/said" && status=1
	[ "$status" -eq 0 ] || sed 's/^/  /' "$work/said"
	return "$status"
}

# ---- server ----------------------------------------------------------------

# In the file are values that do not fit, are none, and names that are none.
server_checks()
{
	sql() { "$PG_BIN/psql" -XAtq -v ON_ERROR_STOP=1 -c "$1"; }
	within 10 is t 'SELECT unidesk.worker_alive()' || return
	sql "CREATE TABLE node AS SELECT unidesk.create_node('n') AS token; CREATE TABLE bridge AS SELECT unidesk_bridge.register('config', 1) AS id" || return
	# What a node is told, as hello asks for it.
	limits()
	{
		sql "SELECT convert_from(body, 'UTF8')::jsonb #>> '{limits,$1}' FROM unidesk_bridge.receive((SELECT id FROM bridge), '{1}', '{1}',
			ARRAY[(SELECT sha256(convert_to(token, 'UTF8')) FROM node)], '{0}', '{1}', '{0}', '{0}', '{0}', '{0}', '{0}', '{0}', '{0}',
			ARRAY['{\"proto_min\":1,\"proto_max\":1,\"boot_id\":\"m\",\"engine_id\":\"m\",\"attempts\":[]}'::bytea]) WHERE type = 129"
	}
	told() { [ "$(limits "$1")" = "$2" ] || { printf '  %s is %s\n' "$1" "$(limits "$1")"; return 1; }; }
	warned() { grep -qE "WARNING: .*$1" "$PG_LOG" || { printf '  no warning: %s\n' "$1"; return 1; }; }
	check 'server: beats too rare for offline_after are made frequent' told beat_s 45
	check 'server: and that is said' warned 'unidesk.beat_interval of 3600 s does not fit unidesk.offline_after.*: 45 s is used'
	check 'server: a take-over within two beats is put off, and that is said' warned 'unidesk.session_silent_after of 1 s does not fit .*: 90 s is used'
	check 'server: a node'"'"'s margin beyond the lease'"'"'s is cut' told lease_margin_s 60
	check 'server: and that is said too' warned 'unidesk.agent_lease_margin of 3600 s does not fit .*: 60 s is used'
	check 'server: a value that is none leaves the default' is 30s 'SHOW unidesk.grace'
	check 'server: and is complained of' warned 'invalid value for parameter "unidesk.grace"'
	check 'server: a name that is none is complained of' warned 'invalid configuration parameter name "unidesk.no_such"'
	sql "ALTER SYSTEM SET unidesk.beat_interval = '10s'"
	sql "ALTER SYSTEM SET unidesk.agent_lease_margin = '5s'"
	sql 'SELECT pg_reload_conf()' >/dev/null
	check 'server: what fits again is used after a reload' within 10 told beat_s 10
	check 'server: and the margin too' within 10 told lease_margin_s 5
	[ "$failed" -eq 0 ]
}
if [ "${1:-}" = server ]; then
	server_checks
	exit
fi

# ---- bridge ----------------------------------------------------------------

check 'bridge: an unknown option is shown the usage' eval \
	'[ "$("$bin/bridge/unidesk-bridge" --no-such 2>&1 | head -n 1)" = "usage: unidesk-bridge [--health | --version | --help]" ]'
check 'bridge: no database' bridge 'UNIDESK_DATABASE must be set' UNIDESK_DATABASE=
check 'bridge: a connection string that is none' all bridge UNIDESK_DATABASE 'nonsense' 'nosuch=1' "host='" 'postgresql://[' "host=x dbname"
check 'bridge: a password in it is refused and not shown' all bridge UNIDESK_DATABASE \
	"password=$SECRET" "postgresql://u:$SECRET@host/db" "user=x password='$SECRET" "postgresql://u:$SECRET@host:notaport/db?nosuch=$SECRET"
check 'bridge: addresses to listen on' all bridge UNIDESK_LISTEN 8080 :8080 name:8080 1.2.3.4 1.2.3.4:0 1.2.3.4:65536 1.2.3.4:99999999999999999999 ::1:80 '[::1]' $'1.2.3.4:80\n'
check 'bridge: numbers of connections' all bridge UNIDESK_MAX_CONNECTIONS 0 -1 +1 ' 1' '1 ' 1x 0x10 1e3 1.5 x 1000001 2147483648 4294967297 99999999999999999999
check 'bridge: numbers per address' all bridge UNIDESK_MAX_PER_ADDRESS -1 x 1000001 18446744073709551617
check 'bridge: names' all bridge UNIDESK_BRIDGE_NAME 'a b' $'a\nb' 'a/b' "$(printf 'x%.0s' {1..64})"
check 'bridge: log levels' all bridge UNIDESK_LOG_LEVEL loud DEBUG 1
check 'bridge: password files' all bridge UNIDESK_DATABASE_PASSWORD_FILE "$work/nonexistent" "$work/empty" "$work/newline" "$work/long" "$work/directory" "$work/fifo"
port=$(free_port)
says_bridge() { local pattern=$1; shift; says "$pattern" UNIDESK_DATABASE='host=/nonexistent user=unidesk_bridge' UNIDESK_LISTEN=127.0.0.1:"$port" "$@" "$bin/bridge/unidesk-bridge"; }
install -m 0644 "$work/password" "$work/password-open"
check 'bridge: a password file open to all is complained of' says_bridge 'warning: .*PASSWORD_FILE .*chmod 600' UNIDESK_DATABASE_PASSWORD_FILE="$work/password-open"
check 'bridge: a name that is no setting is complained of, without its value' says_bridge 'warning: UNIDESK_MAX_CONNECTION is not a setting' UNIDESK_MAX_CONNECTION="$SECRET"
check 'bridge: a database that is not there is said' says_bridge 'database connection control: .*nonexistent'
check 'bridge: health without a bridge' ends 1 'could not reach' UNIDESK_LISTEN=127.0.0.1:1 "$bin/bridge/unidesk-bridge" --health
check 'bridge: health with a bad address' ends 2 'UNIDESK_LISTEN' UNIDESK_LISTEN=x "$bin/bridge/unidesk-bridge" --health
check 'bridge: an address of somebody else' ends 1 'could not listen on 203.0.113.1 port' \
	UNIDESK_DATABASE='host=/nonexistent' UNIDESK_LISTEN=203.0.113.1:"$port" "$bin/bridge/unidesk-bridge"

# ---- agent -----------------------------------------------------------------

check 'agent: an unknown option is shown the usage' eval \
	'[ "$("$bin/agent/unidesk-agent" --no-such 2>&1 | head -n 1)" = "usage: unidesk-agent [--version | --health | --replace CONTAINER IMAGE [SECONDS]]" ]'
check 'agent: no URL' agent 'UNIDESK_URL is not set' UNIDESK_URL=
check 'agent: URLs' all agent UNIDESK_URL http://host/agent host wss:// wss://:80/ wss://host:0/ wss://host:65536/ wss://host:x/ 'wss://ho st/' $'wss://host/\r\nX: y' 'wss://[::1/'
check 'agent: secrets in the URL are refused and not shown' all agent UNIDESK_URL "wss://user:$SECRET@host/agent" "wss://$SECRET@host/agent" "wss://host/agent?token=$SECRET" "wss://host/agent#$SECRET"
check 'agent: no token' agent 'no node token' UNIDESK_TOKEN_FILE=
check 'agent: two tokens' agent 'keep one' UNIDESK_TOKEN="$SECRET"
check 'agent: tokens' all agent UNIDESK_TOKEN_FILE "$work/nonexistent" "$work/empty" "$work/newline" "$work/long" "$work/zeroes" "$work/token-two-lines" "$work/directory" "$work/fifo" "$work/token-open"
check 'agent: a token file open to all is told how to close' agent 'chmod 600' UNIDESK_TOKEN_FILE="$work/token-open"
check 'agent: paths' all agent UNIDESK_DATA relative "/$(printf 'x%.0s' {1..1100})"
check 'agent: programs' all agent UNIDESK_INIT /nonexistent "$work/token" relative
check 'agent: volumes' all agent UNIDESK_VOLUME ../x /x 'a b' "$(printf 'x%.0s' {1..300})"
check 'agent: networks' all agent UNIDESK_TASK_NETWORK host container container:x 'a b'
check 'agent: users' all agent UNIDESK_GIT_UID -1 root 99999999999 1x
check 'agent: flags' all agent UNIDESK_DEBUG yes 2 -1
check 'agent: GPUs' all agent UNIDESK_GPUS 'a:b' 'a:-1' 'a:99999999999999999999' 'a,a' "$(printf 'g%s,' {1..65})" $'a\x1b[31m'
check 'agent: labels' all agent UNIDESK_LABELS 'a' '=a' 'a=1,a=2' "$(printf 'k%s=v,' {1..65})" $'a=\x1b[31m'
check 'agent: certificates' all agent UNIDESK_CA_FILE /nonexistent relative
says_agent() { local pattern=$1; shift; says "$pattern" "${agent_environment[@]}" "$@" "$bin/agent/unidesk-agent"; }
check 'agent: a token with a newline of either kind works' says_agent 'there is no such file' UNIDESK_TOKEN_FILE="$work/token-crlf"
check 'agent: a name that is no setting is complained of, without its value' says_agent 'warning: UNIDESK_LABEL is not a setting' UNIDESK_LABEL="$SECRET"
for url in ws://203.0.113.7/agent ws://server.example/agent 'ws://[2001:db8::1]/agent'; do
	check "agent: $url is complained of" says_agent 'warning: UNIDESK_URL leads to .* without TLS' UNIDESK_URL="$url"
done
private()
{
	local url
	for url in ws://127.0.0.1 ws://10.1.2.3 ws://172.31.0.1 ws://192.168.0.1 ws://100.64.0.1 'ws://[::1]' 'ws://[fd00::1]' ws://bridge:8080 ws://host.local wss://server.example; do
		says_agent 'there is no such file' UNIDESK_URL="$url" || return
		! grep -q 'without TLS' "$work/said" || { echo "  $url"; return 1; }
	done
}
check 'agent: private addresses and TLS are not complained of' private
check 'agent: an engine that is not there' says_agent 'there is no such file: start Docker'
check 'agent: an engine that is no socket' says_agent 'that is no socket' UNIDESK_DOCKER_SOCKET="$work/token"
unusable() { local pattern=$1; shift; ends 1 "UNIDESK_DATA .* cannot be used, .*$pattern" "${agent_environment[@]}" "$@" "$bin/agent/unidesk-agent"; }
check 'agent: a data directory that is not there' unusable 'No such file' UNIDESK_DATA=/nonexistent
check 'agent: a data directory that is a file' unusable 'Not a directory' UNIDESK_DATA="$work/token"
# on_tmpfs OPTIONS PATTERN: the data directory is one that is mounted like this.
on_tmpfs()
{
	local status=0
	mount -t tmpfs -o "$1" tmpfs "$work/directory" || return
	mounted=$work/directory
	unusable "$2" UNIDESK_DATA="$work/directory" || status=1
	umount "$mounted" && mounted=
	return "$status"
}
if [ "$(id -u)" -eq 0 ]; then
	check 'agent: a data directory that is read-only' on_tmpfs ro 'Read-only file system'
	check 'agent: a data directory that is full' on_tmpfs size=16k 'No space left'
fi
check 'agent: health before anything' ends 1 'has not acknowledged' UNIDESK_DATA="$work/data" "$bin/agent/unidesk-agent" --health

# An engine whose socket is there and closed to us, as another user.
denied()
{
	mkdir -p "$work/open/data" || return
	chmod 0755 "$work" "$work/open"
	cp "$bin/agent/unidesk-agent" "$bin/init/unidesk-init" "$bin/git/unidesk-git" "$work/open/" || return
	install -m 0600 -o nobody "$work/token" "$work/open/token" || return
	chown nobody "$work/open/data"
	perl -MIO::Socket::UNIX -e 'IO::Socket::UNIX->new(Local => $ARGV[0], Listen => 1) or die' "$work/open/sock" || return
	chmod 0600 "$work/open/sock"
	says 'no permission: run the agent as root or as a member of the group docker' "${agent_environment[@]}" \
		UNIDESK_DOCKER_SOCKET="$work/open/sock" UNIDESK_TOKEN_FILE="$work/open/token" UNIDESK_DATA="$work/open/data" \
		UNIDESK_INIT="$work/open/unidesk-init" UNIDESK_GIT="$work/open/unidesk-git" \
		setpriv --reuid nobody --clear-groups --inh-caps=-all "$work/open/unidesk-agent"
}
[ "$(id -u)" -ne 0 ] || check 'agent: an engine it has no permission for' denied

# ---- init, git -------------------------------------------------------------

init() { local pattern=$1; shift; ends 125 "$pattern" "$bin/init/unidesk-init" "$@"; }
check 'init: nothing' init usage
check 'init: an unknown option' init usage --no-such -- true
check 'init: an option without its value' init usage --grace
check 'init: no program' init usage --run-dir "$work/data" --
numbers_of_init()
{
	local value
	for value in x -1 +1 '' 1x 1.5 2592001 99999999999999999999999; do
		init 'grace must be a number from 0 to' --grace "$value" -- true || return
	done
	for value in x -1 0 4095 1099511627777 99999999999999999999999; do
		init 'log-budget must be a number from' --log-budget "$value" -- true || return
	done
}
check 'init: numbers' numbers_of_init
check 'init: a run directory that is not there' init 'could not open "/nonexistent"' --run-dir /nonexistent -- true
reader() { local pattern=$1; shift; ends 1 "$pattern" "$bin/git/unidesk-git" "$@"; }
usages_of_git()
{
	reader usage && reader usage no-such && reader usage fetch && reader usage fetch --mirror x &&
		reader usage fetch --mirror x --commit x --no-such && reader usage context --mirror x --commit x &&
		reader usage tree --mirror x --commit y --into z extra &&
		reader usage tree --mirror x --commit y --into z --max-bytes -1 &&
		reader usage tree --mirror x --commit y --into z --max-bytes 99999999999999999999999 &&
		reader usage tree --mirror x --commit y --into z --max-entries 1x
}
check 'git: arguments' usages_of_git

# ---- server, beside a private one ------------------------------------------

tools/private_pg.sh --keep-log "$out/server.log" --set unidesk.beat_interval=1h --set unidesk.session_silent_after=1s \
	--set unidesk.agent_lease_margin=1h --set unidesk.grace=never --set unidesk.no_such=1 -- "$0" server || failed=1
exit "$failed"
