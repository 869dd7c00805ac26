#!/bin/sh
# dracut's hook "mount" on a diskless node (dracut.modules(7)). Written by salt-diskless.

. /usr/lib/salt-diskless/diskless.sh
. /usr/lib/salt-diskless/network.sh

dl_parse
if [ -n "$dl_unknown" ]; then
	if dl_address; then
		dl_network || :
	fi
	dl_stranger
	dl_sysrq b
fi
dl_address
dl_retry network dl_network
dl_log "$(dl_device)"
dl_boot "$NEWROOT"
