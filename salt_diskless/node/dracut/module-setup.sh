#!/bin/bash
# Puts the boot of a diskless node into an initramfs (dracut(8), dracut.modules(7)).
# Written by salt-diskless.
#
# Nothing here needs dracut's own network modules or systemd: the loader hands over the node's
# address, and no release of dracut, NetworkManager or systemd-networkd reads that as another does.

# Only where it is asked for: dracut --modules salt-diskless.
check() {
	require_binaries ip mount modprobe udevadm || return 1
	return 255
}

depends() {
	echo base udev-rules
	# Who leaves the drivers of every card out has those that the server names.
	# shellcheck disable=SC2154
	[[ " $omit_dracutmodules " == *" kernel-network-modules "* ]] || echo kernel-network-modules
	# The smaller shell, where it is the root's own.
	# shellcheck disable=SC2154
	case $(readlink "$dracutsysrootdir/bin/sh") in
	dash | */dash) echo dash ;;
	esac
}

installkernel() {
	# The server says which drivers the nodes need; kernel-network-modules has those of cards, but
	# of no bus.
	# shellcheck disable=SC2086
	hostonly='' instmods netconsole nfs nfsv3 nfsv4 virtio_pci ${DISKLESS_DRIVERS:-}
}

install() {
	inst_multiple cat chmod chown cp grep ip ln losetup ls mkdir modprobe mount mv readlink rm sed sh tail \
		sha256sum sleep tr udevadm umount
	# Which local disk is meant; and what fetches a root that is one file: whichever there is.
	inst_multiple -o blkid busybox tftp curl
	local part
	for part in diskless root entries resolve stranger; do
		inst_simple "/usr/lib/salt-diskless/$part.sh"
	done
	# shellcheck disable=SC2154
	inst_simple "$moddir/network.sh" /usr/lib/salt-diskless/network.sh
	inst_hook cmdline 20 "$moddir/cmdline.sh"
	inst_hook mount 20 "$moddir/mount.sh"
	inst_hook emergency 01 "$moddir/emergency.sh"
	inst_hook shutdown-emergency 01 "$moddir/emergency.sh"
	# No shell for whoever stands before the node.
	# shellcheck disable=SC2154
	mkdir -p "$initdir/etc/cmdline.d"
	echo rd.shell=0 >"$initdir/etc/cmdline.d/20-salt-diskless.conf"
}
