"""What of others in the TFTP root is in the way of the project's files."""

from __future__ import annotations

import functools
import glob
import os
from collections.abc import Callable, Iterable, Iterator

from salt_diskless import tree
from salt_diskless.boot import pxelinux
from salt_diskless.cluster.errors import Problem
from salt_diskless.cluster.model import Node, Site
from salt_diskless.platform import Platform
from salt_diskless.preflight import look
from salt_diskless.state import originals


def problems(site: Site, platform: Platform) -> Iterator[Problem]:
    """Yield a problem for each file or directory of somebody else that is in the way, and that
    ``diskless:adopt`` does not list."""
    root = platform.tftp_root
    for directory in (pxelinux.DIRECTORY, pxelinux.CONFIG, pxelinux.REGISTRY):
        yield from _directory(f"{root}/{directory}")
    for name in site.images:
        yield from _image(f"{root}/{pxelinux.DIRECTORY}/{name}", name)
    config, registry = f"{root}/{pxelinux.CONFIG}", f"{root}/{pxelinux.REGISTRY}"
    yield from _files(config, lambda node: pxelinux.hex_name(node.ip), site)
    yield from _files(registry, lambda node: pxelinux.mac_name(node.mac), site)
    yield from _loader_files(site, platform)


def _directory(path: str) -> Iterator[Problem]:
    kind = look.kind(path)
    if kind not in (None, "a directory"):
        yield Problem(path, str(kind), "move it away: salt-diskless makes a directory there")


def _image(path: str, image: str) -> Iterator[Problem]:
    """Yield a problem for a directory of an image that is somebody else's: what is in it would be
    taken for old kernels."""
    if look.kind(path) != "a directory":
        yield from _directory(path)
    elif not os.path.lexists(f"{path}/.{tree.MARK}"):
        of_others = sorted(_contents(path))
        if of_others:
            some = ", ".join(map(ascii, of_others[:3])) + (", ..." if len(of_others) > 3 else "")
            yield Problem(
                path,
                f"a directory that salt-diskless did not write, with {some}",
                f"move it away, or give the image {image} another name: the image's kernels come "
                "there",
            )


def _contents(path: str) -> Iterator[str]:
    """Yield the files below a directory; not what a killed writer has left."""
    for directory, names, files in os.walk(path):
        links = [name for name in names if os.path.islink(f"{directory}/{name}")]
        for name in (*files, *links):
            if not name.endswith(tree.UNFINISHED):
                yield os.path.relpath(f"{directory}/{name}", path)


def _files(directory: str, file_of: Callable[[Node], str], site: Site) -> Iterator[Problem]:
    """Yield a problem for each node's file in a directory that somebody else wrote."""
    try:
        changed = os.stat(directory).st_mtime_ns
    except OSError:
        return
    nodes = site.nodes.values()
    # A few nodes that are added (tests/bench/node.py) do not pay for the files of all others.
    if len(nodes) < 64:
        foreign = _not_ours(directory, map(file_of, nodes))
    else:
        foreign = _foreign_names(directory, changed)
    if foreign:
        names = {*map(file_of, nodes)}
        for name in foreign:
            if name in names:
                path = f"{directory}/{name}"
                kind = look.kind(path)
                if kind not in (None, "a file"):
                    right = "move it away: salt-diskless writes a file there"
                    yield Problem(path, str(kind), right)
                elif kind and path not in site.adopt:
                    yield look.foreign(path)


@functools.lru_cache(maxsize=4)
def _foreign_names(directory: str, _changed: int) -> tuple[str, ...]:
    """Return the names in a directory of node files that the project did not write. A directory
    that has not changed is read once."""
    return _not_ours(directory, sorted(os.listdir(directory)))


def _not_ours(directory: str, names: Iterable[str]) -> tuple[str, ...]:
    """Return those of the names that are in the directory and that the project did not write."""
    return tuple(
        name
        for name in names
        if not look.is_marked(path := f"{directory}/{name}") and os.path.lexists(path)
    )


def _loader_files(site: Site, platform: Platform) -> Iterator[Problem]:
    """Yield a problem for each file of the loader that neither the package nor the project
    wrote."""
    is_applied = look.is_marked(f"{platform.tftp_root}/{pxelinux.CONFIG}/default")
    directory = f"{platform.tftp_root}/{pxelinux.DIRECTORY}"
    has_package = os.path.isdir(platform.pxelinux_modules)
    for path in sorted(glob.glob(f"{glob.escape(directory)}/*.c32")) + [
        f"{platform.tftp_root}/{pxelinux.LOADER}"
    ]:
        name = os.path.basename(path)
        is_loader = name == os.path.basename(pxelinux.LOADER)
        package = platform.pxelinux if is_loader else f"{platform.pxelinux_modules}/{name}"
        kind = look.kind(path)
        if kind is None or path in site.adopt:
            continue
        if kind != "a file":
            yield Problem(path, kind, "move it away: salt-diskless writes a file there")
        elif os.path.exists(package):
            if not _is_copy(path, package) and not _is_ours(path, is_applied):
                yield look.foreign(path)
        elif (is_loader or not has_package) and not _is_ours(path, is_applied):
            yield look.foreign(path)


def _is_ours(path: str, is_applied: bool) -> bool:
    """Return True if the project wrote a file, as far as that is recorded: a version of this
    software that recorded nothing may have done so where it has configured the TFTP root."""
    is_written = originals.is_written(path)
    return is_applied if is_written is None else is_written


def _is_copy(path: str, package: str) -> bool:
    """Return True if a file is the package's, by its time or else by what it holds."""
    status, other = os.stat(path), os.stat(package)
    is_same_time = status.st_mtime_ns == other.st_mtime_ns and status.st_size == other.st_size
    return is_same_time or look.has_same_content(path, package)
