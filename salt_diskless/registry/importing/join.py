"""The nodes of several files as one list, each node once: one file has its address, another its
MAC."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from salt_diskless.cluster import DisklessError
from salt_diskless.cluster.errors import shown
from salt_diskless.registry.importing.found import ADDRESS, Found


def joined(files: Iterable[Sequence[Found]]) -> list[Found]:
    """Return the nodes of several files, each node once, and the lines that are none.

    Names in the place of an address are looked up in the other files. Raises :class:`DisklessError`
    when lines that can only be nodes contradict each other.
    """
    every = [entry for file in files for entry in file]
    names = _Names(every)
    lines: dict[str, list[Found]] = {}
    loose: list[Found] = []
    skipped: list[Found] = []
    for entry in every:
        if entry.skip:
            skipped.append(entry)
        elif not entry.name:
            loose.append(entry)
        else:
            lines.setdefault(names.key(entry.name), []).append(entry)
    # Only a name that a file of names has stands for a node's address.
    addresses = {ip: key for key, some in lines.items() for line in some for ip in _addresses(line)}
    for entry in loose:
        owner = addresses.get(entry.ip or "")
        if owner is not None:
            lines[owner].append(entry)
        elif entry.certain:
            raise DisklessError(
                f"{entry.where}: found {shown(entry.ip)} without a name; give the file that has it "
                "as well, like /etc/hosts"
            )
        else:
            why = "an address that no file has a name for; give that file as well, like /etc/hosts"
            skipped.append(dataclasses.replace(entry, skip=why))
    nodes = (_merged(some) for some in lines.values())
    return [*(_resolved(node, names.addresses) for node in nodes), *skipped]


class _Names:
    """Which names are one node's, and the addresses of every name."""

    def __init__(self, every: Sequence[Found]):
        # A file of MACs may call a node by any of its names; those with addresses are the nodes.
        first = {entry.name.lower() for entry in every if entry.ip and not entry.skip}
        owners: dict[str, set[str]] = {}
        self.addresses: dict[str, list[str]] = {}
        for entry in every:
            for name in (entry.name, *entry.aliases):
                if name and name.lower() != entry.name.lower() and not entry.skip:
                    owners.setdefault(name.lower(), set()).add(entry.name.lower())
                if name and entry.ip:
                    self.addresses.setdefault(name.lower(), []).append(entry.ip)
        #: An alias that several machines have is nobody's.
        self._keys: Mapping[str, str] = {
            alias: next(iter(names))
            for alias, names in owners.items()
            if len(names) == 1 and (alias not in first or "." in alias)
        }

    def key(self, name: str) -> str:
        """Return the name under which a node is joined."""
        name = name.lower()
        return self._keys.get(name, name)


def _addresses(node: Found) -> Iterator[str]:
    if node.ip:
        yield node.ip
    yield from (other for other in node.others if ADDRESS.fullmatch(other))


def _resolved(node: Found, addresses: Mapping[str, Sequence[str]]) -> Found:
    """Return a node with addresses in the place of names, as far as files have them."""
    several = list(_addresses(node))
    missing = []
    for other in node.others:
        if not ADDRESS.fullmatch(other):
            name = other.rstrip(".").lower()
            of_name = addresses.get(name) or addresses.get(name.split(".")[0]) or ()
            several += of_name
            missing += [] if of_name else [other]
    several = list(dict.fromkeys(several))
    notes = tuple(f"fixed-address {name}: no file that was given has it" for name in missing)
    return dataclasses.replace(
        node,
        ip=several[0] if several else None,
        others=tuple(several[1:]) if several else tuple(missing),
        notes=(*node.notes, *(notes if several else ())),
    )


def _merged(lines: Sequence[Found]) -> Found:
    """Return what the lines of a node say together, in a time that is linear in them. Which of
    several addresses is a node's is seen later, except where the lines can only be nodes."""
    if len(lines) == 1:
        return lines[0]
    first: dict[str, Found] = {}
    clash = lines[0].clash
    settings: dict[str, Any] = {}
    for line in lines:
        settings.update(line.settings)
        for what in ("mac", "ip", "profile"):
            value = getattr(line, what)
            if not value:
                continue
            before = first.setdefault(what, line)
            if getattr(before, what) == value:
                continue
            words = (
                f"{line.where}: found {what} {shown(value)} for {lines[0].name}, and "
                f"{shown(getattr(before, what))} in {before.where}; give one"
            )
            if what != "ip" or (before.certain and line.certain):
                raise DisklessError(words)
            clash = clash or f"{words}, or choose lines with only="
    ip = first["ip"].ip if "ip" in first else None
    others = [
        *(line.ip for line in lines if line.ip),
        *(ip for line in lines for ip in line.others),
    ]
    return dataclasses.replace(
        lines[0],
        mac=first["mac"].mac if "mac" in first else None,
        ip=ip,
        profile=first["profile"].profile if "profile" in first else None,
        settings=settings,
        others=tuple(other for other in dict.fromkeys(others) if other != ip),
        aliases=tuple(dict.fromkeys(alias for line in lines for alias in line.aliases)),
        certain=any(line.certain for line in lines),
        notes=tuple(dict.fromkeys(note for line in lines for note in line.notes)),
        clash=clash,
        chosen=any(line.chosen for line in lines),
    )
