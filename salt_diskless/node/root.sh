# shellcheck shell=sh disable=SC2034,SC2154
# A part of diskless.sh: where a node's root comes from, by NFS or as a file, and its snapshot.
# Written by salt-diskless.

dl_bdi=${dl_bdi:-/sys/class/bdi}
dl_udev=${dl_udev:-/run/udev/rules.d}

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
