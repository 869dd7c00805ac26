"""The modules that a kernel has, as its own lists name them (depmod(8), modules.dep(5))."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

_FILE = re.compile(r"([^/]+)\.ko(?:\.(?:gz|xz|zst))?")


@dataclass(frozen=True, slots=True)
class Modules:
    """Names of modules, ``_`` in place of ``-``: files of their own, and parts of the kernel."""

    loadable: frozenset[str]
    builtin: frozenset[str]

    def __contains__(self, name: str) -> bool:
        return name in self.loadable or name in self.builtin


def of(directory: str) -> Modules:
    """Return the modules of a kernel whose modules are in ``directory``.

    Raises :class:`FileNotFoundError` when nobody ran depmod.
    """
    with open(f"{directory}/modules.dep", encoding="utf-8", errors="replace") as stream:
        loadable = names(line.partition(":")[0] for line in stream)
    try:
        with open(f"{directory}/modules.builtin", encoding="utf-8", errors="replace") as stream:
            builtin = names(stream)
    except FileNotFoundError:
        builtin = frozenset()
    return Modules(loadable, builtin)


def names(paths: Iterable[str]) -> frozenset[str]:
    """Return the names of the modules among some paths."""
    files = (path.strip().rpartition("/")[2] for path in paths)
    return frozenset(match[1].replace("-", "_") for match in map(_FILE.fullmatch, files) if match)
