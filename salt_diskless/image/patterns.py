"""Patterns of the table of machine identity, looked up in a tree."""

from __future__ import annotations

import fnmatch
import functools
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

from salt_diskless.files.beneath import Tree

_WILD = frozenset("*?")


@dataclass(slots=True)
class _Level:
    """What patterns have in common up to a directory: the names and wildcards that come next, and
    the patterns that end here."""

    names: dict[str, _Level] = field(default_factory=dict)
    wildcards: dict[str, _Level] = field(default_factory=dict)
    ending: list[str] = field(default_factory=list)


def matching(root: Tree, patterns: Iterable[str]) -> dict[str, list[str]]:
    """Return the paths from the tree's root that each pattern stands for, as rsync reads it: a
    wildcard is also for a name that begins with a dot. Each directory is read once. Links are
    followed inside the tree only."""
    every = tuple(dict.fromkeys(patterns))
    paths: dict[str, list[str]] = {pattern: [] for pattern in every}
    _look("", _levels(every), root, paths)
    return paths


def _look(directory: str, level: _Level, root: Tree, paths: dict[str, list[str]]) -> None:
    names = root.names(directory)
    if not names:
        return
    for name in level.names.keys() & {*names} if level.names else ():
        _match(f"{directory}/{name}", level.names[name], root, paths)
    for wildcard, below in level.wildcards.items():
        fits = _compiled(wildcard)
        for name in names:
            if fits(name):
                _match(f"{directory}/{name}", below, root, paths)


def _match(path: str, level: _Level, root: Tree, paths: dict[str, list[str]]) -> None:
    for pattern in level.ending:
        paths[pattern].append(path)
    if level.names or level.wildcards:
        _look(path, level, root, paths)


@functools.lru_cache(maxsize=8)
def _levels(patterns: tuple[str, ...]) -> _Level:
    top = _Level()
    for pattern in patterns:
        level = top
        for part in pattern.split("/")[1:]:
            following = level.wildcards if _WILD & {*part} else level.names
            level = following.setdefault(part, _Level())
        level.ending.append(pattern)
    return top


@functools.lru_cache(maxsize=1024)
def _compiled(wildcard: str) -> Callable[[str], object]:
    return re.compile(fnmatch.translate(wildcard)).match


def matches(path: str, pattern: str) -> bool:
    """Return whether a pattern stands for a path."""
    parts, wanted = path.split("/"), pattern.split("/")
    return len(parts) == len(wanted) and all(map(fnmatch.fnmatchcase, parts, wanted))


def above(pattern: str) -> Iterator[str]:
    """Yield the patterns of the directories above a pattern, the upper ones first."""
    parts = pattern.split("/")
    for depth in range(2, len(parts)):
        yield "/".join(parts[:depth])
