"""What nodes note in their snapshots: which version they boot, before they mount it, and how far
they got."""

from __future__ import annotations

import os
from collections.abc import Iterator

from salt_diskless.cluster import Image
from salt_diskless.files.beneath import Tree
from salt_diskless.image.versions import NAME

#: In a snapshot.
NOTE = ".diskless/booted"
STAGE = ".diskless/stage"


def booted(image: Image) -> dict[str, dict[str, int]]:
    """Return version to the nodes that booted it last, each with when that was by the server's
    clock, in nanoseconds since 1970. A node is root in its snapshot: what it says is compared with
    names of versions, and nothing else is done with it."""
    found: dict[str, dict[str, int]] = {}
    for node, at, said in _said(image, NOTE, 64):
        if NAME.fullmatch(said):
            found.setdefault(said, {})[node] = at
    return found


def stages(image: Image) -> dict[str, dict[str, int]]:
    """Return what nodes said last while they booted to the nodes that said it, each with when, as
    :func:`booted` does. What is no printable character in it is a question mark."""
    found: dict[str, dict[str, int]] = {}
    for node, at, said in _said(image, STAGE, 300):
        text = "".join(letter if letter.isprintable() else "?" for letter in said)
        found.setdefault(text, {})[node] = at
    return found


def _said(image: Image, name: str, most: int) -> Iterator[tuple[str, int, str]]:
    """Yield each node with when a file in its snapshot was written, and what is in that."""
    base = f"{image.location}/snapshot"
    if not os.path.isdir(base):
        return
    with Tree(base, links=False) as snapshots:
        for node in snapshots.names():
            with snapshots.opened(f"/{node}/{name}") as stream:
                if stream is None:
                    continue
                at, content = os.fstat(stream.fileno()).st_mtime_ns, stream.read(most)
            yield node, at, content.decode(errors="replace").strip()
