"""What makes the golden node that one machine: it is left out of every version, and looked for.

One table, used for rsync's filter and for the check of the result; the pillar's ``scrub`` is added.
"""

from __future__ import annotations

import fnmatch
import os
import stat
from collections.abc import Iterable, Iterator

from salt_diskless.files.beneath import Tree

#: Directories whose content is of this boot only; they are kept, empty, as mount points.
VOLATILE = ("/proc", "/sys", "/dev", "/run", "/tmp", "/var/tmp")

#: What programs still use as names of directories below /run, to where a link there leads. Nodes
#: whose root is read-only could write nothing into a directory of that name.
RUNTIME = {"/var/run": "/run", "/var/lock": "/run/lock"}

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
    kept = [*(f"{path}/*" for path in (*VOLATILE, *RUNTIME)), FSTAB]
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
    with Tree(tree) as root:
        left = {path for pattern in (*LEFT_OUT, *scrub) for path in _matching(root, pattern)}
        left -= {path for path in PLACES if _is_empty(root, path)}
        left |= {path for path in EMPTIED if not _is_empty(root, path)}
        if root.is_directory(LOGS):
            logs = root.walk(root.real(LOGS))
            left |= {_text(log.path) for log in logs if not stat.S_ISDIR(log.status.st_mode)}
    return sorted(left)


def places(tree: str) -> frozenset[str]:
    """Return those of :data:`PLACES` that a tree must have: what uses them is in it."""
    used = {
        "/etc/ssh": (HOST_KEYS, ("/usr/sbin/sshd", "/etc/ssh/sshd_config")),
        "/var/lib/systemd": ({RANDOM_SEED}, ("/var/lib/systemd",)),
        "/etc/salt": ({MINION_ID, MINION_KEYS}, ("/usr/bin/salt-minion", "/etc/salt/minion")),
    }
    with Tree(tree) as root:
        there = [
            wanted
            for directory, (wanted, signs) in used.items()
            if _is_directory(root, directory) and any(root.status(sign) for sign in signs)
        ]
        paths = frozenset(EMPTIED).union(*there)
        return frozenset(path for path in paths if not is_behind_link(root, path))


def is_behind_link(root: Tree, path: str) -> bool:
    """Return whether a link is on the way to a path, which may be missing itself."""
    above = os.path.dirname(path)
    try:
        return root.real(above) != above
    except OSError:
        return root.status(above) is not None


def _is_directory(root: Tree, path: str) -> bool:
    """Return whether a path is a directory that no link leads to."""
    return root.is_directory(path) and root.real(path) == path


def _is_empty(root: Tree, path: str) -> bool:
    """Return whether a file or directory has nothing in it."""
    status = root.status(path)
    if status is None:
        return False
    if stat.S_ISDIR(status.st_mode):
        return not root.names(path)
    return stat.S_ISREG(status.st_mode) and not status.st_size


def matching(tree: str, pattern: str) -> Iterator[str]:
    """Yield the paths of a tree that a pattern stands for, as rsync reads it: a wildcard is also
    for a name that begins with a dot. Links are followed inside the tree only."""
    with Tree(tree) as root:
        yield from _matching(root, pattern)


def _matching(root: Tree, pattern: str) -> Iterator[str]:
    yield from _below(root, "", pattern.split("/")[1:])


def _below(root: Tree, above: str, parts: list[str]) -> Iterator[str]:
    names = [parts[0]]
    if {"*", "?"} & {*parts[0]}:
        names = fnmatch.filter(root.names(above), parts[0])
    for name in names:
        path = f"{above}/{name}"
        if len(parts) > 1:
            if root.is_directory(path):
                yield from _below(root, path, parts[1:])
        elif root.status(path) is not None:
            yield path


def _text(path: bytes) -> str:
    return path.decode(errors="surrogateescape")
