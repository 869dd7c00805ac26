# shellcheck shell=sh disable=SC2034,SC2154
# A part of diskless.sh: what a node may write above its root, and what is its own there.
# Written by salt-diskless.

dl_units=${dl_units:-/run/systemd/system}
dl_overlays='' dl_bound='' dl_has_disk=''

# dl_entries ROOT: bind what the node may write over its read-only root. The list is the server's:
#   <d|f> <persistent|tmpfs|copy|overlay|localdisk=LABEL|identity> <mode> <uid> <gid> <path>
# An initramfs needs for it: mount, umount, mkdir, rm, mv, sed, chmod, chown, ln and `cp -a`, the kernel's
# overlay, and for localdisk util-linux's blkid, the file system and the disk's driver.
dl_entries() {
	dl_list=$dl_run/snapshot/.diskless/entries
	if [ ! -r "$dl_list" ]; then
		dl_say "no list of entries in $dl_server:$dl_location/snapshot/$dl_node; nothing is writable"
		return 0
	fi
	while read -r dl_kind dl_how dl_mode dl_uid dl_gid dl_path; do
		case $dl_kind in d | f) ;; *) continue ;; esac
		if [ "$dl_how" = identity ]; then
			dl_identity "$1"
			continue
		fi
		if [ ! -e "$1$dl_path" ] || [ -L "$1$dl_path" ]; then
			dl_say "entry $dl_path: version $dl_version has no such file or directory; passed over"
			continue
		fi
		case $dl_how in
		tmpfs) dl_empty "$1" ;;
		copy) dl_copy "$1" ;;
		overlay) dl_overlay "$1" ;;
		localdisk=*) dl_local "$1" "${dl_how#*=}" ;;
		*) dl_persistent "$1" ;;
		esac || dl_say "entry $dl_path ($dl_how): cannot be mounted; passed over"
	done <"$dl_list"
	[ ! -s "$dl_run/kept" ] || dl_keep
}

# dl_tmpfs DIRECTORY: memory that looks like the entry's directory.
dl_tmpfs() {
	mount -t tmpfs -o "nosuid,nodev,mode=$dl_mode,uid=$dl_uid,gid=$dl_gid" tmpfs "$1"
}

# dl_file: make room for the entry, a single file, in memory; dl_at is its name.
dl_file() {
	dl_at=$dl_run/files$dl_path
	mkdir -p "${dl_at%/*}"
}

# dl_empty ROOT: the entry, empty, in memory.
dl_empty() {
	if [ "$dl_kind" = d ]; then
		dl_tmpfs "$1$dl_path"
	else
		dl_file && : >"$dl_at" && chmod "$dl_mode" "$dl_at" && chown "$dl_uid:$dl_gid" "$dl_at" &&
			mount -o bind "$dl_at" "$1$dl_path"
	fi
}

# dl_copy ROOT: the entry in memory, as the version has it.
dl_copy() {
	if [ "$dl_kind" = f ]; then
		dl_file && cp -a "$1$dl_path" "$dl_at" && mount -o bind "$dl_at" "$1$dl_path"
		return
	fi
	mkdir -p "$dl_run/copy" && dl_tmpfs "$dl_run/copy" || return 1
	cp -a "$1$dl_path/." "$dl_run/copy/" && mount -o bind "$dl_run/copy" "$1$dl_path"
	dl_code=$?
	umount "$dl_run/copy" # The bind stays.
	return "$dl_code"
}

# dl_overlay ROOT: the version's directory with memory over it, so that any file can be replaced.
dl_overlay() {
	dl_at=$dl_run/overlay$dl_path
	mkdir -p "$dl_at" && mount -t tmpfs -o nosuid,nodev,mode=755 tmpfs "$dl_at" || return 1
	mkdir "$dl_at/upper" "$dl_at/work" && chmod "$dl_mode" "$dl_at/upper" &&
		chown "$dl_uid:$dl_gid" "$dl_at/upper" && mount -t overlay \
		-o "lowerdir=$1$dl_path,upperdir=$dl_at/upper,workdir=$dl_at/work" overlay "$1$dl_path" || return 1
	dl_overlays="$dl_overlays $dl_path"
	# systemd takes a version that it can write for one that it has to bring up to date at each boot.
	[ "$dl_path" != /etc ] || : >"$1/etc/.updated"
}

# dl_in_memory: whether the entry's path can be written, and what is written there is gone when off.
dl_in_memory() {
	dl_code=0
	[ "$dl_root" != readonly ] || dl_code=1
	for dl_above in $dl_overlays; do
		case $dl_path in "$dl_above"/*) dl_code=0 ;; esac
	done
	for dl_above in $dl_bound; do
		case $dl_path in "$dl_above"/*) dl_code=1 ;; esac
	done
	return "$dl_code"
}

# dl_persistent ROOT: the entry in the node's snapshot. A file whose directory can be written is copied
# there, since a bound one cannot be replaced, and copied back when it has changed.
dl_persistent() {
	if [ "$dl_kind" = f ] && dl_in_memory; then
		cp -a "$dl_run/snapshot$dl_path" "$1$dl_path" && echo "$dl_path" >>"$dl_run/kept"
		return
	fi
	dl_bound="$dl_bound $dl_path"
	mount -o bind "$dl_run/snapshot$dl_path" "$1$dl_path" || return 1
	case $dl_journal$dl_path in memory/var/log | memory/var/log/journal) dl_keep_journal ;; esac
}

# Have journald stay in memory, and bring what it has there into the snapshot each hour and at the end
# (journalctl(1): --flush, --relinquish-var): line by line it takes hundreds of NFS calls.
dl_keep_journal() {
	dl_flush="/bin/sh -c 'journalctl --flush; journalctl --relinquish-var'"
	mkdir -p "$dl_units/timers.target.wants" "$dl_units/systemd-journal-flush.service.d"
	{
		# As it is, nothing stops it at the end.
		printf '[Unit]\nConflicts=umount.target\nBefore=umount.target\n'
		printf '[Service]\nExecStart=\nExecStart=/bin/true\nExecStop=\nExecStop=%s\n' "$dl_flush"
	} >"$dl_units/systemd-journal-flush.service.d/diskless.conf"
	printf '[Unit]\nDescription=%s\n[Service]\nType=oneshot\nExecStart=%s\n' \
		'Bring the journal of this diskless node into its snapshot' "$dl_flush" \
		>"$dl_units/diskless-journal.service"
	printf '[Unit]\nDescription=%s\n[Timer]\n%s\n%s\nRandomizedDelaySec=10min\n' \
		'The journal of this diskless node goes into its snapshot' OnBootSec=1h OnUnitActiveSec=1h \
		>"$dl_units/diskless-journal.timer"
	ln -sf ../diskless-journal.timer "$dl_units/timers.target.wants/diskless-journal.timer"
}

# Have systemd look for changes of what is to be copied back (systemd.path(5)).
dl_keep() {
	mkdir -p "$dl_units/multi-user.target.wants"
	{
		printf '[Unit]\nDescription=Changes of files that this diskless node keeps\n[Path]\n'
		sed 's/^/PathChanged=/' "$dl_run/kept"
	} >"$dl_units/diskless-keep.path"
	printf '[Unit]\nDescription=%s\nStartLimitIntervalSec=0\n[Service]\nType=oneshot\nExecStart=%s\n' \
		'Keep files of this diskless node in its snapshot' '/bin/sh /usr/lib/salt-diskless/keep.sh' \
		>"$dl_units/diskless-keep.service"
	ln -sf ../diskless-keep.path "$dl_units/multi-user.target.wants/diskless-keep.path"
}

# dl_local ROOT LABEL: the entry on the file system of a local disk, seeded where it has none yet; in
# memory where there is no such disk.
dl_local() {
	if ! dl_localdisk "$2"; then
		dl_say "entry $dl_path: no disk here has a file system labelled $2; in memory, gone when off"
		dl_empty "$1"
		return
	fi
	dl_at=$dl_run/local$dl_path
	if [ ! -e "$dl_at" ]; then
		rm -rf "$dl_at.diskless-new"
		mkdir -p "${dl_at%/*}" && cp -a "$1$dl_path" "$dl_at.diskless-new" &&
			mv "$dl_at.diskless-new" "$dl_at" || return 1
	fi
	dl_bound="$dl_bound $dl_path"
	mount -o bind "$dl_at" "$1$dl_path"
}

# dl_localdisk LABEL: mount the local disk, once.
dl_localdisk() {
	if [ -z "$dl_has_disk" ]; then
		dl_has_disk=no
		dl_device=$(blkid -l -o device -t "LABEL=$1") && [ -n "$dl_device" ] || return 1
		mkdir -p "$dl_run/local"
		mount -t "$(blkid -o value -s TYPE "$dl_device")" "$dl_device" "$dl_run/local" || return 1
		dl_has_disk=yes
	fi
	[ "$dl_has_disk" = yes ]
}

# dl_is_copied: whether what is the node's own is copied and not bound: a file that nothing changes (all
# but the random seed) where there is memory for it, and all of it when the snapshot does not stay.
dl_is_copied() {
	[ "$dl_snapshot" = yes ] || return 0
	case $dl_kind$dl_path in f/etc/*) dl_in_memory ;; *) return 1 ;; esac
}

# dl_identity ROOT: bind what is this node's alone over the empty file or directory that is there for
# it; in a directory that the node writes, that may have to be made.
dl_identity() {
	dl_from=$dl_run/snapshot/.diskless/identity/${dl_path##*/}
	[ -e "$dl_from" ] || return 0
	if dl_is_copied; then
		{ mkdir -p "$1${dl_path%/*}" && cp -a "$dl_from" "$1${dl_path%/*}/"; } ||
			dl_say "$dl_path: what is this node's own there cannot be copied; passed over"
		return
	fi
	[ -e "$1$dl_path" ] || case $dl_kind in
	f) mkdir -p "$1${dl_path%/*}" && : >"$1$dl_path" ;;
	d) mkdir -p "$1$dl_path" ;;
	esac 2>/dev/null || :
	mount -o bind "$dl_from" "$1$dl_path" ||
		dl_say "$dl_path: what is this node's own there cannot be mounted; passed over"
}
