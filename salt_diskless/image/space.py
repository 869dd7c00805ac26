"""Whether a new version has room on the disk, before anything of it is copied."""

from __future__ import annotations

import os
import stat

from salt_diskless.cluster import DisklessError, Image
from salt_diskless.files.beneath import Tree
from salt_diskless.image import staging
from salt_diskless.image.rsync import Difference
from salt_diskless.image.versions import latest


def require(image: Image, difference: Difference) -> None:
    """Raise :class:`DisklessError` where a new version would not fit.

    difference
        Of the source and the newest version: what is the same in both takes no room.
    """
    newest = latest(image)
    needed, inodes = difference.bytes, len(difference.new)
    if newest is not None:
        # Built anew for each version; and what a killed sync has copied need not come again.
        with Tree(newest.path) as root:
            made = [root.status(kernel.initrd) for kernel in newest.kernels.values()]
        needed += sum(status.st_size for status in made if status is not None)
        size, files = _copied(staging.directory(image))
        needed, inodes = needed - size, inodes - files
    require_bytes(image, needed, "a new version")
    _require_inodes(image, inodes)


def _require_inodes(image: Image, needed: int) -> None:
    """Raise :class:`DisklessError` where a new version has more files than the disk has inodes."""
    where = os.statvfs(image.location)
    # File systems such as btrfs make inodes as they need them, and count none.
    if where.f_files and needed > where.f_favail:
        raise DisklessError(
            f"diskless:images:{image.name}: found {where.f_favail} free inodes below "
            f"{image.location}, and a new version takes {needed} more; make room there (salt-call "
            f"diskless_image.prune {image.name} removes old versions), or leave something out "
            "(exclude). What is published stays as it is"
        )


def require_bytes(image: Image, needed: int, what: str) -> None:
    """Raise :class:`DisklessError` where ``what`` would not fit, which takes so many bytes."""
    where = os.statvfs(image.location)
    free = where.f_bavail * where.f_frsize
    if needed > free:
        raise DisklessError(
            f"diskless:images:{image.name}: found {_shown(free)} of room below {image.location}, "
            f"and {what} takes {_shown(needed)} more; make room there (salt-call "
            f"diskless_image.prune {image.name} removes old versions), or leave something out "
            "(exclude). What is published stays as it is"
        )


def _copied(tree: str) -> tuple[int, int]:
    """Return how many bytes the files of a tree take on the disk, and how many things it has."""
    if not os.path.isdir(tree):
        return 0, 0
    with Tree(tree, links=False) as root:
        sizes = [
            found.status.st_blocks * 512 if stat.S_ISREG(found.status.st_mode) else 0
            for found in root.walk()
        ]
    return sum(sizes), len(sizes)


def _shown(count: int) -> str:
    return f"{count / 1000**2:,.1f} MB"
