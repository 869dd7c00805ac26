"""What dhcpd's and the TFTP daemon's log lines say of a machine. Every word in them may be a
stranger's: a line is taken whole or not at all, and of a value only what it can be made of."""

from __future__ import annotations

import re
from dataclasses import dataclass

from netaddr import AddrFormatError, IPAddress

from salt_diskless.boot.pxelinux import ANNOUNCED, CONFIG, DIRECTORY, LOADER, REGISTRY
from salt_diskless.cluster import schema
from salt_diskless.cluster.placeholders import is_placeholder
from salt_diskless.regex import lazy_regex

_MAC = r"(?P<mac>[0-9a-f]{2}(?::[0-9a-f]{2}){5})"
_IP = r"(?P<ip>[0-9]{1,3}(?:\.[0-9]{1,3}){3})"
_MAC_NAME = r"01-(?P<mac>[0-9a-f]{2}(?:-[0-9a-f]{2}){5})"
#: dhcpd puts the host name that a machine gives itself into brackets, printable characters only.
_DHCP = lazy_regex(rf"DHCP(?P<what>OFFER|ACK) on {_IP} to {_MAC} (?:\([^()]*\) )?via \S+")
_READ = lazy_regex(rf"RRQ from (?:::ffff:)?{_IP} filename (?P<path>[A-Za-z0-9._/-]{{1,500}})")
_LOADER = lazy_regex(rf"{re.escape(LOADER)}|{re.escape(CONFIG)}/[0-9A-F]{{8}}")
_KERNEL = lazy_regex(
    rf"{DIRECTORY}/[^/]+/(?P<version>[0-9]{{8}}T[0-9]{{6}}(?:-[0-9]+)?)/(?:[^/]+/)?vmlinuz"
)
_ASKED = lazy_regex(rf"{re.escape(REGISTRY)}/{_MAC_NAME}")
_SAID = lazy_regex(
    rf"{re.escape(ANNOUNCED)}/{_MAC_NAME}/(?P<serial>[0-9a-f]{{2,128}}|-)"
    r"/(?P<asset>[0-9a-f]{2,128}|-)/(?P<uuid>[0-9a-f]{2,128}|-)"
)
_UUID = lazy_regex(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")


@dataclass(frozen=True, slots=True)
class Seen:
    """One line about a machine.

    what
        ``offer`` or ``ack`` of dhcpd; of TFTP ``loader``, ``kernel`` or ``asked``.
    mac
        As the line has it; nothing where it has only an address.
    version
        Of the kernel.
    known
        Serial number, asset tag and UUID, where the machine said them.
    """

    what: str
    mac: str
    ip: str
    version: str = ""
    known: tuple[str, str, str] | None = None


def read(line: str) -> Seen | None:
    """Return what a line says, or None when it says nothing of a machine."""
    match = _DHCP.fullmatch(line)
    if match is not None and _is_address(match["ip"]):
        return Seen(match["what"].lower(), match["mac"], match["ip"])
    match = _READ.fullmatch(line)
    if match is None or not _is_address(match["ip"]):
        return None
    ip, path = match["ip"], match["path"]
    if _LOADER.fullmatch(path):
        return Seen("loader", "", ip)
    found = _KERNEL.fullmatch(path)
    if found is not None:
        return Seen("kernel", "", ip, found["version"])
    found = _ASKED.fullmatch(path)
    if found is not None:
        return Seen("asked", found["mac"].replace("-", ":"), ip)
    found = _SAID.fullmatch(path)
    if found is None:
        return None
    uuid = _text(found["uuid"]).lower()
    known = (_text(found["serial"]), _text(found["asset"]), uuid if _UUID.fullmatch(uuid) else "")
    return Seen("asked", found["mac"].replace("-", ":"), ip, known=known)


def _is_address(text: str) -> bool:
    try:
        IPAddress(text)
    except (AddrFormatError, ValueError):
        return False
    return True


def _text(digits: str) -> str:
    """Return what a machine said in hex, if the registry would take it and it means something."""
    if digits == "-" or len(digits) % 2:
        return ""
    text = bytes.fromhex(digits).decode("ascii", "replace").strip()
    return text if schema.is_claim(text) and not is_placeholder(text) else ""
