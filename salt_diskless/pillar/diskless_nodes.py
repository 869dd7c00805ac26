"""
Give the nodes of the registry to the pillar of their boot servers, and to nobody else's.

In the master's configuration:

.. code-block:: yaml

    ext_pillar:
      - diskless_nodes: {}

They stand in ``diskless:nodes`` beside those that the pillar lists by hand, and how far the
registry has counted in ``diskless:registry:number``. A node that is listed by hand with the same
name and MAC is left out here. Where the registry contradicts the pillar, the pillar's nodes are the
ones that stand there, and every check of the pillar (``diskless.validate``, ``state.apply
diskless``) is an error that names both. The master's own pillar, which orchestrations go by, has
the nodes of all boot servers.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from salt_diskless.registry.listed import listed
from salt_diskless.registry.place import store_of

if TYPE_CHECKING:
    __opts__: dict[str, Any]

__virtualname__ = "diskless_nodes"


def ext_pillar(minion_id: str, pillar: dict[str, Any], *_: Any, **__: Any) -> dict[str, Any]:
    """Return the nodes of one boot server, below ``diskless``; empty for every other minion."""
    # In an external pillar this is the master's own id.
    own = minion_id == __opts__["id"]
    by_hand = pillar.get("diskless") or {}
    if not isinstance(by_hand, Mapping):
        # The boot server's checks name it; there is nothing that nodes could be added to.
        return {}
    servers = by_hand.get("servers")
    listed_servers = servers if isinstance(servers, Mapping) else {}
    with store_of(__opts__).read() as tx:
        nodes = [node for node in tx.nodes(None if own else minion_id) if node.mac is not None]
        number = tx.number()
    if not nodes and not (number and (own or minion_id in listed_servers)):
        return {}
    there = listed(by_hand.get("nodes"))
    given, conflicts = {}, []
    for node in nodes:
        problem = there.conflict(node.name, node.mac, node.ip)
        if problem is not None:
            text = {"path": problem.path, "found": problem.found, "right": problem.right}
            conflicts.append(text)
        elif not there.same(node.name, node.mac):
            given[node.name] = node.as_pillar()
    found: dict[str, Any] = {"nodes": given} if given else {}
    # A boot server that has been told of something later knows that this pillar is older.
    found["registry"] = {"number": number}
    if conflicts:
        found["registry"]["conflicts"] = conflicts
    return {"diskless": found}
