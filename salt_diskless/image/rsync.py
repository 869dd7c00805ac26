"""rsync: one call that copies, one that only says what differs; its exit codes in words."""

from __future__ import annotations

import contextlib
import os
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from salt_diskless.cluster import DisklessError, Image
from salt_diskless.command import CommandFailed, run
from salt_diskless.image import identity, rsync_reasons
from salt_diskless.image.progress import Progress, parse, sent
from salt_diskless.image.sources import RsyncSource

#: Seconds between two reports of progress.
REPORTS = 0.5

_COMMON = (
    "--archive",
    "--hard-links",
    "--acls",
    "--xattrs",
    "--sparse",
    "--numeric-ids",
    "--one-file-system",
    "--delete",
    # Times to the nanosecond: a file that is changed twice in a second is not taken for the same.
    "--modify-window=-1",
)

#: A line of what differs (rsync(1), --itemize-changes, and the format below): what happens, to a
#: file or another type, its size, its name. The root itself is no difference.
_ITEM = re.compile(r"([<>ch.*])(\S)(\S*) +(\d+) (?!\./$)(.+)", re.DOTALL)
#: How it names a mount point (rsync(1), --info=mount).
_MOUNT = re.compile(r"\[\w+\] skipping mount-point dir (.+)")
#: How rsync shows a byte that cannot be printed (rsync(1), --8-bit-output).
_ESCAPED = re.compile(rb"\\#([0-7]{3})")
#: What files are rounded up to on most file systems.
_BLOCK = 4096

#: EXIT VALUES of rsync(1). 24 is no error: a running machine's files come and go.
_OK = (0, 24)


def copy(
    image: Image,
    source: RsyncSource,
    destination: str,
    link: str | None,
    report: Callable[[Progress], None] | None = None,
    *,
    existing_stays: bool = False,
) -> int:
    """Copy the source into ``destination``, without what is of one machine only, and return how
    many bytes that took to send.

    link
        A tree whose unchanged files become hard links, or None.
    report
        Called with how far it is, now and then.
    existing_stays
        Whether what is in ``destination`` is not touched (directories are): it may be ``link``'s.
    """
    files, told = 0, 0.0

    def each(line: str) -> None:
        nonlocal files, told
        progress = parse(line, files)
        if progress is not None:
            files = progress.files
            if report is not None and time.monotonic() - told >= REPORTS:
                told = time.monotonic()
                report(progress)

    trees = [*([link] if link else []), *source.links]
    more = [f"--link-dest={tree}" for tree in trees]
    more += ["--info=progress2,stats2", "--outbuf=N"]
    more += ["--ignore-existing"] if existing_stays else []
    return sent(_rsync(image, source, destination, more, each=each))


@dataclass(frozen=True, slots=True)
class Difference:
    """In what a source differs from a tree.

    paths
        From the root, for people: a byte that cannot be printed is escaped.
    bytes
        What the files among them take on the disk of whoever copies them.
    new
        Those of them that the tree has not.
    links
        Whether one of them is to be a hard link of another path.
    mounts
        Where other file systems are mounted in the source, those that are taken among them.
    """

    paths: tuple[str, ...]
    bytes: int
    new: frozenset[str]
    links: bool
    mounts: tuple[str, ...] = ()


def name(path: str) -> bytes:
    """Return a path of a :class:`Difference` as it is on the disk."""
    return _ESCAPED.sub(lambda match: bytes([int(match[1], 8)]), os.fsencode(path))


def difference(
    image: Image,
    source: RsyncSource,
    tree: str,
    own: Sequence[str],
    kept: Sequence[str] = (),
) -> Difference:
    """Return in what the source differs from a version.

    own
        Paths from the version's root that the project put there itself.
    kept
        Paths of it whose lack in the source is no difference.
    """
    more = ["--dry-run", "--itemize-changes", "--out-format=%i %l %n", "--omit-dir-times"]
    # Twice: the mount points are left out too, and so are named.
    more += ["--one-file-system", "--info=mount"]
    paths, total, new, links = [], 0, set(), False
    lines = _rsync(image, source, tree, more, own, kept).splitlines()
    mounts = {f"/{match[1]}" for match in map(_MOUNT.fullmatch, lines) if match}
    without = {*identity.VOLATILE, *identity.RUNTIME}
    not_removed = mounts | _above(own)
    for line in lines:
        match = _ITEM.fullmatch(line)
        if match is None:
            continue
        path = "/" + match[5].rstrip("/")
        if path in without or (match[1] == "*" and path in not_removed):
            continue
        paths.append(path)
        if match[2] == "f" and match[1] != "h":
            total += _on_disk(source, path, int(match[4]))
        if "+" in match[3]:
            new.add(path)
        links = links or match[1] == "h"
    points = sorted(os.fsdecode(name(path)) for path in mounts)
    return Difference(tuple(paths), total, frozenset(new), links, tuple(points))


def _on_disk(source: RsyncSource, path: str, size: int) -> int:
    """Return what a file takes, holes left out where that can be seen: for a machine it cannot. A
    file that the new version may share takes nothing more."""
    if source.links:
        return 0
    if source.directory is not None:
        with contextlib.suppress(OSError):
            size = min(size, os.lstat(source.directory + path).st_blocks * 512)
    return -(-size // _BLOCK) * _BLOCK


def _rsync(
    image: Image,
    source: RsyncSource,
    destination: str,
    more: Sequence[str],
    own: Sequence[str] = (),
    kept: Sequence[str] = (),
    each: Callable[[str], None] | None = None,
) -> str:
    argv = ["rsync", *_COMMON, *more, *source.options]
    argv += [f"--filter=- {path}" for path in own]
    argv += [f"--filter=P {path}" for path in sorted({*kept, *_above(kept)})]
    argv += [f"--filter=H {pattern}" for pattern in image.exclude]
    argv += identity.rsync_filter(image.scrub, image.keep)
    argv += [*source.arguments, f"{destination}/"]
    try:
        return run(argv, ok=_OK, ends_with_us=True, each=each).stdout
    except CommandFailed as err:
        if err.result is None:
            raise
        code = err.result.code
        why = rsync_reasons.reason(code, err.result.stderr)
        said = "\n".join(err.result.stderr.strip().splitlines()[-6:])
        raise DisklessError(
            f"diskless:images:{image.name}: syncing from {source.shown}: {why} (rsync's {code}). "
            f"What is published stays as it is. {said}"
        ) from err


def _above(paths: Sequence[str]) -> set[str]:
    """Return the directories above ``paths``, which may be the project's own too."""
    above = set()
    for path in paths:
        parts = path.split("/")
        above |= {"/".join(parts[:depth]) for depth in range(2, len(parts))}
    return above
