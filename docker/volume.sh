#!/bin/bash
#
# volume.sh create NAME GB UID | remove NAME
#	  create   a volume of GB gigabytes whose files belong to UID; prints which
#	           kind it became.  An existing one is kept, and mounted again where
#	           a reboot has undone that
#	  remove   the volume and everything made for it
#
# Kinds, the first that works:
#	quota   the engine's directory is on XFS with project quotas: size= is real
#	loop    an ext4 image of that size, mounted, and bound as a volume: real too
#	plain   an ordinary volume: NO LIMIT, with a warning
set -euo pipefail

readonly BASE=unidesk-base/debian:trixie
readonly HOME_DIR=${UNIDESK_VOLUME_HOME:-/var/lib/unidesk}

warn() { printf 'volume.sh: warning: %s\n' "$*" >&2; }
die() { printf 'volume.sh: %s\n' "$*" >&2; exit 1; }

kind_of() { docker volume inspect --format '{{index .Labels "unidesk.volume"}}' "$1" 2>/dev/null; }

create_volume()
{
	local name=$1 kind=$2
	shift 2
	docker volume create --label "unidesk.volume=$kind" "$@" "$name" >/dev/null
}

# The size in bytes that a container sees, after it has handed the volume to
# its user.
size_seen()
{
	docker run --rm --network none --label unidesk.volume=probe -v "$1:/volume" "$BASE" \
		sh -c "chown $2 /volume && df -B1 --output=size /volume | tail -n 1" 2>/dev/null
}

# Is it at most GB, and not less than nine tenths of it?
has_size()
{
	local seen
	seen=$(size_seen "$1" "$3") || return 1
	[ "$seen" -le $(($2 * 1073741824)) ] && [ "$seen" -ge $(($2 * 966367641)) ]
}

try_quota()
{
	# Where there is no quota, either creating or mounting it fails.
	create_volume "$1" quota --opt "size=${2}g" 2>/dev/null || return 1
	size_seen "$1" "$3" >/dev/null && return
	docker volume rm "$1" >/dev/null 2>&1 || true
	return 1
}

mount_image()
{
	mountpoint -q "$HOME_DIR/$1/mount" || mount -o loop "$HOME_DIR/$1/image" "$HOME_DIR/$1/mount"
}

# The bound directory is below the mount point: where the image is not mounted
# it does not exist, so that a start fails instead of finding an empty volume.
try_loop()
{
	local name=$1 gb=$2 uid=$3 dir=$HOME_DIR/$1
	[ "$(id -u)" = 0 ] && [ -e /dev/loop-control ] && command -v mkfs.ext4 >/dev/null || return 1
	mkdir -p "$dir/mount" && chmod 0711 "$HOME_DIR" "$dir" || return 1
	if ! { truncate -s "${gb}G" "$dir/image" && chmod 0600 "$dir/image" &&
		mkfs.ext4 -q -F -m 0 "$dir/image" && mount_image "$name" 2>/dev/null; }; then
		rm -rf "$dir"
		return 1
	fi
	mkdir -p "$dir/mount/data"
	if create_volume "$name" loop --opt type=none --opt o=bind --opt "device=$dir/mount/data" 2>/dev/null &&
		has_size "$name" "$gb" "$uid"; then
		if [ -d /run/systemd/system ]; then
			printf '%s %s ext4 loop,nofail,x-systemd.before=docker.service 0 0\n' \
				"$dir/image" "$dir/mount" >>/etc/fstab
		fi
		return
	fi
	remove "$name"
	return 1
}

create()
{
	local name=$1 gb=$2 uid=$3 kind
	if kind=$(kind_of "$name"); then
		if [ "$kind" = loop ]; then
			mount_image "$name" || die "could not mount $HOME_DIR/$name/image again"
		fi
	elif try_quota "$name" "$gb" "$uid"; then
		kind=quota
	elif try_loop "$name" "$gb" "$uid"; then
		kind=loop
	else
		kind=plain
		create_volume "$name" plain
		size_seen "$name" "$uid" >/dev/null || die "could not use the volume $name"
	fi
	if [ "$kind" = plain ]; then
		warn "THE VOLUME $name HAS NO SIZE LIMIT"
		warn "neither XFS with project quotas nor a loop device can be used here:"
		warn "nothing but the disk itself stops the database from growing beyond $gb GB"
	fi
	echo "$kind"
}

remove()
{
	local name=$1 dir=$HOME_DIR/$1 unmounted=1
	if kind_of "$name" >/dev/null; then
		docker volume rm "$name" >/dev/null || return 1
	fi
	[ -e "$dir" ] || return 0
	if mountpoint -q "$dir/mount"; then
		umount "$dir/mount" || unmounted=0
	fi
	[ "$unmounted" = 1 ] || die "could not unmount $dir/mount"
	if grep -qsF "$dir/image " /etc/fstab; then
		sed -i "\\|^$dir/image |d" /etc/fstab
	fi
	rm -rf "$dir"
	rmdir --ignore-fail-on-non-empty "$HOME_DIR"
}

[[ ${2:-} =~ ^[a-z0-9][a-z0-9_-]*$ ]] || { echo "usage: volume.sh create NAME GB UID | remove NAME" >&2; exit 2; }
case $1-$# in
	create-4) create "$2" "$3" "$4" ;;
	remove-2) remove "$2" ;;
	*) echo "usage: volume.sh create NAME GB UID | remove NAME" >&2; exit 2 ;;
esac
