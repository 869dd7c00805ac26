#!/bin/sh
# shellcheck disable=SC2034,SC2154
# dracut's hook "cmdline" on a diskless node (dracut.modules(7)). Written by salt-diskless.

. /usr/lib/salt-diskless/diskless.sh
. /usr/lib/salt-diskless/network.sh

if ! dl_parse || { [ -z "$dl_unknown" ] && ! dl_address; }; then
	dl_restart "the kernel line is not usable"
fi
# For dracut: there is a way to the root, and it is no device.
root=diskless rootok=1
