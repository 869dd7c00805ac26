"""One sync: from the source into a staging directory, and by renames to a published version.

Killed anywhere, it leaves a staging directory that the next sync goes on with; a version that is
there is complete.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace

from salt_diskless import node
from salt_diskless.cluster import Image
from salt_diskless.files.beneath import Tree
from salt_diskless.image import (
    initramfs,
    left_out,
    links,
    mounts,
    notes,
    rsync,
    space,
    squashfs,
    staging,
)
from salt_diskless.image.listing import listing
from salt_diskless.image.look import Seen, look, of_source, of_tree
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
    findings
        What the newest version leaves out, replaces or cannot keep
        (:mod:`salt_diskless.image.notes`).
    """

    old: str | None
    new: str | None
    changed: bool
    why: str
    findings: notes.Findings = field(default_factory=dict)


def sync(
    image: Image,
    needs: tuple[Need, ...] = (),
    *,
    files: squashfs.Wanted = frozenset(),
    roots: notes.Roots = notes.NOBODY,
    publishes: bool = True,
    test: bool = False,
    again: bool = False,
    report: Callable[[Progress], None] | None = None,
    take_turn: Callable[[], None] = lambda: None,
) -> Synced:
    """Bring an image up to its source: a new version, published, if the newest one differs. A
    published version that is older than that one is somebody's choice and stays.

    needs
        What its nodes need of the kernels that they boot.
    files
        Which versions its nodes boot as one file: :func:`salt_diskless.image.squashfs.wanted`.
    roots
        Which nodes boot it in which root mode: :func:`salt_diskless.image.needs.roots_of`.
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
    take_turn
        Called under the image's lock before a version is published; raises to refuse that.

    Raises :class:`DisklessError`; what was published stays published then.
    """
    current = published(image)
    if image.source is None and current is not None:
        stays = Synced(current.name, current.name, False, "it has no source, so it stays")
        with contextlib.nullcontext() if test else changing(image):
            return _finished(image, files, roots, publishes, stays, test)
    source = source_of(image)
    if test:
        would = foretold(image, source, needs, again)
        newest = latest(image)
        if publishes and not would.changed and newest is not None and newest.published_at is None:
            return differs(image, f"{newest.name} is complete, but was never published")
        return would if would.changed else _finished(image, files, roots, publishes, would, test)
    with changing(image):
        staging.drop_incomplete(image)
        done = known(image, source, needs, again)
        if done is None or done.changed:
            with source.opened() as opened:
                done = _taken(image, source, opened, done, needs, roots, report)
        done = _finished(image, files, roots, publishes, done, test)
        newest = latest(image)
        if publishes and newest is not None and newest.published_at is None:
            take_turn()
            publish(image, newest.name)
            return replace(done, new=newest.name, changed=True)
        return done


def _finished(
    image: Image,
    files: squashfs.Wanted,
    roots: notes.Roots,
    publishes: bool,
    done: Synced,
    test: bool,
) -> Synced:
    """Make the files that nodes boot and that are missing, before their version is published, and
    return what is to be said of the newest version."""
    done = _with_findings(image, done, test)
    lacking = squashfs.lacking(image, files, publishes)
    for version in lacking:
        notes.refuse_secrets(image, version.findings or {}, roots, version.name)
        if not test:
            squashfs.make(image, version)
    if not lacking:
        return done
    names = ", ".join(version.name for version in lacking)
    will = "would be" if test else "is"
    return replace(done, changed=True, why=f"{done.why}; {names} {will} made one file of squashfs")


def _with_findings(image: Image, done: Synced, test: bool) -> Synced:
    """Look into a newest version that was made before findings were noted."""
    newest = latest(image)
    if newest is None:
        return done
    if newest.findings is None:
        findings = {**of_tree(image, newest.path), **done.findings}
        programs = listing(newest.path).capabilities
        newest = replace(newest, findings=notes.with_capabilities(findings, programs))
        if not test:
            describe(image, newest)
    return done if done.findings else replace(done, findings=newest.findings or {})


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
        seen = looked(image, opened, held)
        return replace(compared(image, source, seen.found), findings=noted(image, seen))


def looked(image: Image, opened: RsyncSource, held: Iterable[str] = ()) -> Seen:
    """Look at a source: in what it differs from the newest version, and what is mounted in it."""
    kept = tuple(held)
    return look(image, opened, lambda one: difference(image, one, kept))


def noted(image: Image, seen: Seen) -> notes.Findings:
    """Return what is to be said of a source that was looked at and of the newest version of it. To
    look for each path of a machine takes one more connection, which only a new version is worth."""
    newest = latest(image)
    known_before = dict(newest.findings or {}) if newest is not None else {}
    if seen.source.directory is None:
        mounted = {"mounts_left": seen.chosen.left, "mounts_taken": seen.chosen.taken}
        return known_before | {name: notes.folded(paths) for name, paths in mounted.items()}
    of_tree_before = {name: known_before[name] for name in notes.OF_TREE if name in known_before}
    return of_tree_before | of_source(image, seen, left_out.fstab(seen.source))


def _taken(
    image: Image,
    source: ImageSource,
    opened: RsyncSource,
    done: Synced | None,
    needs: tuple[Need, ...],
    roots: notes.Roots,
    report: Callable[[Progress], None] | None,
) -> Synced:
    """Make a version of a source that differs, or may."""
    newest, seen = latest(image), looked(image, opened)
    done = done or compared(image, source, seen.found)
    if not done.changed:
        if newest is not None and source.mark:
            # An archive that was made anew holds the same: the next run need not look into it.
            describe(image, replace(newest, mark=source.mark))
        return replace(done, findings=noted(image, seen))
    fstab = left_out.fstab(seen.source)
    lines = mounts.wanted_lines(image, fstab)
    tree, sent = copied(image, seen.source, seen.found, report)
    findings = {**of_source(image, seen, fstab), **of_tree(image, tree)}
    notes.refuse_secrets(image, findings, roots, "the new version")
    kernels, which = choose(image, tree, needs)
    tool = initramfs.tool_of(image, tree)
    settled = staging.complete(image, tree, kernels, tool, fstab=lines)
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
        findings=findings,
        fstab=image.fstab,
    )
    made = staging.become_version(image, version, newest)
    why = ". ".join([f"{which}; from {source.shown}", *settled])
    return replace(done, new=made.name, why=why, findings=made.findings or {})


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
    if newest.fstab != image.fstab:
        return differs(image, "other lines of fstab are wanted")
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
    own, kept = staging.own_paths(newest), mounts.points(image)
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
