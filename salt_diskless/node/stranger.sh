# shellcheck shell=sh disable=SC2034,SC2154
# A part of diskless.sh: what a machine does that is no node. It says who it is, and waits.
# Written by salt-diskless.

dl_sys_dmi=${dl_sys_dmi:-/sys/class/dmi/id}

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
