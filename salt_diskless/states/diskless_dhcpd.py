"""
Keep ISC dhcpd's configuration what the pillar says. A configuration that dhcpd refuses never goes
live; a service that watches this state is restarted once for any number of nodes.

.. code-block:: yaml

    diskless dhcpd:
      diskless_dhcpd.managed: []

``changes`` has hosts as node sets and files by path, e.g.
``{"changed": {"files": ["/etc/dhcp/dhcpd.conf"]}, "added": {"nodes": "node129"}}``, and below
``outdated`` the service, when an earlier run wrote the configuration and never restarted it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from salt_diskless import adapter

if TYPE_CHECKING:
    __salt__: dict[str, Any]
    __opts__: dict[str, Any]

__virtualname__ = "diskless_dhcpd"


def managed(name: str) -> dict[str, Any]:
    """
    Make dhcpd's configuration what the pillar says, for every node of this boot server.

    name
        Names the state only.
    """
    return adapter.state(
        name, __opts__["test"], __salt__["diskless_dhcpd.apply"], "dhcpd's configuration"
    )


def absent(name: str) -> dict[str, Any]:
    """
    Remove what the project wrote there.

    name
        Names the state only.
    """
    return adapter.state(
        name, __opts__["test"], __salt__["diskless_dhcpd.clean"], "dhcpd's configuration"
    )
