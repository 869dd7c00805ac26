"""Text whose parts are in the order of the nodes' addresses: where one more part belongs, without
reading all of the others; and text that is changed at one place, in one copy."""

from __future__ import annotations

import re

from netaddr import IPAddress


def place(text: bytes, part: re.Pattern[bytes], address: IPAddress, start: int, end: int) -> int:
    """Return where the part of a node belongs: behind those of lower addresses (bisection).

    part
        Matches a whole part; its group ``ip`` is the node's address.
    start, end
        Where the first part begins and the last one ends.
    """
    low, high = start, end
    while low < high:
        middle = (low + high) // 2
        match = part.search(text, middle)
        if match is None or match.start() >= high or IPAddress(match["ip"].decode()) > address:
            high = middle
        else:
            low = match.end()
    return low


def part_of(
    text: bytes, part: re.Pattern[bytes], address: IPAddress, start: int, end: int
) -> re.Match[bytes] | None:
    """Return the part of the node that has an address, or None; arguments as for :func:`place`."""
    match = part.match(text, place(text, part, address - 1, start, end))
    return match if match is not None and match["ip"].decode() == str(address) else None


def spliced(text: bytes, start: int, end: int, new: bytes) -> bytes:
    """Return a text with ``new`` from ``start`` to ``end``."""
    whole = memoryview(text)
    return b"".join((whole[:start], new, whole[end:]))
