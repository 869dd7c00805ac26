# shellcheck shell=sh disable=SC2034,SC2154
# What a node does while it boots, for any initramfs: mounts the version, the snapshot, the entries.
# Written by salt-diskless.
#
# The kernel line says it all (proc(5), /proc/cmdline):
#   NFSROOT=server:location SNAPSHOT=node ETHERNET=interface NISDOMAIN=domain
#   DISKLESS_VERSION=version DISKLESS_ROOT=readonly DISKLESS_NFS=3|4.2 DISKLESS_LIVE=yes
#   DISKLESS_LOG=address diskless.timeout=seconds,reboot|halt|shell
#   BOOTIF=01-mac (from the loader)
# or, for a machine that is no node: DISKLESS_UNKNOWN=boot server
#
# Every failure says what failed, on which server, why, and what to do, and is tried again after a
# pause that grows to a minute; after diskless.timeout the node does what that says.

dl_cmdline=${dl_cmdline:-/proc/cmdline}
dl_kmsg=${dl_kmsg:-/dev/kmsg}
dl_proc_kernel=${dl_proc_kernel:-/proc/sys/kernel}
dl_run=${dl_run:-/run/diskless}
dl_proc=${dl_proc:-/proc}
dl_screen=${dl_screen:-/dev/tty0}

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
	dl_root=readonly dl_nfs=4.2 dl_mac='' dl_unknown='' dl_attributes=nocto,actimeo=3600
	dl_logger='' dl_timeout=''
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
		DISKLESS_NFS=*) dl_nfs=$dl_value ;;
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
	readonly) ;;
	*)
		dl_say "kernel line: DISKLESS_ROOT=$dl_root is none of: readonly"
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
	case $dl_nfs in
	3) mount -t nfs -o "vers=3,addr=$dl_server,nolock,proto=tcp,mountproto=tcp,$3" "$1" "$2" ;;
	*) mount -t nfs4 -o "vers=$dl_nfs,addr=$dl_server,clientaddr=$dl_client,proto=tcp,$3" "$1" "$2" ;;
	esac
}

# dl_entries ROOT: bind what the node may write over its read-only root. The list is the server's:
#   <d|f> <persistent|tmpfs> <mode> <uid> <gid> <path>
dl_entries() {
	dl_list=$dl_run/snapshot/.diskless/entries
	if [ ! -r "$dl_list" ]; then
		dl_say "no list of entries in $dl_server:$dl_location/snapshot/$dl_node; nothing is writable"
		return 0
	fi
	while read -r dl_kind dl_how dl_mode dl_uid dl_gid dl_path; do
		case $dl_kind in d | f) ;; *) continue ;; esac
		if [ ! -e "$1$dl_path" ] || [ -L "$1$dl_path" ]; then
			dl_say "entry $dl_path: version $dl_version has no such file or directory; passed over"
			continue
		fi
		case $dl_how in
		tmpfs) mount -t tmpfs -o "nosuid,nodev,mode=$dl_mode,uid=$dl_uid,gid=$dl_gid" tmpfs "$1$dl_path" ;;
		*) mount -o bind "$dl_run/snapshot$dl_path" "$1$dl_path" ;;
		esac || dl_say "entry $dl_path ($dl_how): cannot be mounted; passed over"
	done <"$dl_list"
}

# dl_boot ROOT: from a network that is up to a root to switch to. dl_client is the node's address.
dl_boot() {
	echo "$dl_node" >"$dl_proc_kernel/hostname"
	[ -z "$dl_nisdomain" ] || echo "$dl_nisdomain" >"$dl_proc_kernel/domainname"
	mkdir -p "$dl_run/snapshot"
	dl_mine=$dl_server:$dl_location/snapshot/$dl_node
	dl_retry "snapshot $dl_mine (NFS $dl_nfs)" dl_nfs_mount "$dl_mine" "$dl_run/snapshot" rw
	dl_has_snapshot=yes
	# So that the server keeps what the node may have open: noted before it can have anything open.
	echo "$dl_version" >"$dl_run/snapshot/.diskless/booted" ||
		dl_say "snapshot $dl_mine: cannot be written"
	dl_tree=$dl_server:$dl_location/versions/$dl_version
	# A version never changes: no close-to-open checks, and attributes are good for an hour.
	dl_retry "root $dl_tree (NFS $dl_nfs)" dl_nfs_mount "$dl_tree" "$1" "ro,$dl_attributes"
	dl_entries "$1"
	for dl_path in /tmp /var/tmp; do
		mount -t tmpfs -o nosuid,nodev,mode=1777 tmpfs "$1$dl_path" ||
			dl_say "$dl_path: no tmpfs could be mounted"
	done
	dl_stage "version $dl_version handed over to its init"
}

# What a machine says that is no node; then it tries again, in case somebody has added it.
dl_stranger() {
	dl_say "this machine is not one of the diskless nodes of $dl_unknown"
	dl_say "its MAC is ${dl_mac:-not known}"
	dl_say "to add it, write into the pillar, under diskless:nodes:"
	dl_say "  NAME: {mac: \"${dl_mac:-MAC}\", ip: ADDRESS, profile: PROFILE}"
	dl_say "and run on $dl_unknown: salt-call state.apply diskless"
	dl_say "restarting in 60 s"
	sleep 60
}
