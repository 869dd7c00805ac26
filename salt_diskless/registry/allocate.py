"""The next free name of a node set, and the next free address of a range or a network."""

from __future__ import annotations

import socket
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from netaddr import IPAddress, IPRange, valid_ipv4

from salt_diskless.cluster import Cluster, DisklessError, Network
from salt_diskless.cluster.ranges import fold
from salt_diskless.cluster.schema import AddressRun
from salt_diskless.registry.listed import Listed
from salt_diskless.registry.store import RegisteredNode


class Allocator:
    """Gives each name and each address once.

    cluster
        The pillar without its nodes: networks, profiles and servers are what is needed.
    listed
        What the pillar has by hand.
    nodes
        What the registry has; those without a machine are places that may be taken.
    """

    def __init__(self, cluster: Cluster, listed: Listed, nodes: Iterable[RegisteredNode]):
        self._cluster = cluster
        self._names: dict[str, str] = {name: "the pillar" for name in listed.names}
        self._names |= dict.fromkeys(map(str.lower, cluster.servers), "a boot server")
        self._places: dict[str, RegisteredNode] = {}
        self._addresses: set[int] = {
            int(IPAddress(ip)) for ip in (*listed.addresses, *listed.bmcs) if valid_ipv4(ip)
        }
        for node in nodes:
            for ip in (node.ip, node.settings.get("bmc")):
                if ip is not None:
                    # Checked long ago, and there may be many.
                    self._addresses.add(int.from_bytes(socket.inet_aton(ip), "big"))
            if node.mac is None:
                self._places[node.name.lower()] = node
            else:
                self._names[node.name.lower()] = f"the registry, with MAC {node.mac}"
        for server in cluster.servers.values():
            self._addresses |= {int(address) for address in server.addresses}
        self._next: dict[str, Iterator[int]] = {}
        #: By the identity of a sequence of names, which ``_kept`` keeps alive.
        self._first: dict[int, int] = {}
        self._index: dict[int, dict[str, int]] = {}
        self._kept: list[Sequence[str]] = []

    def name(self, names: Sequence[str]) -> str:
        """Return the first of ``names`` that nobody has, and take it.

        Raises :class:`DisklessError` when there is none left.
        """
        for index in range(self._first.get(id(names), 0), len(names)):
            name = names[index]
            if name.lower() not in self._names:
                self._names[name.lower()] = "this call"
                # A name is never freed, so the next search goes on here.
                self._first[id(names)] = index + 1
                self._kept.append(names)
                return name
        who = self._names[names[0].lower()] if len(names) == 1 else "they all are somebody's"
        raise DisklessError(f"name: found no free one in {fold(names)} ({who} has it); give others")

    def place(self, name: str) -> RegisteredNode | None:
        """Return the place that waits for a machine under that name."""
        return self._places.get(name.lower())

    def address(self, network: str, name: str, names: Sequence[str], wanted: Any) -> str:
        """Return an address for a node, and take it.

        network
            The network that it boots on.
        names
            The names of which ``name`` is one: an :class:`AddressRun` has an address for each.
        wanted
            One address, an :class:`AddressRun`, a range (the next free one of it), or None: that of
            the place, or the next free one of the network.

        Raises :class:`DisklessError` when there is none left.
        """
        place = self.place(name)
        if isinstance(wanted, AddressRun):
            return str(IPAddress(int(wanted.first) + self._position(names, name)))
        if isinstance(wanted, IPAddress):
            return str(wanted)
        if wanted is None and place is not None:
            return place.ip
        net = self._cluster.networks[network]
        first, last = (
            (net.subnet.first, net.subnet.last) if wanted is None else (wanted.first, wanted.last)
        )
        free = self._next.setdefault(f"{network} {first} {last}", self._free(net, first, last))
        number = next(free, None)
        if number is None:
            where = net.subnet if wanted is None else wanted
            raise DisklessError(f"ip: found no free address in {where} for {name}; give another")
        self._addresses.add(number)
        return str(IPAddress(number))

    def bmc(self, name: str, names: Sequence[str], wanted: Any) -> str:
        """Return the address of a node's BMC, and take it; the arguments are those of
        :meth:`address`."""
        run = isinstance(wanted, AddressRun)
        number = int(wanted.first) + self._position(names, name) if run else int(wanted)
        self._addresses.add(number)
        return str(IPAddress(number))

    def _position(self, names: Sequence[str], name: str) -> int:
        """Return the index of a name; it is looked up in a table that is made once."""
        if id(names) not in self._index:
            self._index[id(names)] = {other: index for index, other in enumerate(names)}
            self._kept.append(names)
        return self._index[id(names)][name]

    def _free(self, net: Network, first: int, last: int) -> Iterator[int]:
        """Yield the addresses that a node may have and nobody has."""
        never = {net.subnet.first, net.subnet.last}
        never |= {int(address) for address in (*net.routers, *net.nameservers)}
        pool: IPRange | None = net.discovery_range
        number = max(first, net.subnet.first)
        while number <= min(last, net.subnet.last):
            if pool is not None and pool.first <= number <= pool.last:
                number = pool.last
            elif number not in never and number not in self._addresses:
                yield number
            number += 1
