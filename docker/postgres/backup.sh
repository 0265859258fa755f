#!/bin/bash
#
# backup.sh now | daily | health
#	  now     make a backup of the database, prove it, and print its name
#	  daily   the same once a day, for ever
#	  health  was one made lately?
#
# A backup counts when a throw-away server on another volume has restored it
# and found every row; until then its dump is called .partial.  Only proven
# ones are counted, so the last good one is never removed.  view
# unidesk.backups shows each; what fails is said there and on standard error.
#
# It connects as the superuser: a dump reads past row-level security, and
# people are roles, whose passwords only a superuser reads.
#
# Settings: PGHOST, PGUSER, PGDATABASE, UNIDESK_PASSWORD_FILE (none: no
# password), UNIDESK_BACKUP_DIR, UNIDESK_PROOF_DIR, UNIDESK_BACKUP_KEEP (7),
# UNIDESK_BACKUP_HOUR (3, UTC).
set -uo pipefail

readonly DIR=${UNIDESK_BACKUP_DIR:-/backup}
readonly PROOF=${UNIDESK_PROOF_DIR:-/proof}
readonly KEEP=${UNIDESK_BACKUP_KEEP:-7}
readonly HOUR=${UNIDESK_BACKUP_HOUR:-3}
readonly RETRY_S=3600
readonly LATE_MIN=1560
WORK=$PROOF/work
# shellcheck source=docker/postgres/cluster.sh
. "$(dirname "$(readlink -f "$0")")/cluster.sh"

say() { printf 'backup: %s\n' "$*"; }
die() { printf 'backup: %s\n' "$*" >&2; exit 1; }

[[ $KEEP =~ ^[1-9][0-9]{0,3}$ ]] || die "UNIDESK_BACKUP_KEEP is a number from 1 to 9999"
[[ $HOUR =~ ^([01]?[0-9]|2[0-3])$ ]] || die "UNIDESK_BACKUP_HOUR is an hour from 0 to 23"
umask 077

query() { psql -XAtq -v ON_ERROR_STOP=1 -v VERBOSITY=terse "$@"; }

use_password()
{
	[ -n "${UNIDESK_PASSWORD_FILE:-}" ] || return 0
	export PGPASSFILE=$WORK/pgpass
	printf '*:*:*:*:%s\n' "$(cat "$UNIDESK_PASSWORD_FILE")" >"$PGPASSFILE"
}

# What an interrupted run has left: nothing of it counts.
sweep()
{
	local file
	rm -f "$DIR"/unidesk-*.partial
	for file in "$DIR"/unidesk-*.globals.sql "$DIR"/unidesk-*.facts "$DIR"/unidesk-*.sha256; do
		case $file in *.globals.sql) base=${file%.globals.sql} ;; *) base=${file%.*} ;; esac
		[ -e "$base.dump" ] || rm -f "$file"
	done
	rm -rf "$PROOF"/work "$PROOF"/data
	mkdir -m 0700 "$WORK"
}

# dump NAME: the dump and its facts are of one snapshot; roles come after it,
# so that none is missing which the dump speaks of.
dump()
{
	FILE=$1.dump.partial query -v facts="$1.facts" -v facts_sql="$FACTS" <<-'SQL' &&
		SET idle_in_transaction_session_timeout = 0;
		SET statement_timeout = 0;
		BEGIN ISOLATION LEVEL REPEATABLE READ;
		SELECT pg_catalog.pg_export_snapshot() AS snapshot \gset
		\setenv SNAPSHOT :snapshot
		\o :facts
		SELECT '# bytes', pg_catalog.pg_database_size(pg_catalog.current_database());
		\i :facts_sql
		\o
		\! pg_dump --format=custom --compress=1 --snapshot="$SNAPSHOT" --file="$FILE" && touch "$FILE.whole"
		COMMIT;
	SQL
		[ -e "$1.dump.partial.whole" ] && rm "$1.dump.partial.whole" &&
		pg_dumpall --globals-only --file="$1.globals.sql"
}

# sums NAME: under the names that the files will have.
sums()
{
	(
		cd "$DIR" && name=$(basename "$1") &&
			sha256sum "$name.dump.partial" "$name.globals.sql" "$name.facts" | sed 's/\.partial$//' >"$name.sha256"
	)
}

# prove NAME: all of it comes back.
prove()
{
	local status=0
	restore_cluster "$PROOF/data" "$1.dump.partial" "$1" fsync=off full_page_writes=off || status=1
	# It is thrown away: no need to write anything more.
	[ ! -e "$PROOF/data/postmaster.pid" ] || stop_apart "$PROOF/data" immediate >/dev/null 2>&1
	rm -rf "$PROOF/data"
	return "$status"
}

publish()
{
	sync -- "$1.dump.partial" "$1.globals.sql" "$1.facts" "$1.sha256" &&
		mv -- "$1.dump.partial" "$1.dump" && sync -- "$DIR"
}

# By count: by age the last good one would go when no new one is made.
prune()
{
	local file
	find "$DIR" -maxdepth 1 -name 'unidesk-*.dump' | sort -r | tail -n "+$((KEEP + 1))" | while read -r file; do
		rm -f "$file" "${file%.dump}".{globals.sql,facts,sha256}
	done
}

make_backup()
{
	local name id bytes began=$SECONDS error
	[ -d "$DIR" ] && [ -d "$PROOF" ] || die "no directory $DIR or $PROOF"
	exec 9>"$DIR/lock"
	flock 9
	sweep
	use_password
	name=$DIR/unidesk-$(date -u +%Y%m%dT%H%M%SZ)
	while [ -e "$name.dump" ]; do
		sleep 1
		name=$DIR/unidesk-$(date -u +%Y%m%dT%H%M%SZ)
	done
	id=$(query -v file="$(basename "$name").dump" <<<"SELECT unidesk._backup_started(:'file')") ||
		die "FAILED: the database cannot be reached; older backups are kept"
	# Its own lines, and only those, become the error.
	error=$({ step 'the dump' dump "$name" && step 'the sums' sums "$name" && prove "$name" &&
		step 'publishing' publish "$name"; } 2>&1)
	if [ ! -e "$name.dump" ]; then
		query -v id="$id" -v error="$error" <<<"SELECT unidesk._backup_ended(:'id', NULL, :'error')" >/dev/null
		sweep
		die "FAILED: $error; older backups are kept"
	fi
	bytes=$(stat -c %s "$name.dump")
	query -v id="$id" -v bytes="$bytes" <<<"SELECT unidesk._backup_ended(:'id', :'bytes', NULL)" >/dev/null ||
		say 'warning: the backup is good, but the database could not be told so'
	prune
	rm -rf "$WORK"
	say "$name.dump: $bytes bytes, proven by a restore, $((SECONDS - began)) s"
}

# The last time it was HOUR o'clock is later than the newest backup.
is_due()
{
	local newest hour
	hour=$(date -u -d "$HOUR:00" +%s)
	[ "$hour" -le "$(date +%s)" ] || hour=$((hour - 86400))
	newest=$(find "$DIR" -maxdepth 1 \( -name 'unidesk-*.dump' -o -name first-start \) -printf '%T@\n' | sort -n | tail -n 1)
	[ "${newest%.*}" -lt "$hour" ]
}

daily()
{
	local not_before=0
	trap 'exit 0' TERM INT
	[ -e "$DIR/first-start" ] || touch "$DIR/first-start"
	say "one backup a day at $HOUR:00 UTC, $KEEP are kept"
	while :; do
		if [ "$(date +%s)" -ge "$not_before" ] && is_due; then
			"$0" now &
			wait $! || not_before=$(($(date +%s) + RETRY_S))
		fi
		sleep 60 &
		wait $!
	done
}

health()
{
	find "$DIR" -maxdepth 1 \( -name 'unidesk-*.dump' -o -name first-start \) -mmin "-$LATE_MIN" | grep -q .
}

case ${1:-} in
	now) make_backup ;;
	daily) daily ;;
	health) health ;;
	*) die "usage: backup.sh now | daily | health" ;;
esac
