"""A look at a source before anything is copied: in what it differs, and what is left out of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from salt_diskless.cluster import Image
from salt_diskless.files.beneath import Tree
from salt_diskless.image import left_out, likely_secrets, mounts, notes, rsync, secrets
from salt_diskless.image.sources import RsyncSource

#: A file system may be mounted in one that is taken, and so on.
_DEEPEST = 8


@dataclass(frozen=True, slots=True)
class Seen:
    """What was seen.

    source
        The source with the file systems in it that are taken too.
    found
        In what it differs.
    chosen
        Its mount points.
    """

    source: RsyncSource
    found: rsync.Difference
    chosen: mounts.Chosen


def look(
    image: Image, opened: RsyncSource, difference: Callable[[RsyncSource], rsync.Difference]
) -> Seen:
    """Return in what a source differs, with every file system in it that is taken.

    difference
        Compares a source with what it is to become.

    Raises :class:`DisklessError` for file systems of the system that cannot be taken.
    """
    types: Mapping[str, str] | None = None
    every: set[str] = set()
    if opened.directory is not None:
        types = mounts.here(opened.directory)
        every = {*types}
        taken = mounts.choose(image, every, types, opened.shown).taken
        opened = replace(opened, mounts=taken)
    for _ in range(_DEEPEST):
        found = difference(opened)
        new = {*found.mounts} - every
        every |= new
        if types is None and new:
            types = {line.where: line.type for line in mounts.fstab(left_out.fstab(opened))}
        known = types or {}
        if opened.directory is not None:
            # What is no mount point but another file system is a subvolume of btrfs.
            known = {**dict.fromkeys(every, "btrfs"), **known}
        chosen = mounts.choose(image, every, known, opened.shown)
        if {*chosen.taken} == {*opened.mounts}:
            break
        opened = replace(opened, mounts=chosen.taken)
    return Seen(opened, found, chosen)


def of_source(image: Image, seen: Seen, fstab: str) -> dict[str, tuple[str, ...]]:
    """Return what is left out of a source, as findings."""
    found = {
        **left_out.left_out(image, seen.source),
        "mounts_left": list(seen.chosen.left),
        "mounts_taken": list(seen.chosen.taken),
        "fstab": mounts.unmounted(image, fstab, seen.chosen.taken),
    }
    return {name: notes.folded(paths) for name, paths in found.items() if paths}


def of_tree(image: Image, tree: str) -> dict[str, tuple[str, ...]]:
    """Return which secrets, and units for disks, are in a version, as findings."""
    with Tree(tree) as root:
        shared = {*secrets.shared(root)}
        keys = {*secrets.private_keys(root)} - shared
        found = {
            "secret": sorted(shared),
            "keys": sorted(keys),
            notes.LIKELY: [
                path
                for path in likely_secrets.likely(root, image.keep)
                if path not in keys and path not in shared
            ],
            notes.UNITS: mounts.disk_units(root),
            notes.HASHES: secrets.password_hashes(root),
        }
    return {name: notes.folded(paths) for name, paths in found.items() if paths}
