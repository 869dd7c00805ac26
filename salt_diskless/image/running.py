"""What nodes note in their snapshots, before they mount it: which version they boot."""

from __future__ import annotations

import contextlib
import os

from salt_diskless.cluster import Image
from salt_diskless.disk import read_untrusted
from salt_diskless.image.versions import NAME

#: In a snapshot.
NOTE = ".diskless/booted"


def booted(image: Image) -> dict[str, dict[str, int]]:
    """Return version to the nodes that booted it last, each with when that was by the server's
    clock, in nanoseconds since 1970. A node is root in its snapshot: what it says is compared with
    names of versions, and nothing else is done with it."""
    base = f"{image.location}/snapshot"
    found: dict[str, dict[str, int]] = {}
    for node in sorted(os.listdir(base)) if os.path.isdir(base) else ():
        note = f"{base}/{node}/{NOTE}"
        said = (read_untrusted(note, 64) or b"").decode(errors="replace").strip()
        if NAME.fullmatch(said):
            with contextlib.suppress(OSError):
                found.setdefault(said, {})[node] = os.lstat(note).st_mtime_ns
    return found
