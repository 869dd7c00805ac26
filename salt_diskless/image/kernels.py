"""The kernels inside a tree."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass

#: Where a kernel's modules are, in a directory of its release's name.
MODULES = ("/lib/modules", "/usr/lib/modules")

#: Before a program of the tree: in namespaces of its own, without a network.
APART = [
    *("unshare", "--mount", "--propagation", "private"),
    *("--net", "--ipc", "--pid", "--fork", "--kill-child"),
]


@dataclass(frozen=True, slots=True)
class Kernel:
    """A kernel in a tree: its release, and its path and its modules' from the tree's root."""

    release: str
    path: str
    modules: str


def kernels(tree: str) -> tuple[Kernel, ...]:
    """Return the kernels of a tree that have their modules too, newest first. One that a link
    takes from outside the tree is none of its."""
    found: dict[str, Kernel] = {}
    for directory in MODULES:
        try:
            releases = os.listdir(tree + directory)
        except OSError:
            continue
        for release in releases:
            place = f"{directory}/{release}"
            if not leads_inside(tree, place):
                continue
            for path in (f"/boot/vmlinuz-{release}", f"{place}/vmlinuz"):
                is_file = os.path.isfile(tree + path) and not os.path.islink(tree + path)
                if is_file and leads_inside(tree, os.path.dirname(path)):
                    found.setdefault(release, Kernel(release, path, place))
    return tuple(found[release] for release in sorted(found, key=_age, reverse=True))


def leads_inside(tree: str, directory: str) -> bool:
    """Return whether a directory of a tree is in it, and no link leads out of it."""
    return os.path.realpath(tree + directory).startswith(os.path.realpath(tree) + "/")


def _age(release: str) -> list[tuple[int, int, str]]:
    """Return a key that sorts releases as people count: 6.1.0-10 comes after 6.1.0-9."""
    return [
        (1, int(part), "") if part.isdigit() else (0, 0, part)
        for part in re.findall(r"[0-9]+|[A-Za-z]+", release)
    ]
