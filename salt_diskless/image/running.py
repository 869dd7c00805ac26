"""What nodes note in their snapshots: which version they boot, before they mount it, and how far
they got."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

from salt_diskless.cluster import Image
from salt_diskless.disk import read_untrusted
from salt_diskless.image.versions import NAME

#: In a snapshot.
NOTE = ".diskless/booted"
STAGE = ".diskless/stage"


def booted(image: Image) -> dict[str, dict[str, int]]:
    """Return version to the nodes that booted it last, each with when that was by the server's
    clock, in nanoseconds since 1970. A node is root in its snapshot: what it says is compared with
    names of versions, and nothing else is done with it."""
    found: dict[str, dict[str, int]] = {}
    for node, note, said in _said(image, NOTE, 64):
        if NAME.fullmatch(said):
            with contextlib.suppress(OSError):
                found.setdefault(said, {})[node] = os.lstat(note).st_mtime_ns
    return found


def stages(image: Image) -> dict[str, list[str]]:
    """Return what nodes said last while they booted to the nodes that said it. What is no printable
    character in it is a question mark."""
    found: dict[str, list[str]] = {}
    for node, _, said in _said(image, STAGE, 300):
        text = "".join(letter if letter.isprintable() else "?" for letter in said)
        found.setdefault(text, []).append(node)
    return found


def _said(image: Image, name: str, most: int) -> Iterator[tuple[str, str, str]]:
    """Yield each node with the path of a file in its snapshot, and what is in that."""
    base = f"{image.location}/snapshot"
    for node in sorted(os.listdir(base)) if os.path.isdir(base) else ():
        content = read_untrusted(f"{base}/{node}/{name}", most)
        if content is not None:
            yield node, f"{base}/{node}/{name}", content.decode(errors="replace").strip()
