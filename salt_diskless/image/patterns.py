"""Patterns of the table of machine identity, looked up in a tree."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterator

from salt_diskless.files.beneath import Tree

_WILD = frozenset("*?")


class Patterns:
    """A tree in which any number of patterns is looked up; each directory is read once. Links are
    followed inside the tree only."""

    def __init__(self, root: Tree):
        self._root = root
        self._names: dict[str, list[str]] = {}
        self._is_directory: dict[str, bool] = {}

    def matching(self, pattern: str) -> Iterator[str]:
        """Yield the paths from the tree's root that a pattern stands for, as rsync reads it: a
        wildcard is also for a name that begins with a dot."""
        yield from self._below("", pattern.split("/")[1:])

    def _below(self, above: str, parts: list[str]) -> Iterator[str]:
        first, *rest = parts
        names = [first]
        if _WILD & {*first}:
            if above not in self._names:
                self._names[above] = self._root.names(above)
            names = fnmatch.filter(self._names[above], first)
        for name in names:
            path = f"{above}/{name}"
            if rest:
                if self._leads_on(path):
                    yield from self._below(path, rest)
            elif self._root.status(path) is not None:
                yield path

    def _leads_on(self, path: str) -> bool:
        if path not in self._is_directory:
            self._is_directory[path] = self._root.is_directory(path)
        return self._is_directory[path]


def matches(path: str, pattern: str) -> bool:
    """Return whether a pattern stands for a path."""
    parts, wanted = path.split("/"), pattern.split("/")
    return len(parts) == len(wanted) and all(map(fnmatch.fnmatchcase, parts, wanted))


def above(pattern: str) -> Iterator[str]:
    """Yield the patterns of the directories above a pattern, the upper ones first."""
    parts = pattern.split("/")
    for depth in range(2, len(parts)):
        yield "/".join(parts[:depth])
