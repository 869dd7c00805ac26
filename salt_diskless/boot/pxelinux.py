"""PXELINUX's files below the TFTP root: the HOWTO's tree, one file per node.

Formats: syslinux(1), the syslinux wiki's "PXELINUX" (names of the files) and "Config" (directives).
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from netaddr import IPAddress

from salt_diskless.boot.template import template
from salt_diskless.cluster import DisklessError, Node, Site
from salt_diskless.tree import header

DIRECTORY = "linux-install"
LOADER = f"{DIRECTORY}/pxelinux.0"
CONFIG = f"{DIRECTORY}/pxelinux.cfg"

#: The kernel's own limit on x86 (COMMAND_LINE_SIZE), with room for what sysappend adds.
KERNEL_LINE_MAX = 2047 - 120

_SERIAL = re.compile(r"ttyS([0-9]),([0-9]+)")


def hex_name(address: IPAddress) -> str:
    """Return the name of a node's file: its IPv4 address in upper-case hex, as gethostip -x."""
    return f"{int(address):08X}"


def mac_name(mac: str) -> str:
    """Return the name that PXELINUX tries before the hex one: ``01-`` and the MAC."""
    return "01-" + mac.replace(":", "-")


def kernel_line(node: Node, version: str) -> str:
    """Return a node's append line: the HOWTO's words, and what is new."""
    settings, image = node.settings, node.image
    words = [
        f"console={settings.serial_console}" if settings.serial_console else "",
        f"initrd={image.name}/{version}/initrd.img",
        "root=/dev/nfs boot=diskless",
        f"NFSROOT={node.network.server_address}:{image.location}",
        f"SNAPSHOT={node.name}",
        f"ETHERNET={settings.interface}",
        f"NISDOMAIN={settings.nis_domain}" if settings.nis_domain else "",
        f"DISKLESS_VERSION={version}",
        f"DISKLESS_ROOT={settings.root}",
        f"DISKLESS_NFS={settings.nfs}",
        f"nfs.nfs4_unique_id={node.name}",
        "ro",
        settings.kernel_append or "",
    ]
    line = " ".join(word for word in words if word)
    if len(line) > KERNEL_LINE_MAX:
        raise DisklessError(
            f"diskless:nodes:{node.name}: found a kernel line of {len(line)} characters; the "
            f"kernel takes {KERNEL_LINE_MAX}, so make kernel_append or the names shorter"
        )
    return line


def render(site: Site, versions: Mapping[str, str]) -> dict[str, bytes]:
    """Return every file below ``pxelinux.cfg``: one per node, and ``default``.

    versions
        Image name to the id of the version that its nodes boot.

    Returns paths relative to the TFTP root.
    """
    node_file = template("pxelinux.node.j2")
    files = {}
    for node in site.nodes.values():
        version = versions[node.image.name]
        serial = _SERIAL.match(node.settings.serial_console or "")
        files[f"{CONFIG}/{hex_name(node.ip)}"] = node_file.render(
            header=header(f"{node.name}, {node.mac}, {node.ip}").rstrip(),
            serial_port=serial[1] if serial else None,
            serial_speed=serial[2] if serial else None,
            image=node.image,
            version=version,
            append=kernel_line(node, version),
        ).encode()
    files[f"{CONFIG}/default"] = _default(site, versions)
    return files


def _default(site: Site, versions: Mapping[str, str]) -> bytes:
    """Return what a machine gets that no node's file is for: it says its MAC and what to do."""
    image = next((name for name in site.images if name in versions), None)
    consoles = [
        node.settings.serial_console for node in site.nodes.values() if node.settings.serial_console
    ]
    return (
        template("pxelinux.default.j2")
        .render(
            header=header("machines that are no node").rstrip(),
            server=site.server.name,
            image=image,
            version=versions[image] if image else None,
            console=consoles[0] if consoles else "ttyS0,115200",
        )
        .encode()
    )
