# shellcheck shell=sh disable=SC2034,SC2154
# What a node does while it boots, for any initramfs: mounts the version, the snapshot, the entries.
# Written by salt-diskless.
#
# The kernel line says it all (proc(5), /proc/cmdline):
#   NFSROOT=server:location SNAPSHOT=node ETHERNET=interface NISDOMAIN=domain
#   DISKLESS_VERSION=version DISKLESS_NFS=3|4.2 DISKLESS_LIVE=yes
#   DISKLESS_LOG=address diskless.timeout=seconds,reboot|halt|shell
#   DISKLESS_ROOT=readonly|overlay|squashfs|ram DISKLESS_OVERLAY=size of the tmpfs above the root
#   DISKLESS_FILE=path for TFTP DISKLESS_BYTES=its size DISKLESS_SHA256=digest DISKLESS_SNAPSHOT=no
#   DISKLESS_JOURNAL=memory|snapshot
#   DISKLESS_SWAP=zram|zram:size|nfs|disk:label (for the script swap)
#   BOOTIF=01-mac (from the loader)
# or, for a machine that is no node: DISKLESS_UNKNOWN=boot server
#
# Every failure says what failed, on which server, why, and what to do, and is tried again after a
# pause that grows to a minute; after diskless.timeout the node does what that says.

dl_cmdline=${dl_cmdline:-/proc/cmdline}
dl_kmsg=${dl_kmsg:-/dev/kmsg}
dl_proc_kernel=${dl_proc_kernel:-/proc/sys/kernel}
dl_run=${dl_run:-/run/diskless}
dl_units=${dl_units:-/run/systemd/system}
dl_overlays='' dl_bound='' dl_has_disk=''
dl_proc=${dl_proc:-/proc}
dl_screen=${dl_screen:-/dev/tty0}
dl_bdi=${dl_bdi:-/sys/class/bdi}
dl_udev=${dl_udev:-/run/udev/rules.d}
dl_sys_dmi=${dl_sys_dmi:-/sys/class/dmi/id}

# dl_say TEXT: an error of the kernel's log is on every console, also with "quiet", and reaches
# netconsole. The screen gets it too where it is none. The server reads in the snapshot what was said
# last.
dl_say() {
	printf '<3>diskless: %s\n' "$*" >>"$dl_kmsg"
	if [ -w "$dl_screen" ] && ! grep -q '^tty[0-9]' "$dl_proc/consoles"; then
		printf 'diskless: %s\r\n' "$*" >"$dl_screen"
	fi
	dl_stage "$*"
}

# dl_stage TEXT: how far the boot is, for the server, once the snapshot is there.
dl_stage() {
	[ -z "${dl_has_snapshot:-}" ] || printf '%s\n' "$*" >"$dl_run/snapshot/.diskless/stage" || :
}

# dl_retry WHAT COMMAND...: until it succeeds, say why it did not, and wait 1, 2, 4 ... 60 seconds.
dl_retry() {
	dl_what=$1
	shift
	dl_pause=1
	until dl_why=$("$@" 2>&1); do
		dl_failed "$dl_what" "${dl_why:-no reason given}"
	done
}

# dl_failed WHAT WHY: say so and wait for dl_pause seconds, the next time for twice as long; or give
# up, when diskless.timeout is over.
dl_failed() {
	# Some programs take several lines to say why.
	dl_reason=$(printf %s "$2" | tr -s '\n ' ' ')
	dl_say "$1: $dl_reason; again in $dl_pause s"
	dl_advice=$(dl_advise "$dl_reason")
	[ -z "$dl_advice" ] || dl_say "$dl_advice"
	[ -z "${dl_timeout:-}" ] || dl_give_up
	sleep "$dl_pause"
	dl_pause=$((dl_pause * 2))
	[ "$dl_pause" -le 60 ] || dl_pause=60
}

# dl_advise WHY: what to do about a failure, by what the kernel calls it (errno(3)).
dl_advise() {
	case $1 in
	*tftp:* | *curl:*)
		echo "$dl_server gives no file by TFTP (port 69); there: salt-call diskless.status" ;;
	*'ermission denied'* | *'ccess denied'* | *'not permitted'*)
		echo "$dl_server does not export that to this node; there: salt-call state.apply diskless" ;;
	*'No such file'* | *'does not exist'*)
		echo "$dl_server has no such directory; there: salt-call state.apply diskless, then restart" \
			"this node, which takes it to the version that is published now" ;;
	*'onnection refused'*)
		echo "$dl_server has no NFS server running; there: salt-call diskless.status" ;;
	*'timed out'* | *'o route'* | *unreachable* | *'is down'*)
		echo "$dl_server cannot be reached: is it on, is its address right, do cable, switch and" \
			"firewall let port 2049 through?" ;;
	*'No such device'* | *'nknown file'* | *'not supported'* | *'nvalid argument'*)
		echo "NFS $dl_nfs is not what this kernel or $dl_server has: look at nfs in the pillar" ;;
	*'annot allocate'* | *'ut of memory'* | *'No space'*)
		echo "this node has too little memory: $(dl_memory)" ;;
	esac
}

# The node's memory, for people.
dl_memory() {
	sed -n 's/^\(MemTotal\|MemAvailable\): *\([0-9]*\) kB/\1 \2 kB/p' "$dl_proc/meminfo" | tr '\n' ' '
}

# When diskless.timeout is over, counted from power-on, do what it says.
dl_give_up() {
	read -r dl_uptime dl_rest <"$dl_proc/uptime"
	[ "${dl_uptime%%.*}" -ge "${dl_timeout%%,*}" ] || return 0
	case ${dl_timeout#*,} in
	shell)
		dl_say "no root after ${dl_timeout%%,*} s: a shell, as diskless.timeout says; exit tries again"
		dl_timeout=''
		sh -i </dev/console >/dev/console 2>&1 || :
		;;
	halt)
		dl_say "no root after ${dl_timeout%%,*} s: off, as diskless.timeout says"
		dl_sysrq o
		;;
	*)
		dl_say "no root after ${dl_timeout%%,*} s: restart, as diskless.timeout says"
		dl_sysrq b
		;;
	esac
}

# dl_sysrq LETTER: what the kernel does at once (its Documentation/admin-guide/sysrq.rst).
dl_sysrq() {
	sleep 1 # The consoles are slower.
	echo "$1" >"$dl_proc/sysrq-trigger"
	sleep 60
}

# dl_log INTERFACE: have the kernel send its log, and what is said here, to DISKLESS_LOG by UDP (its
# Documentation/networking/netconsole.rst).
dl_log() {
	[ -z "$dl_logger" ] || modprobe netconsole "netconsole=@$dl_client/$1,514@$dl_logger/" ||
		dl_say "no netconsole in this kernel: $dl_logger gets no log"
}

# dl_clean VALUE EXTRA: whether a value has letters, digits, ._- and the EXTRA characters only.
dl_clean() {
	case $1 in
	'' | *[!A-Za-z0-9._"$2"-]*) return 1 ;;
	esac
}

# Read the kernel line into dl_* variables. Says what is wrong with it and returns 1, if so.
dl_parse() {
	dl_server='' dl_location='' dl_node='' dl_interface='' dl_nisdomain='' dl_version=''
	dl_root=readonly dl_nfs=3 dl_mac='' dl_unknown='' dl_attributes=nocto,actimeo=3600
	dl_logger='' dl_timeout='' dl_swap='' dl_journal=memory
	dl_overlay=50% dl_file='' dl_bytes='' dl_sha256='' dl_snapshot=yes
	read -r dl_line <"$dl_cmdline" || [ -n "$dl_line" ] || return 1
	set -f
	for dl_word in $dl_line; do
		dl_value=${dl_word#*=}
		case $dl_word in
		NFSROOT=*) dl_server=${dl_value%%:*} dl_location=${dl_value#*:} ;;
		SNAPSHOT=*) dl_node=$dl_value ;;
		ETHERNET=*) dl_interface=$dl_value ;;
		NISDOMAIN=*) dl_nisdomain=$dl_value ;;
		DISKLESS_VERSION=*) dl_version=$dl_value ;;
		DISKLESS_ROOT=*) dl_root=$dl_value ;;
		DISKLESS_OVERLAY=*) dl_overlay=$dl_value ;;
		DISKLESS_FILE=*) dl_file=$dl_value ;;
		DISKLESS_BYTES=*) dl_bytes=$dl_value ;;
		DISKLESS_SHA256=*) dl_sha256=$dl_value ;;
		DISKLESS_SNAPSHOT=*) dl_snapshot=$dl_value ;;
		DISKLESS_NFS=*) dl_nfs=$dl_value ;;
		DISKLESS_SWAP=*) dl_swap=$dl_value ;;
		DISKLESS_JOURNAL=*) dl_journal=$dl_value ;;
		# A version that is changed in place: a node looks again after three seconds.
		DISKLESS_LIVE=yes) dl_attributes=actimeo=3 ;;
		DISKLESS_LOG=*) dl_logger=$dl_value ;;
		diskless.timeout=*) dl_timeout=$dl_value ;;
		DISKLESS_UNKNOWN=*) dl_unknown=$dl_value ;;
		BOOTIF=01-*) dl_mac=$(echo "${dl_value#01-}" | tr - :) ;;
		esac
	done
	set +f
	[ -z "$dl_unknown" ] || return 0
	dl_expect NFSROOT "$dl_server" '' && dl_expect NFSROOT "$dl_location" '/+@:' &&
		dl_expect SNAPSHOT "$dl_node" '' && dl_expect DISKLESS_VERSION "$dl_version" '' || return 1
	case $dl_root in
	readonly | overlay | squashfs) ;;
	ram)
		dl_expect DISKLESS_FILE "$dl_file" / && dl_expect DISKLESS_SHA256 "$dl_sha256" '' || return 1
		case $dl_bytes in
		'' | *[!0-9]*)
			dl_say "kernel line: DISKLESS_BYTES= is '$dl_bytes', which is no number of bytes"
			return 1
			;;
		esac
		;;
	*)
		dl_say "kernel line: DISKLESS_ROOT=$dl_root is none of: readonly overlay squashfs ram"
		return 1
		;;
	esac
	[ -z "$dl_logger" ] || dl_expect DISKLESS_LOG "$dl_logger" '' || return 1
	case $dl_timeout in
	'' | *[0-9],reboot | *[0-9],halt | *[0-9],shell) ;;
	*)
		dl_say "kernel line: diskless.timeout=$dl_timeout is not seconds,reboot|halt|shell"
		return 1
		;;
	esac
	dl_expect DISKLESS_OVERLAY "$dl_overlay" % || return 1
	case $dl_journal in
	memory | snapshot) ;;
	*)
		dl_say "kernel line: DISKLESS_JOURNAL=$dl_journal is none of: memory snapshot"
		return 1
		;;
	esac
	case $dl_nfs in
	3 | 4.2) ;;
	*)
		dl_say "kernel line: DISKLESS_NFS=$dl_nfs is none of: 3 4.2"
		return 1
		;;
	esac
}

dl_expect() {
	dl_clean "$2" "$3" && return 0
	dl_say "kernel line: $1= is '$2', which is not what salt-diskless writes"
	return 1
}

# dl_nfs_mount SERVER:PATH DIRECTORY OPTIONS: the kernel reads the options, no mount.nfs is needed.
dl_nfs_mount() {
	dl_watch "$1" >/dev/null 2>&1 &
	dl_watcher=$!
	case $dl_nfs in
	3) mount -t nfs -o "vers=3,addr=$dl_server,nolock,proto=tcp,mountproto=tcp,$3" "$1" "$2" ;;
	*) mount -t nfs4 -o "vers=$dl_nfs,addr=$dl_server,clientaddr=$dl_client,proto=tcp,$3" "$1" "$2" ;;
	esac
	dl_code=$?
	kill "$dl_watcher" 2>/dev/null || :
	return "$dl_code"
}

# dl_watch WHAT: a server that does not answer at all keeps the kernel waiting for minutes: say so
# meanwhile, and give up when it is time to.
dl_watch() {
	# No process of the initramfs is left when the root is there.
	trap 'kill "$dl_sleeper" 2>/dev/null; exit 0' TERM
	dl_every=15
	while sleep "$dl_every" & dl_sleeper=$! && wait "$dl_sleeper"; do
		dl_every=60
		dl_say "$1: no answer so far"
		dl_say "$(dl_advise 'timed out')"
		# A shell has to wait for the mount: its console is not a background process's.
		case ${dl_timeout:-} in '' | *,shell) ;; *) dl_give_up ;; esac
	done
}

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

dl_mount_snapshot() {
	mkdir -p "$dl_run/snapshot"
	dl_mine=$dl_server:$dl_location/snapshot/$dl_node
	# NFS 4 has no POSIX ACLs, whatever is said here. The version keeps them: an overlay asks for them,
	# and where it gets no answer lets in nobody but root.
	dl_retry "snapshot $dl_mine (NFS $dl_nfs)" dl_nfs_mount "$dl_mine" "$dl_run/snapshot" \
		rw,nocto,noacl,actimeo=60
	dl_has_snapshot=yes
	# So that the server keeps what the node may have open: noted before it can have anything open.
	echo "$dl_version" >"$dl_run/snapshot/.diskless/booted" ||
		dl_say "snapshot $dl_mine: cannot be written"
}

# dl_mount_version NAME DIRECTORY: a version, or the directory that has one as a file.
dl_mount_version() {
	dl_tree=$dl_server:$dl_location/versions/$1
	# A version never changes: no close-to-open checks, and attributes are good for an hour.
	dl_retry "root $dl_tree (NFS $dl_nfs)" dl_nfs_mount "$dl_tree" "$2" "ro,$dl_attributes"
}

# dl_mount_layers ROOT: a root that can be written, in memory, above the version. Below dl_run what it
# is made of stays mounted: for root only, since ordinary users could read and change there what they
# may not in the root.
dl_mount_layers() {
	dl_layers=$dl_run/layers
	mkdir -p "$dl_run"
	mkdir -m 700 "$dl_layers"
	mkdir "$dl_layers/version" "$dl_layers/file" "$dl_layers/memory"
	for dl_module in overlay loop squashfs; do
		modprobe -q "$dl_module" || :
	done
	case $dl_root in
	overlay) dl_mount_version "$dl_version" "$dl_layers/version" ;;
	squashfs)
		dl_mount_version "$dl_version.squashfs" "$dl_layers/file"
		dl_read_ahead "$dl_layers/file" 2048
		# Where its tables of files and directories are: else they come in many small pieces.
		tail -c 1048576 "$dl_layers/file/root.squashfs" >/dev/null || :
		;;
	ram) dl_take_file "$dl_layers/file" ;;
	esac
	[ "$dl_root" = overlay ] || dl_retry "root $dl_version.squashfs" dl_mount_file
	dl_retry "root: tmpfs of $dl_overlay" mount -t tmpfs -o "mode=755,size=$dl_overlay" tmpfs \
		"$dl_layers/memory"
	mkdir -m 755 "$dl_layers/memory/upper" "$dl_layers/memory/work"
	dl_options=lowerdir=$dl_layers/version,upperdir=$dl_layers/memory/upper
	dl_options=$dl_options,workdir=$dl_layers/memory/work
	# NFS below has no file handles that last; and nobody has this upper layer a second time.
	dl_options=$dl_options,index=off,metacopy=off,redirect_dir=off,xino=off
	dl_retry "root: overlay" mount -t overlay -o "$dl_options" overlay "$1"
}

# dl_read_ahead DIRECTORY KB: what is mounted there is read in pieces of up to that size (the kernel's
# Documentation/ABI/testing/sysfs-class-bdi). It is a matter of speed only.
dl_read_ahead() {
	while read -r _ _ dl_number _ dl_where _; do
		[ "$dl_where" != "$1" ] || echo "$2" >"$dl_bdi/$dl_number/read_ahead_kb" || :
	done <"$dl_proc/self/mountinfo"
}

dl_mount_file() {
	dl_loop=$(losetup -f) && [ -n "$dl_loop" ] || return 1
	# udev would read here and there in it, looking for the kind of file system, for links to it.
	mkdir -p "$dl_udev"
	echo "KERNEL==\"${dl_loop##*/}\", ENV{UDEV_DISABLE_PERSISTENT_STORAGE_RULES_FLAG}=\"1\"" \
		>"$dl_udev/10-diskless.rules"
	udevadm control --reload || :
	losetup -r "$dl_loop" "$dl_layers/file/root.squashfs" || return 1
	if ! mount -t squashfs -o ro "$dl_loop" "$dl_layers/version"; then
		losetup -d "$dl_loop"
		return 1
	fi
	dl_read_ahead "$dl_layers/version" 512
}

# dl_take_file DIRECTORY: the version's file into memory.
dl_take_file() {
	dl_retry "root $dl_server:$dl_file (TFTP)" dl_has_room
	# A file that is longer than it should be ends there.
	dl_retry "root: tmpfs" mount -t tmpfs -o "mode=700,size=$((dl_bytes / 1024 + 64))k" tmpfs "$1"
	dl_retry "root $dl_server:$dl_file (TFTP)" dl_fetch_whole "$1/root.squashfs"
}

# What init and the first services need beside a root, at the very least.
dl_room=$((64 * 1024))

# How many kB of memory are free.
dl_free() {
	sed -n 's/^MemAvailable: *\([0-9]*\) kB/\1/p' "$dl_proc/meminfo"
}

dl_has_room() {
	dl_value=$(dl_free)
	[ "$dl_value" -lt $((dl_bytes / 1024 + dl_room)) ] || return 0
	echo "it takes $((dl_bytes / 1024)) kB of memory and $dl_room kB beside it," \
		"and $dl_value kB are free: give this node more, or root: squashfs"
	return 1
}

# dl_fetch_whole LOCAL: what comes is what the kernel line says, or it is thrown away.
dl_fetch_whole() {
	dl_fetch "$dl_file" "$1" || { rm -f "$1"; return 1; }
	dl_found=$(sha256sum <"$1")
	[ "${dl_found%% *}" != "$dl_sha256" ] || return 0
	rm -f "$1"
	echo "its SHA-256 is ${dl_found%% *} and not $dl_sha256"
	return 1
}

# dl_fetch REMOTE LOCAL: by TFTP. The initramfs brings one of: a busybox that has tftp, tftp-hpa's
# tftp, a curl that has TFTP; and sha256sum and losetup, which busybox has too. Each block costs a
# round trip, so they are larger than a packet; but one that loses one of its packets comes again
# as a whole, and many nodes fetch at once.
dl_block=${dl_block:-8192}

dl_fetch() {
	if busybox tftp --help >/dev/null 2>&1; then
		busybox tftp -g -b "$dl_block" -r "$1" -l "$2" "$dl_server"
	elif command -v tftp >/dev/null; then
		tftp -m binary "$dl_server" -c get "$1" "$2"
	else
		curl -sS --fail --tftp-blksize "$dl_block" -o "$2" "tftp://$dl_server/$1"
	fi
}

# dl_boot ROOT: from a network that is up to a root to switch to. dl_client is the node's address.
dl_boot() {
	echo "$dl_node" >"$dl_proc_kernel/hostname"
	[ -z "$dl_nisdomain" ] || echo "$dl_nisdomain" >"$dl_proc_kernel/domainname"
	dl_mount_snapshot
	case $dl_root in
	readonly) dl_mount_version "$dl_version" "$1" ;;
	*) dl_mount_layers "$1" ;;
	esac
	dl_entries "$1"
	# Also above a root that can be written: who fills /tmp does not fill the root.
	for dl_path in /tmp /var/tmp; do
		mount -t tmpfs -o nosuid,nodev,mode=1777 tmpfs "$1$dl_path" ||
			dl_say "$dl_path: no tmpfs could be mounted"
	done
	dl_warn
	dl_stage "version $dl_version handed over to its init"
	# A root in memory without entries that are kept has what is its own, and needs the server no more.
	[ "$dl_snapshot" = yes ] || { umount "$dl_run/snapshot" && dl_has_snapshot=''; }
}

# Who runs out of memory later cannot say so any more.
dl_warn() {
	dl_value=$(dl_free)
	[ "${dl_value:-$dl_room}" -ge "$dl_room" ] ||
		dl_say "too little memory: $dl_value kB are free for init and its services, which take at" \
			"least $dl_room kB; going on all the same: if nothing comes of it, give this node more"
}

# dl_stranger: what a machine does that is no node, once its network is up. It says who it is, on its
# console and by asking for a file whose path says it, and asks every few seconds what was decided.
dl_stranger() {
	dl_say "this machine is not registered: it is not one of the diskless nodes of $dl_unknown"
	dl_say "its MAC is ${dl_mac:-not known}, its serial number $(dl_dmi product_serial)," \
		"its asset tag $(dl_dmi chassis_asset_tag)"
	dl_say "to add it, on the master: salt-run diskless.accept ${dl_mac:-MAC} NAME"
	dl_say "or write into the pillar, under diskless:nodes:"
	dl_say "  NAME: {mac: \"${dl_mac:-MAC}\", ip: ADDRESS, profile: PROFILE}"
	dl_say "and run on $dl_unknown: salt-call state.apply diskless"
	if [ -z "$dl_mac" ] || ! dl_boot_server || ! dl_has_client; then
		dl_say "it cannot ask whether somebody has; restarting in 60 s"
		sleep 60
		return
	fi
	dl_say "it waits, and asks $dl_server"
	dl_wait
}

# dl_wait: ask until it is registered; say so when it is rejected, and ask more rarely.
dl_wait() {
	dl_name=01-$(echo "$dl_mac" | tr : -)
	dl_who=$dl_name/$(dl_hex product_serial)/$(dl_hex chassis_asset_tag)/$(dl_hex product_uuid)
	dl_turn=0 dl_told=''
	while :; do
		# What nobody hears is said again, each minute.
		[ $((dl_turn % 12)) -ne 0 ] || dl_ask "linux-install/announced/$dl_who"
		dl_turn=$((dl_turn + 1))
		dl_ask "linux-install/registry/$dl_name"
		case $dl_answer in
		registered)
			dl_say "this machine is registered: restarting"
			sleep 2
			return
			;;
		rejected)
			[ "$dl_told" = rejected ] || dl_say "this machine was rejected by $dl_unknown"
			dl_told=rejected
			sleep 55
			;;
		*)
			[ -z "$dl_told" ] || dl_say "this machine is not rejected any more; it waits"
			dl_told=''
			;;
		esac
		sleep 5
	done
}

# dl_ask FILE: what the second line of a file on the server says, into dl_answer.
dl_ask() {
	dl_answer=''
	mkdir -p "$dl_run"
	rm -f "$dl_run/answer"
	dl_fetch "$1" "$dl_run/answer" >/dev/null 2>&1 || :
	[ ! -s "$dl_run/answer" ] || { read -r _ && read -r dl_answer; } <"$dl_run/answer" || :
}

# Whether there is a program for TFTP.
dl_has_client() {
	busybox tftp --help >/dev/null 2>&1 || command -v tftp >/dev/null || command -v curl >/dev/null
}

# dl_boot_server: the server that the loader came from, out of ip=node:server:router:netmask (syslinux(1),
# SYSAPPEND), into dl_server.
dl_boot_server() {
	set -f
	for dl_word in $dl_line; do
		case $dl_word in ip=*:*:*:*) dl_word=${dl_word#*:} dl_server=${dl_word%%:*} ;; esac
	done
	set +f
	dl_clean "$dl_server" ''
}

# dl_dmi WHAT: what the machine's maker has written into it (SMBIOS), or a dash.
dl_dmi() {
	dl_text=$({ tr -cd ' -~' <"$dl_sys_dmi/$1"; } 2>/dev/null) || :
	echo "${dl_text:--}"
}

# dl_hex WHAT: the same in hex, 64 characters of it at most.
dl_hex() {
	dl_text=$(dl_dmi "$1") dl_digits=''
	while [ -n "$dl_text" ] && [ "${#dl_digits}" -lt 128 ] && [ "$dl_text" != - ]; do
		dl_digits=$dl_digits$(printf %02x "'$dl_text")
		dl_text=${dl_text#?}
	done
	echo "${dl_digits:--}"
}
