"""PXELINUX's files below the TFTP root: the HOWTO's tree, one file per node.

Formats: syslinux(1), the syslinux wiki's "PXELINUX" (names of the files) and "Config" (directives).
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from netaddr import IPAddress

from salt_diskless.boot import kernel_line
from salt_diskless.boot.kernel_line import DIRECTORY
from salt_diskless.boot.roots import Roots
from salt_diskless.boot.template import template
from salt_diskless.cluster import DisklessError, Node, Settings, Site
from salt_diskless.tree import header

LOADER = f"{DIRECTORY}/pxelinux.0"
CONFIG = f"{DIRECTORY}/pxelinux.cfg"
#: Where a machine that is no node asks what was decided about it, by :func:`mac_name`; and where it
#: asks for a file that is never there, whose path says who it is.
REGISTRY = f"{DIRECTORY}/registry"
ANNOUNCED = f"{DIRECTORY}/announced"
#: What it may be told.
REGISTERED, REJECTED = "registered", "rejected"

#: Stand for what is each node's own; no checked value has these characters.
_NAME, _MAC, _ADDRESS = kernel_line.NAME, "\0mac\0", "\0address\0"

_SERIAL = re.compile(r"ttyS([0-9]),([0-9]+)")


def hex_name(address: IPAddress) -> str:
    """Return the name of a node's file: its IPv4 address in upper-case hex, as gethostip -x."""
    return f"{int(address):08X}"


def mac_name(mac: str) -> str:
    """Return the name that PXELINUX tries before the hex one: ``01-`` and the MAC."""
    return "01-" + mac.replace(":", "-")


def kernel_place(image: str, version: str, named: str | None, own: str | None) -> str:
    """Return the directory of a kernel and its initramfs, below :data:`DIRECTORY`.

    named, own
        The release of the kernel that is meant, and of the one that the version boots when none is
        named.
    """
    return f"{image}/{version}" + (f"/{named}" if named not in (None, own) else "")


def _form(settings: Settings, version: str, own: str, known: Roots) -> str:
    """Return the file of the nodes with these settings, with :data:`_NAME`, :data:`_MAC` and
    :data:`_ADDRESS` where each node's own go: the template is rendered once for all of them."""
    serial = _SERIAL.match(settings.serial_console or "")
    place = kernel_place(settings.image.name, version, settings.kernel, own)
    return template("pxelinux.node.j2").render(
        header=header(f"{_NAME}, {_MAC}, {_ADDRESS}").rstrip(),
        serial_port=serial[1] if serial else None,
        serial_speed=serial[2] if serial else None,
        image=settings.image,
        place=place,
        append=" ".join(kernel_line.words(settings, version, place, known)),
    )


def _check_length(node: Node, form: str) -> None:
    """Raise :class:`DisklessError` for a kernel line that the kernel would cut. The checks of the
    pillar measure it too, so this is for a version whose name they did not foresee."""
    if len(form) + 2 * len(node.name) < kernel_line.LONGEST - 400:
        return
    kernel, append = (
        next(part for part in form.splitlines() if part.lstrip().startswith(word)).strip()
        for word in ("kernel ", "append ")
    )
    place = kernel.removeprefix("kernel ").removesuffix("/vmlinuz")
    length = kernel_line.length(append.removeprefix("append "), place, node.name)
    if length > kernel_line.LONGEST:
        raise DisklessError(
            f"diskless:nodes:{node.name}: found a kernel line of {length} characters; the "
            f"kernel takes {kernel_line.LONGEST}, so make kernel_append or the names shorter"
        )


def answer(mac: str, decision: str) -> bytes:
    """Return the file that tells a machine what was decided about it."""
    return f"{header(f'the answer for {mac}')}{decision}\n".encode()


def render(
    site: Site,
    versions: Mapping[str, str],
    kernels: Mapping[tuple[str, str], str],
    known: Roots,
) -> dict[str, bytes]:
    """Return every file below ``pxelinux.cfg``: one per node, as :func:`nodes` has them, and
    ``default``."""
    files = nodes(site, versions, kernels, known)
    files[f"{CONFIG}/default"] = _default(site, versions)
    return files


def nodes(
    site: Site,
    versions: Mapping[str, str],
    kernels: Mapping[tuple[str, str], str],
    known: Roots,
) -> dict[str, bytes]:
    """Return the nodes' files.

    versions
        Image name to the id of the version that its nodes boot, if the pillar pins no other one.
    kernels
        Image and version to the release of the kernel that is booted when a node names none.
    known
        What is known of roots that are one file.

    Returns paths relative to the TFTP root.
    """
    files = {}
    forms: dict[int, str] = {}
    for node in site.nodes.values():
        form = forms.get(id(node.settings))
        if form is None:
            version = node.settings.version or versions[node.image.name]
            form = _form(node.settings, version, kernels[node.image.name, version], known)
            forms[id(node.settings)] = form
        _check_length(node, form)
        text = form.replace(_NAME, node.name).replace(_MAC, node.mac, 1)
        files[f"{CONFIG}/{hex_name(node.ip)}"] = text.replace(_ADDRESS, str(node.ip), 1).encode()
    return files


def _default(site: Site, versions: Mapping[str, str]) -> bytes:
    """Return what a machine gets that no node's file is for: it says its MAC and what to do."""
    image = next((name for name in site.images if name in versions), None)
    return (
        template("pxelinux.default.j2")
        .render(
            header=header("machines that are no node").rstrip(),
            server=site.server.name,
            image=image,
            version=versions[image] if image else None,
            consoles=site.consoles or ("ttyS0,115200",),
        )
        .encode()
    )
