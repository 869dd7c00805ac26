"""The mounts of this machine: proc_pid_mountinfo(5)."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass

_ESCAPED = re.compile(r"\\([0-7]{3})")
MOUNTINFO = "/proc/self/mountinfo"


@dataclass(frozen=True, slots=True)
class Mount:
    """A mount.

    number
        The kernel's: files can only be renamed and linked within one mount.
    device
        Of the file system, as ``major:minor``.
    root
        The directory of the file system that is mounted: ``/``, or another one for a bind mount.
    point
        Where it is mounted.
    type, options
        Of the file system, such as ``ext4`` and ``ro``; the options of mount and file system.
    """

    number: int
    device: str
    root: str
    point: str
    type: str
    options: frozenset[str]


#: Mount point to mount: of two at one point the later one, which hides the other.
Table = Mapping[str, Mount]


def read() -> Table:
    """Return the mounts of this machine."""
    with open(MOUNTINFO, encoding="utf-8", errors="surrogateescape") as stream:
        return {mount.point: mount for mount in map(_mount, stream)}


def _mount(line: str) -> Mount:
    words, _, after = line.partition(" - ")
    number, _, device, root, point, options = words.split(" ")[:6]
    kind, _, more = after.split(" ", 2)
    both = frozenset([*options.split(","), *more.strip().split(",")])
    return Mount(int(number), device, _plain(root), _plain(point), kind, both)


def _plain(text: str) -> str:
    return _ESCAPED.sub(lambda match: chr(int(match[1], 8)), text)


def of(path: str, table: Table) -> Mount:
    """Return the mount that a path without links is in, whether the path is there or not."""
    while path not in table and path != "/":
        path = os.path.dirname(path)
    return table[path]


def on_device(path: str, table: Table) -> str:
    """Return the path of a file within its file system, with the device before it, like
    ``8:1/srv``: equal for two paths that are the same file by links or bind mounts."""
    real = os.path.realpath(path)
    mount = of(real, table)
    inside = os.path.relpath(real, mount.point)
    below = mount.root.rstrip("/") + ("" if inside == "." else f"/{inside}")
    return mount.device + below
