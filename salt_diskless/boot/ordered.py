"""Text whose parts are in the order of the nodes' addresses: where one more part belongs, without
reading all of the others."""

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
