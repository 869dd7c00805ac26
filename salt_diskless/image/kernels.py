"""The kernels inside a tree."""

from __future__ import annotations

import re
import stat
from dataclasses import dataclass

from salt_diskless.files.beneath import Tree

#: Where a kernel's modules are, in a directory of its release's name.
MODULES = ("/lib/modules", "/usr/lib/modules")

#: Before a program of the tree: in namespaces of its own, without a network.
APART = [
    *("unshare", "--mount", "--propagation", "private"),
    *("--net", "--ipc", "--pid", "--fork", "--kill-child"),
]


@dataclass(frozen=True, slots=True)
class Kernel:
    """A kernel in a tree: its release, and its path and its modules' from the tree's root, both
    without links."""

    release: str
    path: str
    modules: str


def kernels(tree: str) -> tuple[Kernel, ...]:
    """Return the kernels of a tree that have their modules too, newest first. Links are followed
    inside the tree; a kernel is a plain file."""
    found: dict[str, Kernel] = {}
    with Tree(tree) as root:
        for directory in MODULES:
            for release in root.names(directory):
                place = f"{directory}/{release}"
                if not root.is_directory(place):
                    continue
                for path in (f"/boot/vmlinuz-{release}", f"{place}/vmlinuz"):
                    status = root.status(path)
                    if status is not None and stat.S_ISREG(status.st_mode):
                        kernel = Kernel(release, root.real(path), root.real(place))
                        found.setdefault(release, kernel)
    return tuple(found[release] for release in sorted(found, key=_age, reverse=True))


def _age(release: str) -> list[tuple[int, int, str]]:
    """Return a key that sorts releases as people count: 6.1.0-10 comes after 6.1.0-9."""
    return [
        (1, int(part), "") if part.isdigit() else (0, 0, part)
        for part in re.findall(r"[0-9]+|[A-Za-z]+", release)
    ]
