"""One sync: from the source into a staging directory, and by renames to a published version.

Killed anywhere, it leaves a staging directory that the next sync goes on with; a version that is
there is complete.
"""

from __future__ import annotations

import os
import shutil
import stat
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from salt_diskless import node
from salt_diskless.cluster import DisklessError, Image
from salt_diskless.disk import flush
from salt_diskless.image import identity, rsync
from salt_diskless.image.kernels import build_initramfs
from salt_diskless.image.listing import listing
from salt_diskless.image.needs import Need
from salt_diskless.image.packages import packages
from salt_diskless.image.progress import Progress
from salt_diskless.image.serving import choose, unserved
from salt_diskless.image.sources import ImageSource, RsyncSource, archive, source_of
from salt_diskless.image.versions import (
    Served,
    Version,
    changing,
    describe,
    describe_packages,
    latest,
    next_name,
    publish,
    published,
    versions,
)


@dataclass(frozen=True, slots=True)
class Synced:
    """What a sync did (or, in test mode, would do).

    old, new
        The published version, and the one that is published now or was made to be; ``new`` is None
        in test mode.
    changed
        Whether there is a new version, or would be.
    why
        Sentences: what differs, and which kernel.
    """

    old: str | None
    new: str | None
    changed: bool
    why: str


def sync(
    image: Image,
    needs: tuple[Need, ...] = (),
    *,
    publishes: bool = True,
    test: bool = False,
    report: Callable[[Progress], None] | None = None,
) -> Synced:
    """Bring an image up to its source: a new version, published, if the newest one differs. A
    published version that is older than that one is somebody's choice and stays.

    needs
        What its nodes need of the kernels that they boot.
    publishes
        Whether the new version is published; a newest version that never was waits for somebody
        who does.
    test
        Touch nothing.
    report
        Called with how far the copying is, now and then.

    Raises :class:`DisklessError`; what was published stays published then.
    """
    current = published(image)
    if image.source is None and current is not None:
        return Synced(current.name, current.name, False, "it has no source, so it stays")
    source = source_of(image)
    if test:
        would = _foretold(image, source, needs)
        newest = latest(image)
        if publishes and not would.changed and newest is not None and newest.published_at is None:
            return _differs(image, f"{newest.name} is complete, but was never published")
        return would
    with changing(image):
        _drop_incomplete(image)
        done = _known(image, source, needs)
        if done is None or done.changed:
            with source.opened() as opened:
                compared = done or _compared(image, source, opened)
                done = _taken(image, source, opened, compared, needs, report)
        newest = latest(image)
        if publishes and newest is not None and newest.published_at is None:
            publish(image, newest.name)
            return replace(done, new=newest.name, changed=True)
        return done


def _foretold(image: Image, source: ImageSource, needs: tuple[Need, ...]) -> Synced:
    """Return what a sync would do; nothing is touched."""
    known = _known(image, source, needs)
    if known is not None:
        return known
    if source.mark:  # To compare it would have to be unpacked.
        return _differs(image, f"{source.shown} is another one")
    with source.opened() as opened:
        return _compared(image, source, opened)


def _taken(
    image: Image,
    source: ImageSource,
    opened: RsyncSource,
    compared: Synced,
    needs: tuple[Need, ...],
    report: Callable[[Progress], None] | None,
) -> Synced:
    """Make a version of a source that differs."""
    newest = latest(image)
    if not compared.changed:
        if newest is not None and source.mark:
            # An archive that was made anew holds the same: the next run need not look into it.
            describe(image, replace(newest, mark=source.mark))
        return compared
    staging = _staging(image)
    sent = rsync.copy(image, opened, staging, newest.path if newest else None, report)
    kernels, which = choose(image, staging, needs)
    _complete(image, staging, kernels)
    _refuse_identity(image, staging)
    name = _version(image, staging, kernels, source, newest, sent)
    return replace(compared, new=name, why=f"{which}; from {source.shown}")


def _known(image: Image, source: ImageSource, needs: tuple[Need, ...]) -> Synced | None:
    """Return what a sync would do, where that can be told without a look into the source."""
    newest = latest(image)
    if newest is None:
        return _differs(image, f"the first version, from {source.shown}")
    if newest.scripts != node.digest():
        return _differs(image, "the boot scripts are newer")
    wanted = unserved(image, newest, needs)
    if wanted:
        return _differs(image, wanted)
    if source.mark and source.mark == newest.mark:
        return _same(image, source)
    return None


def _compared(image: Image, source: ImageSource, opened: RsyncSource) -> Synced:
    """Return what a sync would do; there is a version."""
    newest = latest(image)
    assert newest is not None
    changed = rsync.differences(image, opened, newest.path, _own_paths(newest))
    if changed:
        some = ", ".join(changed[:5]) + (", ..." if len(changed) > 5 else "")
        return _differs(image, f"{len(changed)} paths differ: {some}")
    return _same(image, source)


def _differs(image: Image, why: str) -> Synced:
    """Return that a new version is wanted: its name is left open."""
    current = published(image)
    return Synced(current.name if current else None, None, True, why)


def _same(image: Image, source: ImageSource) -> Synced:
    """Return that none is."""
    current, newest = published(image), latest(image)
    old, why = current.name if current else None, f"{source.shown} has not changed"
    if newest is not None and newest != current:
        why += f" since {newest.name}; {old} was published instead"
    return Synced(old, old, False, why)


def _staging(image: Image) -> str:
    """Return the staging directory, with what a killed sync has copied. What that one had linked is
    unlinked: rsync would give a file that is there its attributes in place, in the published
    version too."""
    path = f"{image.location}/.staging"
    os.makedirs(path, mode=0o755, exist_ok=True)
    for directory, names, files in os.walk(os.fsencode(path)):
        for name in (*names, *files):
            full = os.path.join(directory, name)
            status = os.lstat(full)
            if status.st_nlink > 1 and not stat.S_ISDIR(status.st_mode):
                os.unlink(full)
    return path


_MADE = (*identity.VOLATILE, identity.LOGS)


def _own_paths(version: Version) -> list[str]:
    """Return what the project put into a version beside what it took from the source."""
    scripts = (file.path for file in node.files())
    made = (kernel.initrd for kernel in version.kernels.values())
    return [*scripts, *made, *(f"{d}/x" for d in _MADE)]


def _complete(image: Image, staging: str, kernels: Mapping[str, Served]) -> None:
    """Make the copy bootable: mount points, identity's empty files, fstab, scripts, initramfs."""
    for path in identity.VOLATILE:
        os.makedirs(staging + path, exist_ok=True)
    for path in ("/tmp", "/var/tmp"):
        os.chmod(staging + path, 0o1777)
    os.makedirs(f"{staging}/var/log", exist_ok=True)
    for path in identity.EMPTIED:
        _put(staging, path, b"", 0o644)
    _put(staging, identity.FSTAB, identity.FSTAB_TEXT.encode(), 0o644)
    for file in node.files():
        _put(staging, file.path, file.content, file.mode)
    for release, kernel in kernels.items():
        build_initramfs(image, staging, release, kernel)


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
    directory = os.path.realpath(staging + os.path.dirname(path))
    if not f"{directory}/".startswith(f"{os.path.realpath(staging)}/"):
        raise DisklessError(f"{path}: found a link out of the golden root; make it a directory")
    return os.path.join(directory, os.path.basename(path))


def _refuse_identity(image: Image, staging: str) -> None:
    left = identity.found(staging, image.scrub)
    if left:
        raise DisklessError(
            f"diskless:images:{image.name}: found the golden node's identity in the new version, "
            f"so it is not published: {', '.join(left[:10])}"
        )


def _version(
    image: Image,
    staging: str,
    kernels: Mapping[str, Served],
    source: ImageSource,
    newest: Version | None,
    sent: int,
) -> str:
    """Make a version of the staging directory, and return its name."""
    os.makedirs(f"{image.location}/versions", mode=0o755, exist_ok=True)
    now = time.time()
    name = next_name(image, now)
    path = f"{image.location}/versions/{name}"
    os.chmod(staging, 0o755)
    held = listing(staging, newest.path if newest else None)
    version = Version(
        name=name,
        image=image.name,
        path=path,
        kernel=next(iter(kernels)),
        kernels=kernels,
        made=now,
        source=source.shown,
        scripts=node.digest(),
        mark=source.mark,
        listing=held.digest,
        bytes_total=held.total,
        bytes_new=held.new,
        bytes_sent=sent,
    )
    describe_packages(image, name, packages(image, staging))
    flush([staging])
    os.rename(staging, path)
    describe(image, version)
    return name


def _drop_incomplete(image: Image) -> None:
    """A tree that a kill left without metadata becomes the staging directory again; what was
    unpacked is not worth more than its archive."""
    if os.path.lexists(archive.place(image)):
        shutil.rmtree(archive.place(image))
    complete = {version.name for version in versions(image)}
    try:
        names = os.listdir(f"{image.location}/versions")
    except FileNotFoundError:
        return
    staging = f"{image.location}/.staging"
    for name in names:
        if name not in complete:
            if os.path.lexists(staging):
                shutil.rmtree(f"{image.location}/versions/{name}")
            else:
                os.rename(f"{image.location}/versions/{name}", staging)
