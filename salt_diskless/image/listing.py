"""What is in a version's tree: its listing, what it shares with another tree, how two differ.

Names are bytes here: a golden root has whatever names a file system takes.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass

from salt_diskless.files.beneath import Found, Tree
from salt_diskless.image.notes import printable

#: So many bytes of two files are compared at a time.
_BLOCK = 1 << 18
_CAPABILITY = "security.capability"


@dataclass(frozen=True, slots=True)
class Listing:
    """A tree in short.

    digest
        SHA-256 over each path with its type, mode, owner, size, time of modification and, for a
        link, where it leads: the same as long as nobody changes the tree.
    total
        Bytes that it takes on the disk, each file once.
    new
        Bytes of those that it does not share with the tree that it was compared with.
    capabilities
        The programs that have file capabilities (capabilities(7)), which NFS does not have.
    """

    digest: str
    total: int
    new: int
    capabilities: tuple[str, ...]


def listing(tree: str, shared_with: str | None = None) -> Listing:
    """Return a tree's listing.

    shared_with
        The tree whose files it may share (hard links); None when there is no other one.
    """
    others = _inodes(shared_with) if shared_with else set()
    digest, total, new = hashlib.sha256(), 0, 0
    counted, capable = set(), []
    for found in _walk(tree):
        path, status = found.path, found.status
        is_directory = stat.S_ISDIR(status.st_mode)
        facts = (*_facts(status), 0 if is_directory else status.st_mtime_ns)
        digest.update(path + b"\0" + repr(facts).encode() + b"\0")
        if stat.S_ISLNK(status.st_mode):
            digest.update(os.readlink(found.name, dir_fd=found.parent) + b"\0")
        elif status.st_mode & 0o111 and not is_directory and _has_capability(found):
            capable.append(os.fsdecode(path))
        if status.st_ino not in counted:
            counted.add(status.st_ino)
            total += status.st_blocks * 512
            new += 0 if status.st_ino in others else status.st_blocks * 512
    return Listing(digest.hexdigest(), total, new, tuple(sorted(capable)))


def differences(old: str, new: str) -> dict[str, list[str]]:
    """Return the paths that were ``added``, ``removed`` and ``changed`` between two trees, sorted;
    what is empty is left out. Changed are type, mode, owner, attributes or content; another time
    alone is no change."""
    with Tree(old, links=False) as first, Tree(new, links=False) as second:
        before = {found.path: found.status for found in first.walk()}
        after = {found.path: found.status for found in second.walk()}
        changed = [
            path
            for path in before.keys() & after.keys()
            if differ(path, first, before[path], second, after[path])
        ]
    found = {
        "added": after.keys() - before.keys(),
        "removed": before.keys() - after.keys(),
        "changed": changed,
    }
    return {what: sorted(map(shown, paths)) for what, paths in found.items() if paths}


def shown(path: bytes) -> str:
    """Return a path for people and programs: backslashes and unprintable characters are escaped."""
    text = path.decode(errors="surrogateescape") or "/"
    return printable(text.replace("\\", "\\x5c"))


def _walk(tree: str) -> Iterator[Found]:
    with Tree(tree, links=False) as root:
        yield from root.walk()


def _inodes(tree: str) -> set[int]:
    with Tree(tree, links=False) as root:
        return root.inodes()


def _has_capability(found: Found) -> bool:
    try:
        os.getxattr(found.full, _CAPABILITY, follow_symlinks=False)
    except OSError:
        return False
    return True


def _facts(status: os.stat_result) -> tuple[int, ...]:
    size = 0 if stat.S_ISDIR(status.st_mode) else status.st_size
    return (status.st_mode, status.st_uid, status.st_gid, status.st_rdev, size)


def differ(
    path: bytes, first: Tree, before: os.stat_result, second: Tree, after: os.stat_result
) -> bool:
    """Return whether a path differs between two trees, each with lstat of it, in more than its
    times."""
    if (before.st_dev, before.st_ino) == (after.st_dev, after.st_ino):
        return False
    if _facts(before) != _facts(after):
        return True
    with first.at(path) as old, second.at(path) as new:
        if attributes(old) != attributes(new):
            return True
        if stat.S_ISLNK(before.st_mode):
            return os.readlink(old) != os.readlink(new)
    return stat.S_ISREG(before.st_mode) and not hold_the_same(path, first, second)


def hold_the_same(path: bytes, first: Tree, second: Tree) -> bool:
    """Return whether a path is a plain file in both trees, and has the same content."""
    with (
        first.opened(path, follow=False) as old,
        second.opened(path, follow=False) as new,
    ):
        if old is None or new is None:
            return False
        while block := old.read(_BLOCK):
            if block != new.read(_BLOCK):
                return False
        return not new.read(1)


def attributes(path: bytes) -> dict[str, bytes]:
    """Return a path's extended attributes, which are its ACLs and capabilities too."""
    found = {}
    with contextlib.suppress(OSError):
        for name in os.listxattr(path, follow_symlinks=False):
            found[name] = os.getxattr(path, name, follow_symlinks=False)
    return found
