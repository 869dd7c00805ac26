"""Exports for people: what is alike is one line, however many nodes have it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from salt_diskless.boot.exports import Export
from salt_diskless.cluster.ranges import fold, fold_addresses
from salt_diskless.services.nfs import Drift

#: Directories that have one export for each node.
_OF_NODES = ("snapshot", "swap")


def by_path(exports: Iterable[Export]) -> dict[str, dict[str, str]]:
    """Return path to clients and their options."""
    listing: dict[str, dict[str, str]] = {}
    for export in exports:
        listing.setdefault(export.path, {})[export.client] = export.options
    return listing


def alike(exports: Iterable[Export]) -> dict[str, dict[str, str]]:
    """Return paths, folded, to addresses as ranges and their options."""
    groups: dict[str, list[tuple[str, str]]] = {}
    for export in exports:
        groups.setdefault(export.options, []).append((export.path, export.client))
    listing: dict[str, dict[str, str]] = {}
    for options, pairs in groups.items():
        for path, addresses in _folded(pairs).items():
            listing.setdefault(path, {})[addresses] = options
    return dict(sorted(listing.items()))


def alike_shown(shown: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """Return what mountd shows, paths folded, to addresses as ranges."""
    return _folded((path, client) for path, clients in shown.items() for client in clients)


def drift(given: Drift) -> dict[str, list[str]]:
    """Return how the table differs from the pillar, as ``paths addresses`` lines."""
    return {
        what: [f"{path} {addresses}" for path, addresses in _folded(pairs).items()]
        for what in ("missing", "different", "unwanted")
        if (pairs := getattr(given, what))
    }


def _folded(pairs: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Return paths, those of nodes folded for each directory, to their clients."""
    names: dict[str, set[str]] = {}
    clients: dict[str, list[str]] = {}
    for path, client in pairs:
        directory, _, name = path.rpartition("/")
        key = path
        if directory.rpartition("/")[2] in _OF_NODES:
            key = f"{directory}/"
            names.setdefault(key, set()).add(name)
        clients.setdefault(key, []).append(client)
    return {
        key + (fold(names[key]) if key in names else ""): fold_addresses(some)
        for key, some in sorted(clients.items())
    }
