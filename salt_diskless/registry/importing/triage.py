"""Which lines of a foreign file can be nodes: a hosts file has servers, switches and cards of other
networks as well."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence

from netaddr import IPAddress, valid_ipv4

from salt_diskless.cluster import DisklessError, Network, names, schema
from salt_diskless.cluster.names import Names
from salt_diskless.registry.authority import reserved
from salt_diskless.registry.decide import Desk
from salt_diskless.registry.importing.found import ADDRESS, Found
from salt_diskless.registry.importing.only import OTHERS, Only
from salt_diskless.registry.store import RegisteredNode


class Triage:
    """Tells nodes from other lines, by the pillar and the registry.

    registered
        Lower-case name to the node of the registry.
    profile
        That of nodes whose file has none.

    ``wrong`` has the words for what is to be decided first, ``doubts`` the reason why a node that
    can only be one is none, by its name.
    """

    def __init__(
        self,
        desk: Desk,
        registered: Mapping[str, RegisteredNode],
        profile: str | None,
        only: Only,
    ):
        self._desk = desk
        self._registered = registered
        self._profile = profile
        self._only = only
        self.wrong: list[str] = []
        self._taken = _taken(desk)
        self.doubts: dict[str, str] = {}
        self._machines = {
            **dict.fromkeys(reserved(desk.cluster), "a golden machine"),
            **{name.lower(): "a boot server" for name in desk.cluster.servers},
        }
        self._alike = Names(
            {**dict.fromkeys(desk.listed.names, "a node of the pillar"), **self._machines}
        )
        self._owners = {node.ip: node.name.lower() for node in registered.values()}

    def sorted(self, every: Sequence[Found]) -> tuple[list[Found], list[Found]]:
        """Return the nodes, each with the address on its network, and the lines that are none, with
        the reason. Lines that can only be nodes, and those that ``only`` names, are never left out.
        """
        nodes, others = [], []
        coming = {entry.name.lower() for entry in every if not entry.skip}
        for name in self._registered.keys() - coming:
            self._alike.add(name, "a registered node")
        seen: dict[str, str] = {}
        for entry in every:
            if not entry.skip and not self._only.has(entry):
                entry = dataclasses.replace(entry, skip=OTHERS)  # noqa: PLW2901
            if entry.skip:
                others.append(entry)
                continue
            node = self._on_its_network(entry)
            why = self._why_not(node, coming, seen)
            if why and not (node.certain or self._only.names_it(node)):
                others.append(dataclasses.replace(node, skip=why))
                continue
            if why:
                self.doubts[node.name] = why
            seen.setdefault(node.ip or "", node.name)
            seen.setdefault(node.mac or "", node.name)
            nodes.append(node)
        return nodes, others

    def _networks(self, entry: Found) -> list[Network]:
        """Return the networks that a node may boot on."""
        old = self._registered.get(entry.name.lower())
        own = entry.profile or self._profile or (old.profile if old else None)
        try:
            name = self._desk.network_of(own or self._desk.only_profile(), entry.settings)
        except DisklessError:
            return list(self._desk.cluster.networks.values())
        return [self._desk.cluster.networks[name]]

    def _on_its_network(self, entry: Found) -> Found:
        """Return a node with that one of its addresses that is on its network; of several, which
        one line has, it is the first. Where lines give it several, that is noted as wrong."""
        nets = self._networks(entry)
        several = [ip for ip in (entry.ip, *entry.others) if ip and ADDRESS.fullmatch(ip)]
        inside = list(dict.fromkeys(ip for ip in several if _is_in(ip, nets)))
        if len(inside) > 1 and entry.clash:
            self.wrong.append(entry.clash)
        if not inside:
            return entry
        left = [ip for ip in several if ip != inside[0]]
        notes = (*entry.notes, *(["a further address"] if left else []))
        return dataclasses.replace(entry, ip=inside[0], others=tuple(left), notes=notes)

    def _why_not(self, node: Found, coming: set[str], seen: Mapping[str, str]) -> str:
        """Return why a line is no node, or nothing."""
        if not schema.is_host_name(node.name):
            return "found no host name (letters, digits and '-')"
        right = names.problem(node.name)
        if right is not None:
            return f"a name that no node can have; {right}"
        for name in (node.name, *node.aliases):
            if name.lower() in self._machines:
                return self._machines[name.lower()]
        if node.ip is None and node.others:
            return "fixed-address names that no file given here has; give the hosts file as well"
        if node.ip is None:
            old = self._registered.get(node.name.lower())
            return "" if old else "found no address; give the file that has it as well"
        if not valid_ipv4(node.ip, 1):
            return "found no address in full"
        if self._desk.listed.same(node.name, node.mac):
            return ""
        return self._not_free(node, coming, seen)

    def _not_free(self, node: Found, coming: set[str], seen: Mapping[str, str]) -> str:
        """Return why a node cannot have its address, MAC and name, or nothing."""
        assert node.ip is not None
        nets = self._networks(node)
        if not _is_in(node.ip, nets):
            return "no address on " + ", ".join(f"{net.name} ({net.subnet})" for net in nets)
        number = int(IPAddress(node.ip))
        if number in self._taken:
            return self._taken[number]
        for net in nets:
            pool = net.discovery_range
            if pool is not None and pool.first <= number <= pool.last:
                return f"in the discovery_range of {net.name}"
        if self._desk.listed.conflict(node.name, node.mac, node.ip) is not None:
            return "the pillar lists that name, address or MAC for another node"
        owner = self._owners.get(node.ip)
        if owner is not None and owner not in coming:
            return "a registered node has that address"
        if node.ip in seen:
            return "a line before it has that address"
        if node.mac in seen:
            return "a line before it has that MAC"
        other = self._alike.add(node.name, "a line before it")
        return f"the same host as {other[0]}, {other[1]}" if other else ""


def _is_in(ip: str, nets: Iterable[Network]) -> bool:
    return valid_ipv4(ip, 1) and any(
        net.subnet.first <= int(IPAddress(ip)) <= net.subnet.last for net in nets
    )


def _taken(desk: Desk) -> dict[int, str]:
    """Return the addresses that no node can have, and whose they are."""
    taken: dict[int, str] = {}
    for server in desk.cluster.servers.values():
        taken |= {int(ip): "a boot server" for ip in server.addresses}
    for net in desk.cluster.networks.values():
        taken |= {net.subnet.first: "the subnet's own address", net.subnet.last: "a broadcast"}
        taken |= {int(ip): "a router" for ip in net.routers}
        taken |= {int(ip): "a name server" for ip in net.nameservers}
    taken |= {
        int(IPAddress(ip)): "a BMC in the pillar" for ip in desk.listed.bmcs if valid_ipv4(ip)
    }
    return taken
