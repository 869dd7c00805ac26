"""What a line of a foreign file says of a node, and MACs in every usual notation."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from salt_diskless.cluster import DisklessError
from salt_diskless.cluster.errors import shown
from salt_diskless.registry.announcement import read

ADDRESS = re.compile(r"[0-9]{1,3}(?:\.[0-9]{1,3}){3}")
#: Six groups with one separator (ethers(5) leaves out zeros at the front), three of four digits
#: (Cisco and others), two of six (HP), or twelve digits.
_NOTATIONS = (
    re.compile(r"([0-9a-f]{1,2})([:. -])([0-9a-f]{1,2})(?:\2([0-9a-f]{1,2})){4}"),
    re.compile(r"[0-9a-f]{4}([:. -])[0-9a-f]{4}\1[0-9a-f]{4}"),
    re.compile(r"[0-9a-f]{6}[:. -]?[0-9a-f]{6}"),
)
#: PXELINUX and DHCP client identifiers put the hardware type before the MAC.
_TYPE = re.compile(r"(?:01|1)([:-])(?=(?:[0-9a-f]{1,2}\1){5}[0-9a-f]{1,2}$)")
_SEPARATORS = re.compile("[:. -]")
#: InfiniBand has 20 bytes, a port's GUID 8.
_LONG = re.compile(
    r"[0-9a-f]{1,2}(?:[:-][0-9a-f]{1,2}){7,31}|(?:0x)?(?:[0-9a-f]{16}|[0-9a-f]{40})", re.IGNORECASE
)


@dataclass(frozen=True, slots=True)
class Found:
    """A node as a file has it; what the file does not say is None.

    name
        Empty where the file goes by addresses.
    others
        Further addresses, and host names in the place of one.
    aliases
        Further names, by which other files may know it.
    file
        The path of the file; empty where it does not matter.
    certain
        Whether the line can be nothing but a node. Others, like those of hosts(5), are left out
        when they cannot be nodes.
    skip
        Why it is no node; empty where it may be.
    notes
        What of the node is not taken.
    clash
        The words for two lines that give it different addresses; both may be right.
    chosen
        Whether its line is one that is to be imported.
    """

    name: str
    line: int
    mac: str | None = None
    ip: str | None = None
    profile: str | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    others: tuple[str, ...] = ()
    aliases: tuple[str, ...] = ()
    file: str = ""
    certain: bool = True
    skip: str = ""
    notes: tuple[str, ...] = ()
    clash: str = ""
    chosen: bool = False

    @property
    def where(self) -> str:
        """Return the file, if it is known, and the line."""
        return f"{self.file} line {self.line}".lstrip()


def mac(text: str, line: int) -> str:
    """Return a MAC as the project writes it, from any usual notation.

    Raises :class:`DisklessError` with the line for anything else.
    """
    try:
        return read({"mac": _colons(text)}).mac
    except DisklessError:
        raise DisklessError(
            f"line {line}: found {shown(text)}; give a MAC of one machine, like 52:54:00:aa:00:02"
        ) from None


def no_ethernet(text: str) -> bool:
    """Return True for a hardware address that is longer than Ethernet's, like InfiniBand's."""
    return _LONG.fullmatch(text.strip()) is not None


def _colons(text: str) -> str:
    """Return a MAC with two digits and colons, or nothing where the text is none."""
    plain = _TYPE.sub("", text.strip().lower().removeprefix("0x"))
    if not any(notation.fullmatch(plain) for notation in _NOTATIONS):
        return ""
    parts = _SEPARATORS.split(plain)
    digits = "".join(part.rjust(2, "0") for part in parts) if len(parts) == 6 else "".join(parts)
    return ":".join(digits[i : i + 2] for i in range(0, 12, 2))
