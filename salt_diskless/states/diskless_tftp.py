"""
Keep the TFTP root of a boot server what the pillar says: loader, kernels, a file per node.

.. code-block:: yaml

    diskless tftp:
      diskless_tftp.managed: []

``changes`` has nodes that come and go as node sets, other files by path, e.g.
``{"added": {"nodes": "node[001-128]", "files": [...]}}``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from salt_diskless import adapter

if TYPE_CHECKING:
    __salt__: dict[str, Any]
    __opts__: dict[str, Any]

__virtualname__ = "diskless_tftp"


def managed(name: str) -> dict[str, Any]:
    """
    Make the TFTP root what the pillar says, for every node of this boot server.

    name
        Names the state only.
    """
    return adapter.state(name, __opts__["test"], __salt__["diskless_tftp.apply"], "the TFTP root")


def answered(name: str) -> dict[str, Any]:
    """
    Tell machines that wait at their consoles and are nodes by now that they are registered. Let it
    require dhcpd's service: they restart at once.

    name
        Names the state only.
    """
    return adapter.state(
        name, __opts__["test"], __salt__["diskless_tftp.answer"], "the answers to machines"
    )


def settings(name: str) -> dict[str, Any]:
    """
    Have the TFTP daemon serve the TFTP root. A change needs a restart of the daemon: let its
    service watch this state.

    name
        Names the state only.
    """
    return adapter.state(
        name, __opts__["test"], __salt__["diskless_tftp.settings"], "the TFTP daemon's settings"
    )


def absent(name: str) -> dict[str, Any]:
    """
    Remove what the project wrote there.

    name
        Names the state only.
    """
    return adapter.state(name, __opts__["test"], __salt__["diskless_tftp.clean"], "the TFTP root")
