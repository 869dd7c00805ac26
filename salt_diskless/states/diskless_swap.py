"""
Keep the swap files of a boot server's nodes: one each, where ``swap`` is of the kind ``nfs``.

.. code-block:: yaml

    diskless swap files:
      diskless_swap.managed: []

``changes`` has nodes as node sets, e.g. ``{"added": {"nodes": "node[001-128]"}}``. A file that is
not wanted any more is ``retired`` while its node may use it, and ``removed`` when that has booted
again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from salt_diskless import adapter

if TYPE_CHECKING:
    __salt__: dict[str, Any]
    __opts__: dict[str, Any]

__virtualname__ = "diskless_swap"


def managed(name: str) -> dict[str, Any]:
    """
    Make the swap files what the pillar says, for every node of this boot server.

    name
        Names the state only.
    """
    return adapter.state(name, __opts__["test"], __salt__["diskless_swap.apply"], "swap files")


def absent(name: str) -> dict[str, Any]:
    """
    Remove every swap file. Nodes that use one lose what of their memory is in it.

    name
        Names the state only.
    """
    return adapter.state(name, __opts__["test"], __salt__["diskless_swap.clean"], "swap files")
