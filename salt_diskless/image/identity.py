"""What makes the golden node that one machine: it is left out of every version, and looked for.

One table, used for rsync's filter and for the check of the result; the pillar's ``scrub`` is added.
"""

from __future__ import annotations

import fnmatch
import os
import stat
from collections.abc import Iterable, Iterator

#: Directories whose content is of this boot only; they are kept, empty, as mount points.
VOLATILE = ("/proc", "/sys", "/dev", "/run", "/tmp", "/var/tmp")

#: Left out altogether: paths from the image's root, whose parts may have the wildcards * and ?.
LEFT_OUT = (
    "/lost+found",
    "/etc/ssh/ssh_host_*",
    "/etc/salt/pki",
    "/etc/salt/minion_id",
    "/etc/udev/rules.d/70-persistent-net.rules",
    "/etc/network/interfaces",
    "/etc/network/interfaces.d/*",
    "/etc/netplan/*",
    "/etc/systemd/network/*.network",
    "/etc/NetworkManager/system-connections/*",
    "/etc/sysconfig/network-scripts/ifcfg-*",
    "/etc/sysconfig/network/ifcfg-*",
    "/var/lib/systemd/random-seed",
    "/var/lib/systemd/credential.secret",
    "/var/lib/dbus/machine-id",
    "/var/lib/dhcp/*.leases",
    "/var/lib/dhclient/*.leases",
    "/var/lib/NetworkManager/*.lease",
    "/var/lib/NetworkManager/secret_key",
    "/root/.*_history",
    "/root/.lesshst",
    "/home/*/.*_history",
    "/home/*/.lesshst",
    "/root/.ssh/id_*",
    "/var/lib/salt-diskless",
)

#: Left out below a directory that is kept with its subdirectories: files only.
LOGS = "/var/log"

#: Kept as empty files: a node binds its own over them.
EMPTIED = ("/etc/hostname", "/etc/machine-id")

#: Written anew.
FSTAB = "/etc/fstab"

FSTAB_TEXT = """\
# /etc/fstab for diskless nodes, written by salt-diskless
none /dev/pts devpts gid=5,mode=620 0 0
none /dev/shm tmpfs nosuid,nodev 0 0
none /tmp tmpfs mode=1777,nosuid,nodev 0 0
none /var/tmp tmpfs mode=1777,nosuid,nodev 0 0
"""


def rsync_filter(scrub: Iterable[str] = ()) -> list[str]:
    """Return rsync's filter rules (rsync(1), FILTER RULES).

    H hides a path at the source, so that one which is at the destination goes; ``-`` also keeps
    what is at the destination, which is what the project writes there itself.

    scrub
        What the pillar adds to :data:`LEFT_OUT`.
    """
    kept = [*(f"{path}/*" for path in VOLATILE), *EMPTIED, FSTAB]
    logs = ["+ /var/log/", "+ /var/log/**/", "H /var/log/**"]
    hidden = [f"H {path}" for path in (*LEFT_OUT, *scrub)]
    return [f"--filter={rule}" for rule in (*hidden, *logs, *(f"- {path}" for path in kept))]


def found(tree: str, scrub: Iterable[str] = ()) -> list[str]:
    """Return what of the golden node's identity is in a tree, as paths from its root.

    scrub
        As for :func:`rsync_filter`.
    """
    left = {path for pattern in (*LEFT_OUT, *scrub) for path in matching(tree, pattern)}
    left |= {path for path in EMPTIED if os.lstat(tree + path).st_size}
    for directory, _, names in os.walk(tree + LOGS):
        left |= {os.path.join(directory, name).removeprefix(tree) for name in names}
    return sorted(left)


def matching(tree: str, pattern: str) -> Iterator[str]:
    """Yield the paths of a tree that a pattern stands for, as rsync reads it: a wildcard is also
    for a name that begins with a dot. No link of the tree is followed: it may lead to the server's
    own files."""
    parts = pattern.split("/")[1:]
    yield from _below(tree, "", parts)


def _below(tree: str, above: str, parts: list[str]) -> Iterator[str]:
    names = [parts[0]]
    if {"*", "?"} & {*parts[0]}:
        try:
            names = fnmatch.filter(os.listdir(tree + above), parts[0])
        except (FileNotFoundError, NotADirectoryError):
            return
    for name in names:
        path = f"{above}/{name}"
        try:
            status = os.lstat(tree + path)
        except (FileNotFoundError, NotADirectoryError):
            continue
        if len(parts) == 1:
            yield path
        elif stat.S_ISDIR(status.st_mode):
            yield from _below(tree, path, parts[1:])
