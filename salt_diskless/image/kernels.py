"""The kernels inside a tree."""

from __future__ import annotations

import re
import stat
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from salt_diskless.files.beneath import Tree

#: Where a kernel's modules are, in a directory of its release's name.
MODULES = ("/lib/modules", "/usr/lib/modules")

#: Before a program of the tree: in namespaces of its own, without a network.
APART = [
    *("unshare", "--mount", "--propagation", "private"),
    *("--net", "--ipc", "--pid", "--fork", "--kill-child"),
]


#: Words of a release that do not name a flavour: architectures, distributions and their rebuilds,
#: release candidates, and what distributions call their ordinary kernel.
_NO_FLAVOUR = re.compile(
    r"|x86|x64|amd64|arm64|armhf|armmp|aarch64|armv[0-9]+l?|i[3-6]86|[3-6]86|powerpc64le|ppc64le|ppc64el|s390x"
    r"|riscv64|loongarch64|el[0-9]+(?:uek)?|fc[0-9]+|deb[0-9]+u?[0-9]*|bpo[0-9]*|ubuntu[0-9]*|lp[0-9]+"
    r"|amzn[0-9]+|mga[0-9]+|arch[0-9]*|uek|rc[0-9]*|r[0-9]+|g[0-9a-f]{7,}|[0-9]{8}git[0-9a-f]+"
    r"|unsigned|unreleased|generic|default"
)
#: Words of a version that is older than the version without them.
_BEFORE_RELEASE = frozenset({"rc", "alpha", "beta", "pre"})


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


def incomplete(tree: str) -> dict[str, str]:
    """Return the releases of a tree that are half there, with what they lack: a kernel without
    modules, or modules without a kernel."""
    complete = {kernel.release for kernel in kernels(tree)}
    lacking = {}
    with Tree(tree) as root:
        for name in root.names("/boot"):
            release = name.removeprefix("vmlinuz-")
            if release != name and root.is_file(f"/boot/{name}"):
                lacking[release] = f"its modules in /lib/modules/{release}"
        for directory in MODULES:
            for release in root.names(directory):
                if root.is_file(f"{directory}/{release}/modules.dep"):
                    lacking[release] = f"/boot/vmlinuz-{release}"
    return {release: lacking[release] for release in lacking.keys() - complete}


def flavour(release: str) -> tuple[str, ...]:
    """Return the words of a release that name its flavour, such as ``("rt", "debug")``; nothing for
    the ordinary kernel of a distribution.

    The architecture, the distribution's own words and version numbers name no flavour:
    ``6.12.43+deb13-amd64``, ``5.14.0-427.el9.x86_64``, ``6.4.0-150600.23-default`` and
    ``6.8.0-45-generic`` are ordinary kernels.
    """
    words = re.split(r"[^a-z0-9]+", release.lower())
    return tuple(
        word.rstrip("0123456789") or word
        for word in words
        if not word.isdecimal() and not _NO_FLAVOUR.fullmatch(word)
    )


def default_release(releases: Sequence[str]) -> tuple[str | None, tuple[str, ...]]:
    """Return the release that is taken where the pillar names none, and those of other flavours
    that are not taken without their name.

    releases
        Newest first, as :func:`kernels` has them.

    It is the newest kernel of the flavour whose words all other flavours have too: the ordinary
    kernel, where there is one. Where no flavour is like that, as with ``rt`` beside ``cloud``,
    there is no default, and the release is None.
    """
    flavours = {release: frozenset(flavour(release)) for release in releases}
    wanted = frozenset.intersection(*flavours.values()) if flavours else None
    if wanted not in flavours.values():
        return None, tuple(releases)
    others = tuple(release for release in releases if flavours[release] != wanted)
    return next(release for release in releases if flavours[release] == wanted), others


def better_incomplete(complete: Sequence[str], lacking: Iterable[str]) -> str | None:
    """Return the release that would be taken if it were complete, or None.

    complete
        The releases of which one is taken, newest first.
    lacking
        The others.
    """
    every = sorted({*complete, *lacking}, key=_age, reverse=True)
    best, _ = default_release(every)
    return None if best in complete else best


def _age(release: str) -> list[tuple[int, int, str]]:
    """Return a key that sorts releases as people count: 6.1.0-10 comes after 6.1.0-9, and after
    6.1.0-rc3."""
    parts = [
        (1, int(part), "") if part.isdigit() else (-(part in _BEFORE_RELEASE), 0, part)
        for part in re.findall(r"[0-9]+|[A-Za-z]+", release)
    ]
    return [*parts, (0, 0, "")]
