"""
Tell the master of machines that are no nodes of this boot server and wait to be registered. The
state ``diskless.discovery`` configures it where a network has a ``discovery_range``; by hand:

.. code-block:: yaml

    beacons:
      diskless_discovery:
        - interval: 5

An event ``salt/beacon/<minion>/diskless_discovery/<MAC with dashes>`` has ``mac``, ``ip``,
``serial``, ``asset`` and ``uuid`` (nothing where that is not known): one for each machine that is
new, one more when its maker's numbers get known, and one every ten minutes as long as it waits and
nothing was decided.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from salt_diskless import adapter
from salt_diskless.cluster import DisklessError
from salt_diskless.watch import discovery

if TYPE_CHECKING:
    __pillar__: dict[str, Any]
    __opts__: dict[str, Any]
    __grains__: dict[str, Any]

__virtualname__ = "diskless_discovery"

log = logging.getLogger(__name__)


def __virtual__() -> str:
    return __virtualname__


def validate(config: Any) -> tuple[bool, str]:
    """Tell whether the beacon's configuration is right."""
    if not isinstance(config, list):
        return False, "diskless_discovery: give a list, such as [interval: 5]"
    return True, "Valid beacon configuration"


def beacon(config: Any) -> list[dict[str, str]]:
    """Return an event for each machine that is to be told of."""
    try:
        cluster = adapter.cluster_of(__pillar__, {})
        networks = [net for net in cluster.networks.values() if net.server == __opts__["id"]]
        found = discovery.look(networks, adapter.platform(__grains__, __pillar__))
    except (DisklessError, OSError) as err:
        log.error("diskless_discovery: %s", err)
        return []
    return [{"tag": machine["mac"].replace(":", "-"), **machine} for machine in found]
