"""What the server knows of the lists in the snapshots of an image: one file read tells that none of
them has to be read again, as the index of a version control system does it.

A list counts as known while its inode, size and time of change (ctime, which nobody can set) are
those that it had when it was last compared; what is not known is read.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import stat
from collections.abc import Iterable

#: Beside the snapshots, where no node reaches.
NAME = ".lists"

Signature = tuple[int, int, int]


def digest(text: bytes) -> str:
    """Return what stands for a list's text."""
    return hashlib.sha256(text).hexdigest()


class Known:
    """Node to the signature and digest of the list in its snapshot.

    base
        The directory of an image's snapshots.
    """

    def __init__(self, base: str):
        self._path = f"{base}/{NAME}"
        self._there: dict[str, list[object]] = {}
        # One that is not there, or that a power cut spoilt, only costs the reads.
        with contextlib.suppress(OSError, ValueError), open(self._path, "rb") as stream:
            read = json.loads(stream.read())
            self._there = read if isinstance(read, dict) else {}
        self._now = dict(self._there)

    def holds(self, name: str, path: str, wanted: str) -> bool:
        """Tell whether the list at ``path`` is known to have the digest ``wanted``."""
        known = self._there.get(name)
        return known is not None and known == [*_signature(path), wanted]

    def note(self, name: str, path: str, has: str) -> None:
        """Note that the list at ``path`` was compared or written, and has the digest ``has``."""
        self._now[name] = [*_signature(path), has]

    def text(self, names: Iterable[str]) -> bytes | None:
        """Return the file's new content for the nodes ``names``, or None when it is as it was."""
        now = {name: self._now[name] for name in names if name in self._now}
        if now == self._there:
            return None
        lines = (f"{json.dumps(name)}: {json.dumps(now[name])}" for name in sorted(now))
        return ("{" + ",\n".join(lines) + "}\n").encode()


def _signature(path: str) -> Signature:
    """Return what tells a file from every other one, and from itself before a change. Nothing is
    opened, since this is done for each node: where a node makes the list's directory a link between
    the two calls, the signature is another file's, and no list has that one."""
    try:
        if not stat.S_ISDIR(os.lstat(os.path.dirname(path)).st_mode):
            return (0, 0, 0)
        status = os.lstat(path)
    except OSError:
        return (0, 0, 0)
    return (status.st_ino, status.st_size, status.st_ctime_ns)
