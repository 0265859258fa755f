#!/usr/bin/env bash
#
# celery.sh
#	  Celery with redis as its broker: two worker processes, results ignored,
#	  redis without persistence (so a crash of redis loses tasks: the fastest it
#	  can be).  CPU time is that of submitter, broker and workers.
set -euo pipefail
cd "$(dirname "$0")/../.."
# shellcheck source=bench/measure.sh
. bench/measure.sh
# shellcheck source=bench/peers/throwaway.sh
. bench/peers/throwaway.sh

if [ "${1:-}" != inside ]; then
	root_needs redis-server redis
	root_needs /usr/lib/python3/dist-packages/celery/__init__.py Celery
	trap cpu_close EXIT
	cpu=
	if cpu_open celery; then
		cpu=$(cpu_file celery)
		cpu_join celery
	fi
	root_run env PYTHONDONTWRITEBYTECODE=1 PYTHONPATH=bench/peers CPU_FILE="$cpu" QUICK="$BENCH_QUICK" "$0" inside
	exit
fi

dir=$(mktemp -d /tmp/celery.XXXXXX)
redis-server --bind 127.0.0.1 --dir "$dir" --save '' --appendonly no >"$dir/redis.log" 2>&1 &
for _ in $(seq 100); do
	redis-cli ping 2>/dev/null | grep -q PONG && break
	sleep 0.05
done
C_FORCE_ROOT=1 /usr/bin/python3 -m celery -A celery_app worker -c 2 -l ERROR --without-gossip --without-mingle >"$dir/worker.log" 2>&1 &
status=0
/usr/bin/python3 bench/peers/celery_drive.py || status=$?
[ "$status" -eq 0 ] || tail -n 5 "$dir"/*.log >&2
rm -rf "$dir"
exit "$status"
