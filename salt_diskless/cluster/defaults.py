"""What a node gets when nobody says otherwise."""

from __future__ import annotations

from salt_diskless.cluster.model import Entry, Swap

INTERFACE = "eth0"
ROOT = "readonly"
#: Of the memory.
OVERLAY_SIZE = "50%"
#: Half the calls of 4.2, which opens and closes each file at the server; and no grace period in
#: which nodes stand still after a restart of it.
NFS = "3"
#: In memory, and from time to time into the snapshot: journald changes its file here and there for
#: each line, which is hundreds of NFS calls a boot.
JOURNAL = "memory"
#: Nothing but memory is there: what is not used is better compressed than in the way.
SWAP = Swap("zram")
LOCALDISK = "diskless-local"
#: A key of RSA takes a second to make, a hundred times as long: only who asks for it gets one.
HOST_KEYS = ("ed25519", "ecdsa")

#: The project's own list of what a node may write. An entry that an image does not have is passed
#: over. Small on purpose: a snapshot costs kilobytes, and what is state of this boot is in memory.
ENTRIES = (
    # So that programs can replace files in it: vipw, useradd, a DHCP client.
    Entry("/etc", "overlay"),
    Entry("/etc/adjtime"),
    Entry("/etc/salt"),
    Entry("/root"),
    Entry("/var/cache", "tmpfs"),
    Entry("/var/lib/NetworkManager"),
    Entry("/var/lib/chrony"),
    Entry("/var/lib/dhclient"),
    Entry("/var/lib/dhcp"),
    Entry("/var/lib/logrotate"),
    Entry("/var/lib/nfs"),
    Entry("/var/lib/private"),
    Entry("/var/lib/rsyslog"),
    Entry("/var/lib/systemd"),
    Entry("/var/log"),
    Entry("/var/spool"),
)


def entries(root: str, live: bool) -> tuple[Entry, ...]:
    """Return the list for a root mode. What lies below an overlay must not change while a node
    runs, and where the whole root is one it needs no other."""
    if root == ROOT and not live:
        return ENTRIES
    return tuple(entry for entry in ENTRIES if entry.how != "overlay")
