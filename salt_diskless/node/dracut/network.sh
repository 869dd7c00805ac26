# shellcheck shell=sh disable=SC2034,SC2154
# The network of a diskless node in dracut's initramfs: the loader's own lease, without asking again.
# Written by salt-diskless.

dl_sys_net=${dl_sys_net:-/sys/class/net}

# Read ip=node:boot server:router:netmask into dl_client, dl_router and dl_netmask: what PXELINUX has
# from DHCP (syslinux(1), SYSAPPEND). Says what is wrong with it and returns 1, if so.
dl_address() {
	dl_client='' dl_router='' dl_netmask=''
	read -r dl_line <"$dl_cmdline" || [ -n "$dl_line" ] || return 1
	set -f
	for dl_word in $dl_line; do
		case $dl_word in ip=*:*:*:*) ;; *) continue ;; esac
		dl_word=${dl_word#ip=}
		dl_client=${dl_word%%:*} dl_word=${dl_word#*:*:}
		dl_router=${dl_word%%:*} dl_word=${dl_word#*:}
		dl_netmask=${dl_word%%:*}
	done
	set +f
	case $dl_router in 0.0.0.0) dl_router='' ;; esac
	dl_expect ip "$dl_client" '' && dl_expect ip "$dl_netmask" '' &&
		dl_expect ip "${dl_router:-$dl_client}" ''
}

# The interface that booted (BOOTIF), else the one that the pillar names.
dl_device() {
	for dl_path in "$dl_sys_net"/*; do
		[ -e "$dl_path/device" ] || continue
		case ${dl_mac:-$dl_interface} in
		"$(cat "$dl_path/address")" | "${dl_path##*/}") echo "${dl_path##*/}" && return ;;
		esac
	done
	return 1
}

# Bring that interface up with the node's address. Says why it cannot and returns 1, if so.
dl_network() {
	udevadm settle --timeout=10
	if ! dl_found=$(dl_device); then
		echo "no network card: this initramfs has no driver for ${dl_mac:-$dl_interface}; name it in" \
			"drivers in the pillar, and sync the image (there are: $(ls "$dl_sys_net"))"
		return 1
	fi
	ip link set dev "$dl_found" up || return
	dl_tries=0
	# To read the carrier of an interface that is not up yet is an error.
	until [ "$(cat "$dl_sys_net/$dl_found/carrier" 2>/dev/null)" = 1 ]; do
		dl_tries=$((dl_tries + 1))
		if [ "$dl_tries" -gt 50 ]; then
			echo "no link on $dl_found"
			return 1
		fi
		sleep 0.2
	done
	ip addr replace "$dl_client/$dl_netmask" brd + dev "$dl_found" || return
	[ -z "$dl_router" ] || ip route replace default via "$dl_router" dev "$dl_found"
}

# dl_restart WHY: the node tries again from the start.
dl_restart() {
	dl_say "$1; restarting in 60 s"
	sleep 60
	dl_sysrq b
}
