"""File systems that are mounted below a source: which of them are taken, and which are left out.

rsync stays on the file system of each directory that it is given (``--one-file-system``), so each
file system that is taken too is one more directory for it.
"""

from __future__ import annotations

import fnmatch
import itertools
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from salt_diskless.cluster import DisklessError, Image
from salt_diskless.files.beneath import Tree
from salt_diskless.image import identity, patterns
from salt_diskless.image.notes import printable
from salt_diskless.regex import lazy_regex

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
#: Programs that show what is on this machine; what else is of FUSE may come from anywhere.
_LOCAL_FUSE = frozenset(
    """fuseblk fuse.overlayfs fuse.fuse-overlayfs fuse.mergerfs fuse.bindfs fuse.unionfs fuse.zfs
    fuse.ntfs fuse.ntfs-3g fuse.exfat fuse.squashfuse""".split()
)
#: What the source of a network file system looks like: host:/path, host:volume, //host/share.
_REMOTE = lazy_regex(r"//|[^/\s=]+:|[a-z0-9]+#")

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
#: What is mounted below these is of the system too, whatever it is.
_WITHIN = ("/bin/", "/boot/", "/etc/", "/lib/", "/lib64/", "/sbin/", "/usr/")
#: Where containers, virtual machines and snaps have theirs.
_STORES = (
    *("/var/lib/docker/", "/var/lib/containers/", "/var/lib/containerd/", "/var/lib/kubelet/"),
    *("/var/lib/machines/", "/var/lib/lxd/", "/var/lib/incus/", "/var/lib/rancher/"),
    *("/var/lib/snapd/", "/var/snap/", "/var/lib/flatpak/"),
)
#: The same below a home directory.
_STORES_OF_USERS = ("/.local/share/containers/", "/.cache/", "/.local/share/docker/")
_KERNELS = ("/var/lib/nfs/rpc_pipefs", "/var/lib/lxcfs")

#: The type of a directory that is mounted at a second place.
BIND = "bind"
#: Units that an admin made, and the line of one that is about a disk.
_UNITS = ("/etc/systemd/system/*.mount", "/etc/systemd/system/*.swap")
_DISK = lazy_regex(rb"(?mi)^[ \t]*What[ \t]*=[ \t]*(/dev/(?!zram|null)|(PART)?(UUID|LABEL)=)")
_LARGEST = 64 * 1024
_ESCAPE = lazy_regex(r"\\([0-7]{3})")


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
    """Return what is mounted below a directory of this machine: path from there to type. What is
    of the directory's own file system, mounted at a second place, has the type :data:`BIND`."""
    top = os.path.realpath(directory).rstrip("/")
    device = os.stat(directory).st_dev
    own = f"{os.major(device)}:{os.minor(device)}"
    types, bound = dict[str, str](), set()
    with open(file, encoding="utf-8", errors="surrogateescape") as stream:
        for line in stream:
            words, _, rest = line.partition(" - ")
            _, _, number, _, point, *_ = words.split()
            where = _unescaped(point)
            if where.startswith(f"{top}/") and where != "/":
                path = where.removeprefix(top)
                types[path] = rest.split()[0]
                bound |= {path} if number == own else set()
    # rsync reads what is below another file system as a part of that.
    others = tuple(f"{path}/" for path in types.keys() - bound)
    return types | {path: BIND for path in bound if not path.startswith(others)}


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
            refused.append(f"{printable(path)} ({kind or 'a file system of an unknown type'})")
        elif _is_taken(path, kind):
            taken.append(path)
        else:
            left.append(path)
    if refused:
        raise DisklessError(
            f"diskless:images:{image.name}:source: found {', '.join(refused)} mounted in {shown}, "
            "where the system's own files are, and a sync cannot copy them from there; unmount "
            "it and copy its content into the root, or list it in the machine's fstab as a local "
            "file system, or leave its content out of the image ("
            f"exclude: [{refused[0].split()[0]}/*])"
        )
    return Chosen(tuple(taken), tuple(left))


def _is_network(kind: str | None) -> bool:
    """Return whether the files of a type of file system may be those of another machine."""
    if kind is None or kind in _LOCAL_FUSE:
        return False
    return kind in NETWORK or kind.partition(".")[0] == "fuse"


def _is_taken(path: str, kind: str | None) -> bool:
    if kind == BIND:
        return True  # rsync takes it for a directory of the source.
    if _is_network(kind) or f"/{path.split('/')[1]}" not in _TOPS:
        return False
    if kind is None:
        return path in _OWN
    return not path.startswith(_STORES) and not any(store in path for store in _STORES_OF_USERS)


def _is_refused(path: str, kind: str | None) -> bool:
    if kind is not None and not _is_network(kind):
        return False
    if path.startswith(_WITHIN) and not path.startswith("/usr/local/"):
        return kind is not None or path not in _OWN
    if kind is None:
        return path in _TOPS and path not in _OWN
    return path in _NEEDED or path in _OWN


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
                f"{', '.join(sorted(there)) or 'none'}; give one of these, or a whole line"
            )
    return tuple(lines)


def unmounted(image: Image, text: str, taken: Iterable[str] = ()) -> list[str]:
    """Return what the source's fstab mounts that is no disk of that machine and that nodes do not
    mount: network file systems, directories at a second place (bind), and memory.

    taken
        Mount points whose content is in the image.
    """
    wanted = {line.where for line in fstab("\n".join(image.fstab))} | {*image.fstab, *taken}
    return [
        f"{line.where} ({line.type} {line.what})"
        for line in fstab(text)
        if _is_no_disk(line) and line.where not in wanted
    ]


def _is_no_disk(line: Line) -> bool:
    if line.type in _PSEUDO - {"none"} or line.type == "swap" or _is_volatile(line.where):
        return False
    options = {option.strip() for option in line.text.split()[3:4] for option in option.split(",")}
    return (
        _is_network(line.type)
        or _REMOTE.match(line.what) is not None
        or line.type in ("tmpfs", "ramfs", "overlay")
        or bool(options & {"_netdev", "bind", "rbind"})
    )


def disk_units(root: Tree) -> list[str]:
    """Return the units of systemd in a tree that mount a disk or swap to it: systemd.mount(5)."""
    paths = itertools.chain(*patterns.matching(root, _UNITS).values())
    return sorted(path for path in paths if _DISK.search(root.read(path, _LARGEST) or b""))


def points(image: Image) -> list[str]:
    """Return where nodes mount the lines of the image's ``fstab``."""
    return [next(fstab(line)).where if " " in line else line for line in image.fstab]
