"""Node sets: ``node[005-128]`` to names and back (ClusterShell's syntax, without node groups)."""

from __future__ import annotations

import functools
from collections.abc import Iterable

from ClusterShell.NodeSet import RESOLVER_NOGROUP, NodeSet, NodeSetException

_SYNTAX = frozenset("[],&!^@*?%/ \t")


def expand(pattern: str) -> list[str]:
    """Return the names that ``pattern`` stands for, in its order.

    Raises ``ValueError`` when it is no node set.
    """
    if _SYNTAX.isdisjoint(pattern):
        return [pattern]
    try:
        return list(NodeSet(pattern, resolver=RESOLVER_NOGROUP))
    except NodeSetException as err:
        raise ValueError(str(err)) from err


def fold(names: Iterable[str]) -> str:
    """Return ``names`` as one node set, e.g. ``node[001-127,129]``; names with other characters
    than a node set has are listed as they are."""
    return _fold(tuple(sorted(names)))


@functools.lru_cache(maxsize=4)
def _fold(names: tuple[str, ...]) -> str:
    """One run names the same nodes in several states; ClusterShell takes a while for thousands."""
    plain: list[str] = []
    odd: list[str] = []
    for name in names:
        (plain if _SYNTAX.isdisjoint(name) else odd).append(name)
    folded = str(NodeSet.fromlist(plain, resolver=RESOLVER_NOGROUP)) if plain else ""
    return ",".join(part for part in (folded, *sorted(odd)) if part)
