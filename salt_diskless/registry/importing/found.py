"""What a line of a foreign file says of a node."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from salt_diskless.cluster import DisklessError
from salt_diskless.cluster.errors import shown
from salt_diskless.registry.announcement import read


@dataclass(frozen=True, slots=True)
class Found:
    """A node as a file has it; what the file does not say is None. ``name`` is empty where the file
    goes by addresses."""

    name: str
    line: int
    mac: str | None = None
    ip: str | None = None
    profile: str | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)


def mac(text: str, line: int) -> str:
    """Return a MAC as the project writes it; ethers(5) leaves out zeros at the front."""
    full = ":".join(part.rjust(2, "0") for part in text.replace("-", ":").split(":"))
    try:
        return read({"mac": full}).mac
    except DisklessError:
        raise DisklessError(f"line {line}: found {shown(text)}; give a MAC") from None
