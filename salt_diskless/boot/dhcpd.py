"""ISC dhcpd's configuration: dhcpd.conf(5), dhcp-options(5)."""

from __future__ import annotations

from salt_diskless.boot.pxelinux import LOADER
from salt_diskless.boot.template import template
from salt_diskless.cluster import Network, Site
from salt_diskless.tree import header


def interfaces(site: Site) -> dict[str, list[Network]]:
    """Return the interfaces that dhcpd listens on, each with the networks behind it."""
    by_interface: dict[str, list[Network]] = {}
    for network in site.networks.values():
        by_interface.setdefault(network.interface, []).append(network)
    return by_interface


def render(site: Site) -> bytes:
    """Return ``dhcpd.conf`` for one boot server: a host per node, a subnet per network."""
    text = template("dhcpd.conf.j2").render(
        header=header("dhcpd of the diskless nodes").rstrip(),
        filename=LOADER,
        interfaces=sorted(interfaces(site).items()),
        nodes=site.nodes.values(),
    )
    return text.encode()
