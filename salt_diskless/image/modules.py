"""The modules that a kernel has, as its own lists name them (depmod(8), modules.dep(5))."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from salt_diskless.files.beneath import Tree
from salt_diskless.regex import lazy_regex

#: The lists of a kernel are a few megabytes at most.
_MOST = 64 << 20
_FILE = lazy_regex(r"([^/]+)\.ko(?:\.(?:gz|xz|zst))?")


@dataclass(frozen=True, slots=True)
class Modules:
    """Names of modules, ``_`` in place of ``-``: files of their own, and parts of the kernel."""

    loadable: frozenset[str]
    builtin: frozenset[str]

    def __contains__(self, name: str) -> bool:
        return name in self.loadable or name in self.builtin


def of(directory: str) -> Modules:
    """Return the modules of a kernel whose modules are in ``directory``, a path without links.

    Raises :class:`FileNotFoundError` when nobody ran depmod.
    """
    with Tree(directory) as root:
        loadable = root.read("/modules.dep", _MOST)
        builtin = root.read("/modules.builtin", _MOST) or b""
    if loadable is None:
        raise FileNotFoundError(f"{directory}/modules.dep")
    lines = loadable.decode(errors="replace").splitlines()
    return Modules(
        names(line.partition(":")[0] for line in lines),
        names(builtin.decode(errors="replace").splitlines()),
    )


def names(paths: Iterable[str]) -> frozenset[str]:
    """Return the names of the modules among some paths."""
    files = (path.strip().rpartition("/")[2] for path in paths)
    return frozenset(match[1].replace("-", "_") for match in map(_FILE.fullmatch, files) if match)
