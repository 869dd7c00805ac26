"""The staging directory of an image: a tree that becomes a version, or what one is changed to."""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from salt_diskless import node
from salt_diskless.cluster import DisklessError, Image
from salt_diskless.command import CommandFailed, run
from salt_diskless.disk import REMEDIES, flush
from salt_diskless.files.beneath import Tree
from salt_diskless.image import identity, initramfs, links, mounts, notes, rsync
from salt_diskless.image.listing import listing
from salt_diskless.image.packages import packages
from salt_diskless.image.rsync import Difference
from salt_diskless.image.sources import place
from salt_diskless.image.versions import (
    Served,
    Version,
    describe,
    describe_packages,
    incomplete,
    next_name,
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
    with Tree(path, links=False) as root:
        for found in root.walk():
            if found.status.st_nlink > 1 and not stat.S_ISDIR(found.status.st_mode):
                os.unlink(found.name, dir_fd=found.parent)
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
    names = {rsync.name(path): path in difference.new for path in difference.paths}
    with Tree(tree, links=False) as root:
        for name, is_new in {**dict.fromkeys(map(os.fsencode, besides), True), **names}.items():
            status = root.status(name)
            if status is None:
                if not is_new:
                    raise FileNotFoundError(name)
            elif not stat.S_ISDIR(status.st_mode) or names.get(name):
                root.remove(name)  # A directory is something else in the source.


def is_safe_to_share(version: Version, difference: Difference) -> bool:
    """Return whether rsync may share files of a version (``--link-dest``). It looks them up by
    path, so where the version has a link and the source has a directory now, it would follow the
    link, to the server's own files, and share those."""
    paths = {rsync.name(path) for path in difference.paths}
    above = {part for path in paths for part in _above(path)}
    with Tree(version.path, links=False) as root:
        return not any(root.link(path) for path in paths & above)


def _above(path: bytes) -> Iterator[bytes]:
    while (path := os.path.dirname(path)) not in (b"/", b""):
        yield path


def drop_incomplete(image: Image) -> None:
    """A tree that a kill left without metadata becomes the staging directory again; what was
    unpacked or made is not worth more than its source."""
    if os.path.lexists(place(image)):
        shutil.rmtree(place(image))
    staging = directory(image)
    for name in incomplete(image):
        if os.path.lexists(staging):
            shutil.rmtree(f"{image.location}/versions/{name}")
        else:
            os.rename(f"{image.location}/versions/{name}", staging)


_MADE = (*identity.VOLATILE, identity.LOGS)


def own_paths(version: Version) -> list[str]:
    """Return what the project put into a version beside what it took from the source, by paths
    without links."""
    own = [*written(version.kernels, version.initramfs), *(f"{path}/x" for path in _MADE)]
    with Tree(version.path) as root:
        for index, path in enumerate(own):
            with contextlib.suppress(OSError):
                own[index] = root.real(path, follow=False)
    return own


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
    fstab: Sequence[str] = (),
) -> list[str]:
    """Make the copy bootable: mount points, identity's empty files, fstab, scripts, initramfs.
    Return sentences that name the links that were replaced, or lead nowhere.

    tool
        What builds its initramfs.
    built
        A version whose initramfs is taken where it is for the same kernel with the same modules;
        None has each built anew.
    fstab
        The lines that its fstab has beside the project's own.
    """
    with Tree(staging) as root:
        try:
            replaced = links.settle(root)
            _make_places(root)
            text = identity.FSTAB_TEXT + "".join(f"{line}\n" for line in fstab)
            root.write(identity.FSTAB, text.encode(), 0o644)
            for line in mounts.fstab("\n".join(fstab)):
                root.make_directory(line.where)
            for file in node.files(tool):
                root.write(file.path, file.content, file.mode)
            for release, kernel in kernels.items():
                if built is not None and built.kernels.get(release) == kernel:
                    root.remove(kernel.initrd)
                    with Tree(built.path) as old:
                        old.hard_link(kernel.initrd, root, kernel.initrd)
                else:
                    initramfs.build(image, staging, tool, release, kernel)
        except OSError as err:
            if err.errno in REMEDIES:
                raise
            raise DisklessError(
                f"diskless:images:{image.name}: {err.filename}: cannot be written in the new "
                f"version: {err.strerror}; put it right in the golden root"
            ) from err
    return replaced


def _make_places(root: Tree) -> None:
    """Make what nodes bind their identity over, and remove what is left of it in a tree that no
    longer has what used it."""
    wanted = identity.places(root.top)
    for path in identity.PLACES:
        if path not in wanted:
            if identity.is_behind_link(root, path):
                continue
            if path != identity.MINION_KEYS or not root.names(path):
                root.remove(path)
        elif path == identity.MINION_KEYS:
            root.make_directory(path)
        else:
            root.write(path, b"", 0o644)


def refuse_identity(image: Image, staging: str) -> None:
    """Raise :class:`DisklessError` for what of the golden node's identity is left."""
    left = identity.found(staging, image.scrub, image.keep)
    if left:
        raise DisklessError(
            f"diskless:images:{image.name}: found the golden node's identity in the new version, "
            f"so it is not published: {', '.join(notes.folded(left))}"
        )


def become_version(image: Image, version: Version, newest: Version | None) -> Version:
    """Give the staging directory a version's name and place, and return the version.

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
        findings=notes.with_capabilities(version.findings or {}, there.capabilities),
    )
    describe(image, described)
    return described
