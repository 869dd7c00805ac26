"""What makes the golden node that one machine: it is left out of every version, and looked for.

The paths are those of :mod:`salt_diskless.image.machine_identity`; the pillar's ``scrub`` is added.
"""

from __future__ import annotations

import itertools
import os
import stat
from collections.abc import Iterable

from salt_diskless.files.beneath import Tree
from salt_diskless.image.machine_identity import LEFT_OUT
from salt_diskless.image.patterns import matching

#: Directories whose content is of this boot only; they are kept, empty, as mount points.
VOLATILE = ("/proc", "/sys", "/dev", "/run", "/tmp", "/var/tmp")


#: What programs still use as names of what a node has at run time, to where a link there leads.
#: Nodes whose root is read-only could write nothing into a directory or file of that name.
RUNTIME = {"/var/run": "/run", "/var/lock": "/run/lock", "/etc/mtab": "/proc/self/mounts"}

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
#: The name by which iSCSI targets know a node, and those by which NVMe targets do.
ISCSI_NAME = "/etc/iscsi/initiatorname.iscsi"
NVME_NQN, NVME_ID = "/etc/nvme/hostnqn", "/etc/nvme/hostid"
STORAGE = (ISCSI_NAME, NVME_NQN, NVME_ID)
PLACES = (*EMPTIED, *sorted(HOST_KEYS), RANDOM_SEED, *STORAGE, MINION_ID, MINION_KEYS)

#: Nothing of the table is below these, and most files are: rsync need not compare them with it.
BULK = ("/usr", "/lib", "/lib64", "/boot", "/var/lib/dpkg/info")

#: Written anew.
FSTAB = "/etc/fstab"

FSTAB_TEXT = """\
# /etc/fstab for diskless nodes, written by salt-diskless
none /dev/pts devpts nosuid,noexec,gid=5,mode=620 0 0
none /dev/shm tmpfs nosuid,nodev 0 0
none /tmp tmpfs mode=1777,nosuid,nodev 0 0
none /var/tmp tmpfs mode=1777,nosuid,nodev 0 0
"""


def rsync_filter(scrub: Iterable[str] = (), keep: Iterable[str] = ()) -> list[str]:
    """Return rsync's filter rules (rsync(1), FILTER RULES). The first one that matches counts.

    H hides a path at the source, so that one which is at the destination goes, and S shows it;
    ``-`` also keeps what is at the destination, which is what the project writes there itself.
    ``+`` takes it: what stands first spares rsync all other rules for most files.

    scrub, keep
        What the pillar adds to the table, and what it takes from it.
    """
    kept = [*(f"{path}/*" for path in (*VOLATILE, *RUNTIME)), FSTAB]
    logs = ["+ /var/log/", "+ /var/log/**/", "H /var/log/**"]
    first = [f"H {path}" for path in scrub]
    first += [f"H {path}" for path in LEFT_OUT if path.endswith("/lost+found")]
    first += [f"+ {path}/**" for path in BULK]
    places = [f"- {path}" for path in PLACES]
    hidden = [f"S {path}" for path in keep]
    hidden += [f"H {path}" for path in LEFT_OUT]
    return [
        f"--filter={rule}"
        for rule in (*first, *places, *hidden, *logs, *(f"- {path}" for path in kept))
    ]


def found(tree: str, scrub: Iterable[str] = (), keep: Iterable[str] = ()) -> list[str]:
    """Return what of the golden node's identity is in a tree, as paths from its root.

    scrub, keep
        As for :func:`rsync_filter`.
    """
    with Tree(tree) as root:
        left = {*itertools.chain(*matching(root, (*LEFT_OUT, *scrub)).values())}
        left -= {*itertools.chain(*matching(root, keep).values())}
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
        "/etc/iscsi": ({ISCSI_NAME}, ("/etc/iscsi",)),
        "/etc/nvme": ({NVME_NQN, NVME_ID}, ("/etc/nvme",)),
        "/etc/salt": ({MINION_ID, MINION_KEYS}, ("/usr/bin/salt-minion", "/etc/salt/minion")),
    }
    with Tree(tree) as root:
        needed = [
            wanted
            for directory, (wanted, signs) in used.items()
            if _is_directory(root, directory) and any(root.status(sign) for sign in signs)
        ]
        paths = frozenset(EMPTIED).union(*needed)
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


def _text(path: bytes) -> str:
    return path.decode(errors="surrogateescape")
