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
#   DISKLESS_DNS=address,address DISKLESS_DOMAIN=domain
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
dl_proc=${dl_proc:-/proc}
dl_screen=${dl_screen:-/dev/tty0}
dl_library=${dl_library:-/usr/lib/salt-diskless}

for dl_part in root entries resolve stranger; do
	# shellcheck disable=SC1090
	. "$dl_library/$dl_part.sh"
done

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
	dl_logger='' dl_timeout='' dl_swap='' dl_journal=memory dl_dns='' dl_domain=''
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
		DISKLESS_DNS=*) dl_dns=$dl_value ;;
		DISKLESS_DOMAIN=*) dl_domain=$dl_value ;;
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
	[ -z "$dl_dns" ] || dl_expect DISKLESS_DNS "$dl_dns" , || return 1
	[ -z "$dl_domain" ] || dl_expect DISKLESS_DOMAIN "$dl_domain" '' || return 1
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

# dl_boot ROOT: from a network that is up to a root to switch to. dl_client is the node's address.
dl_boot() {
	echo "$dl_node" >"$dl_proc_kernel/hostname"
	[ -z "$dl_nisdomain" ] || echo "$dl_nisdomain" >"$dl_proc_kernel/domainname"
	# The one that is needed: the other takes a megabyte.
	modprobe -q "nfsv${dl_nfs%.*}" || :
	dl_mount_snapshot
	case $dl_root in
	readonly) dl_mount_version "$dl_version" "$1" ;;
	*) dl_mount_layers "$1" ;;
	esac
	dl_entries "$1"
	dl_resolve "$1"
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
