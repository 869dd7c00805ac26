"""ethers(5): a MAC, and the name or the address of the machine that has it."""

from __future__ import annotations

import re
from collections.abc import Iterator

from salt_diskless.cluster import DisklessError
from salt_diskless.cluster.errors import shown
from salt_diskless.registry.importing.found import Found, mac

_ADDRESS = re.compile(r"[0-9]+(?:\.[0-9]+){3}")


def nodes(text: str) -> Iterator[Found]:
    """Yield a node a line; one that goes by its address has no name."""
    for number, line in enumerate(text.splitlines(), 1):
        words = line.split("#", 1)[0].split()
        if not words:
            continue
        if len(words) != 2:
            raise DisklessError(f"line {number}: found {shown(line)}; give a MAC and a name")
        address, who = mac(words[0], number), words[1]
        if _ADDRESS.fullmatch(who):
            yield Found("", number, mac=address, ip=who)
        else:
            yield Found(who, number, mac=address)
