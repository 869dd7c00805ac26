"""A version as one file of squashfs, for nodes whose root is that file.

It is made once, when nodes first want it, and lies beside the version, in a directory that they can
mount: ``<location>/versions/<version>.squashfs/root.squashfs``. The version's metadata has its
digest; a file that no metadata tells of is none.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
from collections.abc import Mapping
from dataclasses import replace

from salt_diskless.boot.roots import NAME, Squashfs
from salt_diskless.cluster import DisklessError, Image, Site
from salt_diskless.cluster.ranges import fold
from salt_diskless.command import CommandFailed, installed, run
from salt_diskless.disk import REMEDIES, flush
from salt_diskless.image import space
from salt_diskless.image.versions import (
    Version,
    describe,
    latest,
    published,
    versions,
)
from salt_diskless.platform import Platform

#: Versions by name that nodes boot as one file; None is the published one.
Wanted = frozenset[str | None]

#: The root modes whose nodes do.
MODES = frozenset({"squashfs", "ram"})

_PROGRAM = "mksquashfs"
_ENDING = ".squashfs"
#: mksquashfs(1): owners are numbers, and the same tree always gives the same file.
_OPTIONS = (
    *("-noappend", "-no-progress", "-quiet", "-exit-on-error", "-xattrs"),
    # mksquashfs's own choice, 15, makes it a fourteenth smaller and takes nine times as long.
    *("-comp", "zstd", "-Xcompression-level", "9", "-mkfs-time", "0"),
    *("-b", "256K"),
)


def wanted(site: Site, image: Image) -> Wanted:
    """Return which versions of an image the nodes boot as one file."""
    return frozenset(one.version for one, _ in site.settings_of(image) if one.root in MODES)


def tools(site: Site, names: Platform) -> tuple[str, ...]:
    """Return the packages that are missing here to make one, where nodes boot one."""
    some = any(wanted(site, image) for image in site.images.values())
    return names.squashfs_packages if some and not installed(_PROGRAM) else ()


def path(image: Image, version: str) -> str:
    """Return where a version's file is."""
    return f"{_directory(image, version)}/{NAME}"


def lacking(image: Image, wanted: Wanted, publishes: bool) -> tuple[Version, ...]:
    """Return the versions that nodes boot as one file, now or when the newest one is published, and
    that have none.

    publishes
        Whether a newest version that never was published is about to be.
    """
    names = set(wanted)
    if None in names:
        newest, current = latest(image), published(image)
        is_new = newest is not None and newest.published_at is None
        names |= {newest.name} if newest is not None and is_new else set()
        names |= {current.name} if current is not None and not (is_new and publishes) else set()
    return tuple(one for one in versions(image) if one.name in names and not _is_there(image, one))


def have(image: Image, version: Version, wanted: Wanted) -> None:
    """Make a version's file before it is published, where nodes boot it as one; as :func:`make`."""
    if wanted & {None, version.name} and not _is_there(image, version):
        make(image, version)


def make(image: Image, version: Version) -> None:
    """Make a version's file; the caller holds the image's lock.

    Raises :class:`DisklessError` with what is missing. Killed anywhere, it leaves nothing that
    counts as a file.
    """
    where = f"diskless:images:{image.name}"
    if not installed(_PROGRAM):
        raise DisklessError(
            f"{where}: found no {_PROGRAM} on this boot server, which makes a version one file for "
            "nodes with root: squashfs or ram; install squashfs-tools (state.apply diskless.tools "
            "does)"
        )
    drop(image, version.name)
    # As a rule it is a third; how much it will be nobody knows before.
    space.require_bytes(image, version.bytes_total // 2, f"{version.name} as one file")
    directory, file = _directory(image, version.name), path(image, version.name)
    # All of the image is in it: nobody but root reads what only root may read in a version.
    os.mkdir(directory, 0o700)
    try:
        run([_PROGRAM, version.path, f"{file}.new", *_OPTIONS], ends_with_us=True)
        os.chmod(f"{file}.new", 0o644)
        made = Squashfs(_sha256(f"{file}.new"), os.path.getsize(f"{file}.new"))
        flush([directory])
    except (CommandFailed, OSError) as err:
        drop(image, version.name)
        if isinstance(err, OSError) and err.errno in REMEDIES:
            raise
        raise DisklessError(f"{where}: {version.name} was not made one file: {err}") from err
    os.rename(f"{file}.new", file)
    describe(image, replace(version, squashfs=made))


def drop(image: Image, version: str) -> None:
    """Remove a version's file, of which its metadata does not tell (any more)."""
    with contextlib.suppress(FileNotFoundError):
        shutil.rmtree(_directory(image, version))


def tidy(image: Image) -> None:
    """Remove the files of versions that are gone."""
    there = {version.name for version in versions(image)}
    with contextlib.suppress(FileNotFoundError):
        for name in os.listdir(f"{image.location}/versions"):
            if name.endswith(_ENDING) and name.removesuffix(_ENDING) not in there:
                drop(image, name.removesuffix(_ENDING))


def check(site: Site, booted: Mapping[str, str], there: Mapping[tuple[str, str], Version]) -> None:
    """Raise :class:`DisklessError` for nodes that boot a version as one file which is none yet.

    booted, there
        As for :func:`salt_diskless.image.needs.check_versions`.
    """
    problems: dict[tuple[str, str, str], list[str]] = {}
    for image in site.images.values():
        for settings, names in site.settings_of(image):
            version = there.get((image.name, settings.version or booted.get(image.name, "")))
            if settings.root in MODES and version is not None and not _is_there(image, version):
                key = (image.name, version.name, settings.root)
                problems.setdefault(key, []).extend(names)
    if problems:
        raise DisklessError(
            "\n".join(
                f"diskless:nodes:{fold(names)}:root: found {root}; version {name} of the image "
                f"{image} is no file of squashfs yet: sync it first (salt-call diskless_image.sync "
                f"{image})"
                for (image, name, root), names in problems.items()
            )
        )


def _is_there(image: Image, version: Version) -> bool:
    try:
        size = os.path.getsize(path(image, version.name))
    except OSError:
        return False
    return version.squashfs is not None and size == version.squashfs.bytes


def _directory(image: Image, version: str) -> str:
    return f"{image.location}/versions/{version}{_ENDING}"


def _sha256(path: str) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
