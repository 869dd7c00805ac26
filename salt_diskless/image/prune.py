"""Removing old versions: never one that somebody boots, or that a running node may have mounted."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterable
from dataclasses import dataclass

from salt_diskless.cluster import DisklessError, Image, Node
from salt_diskless.cluster.ranges import fold
from salt_diskless.image import live, running, squashfs
from salt_diskless.image.versions import changing, forget, incomplete, published, versions


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

    Killed anywhere, it leaves nothing that counts as a version. The next prune removes the trees
    that it left; a sync that comes before that makes use of one.
    """
    if keep < 1:
        raise DisklessError(f"keep: found {keep}; give how many of the newest versions stay")
    with contextlib.nullcontext() if test else changing(image):
        names = [version.name for version in versions(image)]
        reasons = _reasons(image, nodes, names[-keep:])
        removed = tuple(name for name in names if name not in reasons)
        for name in () if test else removed:
            forget(image, name)
        if not test:
            for name in incomplete(image):
                shutil.rmtree(f"{image.location}/versions/{name}")
            live.tidy(image)
            squashfs.tidy(image)
    return Pruned(removed, {name: reasons[name] for name in names if name in reasons})


def _reasons(image: Image, nodes: Iterable[Node], newest: Iterable[str]) -> dict[str, str]:
    """Return why a version stays, the best reason of each."""
    reasons = {name: "one of the newest" for name in newest}
    for version, nodes_of in running.booted(image).items():
        reasons[version] = f"{fold(nodes_of)} booted it last, and may have it mounted"
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
