"""Which paths of a source a sync leaves out because of the table of machine identity, and the
source's fstab, which nodes do not get."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Mapping

from salt_diskless.cluster import Image
from salt_diskless.command import run
from salt_diskless.files.beneath import Tree
from salt_diskless.image import identity, patterns, rsync
from salt_diskless.image.machine_identity import Kind, rows
from salt_diskless.image.sources import RsyncSource

#: The kinds of paths that are left out, by the name that a version's metadata has for them.
_KINDS = {"private": Kind.PRIVATE, "node": Kind.NODE, "machine": Kind.MACHINE}
#: rsync(1): files came and went, or there was no such file.
_OK = (0, 23, 24)
#: As much of an fstab as is read.
_LARGEST = 1 << 20


def left_out(image: Image, source: RsyncSource) -> Mapping[str, list[str]]:
    """Return the paths that are left out of a version, sorted, by the name of their kind."""
    wanted = {
        name: [pattern for row in rows(kind) for pattern in row.patterns]
        for name, kind in _KINDS.items()
    }
    wanted["scrub"] = list(image.scrub)
    every = [pattern for of_kind in wanted.values() for pattern in of_kind]
    matches = _matching(source, every)
    return {
        name: sorted(
            {
                path
                for pattern in of_kind
                for path in matches.get(pattern, ())
                if not any(patterns.matches(path, kept) for kept in image.keep)
            }
        )
        for name, of_kind in wanted.items()
    }


def _matching(source: RsyncSource, every: Iterable[str]) -> dict[str, list[str]]:
    if source.directory is not None:
        with Tree(source.directory) as root:
            return patterns.matching(root, every)
    names = _names(source, every)
    return {
        pattern: [path for path in names if patterns.matches(path, pattern)] for pattern in every
    }


def _names(source: RsyncSource, every: Iterable[str]) -> list[str]:
    """Return the paths of a machine that match a pattern, and some of the directories above them:
    rsync is all that its key lets the boot server run there."""
    rules = {f"+ {path}/": None for pattern in every for path in patterns.above(pattern)}
    rules |= {f"+ {pattern}": None for pattern in every}
    with tempfile.TemporaryDirectory() as empty:
        argv = ["rsync", "-rl", "--dry-run", "--out-format=%n", *source.options]
        argv += [f"--filter={rule}" for rule in (*rules, "- *")]
        lines = run([*argv, "--", source.location, f"{empty}/"], ok=_OK).stdout.splitlines()
    named = (line.split(" -> ")[0].rstrip("/") for line in lines if line != "./")
    return ["/" + os.fsdecode(rsync.name(path)) for path in named]


def fstab(source: RsyncSource) -> str:
    """Return the source's fstab, or nothing where it has none."""
    if source.directory is not None:
        with Tree(source.directory) as root:
            return (root.read(identity.FSTAB, _LARGEST) or b"").decode(errors="replace")
    with tempfile.TemporaryDirectory() as directory:
        origin = source.location.rstrip("/") + identity.FSTAB
        run(["rsync", *source.options, "--", origin, f"{directory}/fstab"], ok=_OK)
        with Tree(directory) as root:
            return (root.read("/fstab", _LARGEST) or b"").decode(errors="replace")
