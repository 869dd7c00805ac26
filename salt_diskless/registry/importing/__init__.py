"""Nodes from files of other systems: one module a format, each with ``nodes(text)``."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from salt_diskless.cluster import DisklessError
from salt_diskless.cluster.errors import shown
from salt_diskless.registry.decide import Desk
from salt_diskless.registry.importing import csv, dhcpd, ethers, hosts, text, warewulf
from salt_diskless.registry.importing.found import Found
from salt_diskless.registry.importing.join import joined
from salt_diskless.registry.importing.only import Only, only_of
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

__all__ = ["FORMATS", "Found", "Only", "Plan", "joined", "only_of", "plan", "planned", "read"]


def read(path: str, form: str | None = None) -> list[Found]:
    """Return the nodes of a file, in its order.

    form
        The name of its format; None goes by its name.

    Raises :class:`DisklessError` that names file and line.
    """
    name = os.path.basename(path)
    if form is not None and form not in FORMATS:
        raise DisklessError(f"format: found {shown(form)}; give one of {', '.join(FORMATS)}")
    form = form or _NAMES.get(name) or (name if name in FORMATS else name.rpartition(".")[2])
    if form not in FORMATS:
        raise DisklessError(
            f"{path}: found no format by its name; give one of {', '.join(FORMATS)}"
        )
    try:
        lines = [dataclasses.replace(entry, file=path) for entry in FORMATS[form](text.read(path))]
    except DisklessError as err:
        words = str(err)
        raise DisklessError(words if words.startswith(path) else f"{path}: {words}") from None
    if not lines:
        raise DisklessError(
            f"{path}: found no node in it, read as {form}; leave it out, or name the format that "
            f"it has: one of {', '.join(FORMATS)}"
        )
    return lines


def planned(
    desk: Desk, files: Sequence[Sequence[Found]], profile: str | None, only: Any = None
) -> Plan:
    """Return what an import of these files would change.

    only
        As :func:`only_of` takes it.

    Raises :class:`DisklessError` that names every line that is wrong.
    """
    chosen = only_of(only)
    return plan(desk, joined(chosen.of_lines(files)), profile, chosen)
