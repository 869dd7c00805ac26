"""Names that a node may have, and names that are too much like another machine's."""

from __future__ import annotations

import socket
from collections.abc import Mapping

from salt_diskless.cluster.ranges import expand
from salt_diskless.cluster.schema import is_host_name

#: Linux takes 64 bytes of a host name; ``nfs.nfs4_unique_id`` takes 63 characters.
LONGEST = 63
#: Files that the HOWTO has beside the snapshots, whose directories have the nodes' names.
_FILES = frozenset({"files", "files.custom"})

HOST_NAME = (
    f"give a host name of at most {LONGEST} characters (RFC 1123: letters, digits and '-', with "
    "'.' between labels), like node005"
)


def problem(name: str) -> str | None:
    """Return what is right instead of ``name`` for a node, or None where that can be its name."""
    if len(name) > LONGEST or not is_host_name(name):
        return HOST_NAME
    lower = name.lower()
    if lower in _FILES:
        return "give another name: an image has a file of this name beside its nodes' directories"
    if lower.split(".")[0] == "localhost":
        return "give another name: each machine calls itself localhost"
    if not name[0].isdigit() or not (_is_address(name) or name.replace(".", "").isdigit()):
        return None
    return "give a name that has a letter, like node5: a resolver takes this one for an address"


def _is_address(name: str) -> bool:
    """Return True if a resolver takes a name for an address: inet_aton(3)."""
    try:
        socket.inet_aton(name)
    except OSError:
        return False
    return True


def of_node_set(pattern: object) -> list[str]:
    """Return the host names of a node set.

    Raises ``ValueError`` with what would be right; what stands for too many nodes is not expanded.
    """
    if not isinstance(pattern, str) or not pattern:
        raise ValueError("give a host name or a node set in quotes, like node[005-128]")
    try:
        names = expand(pattern)
    except ValueError as err:
        raise ValueError(f"give a host name or a node set, like node[005-128] ({err})") from None
    if not names:
        raise ValueError("give a node set that stands for a host, like node[005-128]")
    for name in names:
        right = problem(name)
        if right is not None:
            raise ValueError(right if name == pattern else f"{right} (found {name[:80]!a} in it)")
    return names


def given(value: object) -> list[str]:
    """Return the names that an admin gave: a node set, or a list of names.

    Raises ``ValueError`` with what would be right.
    """
    if value in ([], (), ""):
        raise ValueError("give a node set, like node[005-128], or a list of names: at least one")
    if isinstance(value, list | tuple) and all(isinstance(name, str) for name in value):
        return [*value]
    if not isinstance(value, str):
        raise ValueError("give a node set, like node[005-128], or a list of names")
    try:
        return expand(value)
    except ValueError as err:
        raise ValueError(f"give a node set, like node[005-128] ({err})") from None


def short(name: str) -> str:
    """Return a host name without its domain, in lower case."""
    return name.lower().partition(".")[0]


def alike(name: str, other: str) -> bool:
    """Return True if two names can mean one machine: equal but for case, or one of them is the
    other without its domain."""
    name, other = name.lower(), other.lower()
    return name == other or (short(name) == short(other) and not ("." in name and "." in other))


class Names:
    """The names of machines, each with what it belongs to. Adding a name finds one that is alike in
    constant time."""

    def __init__(self, others: Mapping[str, str] | None = None) -> None:
        self._full: dict[str, tuple[str, str]] = {}
        self._short: dict[str, tuple[str, str]] = {}
        for name, owner in (others or {}).items():
            self.add(name, owner)

    def add(self, name: str, owner: str) -> tuple[str, str] | None:
        """Add a name, and return the name and the owner of one that was alike, or None."""
        lower = name.lower()
        bare = lower.partition(".")[0]
        other = self._full.get(lower) or (self._short if lower == bare else self._full).get(bare)
        new = (name, owner)
        self._full.setdefault(lower, new)
        self._short.setdefault(bare, new)
        return other
