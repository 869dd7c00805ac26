"""One sync: from the source into a staging directory, and by renames to a published version.

Killed anywhere, it leaves a staging directory that the next sync goes on with; a version that is
there is complete.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from salt_diskless import node
from salt_diskless.cluster import Image
from salt_diskless.files.beneath import Tree
from salt_diskless.image import initramfs, links, rsync, space, squashfs, staging
from salt_diskless.image.needs import Need
from salt_diskless.image.progress import Progress
from salt_diskless.image.serving import choose, unserved
from salt_diskless.image.sources import ImageSource, RsyncSource, source_of
from salt_diskless.image.versions import (
    Version,
    changing,
    describe,
    latest,
    publish,
    published,
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
    files: squashfs.Wanted = frozenset(),
    publishes: bool = True,
    test: bool = False,
    again: bool = False,
    report: Callable[[Progress], None] | None = None,
) -> Synced:
    """Bring an image up to its source: a new version, published, if the newest one differs. A
    published version that is older than that one is somebody's choice and stays.

    needs
        What its nodes need of the kernels that they boot.
    files
        Which versions its nodes boot as one file: :func:`salt_diskless.image.squashfs.wanted`.
    publishes
        Whether the new version is published; a newest version that never was waits for somebody
        who does.
    test
        Touch nothing.
    again
        Take the source anew even though it looks the same from outside: a mirror has updates that
        the description of a bootstrap does not tell.
    report
        Called with how far the copying is, now and then.

    Raises :class:`DisklessError`; what was published stays published then.
    """
    current = published(image)
    if image.source is None and current is not None:
        stays = Synced(current.name, current.name, False, "it has no source, so it stays")
        with contextlib.nullcontext() if test else changing(image):
            return _with_files(image, files, publishes, stays, test)
    source = source_of(image)
    if test:
        would = foretold(image, source, needs, again)
        newest = latest(image)
        if publishes and not would.changed and newest is not None and newest.published_at is None:
            return differs(image, f"{newest.name} is complete, but was never published")
        return would if would.changed else _with_files(image, files, publishes, would, test)
    with changing(image):
        staging.drop_incomplete(image)
        done = known(image, source, needs, again)
        if done is None or done.changed:
            with source.opened() as opened:
                done = _taken(image, source, opened, done, needs, report)
        done = _with_files(image, files, publishes, done, test)
        newest = latest(image)
        if publishes and newest is not None and newest.published_at is None:
            publish(image, newest.name)
            return replace(done, new=newest.name, changed=True)
        return done


def _with_files(
    image: Image, files: squashfs.Wanted, publishes: bool, done: Synced, test: bool
) -> Synced:
    """Make the files that nodes boot and that are missing, before their version is published."""
    lacking = squashfs.lacking(image, files, publishes)
    if not lacking:
        return done
    if not test:
        for version in lacking:
            squashfs.make(image, version)
    names = ", ".join(version.name for version in lacking)
    will = "would be" if test else "is"
    return replace(done, changed=True, why=f"{done.why}; {names} {will} made one file of squashfs")


def foretold(
    image: Image,
    source: ImageSource,
    needs: tuple[Need, ...],
    again: bool,
    held: Iterable[str] = (),
) -> Synced:
    """Return what a sync would do; nothing is touched."""
    done = known(image, source, needs, again)
    if done is not None:
        return done
    if source.mark:  # To compare it would have to be unpacked.
        what = "would be taken anew" if again else "is another one"
        return differs(image, f"{source.shown} {what}")
    with source.opened() as opened:
        return compared(image, source, difference(image, opened, held))


def _taken(
    image: Image,
    source: ImageSource,
    opened: RsyncSource,
    done: Synced | None,
    needs: tuple[Need, ...],
    report: Callable[[Progress], None] | None,
) -> Synced:
    """Make a version of a source that differs, or may."""
    newest, found = latest(image), None
    if done is None:
        found = difference(image, opened)
        done = compared(image, source, found)
    if not done.changed:
        if newest is not None and source.mark:
            # An archive that was made anew holds the same: the next run need not look into it.
            describe(image, replace(newest, mark=source.mark))
        return done
    tree, sent = copied(image, opened, found or difference(image, opened), report)
    kernels, which = choose(image, tree, needs)
    tool = initramfs.tool_of(image, tree)
    notes = staging.complete(image, tree, kernels, tool)
    staging.refuse_identity(image, tree)
    version = Version(
        name="",
        image=image.name,
        path=tree,
        kernel=next(iter(kernels)),
        kernels=kernels,
        made=0,
        source=source.shown,
        scripts=node.digest(),
        mark=source.mark,
        bytes_sent=sent,
        initramfs=tool,
    )
    name = staging.become_version(image, version, newest)
    why = ". ".join([f"{which}; from {source.shown}", *notes])
    return replace(done, new=name, why=why)


def copied(
    image: Image,
    opened: RsyncSource,
    found: rsync.Difference,
    report: Callable[[Progress], None] | None,
    held: Iterable[str] = (),
) -> tuple[str, int]:
    """Copy the source into the staging directory, and return that and how many bytes were sent.

    found
        In what the source differs from the newest version.
    held
        Paths that were left out of account for that.
    """
    newest, tree = latest(image), staging.prepared(image)
    space.require(image, found)
    if newest is None:
        sent = rsync.copy(image, opened, tree, None, report)
    else:
        linked = staging.linked(image, newest, found, held)
        shares = newest.path if staging.is_safe_to_share(newest, found) else None
        sent = rsync.copy(image, opened, tree, shares, report, existing_stays=linked)
    links.require(image, tree)
    return tree, sent


def known(image: Image, source: ImageSource, needs: tuple[Need, ...], again: bool) -> Synced | None:
    """Return what a sync would do, where that can be told without a look into the source."""
    newest = latest(image)
    if newest is None:
        return differs(image, f"the first version, from {source.shown}")
    if newest.scripts != node.digest():
        return differs(image, "the boot scripts are newer")
    if not newest.listing:
        return differs(image, f"a change of {newest.name} in place was not finished")
    wanted = unserved(image, newest, needs)
    if wanted:
        return differs(image, wanted)
    if source.mark and source.mark == newest.mark and not again:
        return same(image, source)
    return None


def difference(image: Image, opened: RsyncSource, held: Iterable[str] = ()) -> rsync.Difference:
    """Return in what the source differs from the newest version; where there is none, from what a
    killed sync has left.

    held
        Paths of it that stay as they are.
    """
    newest = latest(image)
    if newest is None:
        return rsync.difference(image, opened, staging.prepared(image), ())
    own, kept = staging.own_paths(newest), list[str]()
    with Tree(newest.path) as root:
        for path in held:
            (kept if root.is_directory(path) else own).append(path)
    return rsync.difference(image, opened, newest.path, own, kept)


def compared(image: Image, source: ImageSource, found: rsync.Difference) -> Synced:
    """Return what a sync would do of which this is the difference."""
    if found.paths:
        some = ", ".join(found.paths[:5]) + (", ..." if len(found.paths) > 5 else "")
        return differs(image, f"{len(found.paths)} paths differ: {some}")
    return same(image, source)


def differs(image: Image, why: str) -> Synced:
    """Return that a new version is wanted: its name is left open."""
    current = published(image)
    return Synced(current.name if current else None, None, True, why)


def same(image: Image, source: ImageSource) -> Synced:
    """Return that none is."""
    current, newest = published(image), latest(image)
    old, why = current.name if current else None, f"{source.shown} has not changed"
    if newest is not None and newest != current:
        why += f" since {newest.name}; {old} was published instead"
    return Synced(old, old, False, why)
