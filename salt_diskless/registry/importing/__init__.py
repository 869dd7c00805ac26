"""Nodes from files of other systems: one module a format, each with ``nodes(text)``."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from salt_diskless.cluster import DisklessError
from salt_diskless.cluster.errors import shown
from salt_diskless.registry.importing import csv, dhcpd, ethers, hosts, warewulf
from salt_diskless.registry.importing.found import Found
from salt_diskless.registry.importing.plan import Plan, plan

#: A format's name to what reads it. ``nodes`` is the HOWTO's file: an address and a name a line.
FORMATS: Mapping[str, Callable[[str], Iterator[Found]]] = {
    "nodes": hosts.nodes,
    "hosts": hosts.nodes,
    "ethers": ethers.nodes,
    "csv": csv.nodes,
    "dhcpd": dhcpd.nodes,
    "warewulf": warewulf.nodes,
}
#: By a file's name, beside those that have a format's name as theirs.
_NAMES = {"dhcpd.conf": "dhcpd", "nodes.conf": "warewulf"}
#: 10,000 nodes of Warewulf's have two megabytes.
_LARGEST = 64 << 20

__all__ = ["FORMATS", "Found", "Plan", "joined", "plan", "read"]


def read(path: str, form: str | None = None) -> list[Found]:
    """Return the nodes of a file, in its order.

    form
        The name of its format; None goes by its name.

    Raises :class:`DisklessError` that names file and line.
    """
    name = os.path.basename(path)
    form = form or _NAMES.get(name) or (name if name in FORMATS else name.rpartition(".")[2])
    if form not in FORMATS:
        raise DisklessError(
            f"{path}: found no format by its name; give one of {', '.join(FORMATS)}"
        )
    try:
        with open(path, encoding="utf-8-sig") as stream:
            text = stream.read(_LARGEST + 1)
    except UnicodeDecodeError as err:
        raise DisklessError(f"{path}: found no text ({err.reason})") from None
    if len(text) > _LARGEST:
        raise DisklessError(f"{path}: found more than {_LARGEST >> 20} MB; give a list of nodes")
    try:
        return list(FORMATS[form](text))
    except DisklessError as err:
        raise DisklessError(f"{path}: {err}") from None


def joined(files: Iterable[Sequence[Found]]) -> list[Found]:
    """Return the nodes of several files, each node once: one has its address, another its MAC.

    Raises :class:`DisklessError` when they contradict each other.
    """
    names: dict[str, Found] = {}
    loose: list[Found] = []
    for found in (node for nodes in files for node in nodes):
        if not found.name:
            loose.append(found)
            continue
        there = names.get(found.name.lower())
        names[found.name.lower()] = found if there is None else _both(there, found)
    addresses = {node.ip: key for key, node in names.items() if node.ip}
    for found in loose:
        key = addresses.get(found.ip or "")
        if key is None:
            raise DisklessError(
                f"line {found.line}: found {shown(found.ip)} without a name; give the file that "
                "has it as well, like /etc/hosts"
            )
        names[key] = _both(names[key], found)
    return list(names.values())


def _both(one: Found, other: Found) -> Found:
    for what in ("mac", "ip", "profile"):
        here, there = getattr(one, what), getattr(other, what)
        if here and there and here != there:
            raise DisklessError(
                f"line {other.line}: found {what} {shown(there)} for {one.name}, and {shown(here)} "
                f"in line {one.line}; give one"
            )
    return Found(
        name=one.name,
        line=one.line,
        mac=one.mac or other.mac,
        ip=one.ip or other.ip,
        profile=one.profile or other.profile,
        settings={**one.settings, **other.settings},
    )
