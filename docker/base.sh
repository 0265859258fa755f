#!/bin/bash
#
# base.sh
#	  Make sure that the one base image exists: unidesk-base/debian:trixie.
#
# Reused when it is there; pulled under its usual name and tagged where a
# registry answers; else bootstrapped from Debian's packages.  debian:* is
# never overwritten.  Prints what it made, one "image NAME" a line, on
# standard output; all else on standard error.
set -euo pipefail

readonly BASE=unidesk-base/debian:trixie
readonly USUAL=debian:trixie-slim
readonly PULL_LIMIT_S=${UNIDESK_PULL_LIMIT_S:-120}

have() { docker image inspect "$1" >/dev/null 2>&1; }

if have "$BASE"; then
	exit 0
fi
if have "$USUAL"; then
	docker tag "$USUAL" "$BASE"
	echo "image $BASE"
	exit 0
fi
if timeout "$PULL_LIMIT_S" docker pull --quiet "$USUAL" >/dev/null 2>&1; then
	docker tag "$USUAL" "$BASE"
	echo "image $BASE"
	echo "image $USUAL"
	exit 0
fi

if ! command -v mmdebstrap >/dev/null; then
	"$(dirname "$0")/../tools/packages.sh" base >&2
fi
echo "no registry answers: bootstrapping $BASE from Debian's packages" >&2
log=$(mktemp)
trap 'rm -f "$log"' EXIT
if ! mmdebstrap --variant=minbase trixie 2>"$log" |
	docker import --change 'LABEL unidesk.base=bootstrapped' --change 'CMD ["bash"]' - "$BASE" >/dev/null; then
	docker image rm "$BASE" >/dev/null 2>&1 || true
	tail -n 15 "$log" >&2
	echo "base.sh: could not bootstrap Debian trixie: does apt-get update work here?" >&2
	exit 1
fi
echo "image $BASE"
