"""What makes the golden node that one machine: it is left out of every version, and looked for.

One table, used for rsync's filter and for the check of the result.
"""

from __future__ import annotations

import glob
import os

#: Directories whose content is of this boot only; they are kept, empty, as mount points.
VOLATILE = ("/proc", "/sys", "/dev", "/run", "/tmp", "/var/tmp")

#: Left out altogether: patterns of rsync(1) and of glob alike, from the image's root.
LEFT_OUT = (
    "/lost+found",
    "/etc/ssh/ssh_host_*",
    "/etc/salt/pki",
    "/etc/salt/minion_id",
    "/etc/udev/rules.d/70-persistent-net.rules",
    "/var/lib/systemd/random-seed",
    "/var/lib/systemd/credential.secret",
    "/var/lib/dbus/machine-id",
    "/var/lib/dhcp/*.leases",
    "/var/lib/dhclient/*.leases",
    "/var/lib/NetworkManager/*.lease",
    "/var/lib/NetworkManager/secret_key",
    "/root/.bash_history",
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


def rsync_filter() -> list[str]:
    """Return rsync's filter rules (rsync(1), FILTER RULES).

    H hides a path at the source, so that one which is at the destination goes; ``-`` also keeps
    what is at the destination, which is what the project writes there itself.
    """
    kept = [*(f"{path}/*" for path in VOLATILE), *EMPTIED, FSTAB]
    logs = ["+ /var/log/", "+ /var/log/**/", "H /var/log/**"]
    rules = [*logs, *(f"- {path}" for path in kept), *(f"H {path}" for path in LEFT_OUT)]
    return [f"--filter={rule}" for rule in rules]


def found(tree: str) -> list[str]:
    """Return what of the golden node's identity is in a tree, as paths from its root."""
    left = [path for pattern in LEFT_OUT for path in glob.glob(tree + pattern)]
    left += [tree + path for path in EMPTIED if os.path.getsize(tree + path)]
    left += [
        os.path.join(directory, name)
        for directory, _, names in os.walk(tree + LOGS)
        for name in names
    ]
    return sorted(path.removeprefix(tree) for path in left)
