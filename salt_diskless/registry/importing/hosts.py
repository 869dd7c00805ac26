"""hosts(5): an address, a name, more names. The HOWTO's ``nodes`` is one with a single name."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator

from salt_diskless.cluster import DisklessError
from salt_diskless.cluster.errors import shown
from salt_diskless.registry.importing.found import Found


def nodes(text: str) -> Iterator[Found]:
    """Yield a node a line. Of several names the short one counts. What is no address on a network
    of IPv4 (the loopback's, one of IPv6) is passed over."""
    for number, line in enumerate(text.splitlines(), 1):
        words = line.split("#", 1)[0].split()
        if not words:
            continue
        try:
            address = ipaddress.ip_address(words[0].partition("%")[0])
        except ValueError:
            raise DisklessError(
                f"line {number}: found {shown(words[0])}; give an address and a name"
            ) from None
        if address.version != 4 or address.is_loopback or address.is_multicast:
            continue
        if len(words) < 2 or int(address) in (0, 0xFFFFFFFF):
            continue
        short = next((name for name in words[1:] if "." not in name), words[1])
        yield Found(short, number, ip=str(address))
