"""
Keep the NFS exports of a boot server what the pillar says, in a file of their own. The table that
exportfs keeps is compared too: what drifted from the pillar is mended, without a restart.

.. code-block:: yaml

    diskless nfs:
      diskless_nfs.managed: []

``changes`` has the file by path and the exports folded, e.g.
``{"added": {"exports": ["/diskless/x86_64/compute/snapshot/node[001-128]"]}}``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from salt_diskless import adapter

if TYPE_CHECKING:
    __salt__: dict[str, Any]
    __opts__: dict[str, Any]

__virtualname__ = "diskless_nfs"


def managed(name: str) -> dict[str, Any]:
    """
    Make the exports what the pillar says, for every node of this boot server.

    name
        Names the state only.
    """
    return adapter.state(name, __opts__["test"], __salt__["diskless_nfs.apply"], "the exports")


def settings(name: str) -> dict[str, Any]:
    """
    Have mountd, which NFS 3 needs, listen on its registered port. A change needs a restart of
    mountd (not of the NFS server): let its service watch this state.

    name
        Names the state only.
    """
    return adapter.state(
        name, __opts__["test"], __salt__["diskless_nfs.settings"], "the NFS server's settings"
    )


def absent(name: str) -> dict[str, Any]:
    """
    Remove what the project wrote there.

    name
        Names the state only.
    """
    return adapter.state(name, __opts__["test"], __salt__["diskless_nfs.clean"], "the exports")
