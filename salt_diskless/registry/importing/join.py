"""The nodes of several files as one list, each node once: one file has its address, another its
MAC."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence

from salt_diskless.cluster import DisklessError
from salt_diskless.cluster.errors import shown
from salt_diskless.registry.importing.found import ADDRESS, Found


def joined(files: Iterable[Sequence[Found]]) -> list[Found]:
    """Return the nodes of several files, each node once, and the lines that are none.

    Names in the place of an address are looked up in the other files. Raises :class:`DisklessError`
    when lines that can only be nodes contradict each other.
    """
    every = [found for file in files for found in file]
    names = _Names(every)
    nodes: dict[str, Found] = {}
    loose: list[Found] = []
    skipped: list[Found] = []
    for found in every:
        if found.skip:
            skipped.append(found)
        elif not found.name:
            loose.append(found)
        else:
            key = names.key(found.name)
            there = nodes.get(key)
            nodes[key] = found if there is None else _both(there, found)
    # Only a name that a file of names has stands for a node's address.
    addresses = {ip: key for key, node in nodes.items() for ip in _addresses(node)}
    for found in loose:
        owner = addresses.get(found.ip or "")
        if owner is not None:
            nodes[owner] = _both(nodes[owner], found)
        elif found.certain:
            raise DisklessError(
                f"{found.where}: found {shown(found.ip)} without a name; give the file that has it "
                "as well, like /etc/hosts"
            )
        else:
            why = "an address that no file has a name for; give that file as well, like /etc/hosts"
            skipped.append(dataclasses.replace(found, skip=why))
    return [*(_resolved(node, names.addresses) for node in nodes.values()), *skipped]


class _Names:
    """Which names are one node's, and the addresses of every name."""

    def __init__(self, every: Sequence[Found]):
        first = {found.name.lower() for found in every if found.name and not found.skip}
        owners: dict[str, set[str]] = {}
        self.addresses: dict[str, list[str]] = {}
        for found in every:
            for name in (found.name, *found.aliases):
                if name and name.lower() != found.name.lower() and not found.skip:
                    owners.setdefault(name.lower(), set()).add(found.name.lower())
                if name and found.ip:
                    self.addresses.setdefault(name.lower(), []).append(found.ip)
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
    yield from (one for one in node.others if ADDRESS.fullmatch(one))


def _resolved(node: Found, addresses: Mapping[str, Sequence[str]]) -> Found:
    """Return a node with addresses in the place of names, as far as files have them."""
    found = list(_addresses(node))
    missing = []
    for other in node.others:
        if not ADDRESS.fullmatch(other):
            name = other.rstrip(".").lower()
            there = addresses.get(name) or addresses.get(name.split(".")[0]) or ()
            found += there
            missing += [] if there else [other]
    several = list(dict.fromkeys(found))
    notes = tuple(f"fixed-address {name}: no file that was given has it" for name in missing)
    return dataclasses.replace(
        node,
        ip=several[0] if several else None,
        others=tuple(several[1:]) if several else tuple(missing),
        notes=(*node.notes, *(notes if several else ())),
    )


def _both(one: Found, other: Found) -> Found:
    """Return what two lines say of a node. Which of several addresses is a node's is seen later,
    except where the lines can only be nodes."""
    clash = one.clash
    for what in ("mac", "ip", "profile"):
        here, there = getattr(one, what), getattr(other, what)
        if here and there and here != there:
            words = (
                f"{other.where}: found {what} {shown(there)} for {one.name}, and {shown(here)} "
                f"in {one.where}; give one"
            )
            if what == "ip" and not (one.certain and other.certain):
                clash = clash or f"{words}, or choose lines with only="
            else:
                raise DisklessError(words)
    more = tuple(ip for ip in (other.ip,) if ip and one.ip and ip != one.ip)
    return dataclasses.replace(
        one,
        mac=one.mac or other.mac,
        ip=one.ip or other.ip,
        profile=one.profile or other.profile,
        settings={**one.settings, **other.settings},
        others=tuple(dict.fromkeys((*one.others, *other.others, *more))),
        aliases=tuple(dict.fromkeys((*one.aliases, *other.aliases))),
        certain=one.certain or other.certain,
        notes=tuple(dict.fromkeys((*one.notes, *other.notes))),
        clash=clash,
        chosen=one.chosen or other.chosen,
    )
