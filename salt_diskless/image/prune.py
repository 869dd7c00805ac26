"""Removing old versions: never one that somebody boots, or that a running node may have mounted."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterable
from dataclasses import dataclass

from salt_diskless.cluster import DisklessError, Image, Node
from salt_diskless.cluster.ranges import fold
from salt_diskless.disk import read_untrusted
from salt_diskless.image.versions import NAME, changing, forget, published, versions

#: Where a node notes in its snapshot which version it has mounted.
BOOTED = ".diskless/booted"


@dataclass(frozen=True, slots=True)
class Pruned:
    """Names of the versions that were removed (or would be), and of the others why they stay."""

    removed: tuple[str, ...]
    kept: dict[str, str]


def prune(image: Image, nodes: Iterable[Node], keep: int, *, test: bool = False) -> Pruned:
    """Remove the versions of an image that nobody needs.

    nodes
        Those that boot from the image.
    keep
        How many of the newest versions stay whatever else.
    test
        Touch nothing.

    Killed anywhere, it leaves nothing that counts as a version; the next sync makes use of it.
    """
    if keep < 1:
        raise DisklessError(f"keep: found {keep}; give how many of the newest versions stay")
    with contextlib.nullcontext() if test else changing(image):
        there = [version.name for version in versions(image)]
        reasons = _reasons(image, nodes, there[-keep:])
        removed = tuple(name for name in there if name not in reasons)
        for name in () if test else removed:
            forget(image, name)
            shutil.rmtree(f"{image.location}/versions/{name}")
    return Pruned(removed, {name: reasons[name] for name in there if name in reasons})


def _reasons(image: Image, nodes: Iterable[Node], newest: Iterable[str]) -> dict[str, str]:
    """Return why a version stays, the best reason of each."""
    reasons = {name: "one of the newest" for name in newest}
    booted: dict[str, list[str]] = {}
    for name, version in _booted(image):
        booted.setdefault(version, []).append(name)
    for version, names in booted.items():
        reasons[version] = f"{fold(names)} booted it last, and may have it mounted"
    pinned: dict[str, list[str]] = {}
    for node in nodes:
        if node.settings.version is not None:
            pinned.setdefault(node.settings.version, []).append(node.name)
    for version, names in pinned.items():
        reasons[version] = f"{fold(names)} is pinned to it"
    current = published(image)
    if current is not None:
        reasons[current.name] = "it is published"
    return reasons


def _booted(image: Image) -> Iterable[tuple[str, str]]:
    """Yield each snapshot's node and the version that it booted last. A node is root in there: what
    it says is compared with names of versions, and nothing else is done with it."""
    base = f"{image.location}/snapshot"
    for name in sorted(os.listdir(base)) if os.path.isdir(base) else ():
        said = (
            (read_untrusted(f"{base}/{name}/{BOOTED}", 64) or b"").decode(errors="replace").strip()
        )
        if NAME.fullmatch(said):
            yield name, said
