"""What the pillar lists by hand, as far as it can be read: whose each name, MAC and address is.

The checks of :mod:`salt_diskless.cluster` are made elsewhere; here an entry that is wrong is passed
over, for this runs whenever a pillar is compiled.
"""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from salt_diskless.cluster import Problem
from salt_diskless.cluster.ranges import MOST_NODES, count, expand


@dataclass(frozen=True, slots=True)
class Listed:
    """names
        Lower-case name to the MAC that it has.
    macs, addresses
        MAC (lower case, colons) and address to the name of the node that has it.
    bmcs
        The addresses of nodes' BMCs.
    """

    names: dict[str, str] = field(default_factory=dict)
    macs: dict[str, str] = field(default_factory=dict)
    addresses: dict[str, str] = field(default_factory=dict)
    bmcs: set[str] = field(default_factory=set)

    def same(self, name: str, mac: str | None) -> bool:
        """Tell whether the pillar lists this node with this MAC (or with any, where that is None):
        then its word is the one that counts."""
        there = self.names.get(name.lower())
        return there is not None and mac in (None, there)

    def conflict(self, name: str, mac: str | None, ip: str) -> Problem | None:
        """Return what is wrong between a node of the registry and the pillar; both are named."""
        if self.same(name, mac):
            return None
        path, who = f"diskless:nodes:{name}", f"{name} with MAC {mac} and address {ip}"
        there = self.names.get(name.lower())
        if there is not None:
            found = f"{name} listed here with MAC {there}, and the registry has {who}"
        elif mac in self.macs:
            path = f"diskless:nodes:{self.macs[mac]}:mac"
            found = f"{mac} of {self.macs[mac]} listed here, and the registry has {who}"
        elif ip in self.addresses:
            path = f"diskless:nodes:{self.addresses[ip]}:ip"
            found = f"{ip} of {self.addresses[ip]} listed here, and the registry has {who}"
        else:
            return None
        right = f"change it here, or on the master: salt-run diskless.forget {name}"
        return Problem(path, found, right)


def listed(nodes: Any) -> Listed:
    """Return whose names, MACs and addresses the pillar's ``nodes`` are."""
    found = Listed()
    if isinstance(nodes, Mapping):
        left = MOST_NODES
        for key, settings in nodes.items():
            if isinstance(key, str) and isinstance(settings, Mapping):
                left -= _size(key)
                if left < 0:
                    break
                _add(found, key, settings)
    return found


def _size(key: str) -> int:
    with contextlib.suppress(ValueError):
        return count(key)
    return 0


def _add(found: Listed, key: str, settings: Mapping[str, Any]) -> None:
    names: list[str] = []
    with contextlib.suppress(ValueError):
        names = expand(key)
    macs, addresses = _many(settings.get("mac")), list(_addresses(settings.get("ip"), len(names)))
    for index, name in enumerate(names):
        mac = macs[index].replace("-", ":").lower() if index < len(macs) else ""
        found.names[name.lower()] = mac
        if mac:
            found.macs[mac] = name
        if index < len(addresses):
            found.addresses[addresses[index]] = name
    found.bmcs.update(_addresses(settings.get("bmc"), len(names)))


def _many(value: Any) -> list[str]:
    items = value if isinstance(value, list | tuple) else [value]
    return [item for item in items if isinstance(item, str) and item]


def _addresses(value: Any, count: int) -> Iterator[str]:
    given = _many(value)
    if len(given) != 1 or not given[0].endswith("+"):
        yield from given
        return
    with contextlib.suppress(OSError, OverflowError, ValueError):
        first = int.from_bytes(socket.inet_pton(socket.AF_INET, given[0][:-1]), "big")
        for offset in range(count):
            yield socket.inet_ntoa((first + offset).to_bytes(4, "big"))
