"""The snapshots of a boot server's nodes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from salt_diskless import adapter
from salt_diskless.cluster import DisklessError
from salt_diskless.cluster.errors import shown
from salt_diskless.cluster.ranges import expand, filled, fold_paths, folded, natural
from salt_diskless.cluster.wording import nearest
from salt_diskless.services import runs
from salt_diskless.snapshot import manage, minions

if TYPE_CHECKING:
    __pillar__: dict[str, Any]
    __opts__: dict[str, Any]
    __context__: dict[str, Any]

__virtualname__ = "diskless_snapshot"
__func_alias__ = {"list_": "list", "apply_": "apply"}


@adapter.reading
def list_(full: bool = False) -> dict[str, Any]:
    """
    Return the snapshots, folded: below ``nodes`` whether they are ``complete``, what they lack, or
    that they are ``not made``, to the nodes; and below ``unused`` those of nodes that are gone from
    the pillar.

    full
        Return for each node its path, whether it ``exists``, and the entries that are ``missing``;
        and the path of each unused snapshot.

    CLI Example:

    .. code-block:: bash

        salt-call diskless_snapshot.list
    """
    site = adapter.site(__pillar__, __opts__)
    snapshots, unused = manage.listed(site), manage.unused(site)
    if full:
        nodes = {name: snapshots[name] for name in sorted(snapshots, key=natural)}
        return {"nodes": nodes, "unused": sorted(unused, key=natural)}
    states = folded((_sentence(one), name) for name, one in snapshots.items())
    return filled({"nodes": states, "unused": fold_paths(unused)})


def _sentence(snapshot: dict[str, Any]) -> str:
    """Return the state of a snapshot."""
    if not snapshot["exists"]:
        return "not made"
    missing = ", ".join(snapshot["missing"])
    return f"without {missing}" if missing else "complete"


@adapter.reading
def usage(nodes: str | None = None) -> dict[str, int]:
    """
    Return the bytes that snapshots take on the disk, by node.

    nodes
        A node set; default is every node of this boot server.

    CLI Example:

    .. code-block:: bash

        salt-call diskless_snapshot.usage 'node[001-016]'
    """
    site = adapter.site(__pillar__, __opts__)
    try:
        names = list(site.nodes) if nodes is None else expand(nodes)
    except ValueError as err:
        raise DisklessError(f"nodes: found {shown(nodes)}; give a node set ({err})"[:1000]) from err
    unknown = [name for name in names if name not in site.nodes]
    if unknown:
        raise DisklessError(
            f"diskless:nodes: found no {shown(unknown[0])} that boots from this server; "
            f"{nearest(unknown[0], site.nodes)}"
        )
    return {name: manage.usage(site.nodes[name]) for name in sorted(names, key=natural)}


@adapter.execution
def apply_(test: bool = False, check: bool = False) -> dict[str, Any]:
    """
    Make the snapshots what the pillar and ``.files.custom`` say, and return the changes with nodes
    folded. What a node has written is never overwritten.

    test
        Touch nothing, and return what would change.
    check
        Look for every entry in every snapshot, and seed again what a node has removed.

    CLI Example:

    .. code-block:: bash

        salt-call diskless_snapshot.apply test=True
    """
    site = adapter.site(__pillar__, __opts__)
    if not test and runs.is_overtaken(__context__):
        runs.take_turn(__context__, manage.managed(site, test=True, check=check))
    changes = manage.managed(site, test=test, check=check)
    if not test:
        runs.note(__context__, changes)
    return changes


@adapter.execution
def minion_keys(but: list[str] | None = None) -> dict[str, str]:
    """
    Make the keys of the nodes' Salt minions in their snapshots, where the version has a minion and
    there is no pair yet, and return the public ones. ``diskless.accept_keys``, the master's runner,
    asks for them; the private ones stay where they are.

    but
        Nodes that are left alone: those whose key the master has.

    CLI Example:

    .. code-block:: bash

        salt node002 diskless_snapshot.minion_keys
    """
    site, others = adapter.site(__pillar__, __opts__), frozenset(but or ())
    return minions.keys(site, minions.pairs(site, adapter.make_pair, others), others)
