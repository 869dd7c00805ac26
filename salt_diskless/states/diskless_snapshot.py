"""
Keep the snapshots of a boot server's nodes: one directory each, seeded with what the entries need.

.. code-block:: yaml

    diskless snapshots:
      diskless_snapshot.managed: []

``changes`` has nodes as node sets, e.g. ``{"added": {"nodes": "node[001-128]"}}`` and
``{"seeded": {"/var/log": "node[001-128]"}}``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from salt_diskless import adapter

if TYPE_CHECKING:
    __salt__: dict[str, Any]
    __opts__: dict[str, Any]

__virtualname__ = "diskless_snapshot"


def managed(name: str) -> dict[str, Any]:
    """
    Give every node of this boot server a snapshot with its entries; what is there is kept.

    name
        Names the state only.
    """
    return adapter.state(name, __opts__["test"], __salt__["diskless_snapshot.apply"], "snapshots")
