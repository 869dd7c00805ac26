"""Whether the paths of the pillar are on this machine what they look like: links and bind mounts
are followed, and then the same rules hold as for the text (:mod:`salt_diskless.cluster.paths`)."""

from __future__ import annotations

import functools
import os
from collections.abc import Hashable, Iterable, Iterator, Mapping

from salt_diskless.cluster import paths
from salt_diskless.cluster.errors import Problem
from salt_diskless.cluster.model import Image, Site
from salt_diskless.cluster.paths import Use
from salt_diskless.platform import Platform
from salt_diskless.preflight import mounts
from salt_diskless.preflight.mounts import Table

#: What an image's directory holds (:mod:`salt_diskless.image.versions`).
PARTS = ("versions", "metadata", "snapshot", "swap", "aside", ".staging", ".unpacked")
_FILES = ("root", "root.new", ".lock", ".snapshot-lock", "lost+found")
_REASONS = {
    "location": paths.location_reason,
    "tftp_root": paths.tftp_root_reason,
    "source": paths.source_reason,
}


def problems(site: Site, platform: Platform) -> Iterator[Problem]:
    """Yield each path that leads into something else, and each directory of an image that already
    holds something else."""
    table, followed = mounts.read(), []
    system = {
        mounts.on_device(directory, table): directory
        for directory in paths.SYSTEM
        if os.path.isdir(directory) and not os.path.islink(directory)
    }
    for use in paths.uses(site.images, platform.as_dict()):
        wrong = _link(use) or _kind(use) or _system(use, system, mounts.on_device(use.path, table))
        if wrong is not None:
            yield wrong
        else:
            followed.append(use)
    yield from paths.conflicts(followed, lambda path: keys(path, table))
    for image in site.images.values():
        yield from _content(image)


def keys(path: str, table: Table) -> tuple[Iterable[Hashable], Iterable[Hashable]]:
    """Return the keys of a path as text and by what is on the disk: see :data:`paths.Keys`."""
    real = mounts.on_device(path, table)
    own, outer = (path, real), (*paths.above(path), *paths.above(real))
    # A file system that ignores case, or a hard link, has one file under two names.
    return (*own, *_number(path)), (
        *outer,
        *(key for above in paths.above(path) for key in _number(above)),
    )


def _number(path: str) -> tuple[Hashable, ...]:
    """Return device and inode number of what is at a path, or nothing."""
    try:
        status = os.stat(path)
    except OSError:
        return ()
    return ((status.st_dev, status.st_ino),)


def _kind(use: Use) -> Problem | None:
    """Return what is wrong where something else is at a path than is read there."""
    if use.kind != "read":
        return None
    wanted = "directory" if use.key.endswith("_modules") else "file"
    is_right = os.path.isdir if wanted == "directory" else os.path.isfile
    if is_right(use.path) or not os.path.exists(use.path):
        return None
    name = use.key.rpartition(":")[2]
    return Problem(
        use.key, f"{use.path}, which is no {wanted}", f"give a {wanted}, like {paths.LIKE[name]}"
    )


def _link(use: Use) -> Problem | None:
    """Return what is wrong where an image's directory is below a link: exportfs and nodes would use
    another path than the project."""
    if use.kind != "location":
        return None
    real = os.path.realpath(use.path)
    if real != use.path:
        return Problem(
            use.key,
            f"{use.path}, which a link leads to {real}",
            f"give {real}, or mount that directory there (mount --bind): NFS exports the real path",
        )
    existing = next(path for path in (*paths.above(use.path), "/") if os.path.lexists(path))
    if not os.path.isdir(existing):
        return Problem(use.key, f"the file {existing}", "give a directory, or one to be made")
    return None


def _system(use: Use, system: Mapping[str, str], on_device: str) -> Problem | None:
    """Return what is wrong where a path is something of the system by its real path, or by a bind
    mount of it.

    system
        The directories of the system, each by its path on its device.
    on_device
        The path on its device.
    """
    reason = _REASONS.get(use.kind)
    if use.kind in ("written", "read"):
        reason = functools.partial(paths.file_reason, use.key.rpartition(":")[2])
    if reason is None or reason(use.path) is not None:
        return None
    real = os.path.realpath(use.path)
    why = reason(real) if real != use.path else None
    for path in paths.above(on_device):
        directory = system.get(path)
        if directory is None or why is not None or paths.is_in(real, directory):
            continue
        if reason(f"{directory}/x") is not None:
            why = f"it is {directory} or something in it"
    if why is None:
        return None
    return Problem(use.key, f"{use.path}, which is {real} on this machine", f"give another: {why}")


def _content(image: Image) -> Iterator[Problem]:
    """Yield what an image's directory has that the project did not put there, and parts of it that
    are links."""
    key = f"diskless:images:{image.name}:location"
    try:
        found = {entry.name: entry for entry in os.scandir(image.location)}
    except (FileNotFoundError, NotADirectoryError):
        return
    except OSError as err:
        yield Problem(key, image.location, f"give a directory that can be read: {err.strerror}")
        return
    for name in PARTS:
        if name in found and not found[name].is_dir(follow_symlinks=False):
            what = "link" if found[name].is_symlink() else "file"
            yield Problem(
                key,
                f"{image.location}/{name}, which is a {what}",
                "make it a directory (mount --bind another one there); give the image another "
                "location if it is not salt-diskless's",
            )
    foreign = sorted({*found} - {*PARTS, *_FILES})
    if "root" in found and not found["root"].is_symlink():
        foreign.insert(0, "root")
    elif _is_ours(found):
        return
    if foreign:
        some = ", ".join(map(ascii, foreign[:5])) + (", ..." if len(foreign) > 5 else "")
        yield Problem(
            key,
            f"{image.location}, which has {some}",
            "give a directory that is empty or not there, or move away what is in it: "
            "salt-diskless did not write it",
        )


def _is_ours(found: Iterable[str]) -> bool:
    """Return True if an image's directory has what the project puts there first, or in the end."""
    names = {*found}
    return bool(names & {".lock", ".snapshot-lock"}) or {"versions", "metadata"} <= names
