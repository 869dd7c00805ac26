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

#: Made empty where an image has what uses them, for a node to bind its own over: SSH host keys,
#: where the sshd of Debian, Red Hat and SUSE looks for them unless told otherwise;
HOST_KEY = "/etc/ssh/ssh_host_{}_key"
HOST_KEYS = frozenset(
    f"{HOST_KEY.format(kind)}{end}" for kind in ("ed25519", "ecdsa", "rsa") for end in ("", ".pub")
)
#: systemd's random seed; the minion's id, which wins over one of the golden node's configuration;
#: and the directory of the minion's keys.
RANDOM_SEED = "/var/lib/systemd/random-seed"
MINION_ID = "/etc/salt/minion.d/99-diskless-id.conf"
MINION_KEYS = "/etc/salt/pki"
PLACES = (*EMPTIED, *sorted(HOST_KEYS), RANDOM_SEED, MINION_ID, MINION_KEYS)

#: Written anew.
FSTAB = "/etc/fstab"

FSTAB_TEXT = """\
# /etc/fstab for diskless nodes, written by salt-diskless
none /dev/pts devpts nosuid,noexec,gid=5,mode=620 0 0
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
    kept = [*(f"{path}/*" for path in VOLATILE), FSTAB]
    logs = ["+ /var/log/", "+ /var/log/**/", "H /var/log/**"]
    hidden = [f"H {path}" for path in (*LEFT_OUT, *scrub)]
    places = [f"- {path}" for path in PLACES]
    return [
        f"--filter={rule}" for rule in (*places, *hidden, *logs, *(f"- {path}" for path in kept))
    ]


def found(tree: str, scrub: Iterable[str] = ()) -> list[str]:
    """Return what of the golden node's identity is in a tree, as paths from its root.

    scrub
        As for :func:`rsync_filter`.
    """
    left = {path for pattern in (*LEFT_OUT, *scrub) for path in matching(tree, pattern)}
    left -= {path for path in PLACES if _is_empty(tree + path)}
    left |= {path for path in EMPTIED if not _is_empty(tree + path)}
    for directory, _, names in os.walk(tree + LOGS):
        left |= {os.path.join(directory, name).removeprefix(tree) for name in names}
    return sorted(left)


def places(tree: str) -> frozenset[str]:
    """Return those of :data:`PLACES` that a tree must have: what uses them is in it."""
    used = {
        "/etc/ssh": (HOST_KEYS, ("/usr/sbin/sshd", "/etc/ssh/sshd_config")),
        "/var/lib/systemd": ({RANDOM_SEED}, ("/var/lib/systemd",)),
        "/etc/salt": ({MINION_ID, MINION_KEYS}, ("/usr/bin/salt-minion", "/etc/salt/minion")),
    }
    there = (
        wanted
        for directory, (wanted, signs) in used.items()
        if _is_directory(tree + directory) and any(os.path.lexists(tree + sign) for sign in signs)
    )
    return frozenset(EMPTIED).union(*there)


def _is_directory(full: str) -> bool:
    return os.path.isdir(full) and not os.path.islink(full)


def _is_empty(full: str) -> bool:
    """Tell whether a file or directory has nothing in it."""
    try:
        status = os.lstat(full)
    except (FileNotFoundError, NotADirectoryError):
        return False
    if stat.S_ISDIR(status.st_mode):
        return not os.listdir(full)
    return stat.S_ISREG(status.st_mode) and not status.st_size


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
