"""The rule of which minion may speak for which names: a boot server for the nodes that the pillar
or the registry has on it, a node for itself, and nobody for anybody else. The table of all messages
is in ``docs/security.md``; the shape of an answer is checked by :mod:`registry.answers`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from salt_diskless.cluster import Cluster
from salt_diskless.cluster.errors import shown
from salt_diskless.cluster.ranges import fold

#: So many of the names that a minion may not speak for are in a message.
SHOWN = 40


@dataclass(frozen=True, slots=True)
class Authority:
    """The nodes, and the minion ids that can never be a node's.

    owners
        Node name to the minion id of the boot server that serves it.
    reserved
        Minion ids of the master, of boot servers and of golden machines, in lower case.
    """

    owners: Mapping[str, str] = field(default_factory=dict)
    reserved: frozenset[str] = frozenset()

    def nodes_of(self, server: str) -> frozenset[str]:
        """Return the names of the nodes that a boot server may speak for."""
        return frozenset(name for name, owner in self.owners.items() if owner == server)

    def keys_of(self, server: str) -> frozenset[str]:
        """Return the names for which a boot server may bring a minion's public key: its nodes, but
        for those that are called as a minion which is no node."""
        return frozenset(
            name for name in self.nodes_of(server) if name.lower() not in self.reserved
        )


def of_cluster(cluster: Cluster, *others: str) -> Authority:
    """Return the rule for the nodes of a cluster.

    others
        Minion ids that are no node's beside the boot servers and golden machines, such as the
        master's own.
    """
    owners = {name: node.network.server for name, node in cluster.nodes.items()}
    return Authority(owners, reserved(cluster, *others))


def reserved(cluster: Cluster, *others: str) -> frozenset[str]:
    """Return the minion ids of a cluster that can never be a node's, in lower case."""
    golden = {
        image.source.minion
        for image in cluster.images.values()
        if image.source is not None and image.source.minion is not None
    }
    return frozenset(name.lower() for name in {*cluster.servers, *golden, *others})


def merged(trusted: Authority, compiled: Iterable[tuple[str, Authority]]) -> Authority:
    """Return the rule out of the master's own pillar and registry, and of pillars that were
    compiled for boot servers.

    trusted
        What the master knows of itself: it counts where a boot server's pillar says otherwise.
    compiled
        Boot server and the rule of its pillar, of which only its own nodes count. A name that two
        of them have belongs to neither.
    """
    claims: dict[str, set[str]] = {}
    names = set(trusted.reserved)
    for server, its in compiled:
        names |= its.reserved
        for name in its.nodes_of(server):
            claims.setdefault(name, set()).add(server)
    owners = {name: next(iter(servers)) for name, servers in claims.items() if len(servers) == 1}
    return Authority({**owners, **trusted.owners}, frozenset(names))


def split(names: Iterable[object], own: Iterable[str]) -> tuple[list[str], list[object]]:
    """Return those of the names that a minion may speak for, and the others."""
    mine = frozenset(own)
    believed: list[str] = []
    refused: list[object] = []
    for name in names:
        if isinstance(name, str) and name in mine:
            believed.append(name)
        else:
            refused.append(name)
    return believed, refused


def refusal(speaker: str, function: str, names: Iterable[object], own: Iterable[str]) -> str:
    """Return the error for names that a minion spoke for and may not."""
    given = sorted(shown(name)[:70] for name in names)
    more = len(given) - SHOWN
    found = ", ".join(given[:SHOWN]) + (f" and {more} more" if more > 0 else "")
    return (
        f"{speaker}: found {found} in its answer to {function}; the master believes it only for "
        f"its own nodes in the pillar and the registry ({short(own)}); nothing was changed for any "
        "other"
    )


def short(names: Iterable[str]) -> str:
    """Return names as a node set for a message, not too long."""
    text = fold(names) or "none"
    return text if len(text) <= 200 else text[:197] + "..."
