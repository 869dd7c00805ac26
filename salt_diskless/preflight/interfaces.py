"""Whether the machine has the network interfaces and addresses that the pillar gives it."""

from __future__ import annotations

import fcntl
import json
import socket
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from netaddr import IPAddress, IPNetwork

from salt_diskless.cluster.errors import Problem
from salt_diskless.cluster.model import Network, Site
from salt_diskless.command import CommandFailed, installed, run
from salt_diskless.platform import Platform

#: linux/sockios.h and linux/if.h: requests of ioctl(2), a flag, and the sizes of ``struct ifreq``
#: and of the name in it.
_GET_FLAGS, _GET_ADDRESS, _GET_NETMASK = 0x8913, 0x8915, 0x891B
_UP, _LOOPBACK = 0x1, 0x8
_REQUEST_SIZE, _NAME_SIZE = 40, 16


@dataclass(frozen=True, slots=True)
class Interface:
    """A network interface of this machine.

    addresses
        Its IPv4 addresses, each with the length of its prefix.
    flags
        The kernel's, such as ``UP`` and ``LOOPBACK`` (netdevice(7), SIOCGIFFLAGS).
    others
        Its alternative names.
    """

    name: str
    addresses: tuple[IPNetwork, ...]
    flags: frozenset[str]
    others: tuple[str, ...] = ()

    def __str__(self) -> str:
        if self.addresses:
            return f"{self.name} with {', '.join(map(str, self.addresses))}"
        return f"{self.name} without an IPv4 address{'' if 'UP' in self.flags else ' (it is down)'}"


def problems(site: Site, _platform: Platform) -> Iterator[Problem]:
    """Yield what is wrong with the server's interfaces in the pillar, and name what there is."""
    if installed("ip") and all(
        _is_right(name, address, _networks(site, address))
        for name, address in site.server.interfaces.items()
    ):
        return
    try:
        machine = read()
    except CommandFailed as err:
        yield Problem(
            f"diskless:servers:{site.server.name}",
            "no list of this machine's network interfaces",
            f"install iproute2, which has the program ip ({err})",
        )
        return
    for name, address in site.server.interfaces.items():
        path = f"diskless:servers:{site.server.name}:{name}"
        yield from _interface(path, name, address, machine, _networks(site, address))


def _networks(site: Site, address: IPAddress) -> list[Network]:
    return [net for net in site.networks.values() if net.server_address == address]


def _is_right(name: str, address: IPAddress, nets: Sequence[Network]) -> bool:
    """Return True if the kernel says at once that an interface is as the pillar has it: its first
    address (netdevice(7)) is the right one. Otherwise the program ip, which takes some time, tells
    about all addresses."""
    request = name.encode().ljust(_NAME_SIZE, b"\0") + bytes(_REQUEST_SIZE - _NAME_SIZE)
    try:
        # An alternative name, which dhcpd does not know, has the same index.
        if socket.if_indextoname(socket.if_nametoindex(name)) != name:
            return False
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as wire:
            flags, own, mask = (
                fcntl.ioctl(wire, code, request)[_NAME_SIZE:]
                for code in (_GET_FLAGS, _GET_ADDRESS, _GET_NETMASK)
            )
    except OSError:
        return False
    state = struct.unpack_from("h", flags)[0]
    if state & _LOOPBACK or not state & _UP or own[4:8] != address.packed:
        return False
    subnet = IPNetwork(f"{address}/{socket.inet_ntoa(mask[4:8])}")
    return all(net.subnet in subnet for net in nets)


def read() -> list[Interface]:
    """Return the network interfaces of this machine (ip-address(8))."""
    return [
        Interface(
            name=link["ifname"],
            addresses=tuple(
                IPNetwork(f"{item['local']}/{item['prefixlen']}")
                for item in link.get("addr_info", ())
                if item.get("family") == "inet" and "local" in item
            ),
            flags=frozenset(link.get("flags", ())),
            others=tuple(link.get("altnames", ())),
        )
        for link in json.loads(run(["ip", "-json", "address", "show"]).stdout)
        if "ifname" in link
    ]


def _interface(
    path: str, name: str, address: IPAddress, machine: Sequence[Interface], nets: Sequence[Network]
) -> Iterator[Problem]:
    """Yield what is wrong with one interface of the pillar and its address."""
    usable = [link for link in machine if "LOOPBACK" not in link.flags]
    this = next((link for link in machine if link.name == name), None)
    owners = [link for link in usable if address in _own(link)]
    if this is None:
        real = next((link for link in usable if name in link.others), None)
        if real is not None:
            right = f"give {real.name}: {name} is another name of it, which dhcpd does not know"
        elif owners:
            right = f"give {owners[0].name}, which has {address}"
        else:
            right = f"give an interface that this machine has: {_listed(usable)}"
        yield Problem(path, f"{name} ({address}), which this machine does not have", right)
        if owners or real is not None:
            return
    elif "LOOPBACK" in this.flags:
        yield Problem(path, name, f"give an interface that nodes reach: {_listed(usable)}")
        return
    if this is not None and address in _own(this):
        if "UP" not in this.flags:
            yield Problem(
                path,
                f"{name}, which is down",
                f"bring it up (ip link set {name} up): dhcpd serves no node through it",
            )
        for net in nets:
            if not any(net.subnet in own for own in this.addresses):
                yield Problem(
                    f"diskless:networks:{net.name}:subnet",
                    str(net.subnet),
                    f"give a subnet inside the one that {name} is in (it has "
                    f"{', '.join(map(str, this.addresses))}), or give {name} the prefix "
                    f"/{net.subnet.prefixlen}: other nodes would be out of its reach",
                )
    elif owners:
        yield Problem(
            path,
            str(address),
            f"give {owners[0].name}, which has this address; {name} does not have it",
        )
    elif this is not None:
        yield Problem(
            path,
            f"{address}, which no interface of this machine has",
            f"give {name} that address, or give an address of this machine: {_listed(usable)}",
        )


def _own(link: Interface) -> list[IPAddress]:
    return [own.ip for own in link.addresses]


def _listed(machine: Sequence[Interface]) -> str:
    return "; ".join(map(str, machine)) or "it has only the loopback"
