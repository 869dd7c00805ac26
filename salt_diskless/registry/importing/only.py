"""Which nodes of a file are to be imported."""

from __future__ import annotations

import contextlib
import dataclasses
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from netaddr import (
    AddrFormatError,
    IPAddress,
    IPNetwork,
    IPRange,
    glob_to_iprange,
    valid_glob,
)

from salt_diskless.cluster import DisklessError
from salt_diskless.cluster.errors import shown
from salt_diskless.cluster.ranges import MOST_NODES, count, expand
from salt_diskless.cluster.wording import nearest
from salt_diskless.registry.decide import names_of, split
from salt_diskless.registry.importing.found import Found

_LINES = re.compile(r"lines?[\s:=]*([0-9]{1,7}(?:-[0-9]{1,7})?(?:,[0-9]{1,7}(?:-[0-9]{1,7})?)*)")
_RIGHT = (
    "give a node set like 'node[001-128]', a network like 10.8.226.0/24, a range of addresses, or "
    "lines of the first file like 'lines 10-40'"
)
#: How a range of addresses begins: 10.8.226.5, 10.8.226.5-9, 10.8.226.*.
_ADDRESSES = re.compile(r"(?:[0-9]{1,3}\.){3}(?:[0-9]{1,3}|\*)")
#: Blanks that stand between two things, as they do for ClusterShell.
_BLANKS = re.compile(r"(?<=[\w\].])\s+(?=\w)")
_OF_LINES = re.compile(r"\b(lines?)\s+", re.IGNORECASE)
#: Why a line is left out that nobody asked for.
OTHERS = "not in only"


@dataclass(frozen=True, slots=True)
class Only:
    """What is to be imported: whatever any of these has. All of them empty: everything.

    names
        In lower case.
    ranges
        The first and the last address of each.
    lines
        Of the first file.
    """

    names: frozenset[str] = frozenset()
    ranges: tuple[tuple[int, int], ...] = ()
    lines: frozenset[int] = frozenset()

    def __bool__(self) -> bool:
        return bool(self.names or self.ranges or self.lines)

    def of_lines(self, files: Sequence[Sequence[Found]]) -> list[list[Found]]:
        """Return the files with those lines of the first one marked that are chosen; where only
        lines are, the others of that file are no nodes."""
        if not self.lines:
            return [list(file) for file in files]
        alone = not (self.names or self.ranges)
        first = []
        for entry in files[0]:
            chosen = entry.line in self.lines
            why = "" if chosen or not alone else OTHERS
            first.append(dataclasses.replace(entry, chosen=chosen, skip=entry.skip or why))
        return [first, *(list(file) for file in files[1:])]

    def has(self, entry: Found) -> bool:
        """Return whether a node is to be imported."""
        return not self or entry.chosen or self.names_it(entry) or self._has_address(entry)

    def names_it(self, entry: Found) -> bool:
        """Return whether a node is chosen by its name."""
        return entry.name.lower() in self.names

    def _has_address(self, entry: Found) -> bool:
        numbers = [int(IPAddress(ip)) for ip in (entry.ip, *entry.others) if _is_address(ip)]
        return any(first <= n <= last for n in numbers for first, last in self.ranges)

    def by_first_names(self, every: Sequence[Found]) -> Only:
        """Return the same choice with the name of a node in the place of another name of it, where
        no node has that as its first one."""
        own = {entry.name.lower() for entry in every if not entry.skip}
        others = self.names - own
        if not others:
            return self
        names, replaced = set(self.names & own), set()
        for entry in every:
            aliases = {alias.lower() for alias in entry.aliases} & others
            if aliases and not entry.skip:
                names.add(entry.name.lower())
                replaced |= aliases
        return dataclasses.replace(self, names=frozenset(names | (others - replaced)))

    def check(self, every: Sequence[Found]) -> list[str]:
        """Return the names that no file has.

        Raises :class:`DisklessError` when nothing is left.
        """
        given = {entry.name.lower() for entry in every if not entry.skip}
        missing = sorted(self.names - given)
        if self and not any(self.has(entry) for entry in every if not entry.skip):
            near = nearest(missing[0], sorted(given)[:2000]) if missing and given else _RIGHT
            raise DisklessError(f"only: found none of its nodes in the files; {near[:300]}")
        return missing


def _separated(text: str) -> str:
    """Return the text with commas in the place of blanks.

    Raises :class:`DisklessError` where it stands for too many nodes.
    """
    text = _BLANKS.sub(",", _OF_LINES.sub(r"\1:", text))
    with contextlib.suppress(ValueError):
        if (size := count(text)) > MOST_NODES:
            raise DisklessError(f"it stands for {size} nodes; give {MOST_NODES} at most")
    return text


def only_of(given: Any) -> Only:
    """Return what an argument chooses: None is everything.

    Raises :class:`DisklessError` for anything that is none of a node set, a network, a range of
    addresses, and lines; a list may have several.
    """
    if given is None:
        return Only()
    items: list[Any] = []
    for item in given if isinstance(given, list | tuple) else [given]:
        if not isinstance(item, str) or not item.strip():
            raise DisklessError(f"only: found {shown(item)}; {_RIGHT}, in quotes")
        text = item.strip()
        try:
            items += [text] if _LINES.fullmatch(text) else split(_separated(text))
        except DisklessError as err:
            why = f" ({err})" if "it stands for" in str(err) else ""
            raise DisklessError(f"only: found {shown(text)}; {_RIGHT}{why}") from None
    names: set[str] = set()
    ranges: list[tuple[int, int]] = []
    lines: set[int] = set()
    for item in items:
        of_lines = _LINES.fullmatch(item)
        if of_lines:
            lines |= _lines(of_lines[1])
        elif _ADDRESSES.match(item):
            ranges.append(_range(item))
        else:
            try:
                names |= {name.lower() for name in names_of(item)}
            except DisklessError:
                raise DisklessError(f"only: found {shown(item)}; {_RIGHT}") from None
    if not names and not ranges and not lines:
        raise DisklessError(f"only: found {shown(given)}; {_RIGHT}")
    return Only(frozenset(names), tuple(ranges), frozenset(lines))


def _lines(text: str) -> set[int]:
    try:
        return {int(number) for number in expand(f"[{text}]")}
    except ValueError:
        raise DisklessError(f"only: found lines {shown(text)}; give them like 10-40") from None


def _range(text: str) -> tuple[int, int]:
    try:
        if valid_glob(text):
            addresses: Any = glob_to_iprange(text)
        elif "-" in text:
            first, last = text.split("-")
            addresses = IPRange(first, last)
        else:
            addresses = IPNetwork(text, version=4)
    except (AddrFormatError, ValueError):
        raise DisklessError(f"only: found {shown(text)}; {_RIGHT}") from None
    return int(addresses.first), int(addresses.last)


def _is_address(text: str | None) -> bool:
    try:
        return text is not None and IPAddress(text).version == 4
    except (AddrFormatError, ValueError):
        return False
