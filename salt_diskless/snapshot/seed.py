"""Seeds: what an entry holds in a version, read once and written into any number of snapshots."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import stat
import uuid
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from salt_diskless.cluster import Node
from salt_diskless.disk import write_all
from salt_diskless.files.beneath import Found, Tree
from salt_diskless.image import identity
from salt_diskless.snapshot.entries import Placed

#: Larger files are copied from the version each time and not held in memory.
_HELD = 64 * 1024

#: The space of the machine-ids that are made of nodes' names and MACs.
_MACHINES = uuid.UUID("2f1e7d0a-8f0b-5c9e-9a51-6d2b0d6f7c11")

#: The naming authority of iscsi-iname(8).
_ISCSI_PREFIX = "iqn.2016-04.com.open-iscsi"


@dataclass(frozen=True, slots=True)
class Item:
    """One file, directory or link; ``content`` is None when it is copied from the version, whose
    tree is ``origin``."""

    path: str
    origin: str
    status: os.stat_result
    content: bytes | None
    xattrs: tuple[tuple[str, bytes], ...]


def read(tree: str, entry: Placed) -> list[Item]:
    """Return what an entry holds in a version: itself first, and all below it."""
    with Tree(tree or "/", links=False) as version:
        return [_item(version, found) for found in version.walk(entry.path)]


def parents(tree: str, entries: Iterable[Placed]) -> list[Item]:
    """Return the directories above the entries, the upper ones first."""
    above = set()
    for entry in entries:
        parts = entry.path.split("/")
        above |= {"/".join(parts[:depth]) for depth in range(2, len(parts))}
    with Tree(tree or "/", links=False) as version:
        return [_item(version, next(version.walk(path))) for path in sorted(above)]


def write(base: str, items: Iterable[Item], node: Node) -> None:
    """Write items below ``base``, a directory that no node can reach."""
    made = []
    for item in items:
        full, mode = base + item.path, item.status.st_mode
        if stat.S_ISDIR(mode):
            os.mkdir(full, 0o700)
            made.append((full, item))
            continue
        if stat.S_ISLNK(mode):
            os.symlink(item.content or b"", os.fsencode(full))
        elif stat.S_ISREG(mode):
            _write_file(full, item, node)
        else:
            os.mknod(full, mode, item.status.st_rdev)
        _attributes(full, item)
    for full, item in reversed(made):
        _attributes(full, item)


def own_content(path: str, node: Node) -> bytes | None:
    """Return the content of a file that is each node's own, or None for any other."""
    if path == "/etc/hostname":
        return f"{node.name}\n".encode()
    if path == "/etc/machine-id":
        return f"{_own_uuid(node, '').hex}\n".encode()
    if path == identity.ISCSI_NAME:
        return f"InitiatorName={_ISCSI_PREFIX}:{_own_uuid(node, ' iscsi').hex[:12]}\n".encode()
    # An NVMe target takes a host with two names for one id for two hosts.
    if path == identity.NVME_NQN:
        return f"nqn.2014-08.org.nvmexpress:uuid:{_own_uuid(node, ' nvme')}\n".encode()
    if path == identity.NVME_ID:
        return f"{_own_uuid(node, ' nvme')}\n".encode()
    return None


def _own_uuid(node: Node, purpose: str) -> uuid.UUID:
    """Return a UUID that is made of a node's name and MAC, another one for each purpose."""
    return uuid.uuid5(_MACHINES, f"{node.name} {node.mac}{purpose}")


def _item(version: Tree, found: Found) -> Item:
    status = found.status
    content: bytes | None = None
    if stat.S_ISLNK(status.st_mode):
        content = os.readlink(found.name, dir_fd=found.parent)
    elif stat.S_ISREG(status.st_mode) and status.st_size <= _HELD:
        content = version.read(found.path, _HELD)
    path = os.fsdecode(found.path)
    return Item(path, version.top, status, content, tuple(_xattrs(found.full)))


def _xattrs(full: bytes) -> Iterator[tuple[str, bytes]]:
    with contextlib.suppress(OSError):
        for name in os.listxattr(full, follow_symlinks=False):
            yield name, os.getxattr(full, name, follow_symlinks=False)


def _write_file(full: str, item: Item, node: Node) -> None:
    content = own_content(item.path, node)
    if content is None:
        content = item.content
    if content is None:
        with Tree(item.origin, links=False) as version, version.opened(item.path) as source:
            if source is None:
                raise OSError(errno.ENOENT, os.strerror(errno.ENOENT), item.path)
            with open(full, "xb") as stream:
                shutil.copyfileobj(source, stream, 1 << 20)
        return
    descriptor = os.open(full, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        write_all(descriptor, content)
    finally:
        os.close(descriptor)


def _attributes(full: str, item: Item) -> None:
    status = item.status
    if status.st_uid or status.st_gid:
        os.lchown(full, status.st_uid, status.st_gid)
    for name, value in item.xattrs:
        os.setxattr(full, name, value, follow_symlinks=False)
    if not stat.S_ISLNK(status.st_mode):
        os.chmod(full, stat.S_IMODE(status.st_mode))
    os.utime(full, ns=(status.st_mtime_ns, status.st_mtime_ns), follow_symlinks=False)
