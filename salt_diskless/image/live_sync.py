"""The published version is brought up to the source itself, under the nodes that run from it."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Callable, Iterable
from dataclasses import replace

from salt_diskless import node
from salt_diskless.cluster import DisklessError, Image, Node
from salt_diskless.disk import flush
from salt_diskless.files.beneath import Tree
from salt_diskless.image import (
    identity,
    initramfs,
    left_out,
    live,
    mounts,
    notes,
    rsync,
    squashfs,
    staging,
)
from salt_diskless.image.kernels import MODULES
from salt_diskless.image.listing import listing, shown
from salt_diskless.image.look import of_source, of_tree
from salt_diskless.image.needs import Need
from salt_diskless.image.packages import packages
from salt_diskless.image.progress import Progress
from salt_diskless.image.serving import choose
from salt_diskless.image.sources import ImageSource, RsyncSource, source_of
from salt_diskless.image.sync import Synced, compared, copied, foretold, known, looked, noted
from salt_diskless.image.versions import (
    Version,
    changing,
    describe,
    describe_packages,
    find,
    latest,
    older_than,
    publish,
    require_published,
)


def sync_live(
    image: Image,
    nodes: Iterable[Node],
    needs: tuple[Need, ...] = (),
    *,
    roots: notes.Roots = notes.NOBODY,
    test: bool = False,
    again: bool = False,
    report: Callable[[Progress], None] | None = None,
) -> Synced:
    """Bring the published version up to the source, in place.

    nodes
        Those that boot from the image: what is an entry of theirs is left as it is.

    The rest is as for :func:`salt_diskless.image.sync.sync`. Killed anywhere, it leaves every path
    as it was or as it will be; the next one does the rest.
    """
    with contextlib.nullcontext() if test else changing(image):
        current = require_published(image)
        _require_live(image, current)
        source, held = source_of(image), _held(nodes, current)
        if test:
            return foretold(image, source, needs, again, held)
        staging.drop_incomplete(image)
        done = known(image, source, needs, again)
        if done is None or done.changed:
            with source.opened() as opened:
                done = _changed(image, source, opened, current, held, needs, roots, done, report)
        live.tidy(image)
        newest = latest(image)
    return done if done.findings or not newest else replace(done, findings=newest.findings or {})


def _require_live(image: Image, current: Version) -> None:
    if not image.live:
        raise DisklessError(
            f"diskless:images:{image.name}:live: found false, so its nodes keep what they have "
            "read of a version for an hour; set it to true, apply, boot them again, and sync live "
            "then"
        )
    newest = latest(image)
    if newest is not None and newest != current:
        raise DisklessError(
            f"diskless:images:{image.name}: found {current.name} published and not the newest "
            f"version, {newest.name}; publish that one, or sync without live"
        )


def _held(nodes: Iterable[Node], version: Version) -> list[str]:
    """Return the paths of a version that running nodes have mounted something on, or may have to
    load a driver from."""
    settings = {id(node.settings): node.settings for node in nodes}.values()
    paths = {entry.path for one in settings for entry in one.entries}
    with Tree(version.path) as root:
        for directory in MODULES:
            paths |= {f"{directory}/{name}" for name in root.names(directory)}
    return sorted(paths)


def _changed(
    image: Image,
    source: ImageSource,
    opened: RsyncSource,
    current: Version,
    held: list[str],
    needs: tuple[Need, ...],
    roots: notes.Roots,
    done: Synced | None,
    report: Callable[[Progress], None] | None,
) -> Synced:
    """Make the version what the source is, where that differs or may."""
    seen = looked(image, opened, held)
    found = seen.found
    done = done or compared(image, source, found)
    if not done.changed:
        if source.mark:
            describe(image, replace(current, mark=source.mark))
        return replace(done, findings=noted(image, seen))
    fstab = left_out.fstab(seen.source)
    lines = mounts.wanted_lines(image, fstab)
    tree, sent = copied(image, seen.source, found, report, held)
    findings = {**of_source(image, seen, fstab), **of_tree(image, tree)}
    notes.refuse_secrets(image, findings, roots, "the published version")
    kernels, which = choose(image, tree, needs)
    tool = initramfs.tool_of(image, tree)
    anew = _boots_anew(current, found) or tool != current.initramfs
    settled = staging.complete(image, tree, kernels, tool, None if anew else current, lines)
    staging.refuse_identity(image, tree)
    flush([tree])
    now = live.stamp(image, current.name)
    own = [*staging.written(kernels, tool), *identity.places(tree), identity.FSTAB]
    steps = live.steps(current.path, tree, held, own)
    # From here on a kill leaves it said that the version is being changed.
    begun = replace(current, changed_live=now / 1e9, listing="", squashfs=None)
    describe(image, begun)
    squashfs.drop(image, current.name)
    aside = live.directory(image, current.name)
    # Old programs that some are to be kept from: nobody but root gets there.
    os.makedirs(os.path.dirname(aside), mode=0o700, exist_ok=True)
    live.note(image, current.name, now)
    live.apply(steps, current.path, tree, f"{aside}/{now}")
    shutil.rmtree(tree)
    flush([current.path])
    older = older_than(image, current)
    there = listing(current.path, older[-1].path if older else None)
    describe_packages(image, current.name, packages(image, current.path))
    finished = replace(
        begun,
        kernel=next(iter(kernels)),
        kernels=kernels,
        scripts=node.digest(),
        initramfs=tool,
        mark=source.mark,
        listing=there.digest,
        bytes_total=there.total,
        bytes_new=there.new,
        bytes_sent=sent,
        findings=notes.with_capabilities(findings, there.capabilities),
        fstab=image.fstab,
    )
    describe(image, finished)
    why = f"{current.name} was changed in place: {steps}. {which}; from {source.shown}"
    if steps.left:
        why += f". Left for the next version: {', '.join(map(shown, steps.left[:10]))}"
    why = ". ".join([why, *settled])
    return replace(done, new=current.name, why=why, findings=finished.findings or {})


#: Below here is what makes an initramfs what it is.
_OF_INITRAMFS = (
    *("/boot/", *(f"{directory}/" for directory in MODULES)),
    *("/etc/initramfs-tools/", "/usr/share/initramfs-tools/"),
    *("/etc/dracut.conf", "/usr/lib/dracut/"),
    *("/etc/modprobe.d/", "/lib/modprobe.d/", "/usr/lib/modprobe.d/"),
)


def _boots_anew(current: Version, found: rsync.Difference) -> bool:
    """Return whether a difference is one for the initramfs too. It is not built anew for each
    library that is in it: nodes that run have no use for it."""
    changed = any(f"{path}/".startswith(_OF_INITRAMFS) for path in found.paths)
    return changed or current.scripts != node.digest()


def freeze(image: Image, files: squashfs.Wanted = frozenset()) -> Synced:
    """Make a version of the published one as it was changed in place, and publish it.

    files
        As for :func:`salt_diskless.image.sync.sync`.
    """
    with changing(image):
        staging.drop_incomplete(image)
        current = require_published(image)
        if current.changed_live is None:
            why = f"{current.name} has never been changed in place"
            return Synced(current.name, current.name, False, why, current.findings or {})
        if not current.listing:
            raise DisklessError(
                f"diskless:images:{image.name}: found a change of {current.name} in place that was "
                "not finished; finish it first (salt-call diskless_image.sync live=True)"
            )
        newest = latest(image)
        if newest and newest.published_at is None and newest.listing == current.listing:
            name = newest.name  # It is the copy of a freeze that was killed.
        else:
            name = _frozen(image, current)
        squashfs.have(image, find(image, name), files)
        publish(image, name)
    why = f"{current.name} as it was changed in place"
    return Synced(current.name, name, True, why, current.findings or {})


def _frozen(image: Image, current: Version) -> str:
    """Make a version that shares every file with the published one, and return its name."""
    tree = staging.directory(image)
    if os.path.lexists(tree):
        shutil.rmtree(tree)
    staging.copied(current.path, tree)
    frozen = replace(current, changed_live=None, published_at=None, bytes_sent=0, squashfs=None)
    return staging.become_version(image, frozen, current).name
