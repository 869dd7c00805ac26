#!/bin/sh
# dracut's hook for when it gives up, on a diskless node: it says so, and the node tries again from
# the start. With rd.shell on the kernel line it is dracut's shell all the same.
# Written by salt-diskless.

. /usr/lib/salt-diskless/diskless.sh
. /usr/lib/salt-diskless/network.sh

if ! getargbool 0 rd.shell; then
	dl_restart "dracut gave up, see above why"
fi
