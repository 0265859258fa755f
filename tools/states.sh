#!/usr/bin/env bash
#
# states.sh [--check]
#	  Write docs/states.md from the state machines in the extension, or check
#	  that it says what they say.
set -euo pipefail
ROOT=$(cd "$(dirname "$0")/.." && pwd)

page()
{
	cat <<-'END'
		# State machines

		Written by `tools/states.sh` from the tables in `extension/transition.c`, which the one door follows and `SELECT * FROM unidesk.transition` shows.
		Letters say who may make a move: **a** the agent reports it, **w** the worker decides it, **p** a person asks for it. Nothing leaves a terminal state.
	END
	psql -X -q -A -t <<-'END'
		SELECT E'\n## ' || initcap(machine) || E'\n\n```mermaid\nstateDiagram-v2\n'
			|| string_agg(format('    %s --> %s: %s', from_state, to_state,
				concat_ws(' ', CASE WHEN by_agent THEN 'a' END, CASE WHEN by_worker THEN 'w' END, CASE WHEN by_person THEN 'p' END)),
				E'\n' ORDER BY n) || E'\n```'
		FROM unidesk._transitions() WITH ORDINALITY AS t (machine, from_state, to_state, by_agent, by_worker, by_person, n)
		GROUP BY machine ORDER BY min(n);
	END
}

if [ -n "${PG_ROOT:-}" ]; then
	page
	exit
fi
new=$(mktemp)
trap 'rm -f "$new"' EXIT
"$ROOT/tools/private_pg.sh" -- "$0" >"$new"
if [ "${1:-}" = --check ]; then
	diff -u "$ROOT/docs/states.md" "$new"
else
	cat "$new" >"$ROOT/docs/states.md"
fi
