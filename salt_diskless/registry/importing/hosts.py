"""hosts(5): an address, a name, more names. The HOWTO's ``nodes`` is one with a single name."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator

from salt_diskless.cluster import schema
from salt_diskless.cluster.errors import shown
from salt_diskless.registry.importing.found import Found


def nodes(text: str) -> Iterator[Found]:
    """Yield a node a line. Of several names the first short one that is a host name counts. A line
    that cannot be a node is yielded with the reason."""
    for number, line in enumerate(text.split("\n"), 1):
        words = line.split("#", 1)[0].split()
        if not words:
            continue
        names = words[1:]
        hosts = [name for name in names if schema.is_host_name(name)]
        first = [*(name for name in hosts if "." not in name), *hosts, *names, ""][0]
        address, why = _address(words[0])
        if not names:
            why = why or "found an address without a name"
        elif not hosts:
            why = why or "found no host name (letters, digits and '-')"
        yield Found(
            name=first,
            line=number,
            ip=address,
            aliases=tuple(name for name in names if name != first),
            certain=False,
            skip=why,
        )


def _address(word: str) -> tuple[str | None, str]:
    """Return the address of a line, and why it is none that a node can have, or nothing."""
    try:
        address = ipaddress.ip_address(word.partition("%")[0])
    except ValueError:
        return None, f"found {shown(word)} instead of an address; give an address and a name"
    if address.version != 4:
        return None, "an address of IPv6"
    if address.is_loopback:
        return None, "a loopback address"
    if address.is_multicast or int(address) in (0, 0xFFFFFFFF):
        return None, "an address of no single machine"
    return str(address), ""
