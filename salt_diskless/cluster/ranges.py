"""Node sets: ``node[005-128]`` to names and back (ClusterShell's syntax, without node groups).

What a node set stands for is counted before any of it is expanded, and every step takes a time that
is linear in the text and in the names.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from ClusterShell.NodeSet import RESOLVER_NOGROUP, NodeSet, NodeSetException
from netaddr import AddrFormatError, IPAddress, IPNetwork

from salt_diskless.regex import lazy_regex

#: As many nodes as the project is made for.
MOST_NODES = 100_000
#: The longest host name, which is also the longest number in a node set.
_LONGEST_NAME = 253
#: ClusterShell takes no range of more, whatever its step is.
_WIDEST = 10**9

_SYNTAX = frozenset("[],&!^@*?%/ \t")
_OPERATOR = lazy_regex(r"[\[\],&!^]")
_NUMBER = lazy_regex(r"[0-9]+")
_LAST_NUMBER = lazy_regex(r"([0-9]+)[^0-9]*\Z")
_SUBRANGE = lazy_regex(r"\s*([0-9]+)\s*(?:-\s*([0-9]+)\s*(?:/\s*([0-9]+)\s*)?)?")


class TooMany(ValueError):
    """A node set stands for more nodes than are accepted. ``count`` is how many."""

    def __init__(self, count: int):
        self.count = count
        super().__init__(f"it stands for {count} nodes, and {MOST_NODES} in all are accepted")


def terms(pattern: str, operators: str = ",!&^") -> Iterator[tuple[str, str]]:
    """Yield ``(operator, term)`` for each part of a node set.

    Operators within brackets belong to the term. Nothing is expanded. Raises ``ValueError`` for a
    bracket that nothing closes, or one that was not opened.
    """
    operator, start, is_open = ",", 0, False
    for match in _OPERATOR.finditer(pattern):
        sign = match[0]
        if sign in "[]":
            if is_open == (sign == "["):
                raise ValueError(f"the {sign} at character {match.start() + 1} has no partner")
            is_open = not is_open
        elif not is_open and sign in operators:
            yield operator, pattern[start : match.start()].strip()
            operator, start = sign, match.end()
    if is_open:
        raise ValueError("a [ has no ] after it")
    yield operator, pattern[start:].strip()


def count(pattern: str) -> int:
    """Return how many names the terms of ``pattern`` stand for; nothing is expanded.

    Raises ``ValueError`` when it is no node set.
    """
    if _SYNTAX.isdisjoint(pattern):
        return 1
    return sum(_count(term) for _, term in terms(pattern))


def _count(term: str) -> int:
    """Return how many names one term stands for. Raises ``ValueError`` for a name that is too long
    for a host, and for what is no number in brackets."""
    if not term:
        raise ValueError("a name is missing beside an operator")
    if "[" not in term:
        return 1
    total, length = 1, 0
    for index, part in enumerate(re.split(r"[\[\]]", term)):
        if index % 2 == 0:
            length += len(part)
            continue
        sizes = [_subrange(subrange) for subrange in part.split(",")]
        total *= sum(size for size, _ in sizes)
        length += max(digits for _, digits in sizes)
        if length > _LONGEST_NAME:
            break
    if length > _LONGEST_NAME:
        raise ValueError(f"a host name has {_LONGEST_NAME} characters at most")
    return total


def _subrange(text: str) -> tuple[int, int]:
    """Return how many numbers ``5-128/2`` is, and how many digits the longest one has."""
    match = _SUBRANGE.fullmatch(text) if len(text) <= 4 * _LONGEST_NAME else None
    if match is None or len(match[1]) > _LONGEST_NAME or len(match[2] or "") > _LONGEST_NAME:
        raise ValueError(f"give numbers in brackets, like [1-128], not {text[:40]!a}")
    first, last, step = int(match[1]), int(match[2] or match[1]), int(match[3] or 1)
    if first > last or step < 1:
        raise ValueError(f"give a range from low to high, like [1-128], not {text[:40]!a}")
    is_padded = any(len(number or "") > 1 and number[0] == "0" for number in match.group(1, 2))
    if is_padded and len(match[1]) != len(match[2] or match[1]):
        right = "give numbers with as many digits as each other, like [001-128]"
        raise ValueError(f"{right}, not {text[:40]!a}")
    size = (last - first) // step + 1
    if last - first >= _WIDEST and size <= MOST_NODES:
        raise ValueError(f"give a range of fewer than {_WIDEST} numbers, not {text[:40]!a}")
    return size, len(match[2] or match[1])


def expand(pattern: str) -> list[str]:
    """Return the names that ``pattern`` stands for, each once: those of one term in its order,
    those of several sorted by their numbers.

    Raises ``ValueError`` when it is no node set, and :class:`TooMany` before it is expanded.
    """
    if _SYNTAX.isdisjoint(pattern):
        return [pattern]
    size = count(pattern)
    if size > MOST_NODES:
        raise TooMany(size)
    parts = list(terms(pattern))
    names: dict[str, None] = {}
    for operator, term in parts:
        names = _combined(names, operator, dict.fromkeys(_names(term)))
    return list(names) if len(parts) == 1 else sorted(names, key=_by_number)


def _combined(names: dict[str, None], operator: str, new: dict[str, None]) -> dict[str, None]:
    """Return the names after one operator, in a time that is linear in ``new`` (and for ``&`` in
    the names that it removes)."""
    if operator == "&":
        return {name: None for name in names if name in new}
    for name in new:
        if operator == "," or (operator == "^" and name not in names):
            names[name] = None
        else:
            names.pop(name, None)
    return names


def _names(term: str) -> Iterable[str]:
    if "[" not in term:
        return [term]
    try:
        return list(NodeSet(term, resolver=RESOLVER_NOGROUP))
    except NodeSetException as err:
        raise ValueError(str(err)) from err


def _by_number(name: str) -> tuple[str, list[tuple[int, str]]]:
    """Return the key that sorts node2 before node10."""
    return _NUMBER.sub("0", name), [(int(part), part) for part in _NUMBER.findall(name[:253])]


def fold(names: Iterable[str]) -> str:
    """Return ``names`` as one node set, e.g. ``node[001-127,129]``; names with other characters
    than a node set has are listed as they are."""
    return _fold(tuple(sorted(names)))


def filled(shown: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is not empty: Salt shows an empty list or mapping as a heading with nothing."""
    return {key: value for key, value in shown.items() if value not in (None, "", [], {}, ())}


def natural(name: str) -> list[tuple[int, int, str]]:
    """Return a sort key that counts numbers: io2 comes before io10."""
    return [
        (0, int(part), part) if part.isdecimal() else (1, 0, part)
        for part in re.findall(r"[0-9]+|[^0-9]+", name)
    ]


def folded(groups: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Return what is alike to the names that it is of, folded."""
    found: dict[str, list[str]] = {}
    for what, name in groups:
        found.setdefault(what, []).append(name)
    return {what: fold(names) for what, names in sorted(found.items())}


def fold_paths(paths: Iterable[str]) -> list[str]:
    """Return paths whose last parts are names, folded for each directory."""
    found: dict[str, list[str]] = {}
    for path in paths:
        directory, _, name = path.rpartition("/")
        found.setdefault(directory, []).append(name)
    return [f"{directory}/{fold(names)}" for directory, names in sorted(found.items())]


def fold_addresses(addresses: Iterable[str]) -> str:
    """Return addresses and networks as ranges: ``10.8.226.1-10.8.226.64,10.8.226.70``. What is
    neither is listed as it is."""
    blocks: list[tuple[int, int]] = []
    others: list[str] = []
    for one in addresses:
        try:
            net = IPNetwork(one, version=4)
            blocks.append((net.first, net.last))
        except (AddrFormatError, ValueError):
            others.append(one)
    runs: list[list[int]] = []
    for first, last in sorted(blocks):
        if runs and first <= runs[-1][1] + 1:
            runs[-1][1] = max(last, runs[-1][1])
        else:
            runs.append([first, last])
    texts = [
        str(IPAddress(first)) + (f"-{IPAddress(last)}" if last > first else "")
        for first, last in runs
    ]
    return ",".join([*texts, *sorted(others, key=natural)])


@functools.lru_cache(maxsize=4)
def _fold(names: tuple[str, ...]) -> str:
    """One run names the same nodes in several states; ClusterShell takes a while for thousands."""
    plain: list[str] = []
    odd: list[str] = []
    for name in names:
        # A text that is no name can have more numbers than Python has frames.
        is_plain = len(name) <= _LONGEST_NAME and _SYNTAX.isdisjoint(name)
        (plain if is_plain else odd).append(name)
    return ",".join([*_folded(plain), *sorted(odd)])


def _folded(names: Iterable[str]) -> list[str]:
    """Return the terms of one node set for names.

    ClusterShell folds names with one number. It compares those with several (rack1node2) pair by
    pair, so here they are grouped by their last number, and what is before it is folded in turn.
    """
    single: list[str] = []
    groups: dict[tuple[str, str], list[str]] = {}
    for name in names:
        match = _LAST_NUMBER.search(name)
        if match is None or _NUMBER.search(name, 0, match.start()) is None:
            single.append(name)
        else:
            before, after = name[: match.start()], name[match.end(1) :]
            groups.setdefault((before, after), []).append(match[1])
    alike: dict[str, list[str]] = {}
    for (before, after), numbers in groups.items():
        last = _one_fold([f"x{number}" for number in numbers])[1:]
        alike.setdefault(last + after, []).append(before)
    several = [term + last for last, befores in alike.items() for term in _folded(befores)]
    first = [term for _, term in terms(_one_fold(single))] if single else []
    return [*first, *several]


def _one_fold(names: list[str]) -> str:
    if len(names) == 1:
        return names[0]
    return str(NodeSet.fromlist(names, resolver=RESOLVER_NOGROUP))
