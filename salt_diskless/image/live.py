"""A version's tree made what another one is, while nodes run from it.

A node holds on to a file by its inode. So no file that is there is written to, and none is
unlinked: a new one is renamed over it, and the old one gets another name below
``<location>/aside``, on the same file system, until the nodes that may have had it have booted
again. Versions share inodes, so another version does not notice either.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shutil
import stat
import time
from collections.abc import Iterable, Iterator, Mapping, Set
from dataclasses import dataclass

from salt_diskless.cluster import Image
from salt_diskless.disk import exchange
from salt_diskless.files.beneath import Tree
from salt_diskless.image import listing, running

#: Programs start with the libraries that they need: these are replaced first.
_LIBRARY = b".so"


@dataclass(frozen=True, slots=True)
class Steps:
    """What stands between a tree and a newer one: paths in bytes, from the root of both.

    added, removed
        The uppermost paths: what lies below one comes and goes with it.
    replaced
        Files of another inode, and paths of another type.
    attributes
        Directories whose attributes differ.
    left
        What would be removed or replaced, and must stay as it is: nodes have something mounted
        on it or below it.
    """

    added: tuple[bytes, ...]
    removed: tuple[bytes, ...]
    replaced: tuple[bytes, ...]
    attributes: tuple[bytes, ...]
    left: tuple[bytes, ...]

    def __str__(self) -> str:
        counts = {
            "added": len(self.added),
            "replaced": len(self.replaced),
            "removed": len(self.removed),
        }
        return ", ".join(f"{count} {what}" for what, count in counts.items())


def steps(tree: str, newer: str, held: Iterable[str], own: Iterable[str] = ()) -> Steps:
    """Return what has to be done to ``tree``; nothing is touched.

    newer
        A tree whose unchanged files are hard links to those of ``tree``.
    held
        Paths from the root that have to keep their inode.
    own
        Paths of files that were written anew whether or not they differ.
    """
    with Tree(tree, links=False) as first, Tree(newer, links=False) as second:
        return _steps(first, second, held, own)


def _steps(first: Tree, second: Tree, held: Iterable[str], own: Iterable[str]) -> Steps:
    before, after = _contents(first), _contents(second)
    mounted = {os.fsencode(part) for path in held for part in (path, *_parents(path))}
    written = {os.fsencode(path) for path in own}
    replaced: list[bytes] = []
    attributes: list[bytes] = []
    left: list[bytes] = []
    for path in before.keys() & after.keys():
        (old, given), (new, wanted) = before[path], after[path]
        if given is not None and wanted is not None:
            if given != wanted:
                attributes.append(path)
        elif old.st_ino != new.st_ino and not (
            path in written and not listing.differ(path, first, old, second, new)
        ):
            (left if path in mounted else replaced).append(path)
    removed: list[bytes] = []
    for path in _uppermost(before.keys() - after.keys(), {*replaced, *left}):
        (left if path in mounted else removed).append(path)
    return Steps(
        added=tuple(_uppermost(after.keys() - before.keys(), {*replaced, *left})),
        removed=tuple(removed),
        replaced=tuple(sorted(replaced, key=lambda path: (_LIBRARY not in path, path))),
        attributes=tuple(sorted(attributes)),
        left=tuple(sorted(left)),
    )


def _contents(tree: Tree) -> dict[bytes, tuple[os.stat_result, _Attributes | None]]:
    """Return each path of a tree with lstat of it, and for a directory its attributes."""
    return {
        found.path: (
            found.status,
            _Attributes.of(found.full) if stat.S_ISDIR(found.status.st_mode) else None,
        )
        for found in tree.walk()
    }


def apply(steps: Steps, tree: str, newer: str, aside: str) -> None:
    """Do it: what is new first, then libraries, then the rest, then what goes.

    aside
        A directory on the same file system, which is made where it is needed. ``newer`` is used up.

    Killed anywhere, it leaves each path old or new, whole; the next one does the rest.
    """
    with contextlib.ExitStack() as trees:
        top, new = (trees.enter_context(Tree(path, links=False)) for path in (tree, newer))
        touched = {os.path.dirname(path) for path in (*steps.added, *steps.replaced)}
        touched |= {os.path.dirname(path) for path in steps.removed}
        # The renames change the directories' times, on both sides.
        wanted = {}
        for path in {*touched, *steps.attributes}:
            with new.at(path) as full:
                wanted[path] = _Attributes.of(full)
        for path in steps.added:
            new.rename(path, top, path)
        if steps.replaced or steps.removed:
            os.makedirs(aside, mode=0o700, exist_ok=True)
            _move_aside(steps, top, new, trees.enter_context(Tree(aside, links=False)))
        for path, attributes in sorted(wanted.items(), reverse=True):
            with top.at(path) as full:
                attributes.give(full)


def _move_aside(steps: Steps, top: Tree, new: Tree, old: Tree) -> None:
    """Bring in what is replaced, and take away what is removed; both go aside."""
    for path in (*steps.replaced, *steps.removed):
        old.make_directory(os.path.dirname(path), 0o700)
    for path in steps.replaced:
        with top.at(path) as there, new.at(path) as newer, old.at(path) as aside:
            _replace(there, newer, aside)
    for path in steps.removed:
        top.rename(path, old, path)


def _replace(path: bytes, new: bytes, aside: bytes) -> None:
    """Put ``new`` where ``path`` is, which goes aside; at no moment is there nothing, but where a
    directory is one of the two and the file system cannot exchange them."""
    if not (stat.S_ISDIR(os.lstat(path).st_mode) or stat.S_ISDIR(os.lstat(new).st_mode)):
        os.link(path, aside, follow_symlinks=False)
        os.rename(new, path)
        return
    try:
        exchange(path, new)
    except OSError as err:
        if err.errno not in (errno.EINVAL, errno.ENOSYS):
            raise
        os.rename(path, aside)
        os.rename(new, path)
    else:
        os.rename(new, aside)


def tidy(image: Image) -> None:
    """Remove what was moved aside and no node can have any more."""
    for name, stamps in asides(image).items():
        for stamp, nodes in stamps.items():
            if not nodes:
                shutil.rmtree(f"{directory(image, name)}/{stamp}")
        there = os.listdir(directory(image, name))
        for entry in there:
            if not entry.isdecimal() and entry.partition(".")[0] not in there:
                os.unlink(f"{directory(image, name)}/{entry}")
        with contextlib.suppress(OSError):
            os.rmdir(directory(image, name))


def asides(image: Image) -> dict[str, dict[int, list[str]]]:
    """Return for each version that was changed live when that was (nanoseconds since 1970), and
    which nodes may still have files that were moved aside then: those that booted it before."""
    found: dict[str, dict[int, list[str]]] = {}
    booted = running.booted(image)
    with contextlib.suppress(FileNotFoundError):
        for name in sorted(os.listdir(f"{image.location}/aside")):
            stamps = sorted(map(int, filter(str.isdecimal, os.listdir(directory(image, name)))))
            found[name] = {}
            for stamp in stamps:
                noted = _noted(image, name, stamp)
                found[name][stamp] = [
                    node
                    for node, when in booted.get(name, {}).items()
                    if when <= stamp or noted.get(node) == when
                ]
    return found


def stamp(image: Image, version: str) -> int:
    """Return a name for what a version's change moves aside: nanoseconds since 1970, and more than
    those of the changes before."""
    stamps = asides(image).get(version, {})
    return max([time.time_ns(), *(earlier + 1 for earlier in stamps)])


def note(image: Image, version: str, stamp: int) -> None:
    """Write down which boot each node of a version had its files from when it was changed. A node
    may have them until it has booted again, whatever the clock said at either time."""
    path = _note(image, version, stamp)
    os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
    with open(f"{path}.new", "w", encoding="utf-8") as stream:
        json.dump(running.booted(image).get(version, {}), stream)
    os.rename(f"{path}.new", path)


def _noted(image: Image, version: str, stamp: int) -> dict[str, int]:
    try:
        with open(_note(image, version, stamp), encoding="utf-8") as stream:
            noted = json.load(stream)
    except (FileNotFoundError, ValueError):
        return {}  # Of a version that was changed by an older release.
    return noted if isinstance(noted, dict) else {}


def _note(image: Image, version: str, stamp: int) -> str:
    return f"{directory(image, version)}/{stamp}.booted"


def directory(image: Image, version: str) -> str:
    """Return where the files of a version that were moved aside are."""
    return f"{image.location}/aside/{version}"


@dataclass(frozen=True, slots=True)
class _Attributes:
    """What a directory is beside what is in it."""

    mode: int
    owner: tuple[int, int]
    extended: Mapping[str, bytes]
    modified: int

    @classmethod
    def of(cls, path: bytes) -> _Attributes:
        status = os.lstat(path)
        owner = (status.st_uid, status.st_gid)
        mode = stat.S_IMODE(status.st_mode)
        return cls(mode, owner, listing.attributes(path), status.st_mtime_ns)

    def give(self, path: bytes) -> None:
        there = _Attributes.of(path)
        if there != self:
            os.chown(path, *self.owner)
            os.chmod(path, self.mode)
            for name in there.extended.keys() - self.extended.keys():
                os.removexattr(path, name)
            for name, value in self.extended.items():
                os.setxattr(path, name, value)
        os.utime(path, ns=(self.modified, self.modified))


def _uppermost(paths: Set[bytes], others: Set[bytes]) -> Iterator[bytes]:
    """Yield those of ``paths``, sorted, that lie below none of them and none of ``others``."""
    for path in sorted(paths):
        above = os.path.dirname(path)
        while above != b"/" and above not in paths and above not in others:
            above = os.path.dirname(above)
        if above == b"/":
            yield path


def _parents(path: str) -> Iterator[str]:
    """Yield the directories above a path, without the root."""
    while (path := os.path.dirname(path)) != "/":
        yield path
