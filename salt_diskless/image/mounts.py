"""File systems that are mounted below a source: which of them are taken, and which are left out.

rsync stays on the file system of each directory that it is given (``--one-file-system``), so each
file system that is taken too is one more directory for it.
"""

from __future__ import annotations

import fnmatch
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from salt_diskless.cluster import DisklessError, Image
from salt_diskless.image import identity

NETWORK = frozenset(
    """nfs nfs4 cifs smb3 smbfs lustre beegfs beegfs_nodev ceph fuse.ceph glusterfs fuse.glusterfs
    fuse.sshfs fuse.s3fs gpfs pvfs2 orangefs afs 9p virtiofs davfs ncpfs ocfs2 gfs2 wekafs panfs
    autofs coda fuse.juicefs fuse.cephfs fuse.beegfs""".split()
)
_PSEUDO = frozenset(
    """proc sysfs devtmpfs devpts cgroup cgroup2 securityfs debugfs tracefs configfs bpf pstore
    efivarfs hugetlbfs mqueue binfmt_misc rpc_pipefs nfsd fusectl nsfs selinuxfs fuse.lxcfs
    fuse.gvfsd-fuse fuse.portal swap none""".split()
)
#: In memory, or made of other file systems: taken only high up in the tree.
_LAYERS = frozenset({"tmpfs", "ramfs", "overlay", "squashfs", "erofs", "aufs", "fuse.overlayfs"})
_LAYERS_DEEPEST = 2

#: A system is below these.
_TOPS = frozenset(
    "/bin /boot /efi /etc /home /lib /lib32 /lib64 /opt /root /sbin /srv /usr /var".split()
)
#: Without these there is no system: what is mounted there has to be taken.
_NEEDED = ("/bin", "/boot", "/etc", "/lib", "/lib64", "/sbin", "/usr", "/var")
#: Of these a machine's own fstab need not say what they are.
_OWN = frozenset(
    """/boot /boot/efi /efi /etc /usr /usr/local /var /var/cache /var/lib /var/log /var/log/audit
    /var/opt /var/spool""".split()
)
#: Where containers and virtual machines have theirs.
_STORES = ("/var/lib/docker/", "/var/lib/containers/", "/var/lib/kubelet/", "/var/lib/machines/")
_KERNELS = ("/var/lib/nfs/rpc_pipefs", "/var/lib/lxcfs")

_ESCAPE = re.compile(r"\\([0-7]{3})")


@dataclass(frozen=True, slots=True)
class Line:
    """A line of fstab(5): ``text`` is all of it."""

    what: str
    where: str
    type: str
    text: str


def fstab(text: str) -> Iterator[Line]:
    """Yield the lines of an fstab that mount something at a path."""
    for line in text.splitlines():
        words = line.split()
        if len(words) >= 3 and not words[0].startswith("#") and words[1].startswith("/"):
            where = _unescaped(words[1])
            yield Line(words[0], where.rstrip("/") or "/", words[2], line.strip())


def here(directory: str, file: str = "/proc/self/mountinfo") -> dict[str, str]:
    """Return what is mounted below a directory of this machine: path from there to type."""
    top, found = os.path.realpath(directory), {}
    with open(file, encoding="utf-8", errors="surrogateescape") as stream:
        for line in stream:
            words, _, rest = line.partition(" - ")
            where = _unescaped(words.split()[4])
            if where.startswith(f"{top.rstrip('/')}/") and where != top:
                found[where.removeprefix(top.rstrip("/"))] = rest.split()[0]
    return found


def _unescaped(text: str) -> str:
    return _ESCAPE.sub(lambda match: chr(int(match[1], 8)), text)


@dataclass(frozen=True, slots=True)
class Chosen:
    """Mount points below a source, from its root: those that are taken, and those that are left
    out."""

    taken: tuple[str, ...]
    left: tuple[str, ...]


def choose(image: Image, found: Iterable[str], types: Mapping[str, str], shown: str) -> Chosen:
    """Return which of the mount points that were found are taken.

    types
        Mount point to the type of its file system, as far as it is known.
    shown
        The source, for people.

    Raises :class:`DisklessError` for those of the system that cannot be taken.
    """
    taken, left, refused = [], [], []
    for path in sorted(found):
        kind = types.get(path)
        if kind in _PSEUDO or path in _KERNELS or _is_volatile(path) or _is_excluded(image, path):
            continue
        if _is_refused(path, kind):
            refused.append(f"{path} ({kind or 'a file system of an unknown type'})")
        elif _is_taken(path, kind):
            taken.append(path)
        else:
            left.append(path)
    if refused:
        raise DisklessError(
            f"diskless:images:{image.name}:source: found {', '.join(refused)} mounted in {shown}, "
            "which is of the system and cannot be taken as it is; unmount it there and have its "
            "content in the root, or say in the machine's fstab that it is local, or leave its "
            f"content out knowingly (exclude: [{refused[0].split()[0]}/*])"
        )
    return Chosen(tuple(taken), tuple(left))


def _is_taken(path: str, kind: str | None) -> bool:
    if kind in NETWORK or f"/{path.split('/')[1]}" not in _TOPS:
        return False
    if kind is None:
        return path in _OWN
    if kind in _LAYERS:
        return path.count("/") <= _LAYERS_DEEPEST or path in _OWN
    return not path.startswith(_STORES)


def _is_refused(path: str, kind: str | None) -> bool:
    if kind in NETWORK:
        return path in _NEEDED or path in _OWN
    return kind is None and path in _TOPS and path not in _OWN


def _is_volatile(path: str) -> bool:
    return any(path == one or path.startswith(f"{one}/") for one in identity.VOLATILE)


def _is_excluded(image: Image, path: str) -> bool:
    for pattern in (*image.exclude, *image.scrub):
        bare = re.sub(r"/\**$", "", pattern)
        parts = path.split("/")
        above = ("/".join(parts[:depth]) for depth in range(2, len(parts) + 1))
        if bare.startswith("/") and any(fnmatch.fnmatchcase(part, bare) for part in above):
            return True
    return False


def wanted_lines(image: Image, text: str) -> tuple[str, ...]:
    """Return the lines that the image's ``fstab`` adds to the nodes' one.

    text
        The source's fstab.

    Raises :class:`DisklessError` for a mount point that it does not have.
    """
    there = {line.where: line.text for line in fstab(text)}
    lines = []
    for wanted in image.fstab:
        if " " in wanted:
            lines.append(wanted)
        elif wanted in there:
            lines.append(there[wanted])
        else:
            raise DisklessError(
                f"diskless:images:{image.name}:fstab: found {wanted}; the source's fstab has: "
                f"{', '.join(sorted(there)) or 'none'}; name one of these, or give the whole line"
            )
    return tuple(lines)


def unmounted(image: Image, text: str) -> list[str]:
    """Return the network file systems of the source's fstab that nodes do not mount."""
    wanted = {line.where for line in fstab("\n".join(image.fstab))} | {*image.fstab}
    return [
        f"{line.where} ({line.type} {line.what})"
        for line in fstab(text)
        if line.type in NETWORK and line.where not in wanted
    ]


def points(image: Image) -> list[str]:
    """Return where nodes mount the lines of the image's ``fstab``."""
    return [next(fstab(line)).where if " " in line else line for line in image.fstab]
