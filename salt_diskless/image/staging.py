"""The staging directory of an image: a tree that becomes a version, or what one is changed to."""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
import time
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from salt_diskless import node
from salt_diskless.cluster import DisklessError, Image
from salt_diskless.command import CommandFailed, run
from salt_diskless.disk import flush
from salt_diskless.image import identity, initramfs, rsync
from salt_diskless.image.listing import listing
from salt_diskless.image.packages import packages
from salt_diskless.image.rsync import Difference
from salt_diskless.image.sources import place
from salt_diskless.image.versions import (
    NAME,
    Served,
    Version,
    describe,
    describe_packages,
    next_name,
    versions,
)


def directory(image: Image) -> str:
    """Return where it is."""
    return f"{image.location}/.staging"


def prepared(image: Image) -> str:
    """Return the staging directory, with what a killed sync has copied. What that one had linked is
    unlinked: rsync would give a file that is there its attributes in place, in the published
    version too."""
    path = directory(image)
    os.makedirs(path, mode=0o755, exist_ok=True)
    for below, names, files in os.walk(os.fsencode(path)):
        for name in (*names, *files):
            full = os.path.join(below, name)
            status = os.lstat(full)
            if status.st_nlink > 1 and not stat.S_ISDIR(status.st_mode):
                os.unlink(full)
    return path


def linked(
    image: Image, version: Version, difference: Difference, besides: Iterable[str] = ()
) -> bool:
    """Fill an empty staging directory with links to the files of a version, but those that differ,
    and return whether that was done: rsync takes five times as long for it.

    besides
        Paths that are left out too.

    It is not done where hard links within the tree come or change, which only rsync gets right,
    where a killed sync has left something, and where a file may have no more links.
    """
    path = directory(image)
    if difference.links or os.listdir(path):
        return False
    try:
        copied(version.path, path)
        _unlink(path, difference, besides)
    except (CommandFailed, FileNotFoundError):
        shutil.rmtree(path)
        os.makedirs(path, mode=0o755)
        return False
    return True


def copied(tree: str, new: str) -> None:
    """Make a tree whose files are links to those of another one."""
    run(["cp", "--archive", "--link", "--no-target-directory", "--", tree, new], ends_with_us=True)


def _unlink(tree: str, difference: Difference, besides: Iterable[str]) -> None:
    """Remove what differs from a tree, but directories that are some in the source too.

    Raises ``FileNotFoundError`` for a path that should be there.
    """
    top = os.fsencode(tree)
    names = {rsync.name(path): path in difference.new for path in difference.paths}
    for name, is_new in {**dict.fromkeys(map(os.fsencode, besides), True), **names}.items():
        try:
            status = os.lstat(top + name)
        except (FileNotFoundError, NotADirectoryError):
            if not is_new:
                raise
            continue
        if not stat.S_ISDIR(status.st_mode):
            os.unlink(top + name)
        elif names.get(name):  # It is something else in the source.
            shutil.rmtree(top + name)


def drop_incomplete(image: Image) -> None:
    """A tree that a kill left without metadata becomes the staging directory again; what was
    unpacked or made is not worth more than its source."""
    if os.path.lexists(place(image)):
        shutil.rmtree(place(image))
    complete = {version.name for version in versions(image)}
    try:
        names = list(filter(NAME.fullmatch, os.listdir(f"{image.location}/versions")))
    except FileNotFoundError:
        return
    staging = directory(image)
    for name in names:
        if name not in complete:
            if os.path.lexists(staging):
                shutil.rmtree(f"{image.location}/versions/{name}")
            else:
                os.rename(f"{image.location}/versions/{name}", staging)


_MADE = (*identity.VOLATILE, identity.LOGS)


def own_paths(version: Version) -> list[str]:
    """Return what the project put into a version beside what it took from the source."""
    return [*written(version.kernels, version.initramfs), *(f"{path}/x" for path in _MADE)]


def written(kernels: Mapping[str, Served], tool: str) -> list[str]:
    """Return the files that the project itself writes into a tree whose initramfs a tool builds."""
    scripts = (file.path for file in node.files(tool))
    return [*scripts, *(kernel.initrd for kernel in kernels.values())]


def complete(
    image: Image,
    staging: str,
    kernels: Mapping[str, Served],
    tool: str,
    built: Version | None = None,
) -> None:
    """Make the copy bootable: mount points, identity's empty files, fstab, scripts, initramfs.

    tool
        What builds its initramfs.
    built
        A version whose initramfs is taken where it is for the same kernel with the same modules;
        None has each built anew.
    """
    for path in identity.VOLATILE:
        os.makedirs(staging + path, exist_ok=True)
    for path in ("/tmp", "/var/tmp"):
        os.chmod(staging + path, 0o1777)
    os.makedirs(f"{staging}/var/log", exist_ok=True)
    _make_places(staging)
    _put(staging, identity.FSTAB, identity.FSTAB_TEXT.encode(), 0o644)
    for file in node.files(tool):
        _put(staging, file.path, file.content, file.mode)
    for release, kernel in kernels.items():
        if built is not None and built.kernels.get(release) == kernel:
            os.link(built.path + kernel.initrd, staging + kernel.initrd)
        else:
            initramfs.build(image, staging, tool, release, kernel)


def _make_places(staging: str) -> None:
    """Make what nodes bind their identity over, and remove what is left of it in a tree that no
    longer has what used it."""
    wanted = identity.places(staging)
    for path in identity.PLACES:
        if path not in wanted:
            with contextlib.suppress(OSError):  # It is not there.
                (os.rmdir if path == identity.MINION_KEYS else os.unlink)(_inside(staging, path))
        elif path == identity.MINION_KEYS:
            os.makedirs(_inside(staging, path), mode=0o755, exist_ok=True)
        else:
            _put(staging, path, b"", 0o644)


def refuse_identity(image: Image, staging: str) -> None:
    """Raise :class:`DisklessError` for what of the golden node's identity is left."""
    left = identity.found(staging, image.scrub)
    if left:
        raise DisklessError(
            f"diskless:images:{image.name}: found the golden node's identity in the new version, "
            f"so it is not published: {', '.join(left[:10])}"
        )


def become_version(image: Image, version: Version, newest: Version | None) -> str:
    """Give the staging directory a version's name and place, and return the name.

    version
        All that is known of it: the rest is found out here.
    newest
        The version whose files it may share, or None.
    """
    staging = directory(image)
    os.makedirs(f"{image.location}/versions", mode=0o755, exist_ok=True)
    now = time.time()
    name = next_name(image, now)
    path = f"{image.location}/versions/{name}"
    os.chmod(staging, 0o755)
    with ThreadPoolExecutor(1) as beside:
        # The disk is as slow as it is: what has to be read is read meanwhile.
        flushed = beside.submit(flush, [staging])
        there = listing(staging, newest.path if newest else None)
        describe_packages(image, name, packages(image, staging))
        flushed.result()
    os.rename(staging, path)
    described = replace(
        version,
        name=name,
        path=path,
        made=now,
        listing=there.digest,
        bytes_total=there.total,
        bytes_new=there.new,
    )
    describe(image, described)
    return name


def _put(staging: str, path: str, content: bytes, mode: int) -> None:
    """Write a file of the version by a rename: the one there may be another version's too."""
    full = _inside(staging, path)
    os.makedirs(os.path.dirname(full), mode=0o755, exist_ok=True)
    new = f"{full}.diskless-new"
    with open(new, "wb") as stream:
        stream.write(content)
        os.fchmod(stream.fileno(), mode)
    os.rename(new, full)


def _inside(staging: str, path: str) -> str:
    """Return a path of the tree; a directory of the tree that is a link out of it is refused."""
    above = os.path.realpath(staging + os.path.dirname(path))
    if not f"{above}/".startswith(f"{os.path.realpath(staging)}/"):
        raise DisklessError(f"{path}: found a link out of the golden root; make it a directory")
    return os.path.join(above, os.path.basename(path))
