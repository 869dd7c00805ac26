# shellcheck shell=sh disable=SC2034,SC2154
# A part of diskless.sh: a node resolves names by the name servers of its network in the pillar.
# Written by salt-diskless.

# Where services have what is of this boot only. It goes with the node into its root.
dl_top=${dl_top:-/run}

# dl_resolve ROOT: have /etc/resolv.conf, and what writes it on the node, name the servers of
# DISKLESS_DNS and search DISKLESS_DOMAIN. Without servers the node keeps those that its image has,
# and without both all that its image has.
dl_resolve() {
	[ -n "$dl_dns$dl_domain" ] || return 0
	dl_path=/etc/resolv.conf
	# As an entry it is the node's own.
	! grep -q " $dl_path\$" "$dl_run/snapshot/.diskless/entries" 2>/dev/null || return 0
	mkdir -p "$dl_run"
	dl_servers=$(echo "$dl_dns" | tr , ' ')
	{
		echo '# nameservers and domain of the pillar. Written by salt-diskless.'
		[ -z "$dl_domain" ] || echo "search $dl_domain"
		for dl_value in $dl_servers; do
			echo "nameserver $dl_value"
		done
		[ -n "$dl_servers" ] || [ -L "$1$dl_path" ] || grep '^nameserver' "$1$dl_path" 2>/dev/null || :
	} >"$dl_run/resolv.conf"
	chmod 644 "$dl_run/resolv.conf"
	dl_tell_services "$1"
	dl_tell_netconfig "$1" || dl_say "$dl_path: cannot be written; netconfig names other servers"
	dl_path=/etc/resolv.conf
	dl_place_resolv "$1" || dl_say "$dl_path: cannot be written; names are resolved as the image does"
}

# dl_tell_services ROOT: the settings of systemd-resolved (resolved.conf(5)), of NetworkManager
# (NetworkManager.conf(5), GLOBAL-DNS), of resolvconf(8) and of SUSE's netconfig(8): each writes a
# resolv.conf of its own. An empty DNS= ends the list of the image's own files, which are read before
# this one, and the domain ~. has resolved ask these servers for all names, and none of an interface.
dl_tell_services() {
	mkdir -p "$dl_top/systemd/resolved.conf.d" "$dl_top/NetworkManager/conf.d"
	{
		echo '[Resolve]'
		[ -z "$dl_servers" ] || printf 'DNS=\nDNS=%s\n' "$dl_servers"
		printf 'Domains=\nDomains=%s\n' "$dl_domain${dl_servers:+${dl_domain:+ }~.}"
	} >"$dl_top/systemd/resolved.conf.d/zz-diskless.conf"
	{
		echo '[global-dns]'
		[ -z "$dl_domain" ] || echo "searches=$dl_domain"
		[ -z "$dl_dns" ] || printf '[global-dns-domain-*]\nservers=%s\n' "$dl_dns"
	} >"$dl_top/NetworkManager/conf.d/diskless.conf"
	if [ -d "$1/etc/resolvconf" ]; then
		mkdir -p "$dl_top/resolvconf/interface"
		cp "$dl_run/resolv.conf" "$dl_top/resolvconf/interface/diskless"
	fi
}

# dl_tell_netconfig ROOT: the settings of SUSE's netconfig(8). Where the image has them, and no link
# leads to them.
dl_tell_netconfig() {
	dl_path=/etc/sysconfig/network/config
	dl_at=$1$dl_path
	grep -q '^NETCONFIG_DNS_STATIC_' "$dl_at" 2>/dev/null || return 0
	[ ! -L "$dl_at" ] && [ ! -L "${dl_at%/*}" ] && [ ! -L "${dl_at%/*/*}" ] || return 1
	sed "s/^\(NETCONFIG_DNS_STATIC_SEARCHLIST\)=.*/\1=\"$dl_domain\"/
		${dl_servers:+s/^\(NETCONFIG_DNS_STATIC_SERVERS\)=.*/\1=\"$dl_servers\"/}" \
		"$dl_at" >"$dl_run/netconfig" || return 1
	chmod 644 "$dl_run/netconfig"
	if dl_in_memory; then
		cp "$dl_run/netconfig" "$dl_at"
	else
		mount -o bind "$dl_run/netconfig" "$dl_at"
	fi
}

# dl_place_resolv ROOT: put the file where /etc/resolv.conf leads to.
dl_place_resolv() {
	dl_follow "$1" || dl_at=''
	case $dl_at in
	# A file that names systemd-resolved.
	*/lib/systemd/resolv.conf) return 0 ;;
	/run/* | /var/run/*) dl_at=$dl_top/${dl_at#*run/} ;;
	/etc/resolvconf/run/*) dl_at=$dl_top/resolvconf/${dl_at#*/run/} ;;
	*)
		if dl_in_memory; then
			mkdir -p "$1/etc" && rm -f "$1$dl_path" && cp "$dl_run/resolv.conf" "$1$dl_path"
		else
			[ -n "$dl_at" ] && [ -f "$1$dl_at" ] && mount -o bind "$dl_run/resolv.conf" "$1$dl_at"
		fi
		return
		;;
	esac
	mkdir -p "${dl_at%/*}" && cp "$dl_run/resolv.conf" "$dl_at"
}

# dl_follow ROOT: set dl_at to the path in a root that dl_path leads to. It fails for a loop, for odd
# names, and where a directory on the way is a link.
dl_follow() {
	dl_at=$dl_path dl_left=10
	while [ -L "$1$dl_at" ]; do
		dl_left=$((dl_left - 1))
		[ "$dl_left" -gt 0 ] && dl_link=$(readlink "$1$dl_at") || return 1
		case $dl_link in
		*[!A-Za-z0-9._/-]*) return 1 ;;
		/*) dl_at=$dl_link ;;
		*) dl_at=${dl_at%/*}/$dl_link ;;
		esac
		dl_at=$(echo "$dl_at" | sed -e 's,//*,/,g' -e ':d' -e 's,/\./,/,' -e 'td' \
			-e ':u' -e 's,^/\.\./,/,' -e 'tu' -e 's,/[^/]*/\.\./,/,' -e 'tu') || return 1
		case $dl_at in /run/* | /var/run/* | /etc/resolvconf/run/*) return 0 ;; esac
	done
	dl_above=${dl_at%/*}
	while [ -n "$dl_above" ]; do
		[ ! -L "$1$dl_above" ] || return 1
		dl_above=${dl_above%/*}
	done
}
