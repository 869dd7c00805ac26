"""ethers(5): a MAC, and the name or the address of the machine that has it."""

from __future__ import annotations

from collections.abc import Iterator

from salt_diskless.cluster import DisklessError
from salt_diskless.cluster.errors import shown
from salt_diskless.registry.importing.found import ADDRESS, Found, mac, no_ethernet


def nodes(text: str) -> Iterator[Found]:
    """Yield a node a line; one that goes by its address has no name."""
    for number, line in enumerate(text.split("\n"), 1):
        words = line.split("#", 1)[0].split()
        if not words:
            continue
        if len(words) == 7:
            # A MAC with blanks in it.
            words = [" ".join(words[:6]), words[6]]
        if len(words) != 2:
            raise DisklessError(f"line {number}: found {shown(line)}; give a MAC and a name")
        name, ip = ("", words[1]) if ADDRESS.fullmatch(words[1]) else (words[1], None)
        if no_ethernet(words[0]):
            yield Found(name, number, ip=ip, certain=False, skip="found no Ethernet address")
        else:
            yield Found(name, number, mac(words[0], number), ip, certain=False)
