"""ISC dhcpd's configuration: dhcpd.conf(5), dhcp-options(5)."""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass

from netaddr import IPAddress

from salt_diskless.boot.ordered import part_of, place, spliced
from salt_diskless.boot.pxelinux import LOADER
from salt_diskless.boot.template import template
from salt_diskless.cluster import Network, Node, Site
from salt_diskless.tree import header

#: The name of the key that may change the running dhcpd, and the port that dhcpd listens on for who
#: has it (omapi(3)).
OMAPI_KEY = "diskless"
OMAPI_PORT = 7911

#: Stand for what is each node's own; no checked value has these characters.
_NAME, _MAC, _ADDRESS = "\0name\0", "\0mac\0", "\0address\0"

#: A host as the project writes it.
_HOST = re.compile(
    rb"\nhost (?P<name>\S+) \{\n  hardware ethernet (?P<mac>\S+);\n  fixed-address (?P<ip>\S+);\n"
    rb'  option host-name "\S+";\n(?:  option nis-domain "(?P<nis>\S+)";\n)?\}\n'
)


@dataclass(frozen=True, slots=True)
class Host:
    """A host that stands in a configuration, from ``start`` to ``end``. ``nis`` is its NIS domain
    where that is not its network's."""

    name: str
    mac: str
    ip: str
    nis: str | None
    start: int
    end: int


def interfaces(site: Site) -> dict[str, list[Network]]:
    """Return the interfaces that dhcpd listens on, each with the networks behind it."""
    by_interface: dict[str, list[Network]] = {}
    for network in site.networks.values():
        by_interface.setdefault(network.interface, []).append(network)
    return by_interface


def render(site: Site, key_file: str) -> bytes:
    """Return ``dhcpd.conf`` for one boot server: a subnet per network, a host per node.

    key_file
        The file that has the key :data:`OMAPI_KEY`.
    """
    return head(site, key_file) + b"".join(map(host, site.nodes.values()))


def head(site: Site, key_file: str) -> bytes:
    """Return what stands before the hosts."""
    text = template("dhcpd.conf.j2").render(
        header=header("dhcpd of the diskless nodes").rstrip(),
        filename=LOADER,
        interfaces=sorted(interfaces(site).items()),
        key_file=key_file,
        omapi_key=OMAPI_KEY,
        omapi_port=OMAPI_PORT,
    )
    return text.encode()


def host(node: Node) -> bytes:
    """Return a node's host."""
    text = _form(nis_domain(node)).replace(_NAME, node.name).replace(_MAC, node.mac)
    return text.replace(_ADDRESS, str(node.ip)).encode()


def nis_domain(node: Node) -> str | None:
    """Return a node's NIS domain where its profile or itself has another than its network, whose
    own is sent to all of its nodes. It is the only option of DHCP that a node can have for
    itself."""
    own = node.settings.nis_domain
    return None if own == node.network.nis_domain else own


@functools.lru_cache(maxsize=64)
def _form(nis: str | None) -> str:
    """Return any node's host: the template is rendered once for all nodes with a NIS domain."""
    return template("dhcpd.host.j2").render(name=_NAME, mac=_MAC, address=_ADDRESS, nis_domain=nis)


def key(secret: str) -> bytes:
    """Return the file that has the key, for root alone; ``secret`` is in base64."""
    clause = f'key {OMAPI_KEY} {{\n  algorithm hmac-sha256;\n  secret "{secret}";\n}};\n'
    return (header("the key that changes the running dhcpd") + clause).encode()


def head_of(config: bytes) -> bytes:
    """Return what stands before the hosts in a configuration of the project."""
    return config[: _first(config)]


def _first(config: bytes) -> int:
    """Return where the hosts begin."""
    first = _HOST.search(config)
    return first.start() if first else len(config)


def hosts(config: bytes) -> dict[str, tuple[str, str]]:
    """Return the hosts of a configuration: name to MAC and address."""
    return {
        one.name: (one.mac, one.ip) for match in _HOST.finditer(config) if (one := _host(match))
    }


def texts(config: bytes) -> dict[str, bytes]:
    """Return the hosts of a configuration: name to text."""
    return {match["name"].decode(errors="replace"): match[0] for match in _HOST.finditer(config)}


def served(config: bytes, name: str = "", mac: str = "", ip: str = "") -> Host | None:
    """Return the host of this name, whatever its case, or this MAC, or this address, or None. A
    name or a MAC is searched as text, which takes no time to speak of."""
    if ip:
        match = part_of(config, _HOST, IPAddress(ip), _first(config), len(config))
        return None if match is None else _host(match)
    if name:
        at = config.lower().find(f"\nhost {name.lower()} {{\n".encode())
    else:
        at = config.find(f"\n  hardware ethernet {mac};\n".encode())
    if at < 0:
        return None
    match = _HOST.match(config, config.rfind(b"\nhost ", 0, at + len(b"\nhost ")))
    return None if match is None else _host(match)


def alike(config: bytes, name: str) -> Host | None:
    """Return the host whose name can mean the same machine, since one of the two is the other
    without its domain, or None. It is searched as text, as in :func:`served`."""
    bare, dot, _ = name.lower().partition(".")
    at = config.lower().find(f"\nhost {bare} {{\n".encode() if dot else f"\nhost {bare}.".encode())
    match = _HOST.match(config, at) if at >= 0 else None
    return None if match is None else _host(match)


def with_host(config: bytes, node: Node) -> bytes:
    """Return a configuration with one host more, which it must not have yet."""
    at = place(config, _HOST, node.ip, _first(config), len(config))
    return spliced(config, at, at, host(node))


def without(config: bytes, host: Host) -> bytes:
    """Return a configuration without one of its hosts."""
    return spliced(config, host.start, host.end, b"")


def _host(match: re.Match[bytes]) -> Host:
    name, mac, ip = (part.decode(errors="replace") for part in match.group("name", "mac", "ip"))
    nis = match["nis"]
    return Host(name, mac, ip, nis.decode() if nis else None, match.start(), match.end())
