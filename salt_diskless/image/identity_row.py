"""The lines of the table of machine identity: their kinds, and how they are written."""

from __future__ import annotations

import enum
from dataclasses import dataclass


class Kind(enum.Enum):
    """What a sync does with a path of the table."""

    #: Left out: it describes one machine, its network, its disks, or what happened on it.
    MACHINE = "left out"
    #: Left out, and the boot server makes another one for each node.
    NODE = "each node has its own"
    #: Left out: a private key or a password of one machine, or of one of its users.
    PRIVATE = "left out and named"
    #: In the version, since nodes need it, and named. Refused for nodes with ``root: ram``.
    SECRET = "kept and named"


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table.

    what
        What the paths are, for people.
    kind
        What is done with them.
    patterns
        The paths.
    having
        A regular expression (bytes, one line): only a file with such a line is meant.
    """

    what: str
    kind: Kind
    patterns: tuple[str, ...]
    having: bytes = b""


def row(what: str, kind: Kind, patterns: str, having: bytes = b"") -> Row:
    """Return a line of the table.

    patterns
        The paths, with blanks between them.
    """
    return Row(what, kind, tuple(patterns.split()), having)


def homes(*names: str) -> str:
    """Return patterns for files below every home directory."""
    above = ("/root", "/home/*", "/home/*/*", "/var/lib/*", "/export/home/*")
    return " ".join(f"{home}/{name}" for home in above for name in names)
