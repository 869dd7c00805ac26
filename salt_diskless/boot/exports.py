"""The kernel NFS server's exports: exports(5)."""

from __future__ import annotations

import re
from collections.abc import Container, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from netaddr import IPAddress, IPNetwork, iprange_to_cidrs

from salt_diskless.boot.ordered import place, spliced
from salt_diskless.cluster import Image, Node, Site
from salt_diskless.tree import header

#: First and last address.
Range = tuple[int, int]

#: Where mountd listens: the port that IANA has for it, and that firewalld's service mountd opens.
MOUNTD_PORT = 20048

#: Of a version: read-only. Files of a root file system that only root may read need no_root_squash.
ROOT_OPTIONS = "ro,sync,no_subtree_check,no_root_squash"
#: Of a snapshot, and of a swap file's directory: its own node writes it, as root.
SNAPSHOT_OPTIONS = "rw,sync,no_subtree_check,no_root_squash"


class Export(NamedTuple):
    """One client of one exported directory; ``client`` is an address or a block of addresses."""

    path: str
    client: str
    options: str

    @property
    def line(self) -> str:
        """Its line in a file of exports."""
        return f"{self.path} {self.client}({self.options})\n"


#: A line of a file of exports, as the project writes it.
_LINE = re.compile(rb"^(?P<path>\S+) (?P<ip>[0-9./]+)\((?P<options>\S*)\)\n", re.MULTILINE)


def exports(site: Site, leaving: Container[str] = ()) -> Iterator[Export]:
    """Yield what one boot server exports: each image's versions, read-only, to the addresses of the
    nodes that boot from it and no other; each snapshot, read-write, to its node, and so what has a
    node's swap file.

    leaving
        Nodes that the pillar gives no swap file any more and that may still use theirs.
    """
    nodes_of: dict[str, list[Node]] = {name: [] for name in site.images}
    for node in site.nodes.values():
        nodes_of[node.image.name].append(node)
    for image in site.images.values():
        nodes = nodes_of[image.name]
        yield from _of_version(image.location, ((int(node.ip),) * 2 for node in nodes))
        for node in nodes:
            yield from _of_node(node, leaving)


def _of_version(location: str, ranges: Iterable[Range]) -> Iterator[Export]:
    for block in blocks(ranges):
        yield Export(f"{location}/versions", block, ROOT_OPTIONS)


def _of_node(node: Node, leaving: Container[str]) -> Iterator[Export]:
    """Yield what is exported to one node alone."""
    location = node.image.location
    yield Export(f"{location}/snapshot/{node.name}", str(node.ip), SNAPSHOT_OPTIONS)
    if node.settings.swap.kind == "nfs" or node.name in leaving:
        yield Export(f"{location}/swap/{node.name}", str(node.ip), SNAPSHOT_OPTIONS)


def blocks(ranges: Iterable[Range]) -> Iterator[str]:
    """Yield the fewest blocks that hold just these addresses: a cluster's root is a few lines."""
    runs: list[Range] = []
    for first, last in sorted(ranges):
        if runs and first <= runs[-1][1] + 1:
            runs[-1] = (runs[-1][0], max(last, runs[-1][1]))
        else:
            runs.append((first, last))
    for first, last in runs:
        for block in iprange_to_cidrs(IPAddress(first, 4), IPAddress(last, 4)):
            yield str(block.ip) if block.prefixlen == 32 else str(block)


def render(exports: Iterable[Export]) -> bytes:
    """Return the file below ``exports.d``."""
    lines = [header("NFS exports of the diskless nodes"), *(export.line for export in exports)]
    return "".join(lines).encode()


def parse(data: bytes) -> Iterator[Export]:
    """Yield the exports of a file that :func:`render` has made."""
    for match in _LINE.finditer(data):
        yield Export(*(part.decode() for part in match.groups()))


@dataclass(slots=True)
class Edited:
    """A file of exports that is changed node by node, and what this takes away and brings."""

    text: bytes
    gone: set[Export] = field(default_factory=set)
    new: set[Export] = field(default_factory=set)

    def put(self, node: Node, images: Sequence[Image], leaving: Container[str] = ()) -> None:
        """Write a node into the file, which it must not be in yet.

        images
            All that the boot server may have, in the order of the file.
        leaving
            As for :func:`exports`.
        """
        location, address = node.image.location, int(node.ip)
        start, end = self._section(location) or (self._place(node.image, images),) * 2
        roots, rest = self._roots(start, end)
        at = place(self.text, _LINE, node.ip, rest, end)
        self._replace(at, at, _of_node(node, leaving))
        self._replace(start, rest, _of_version(location, [*roots, (address, address)]))

    def of(self, nodes: Iterable[Node], leaving: Container[str] = ()) -> Iterator[Export]:
        """Yield what nodes that are in the file are exported.

        leaving
            As for :func:`exports`.
        """
        roots: dict[str, list[Range]] = {}
        for node in nodes:
            yield from _of_node(node, leaving)
            location, address = node.image.location, int(node.ip)
            if location not in roots:
                roots[location] = self._roots(*(self._section(location) or (0, 0)))[0]
            yield from _of_version(
                location, (block for block in roots[location] if block[0] <= address <= block[1])
            )

    def has(self, name: str) -> bool:
        """Return whether a node of this name is in the file."""
        return any(f"/{kind}/{name} ".encode() in self.text for kind in ("snapshot", "swap"))

    def take(self, name: str) -> bool:
        """Take a node of this name out of the file, and tell whether it was there."""
        there = False
        for kind in ("snapshot", "swap"):
            at = self.text.find(f"/{kind}/{name} ".encode())
            found = _LINE.match(self.text, self.text.rfind(b"\n", 0, at) + 1) if at >= 0 else None
            if found is None:
                continue
            there = True
            location = found["path"].decode().removesuffix(f"/{kind}/{name}")
            address = int(IPAddress(found["ip"].decode()))
            self._replace(found.start(), found.end(), ())
            section = self._section(location)
            if section is not None:
                roots, rest = self._roots(*section)
                self._replace(section[0], rest, _of_version(location, _without(roots, address)))
        return there

    def _replace(self, start: int, end: int, exports: Iterable[Export]) -> None:
        before = {*parse(self.text[start:end])}
        lines = [*exports]
        then = {*lines} - before
        before -= {*lines}
        self.gone, self.new = (
            (self.gone - then) | (before - self.new),
            (self.new - before) | (then - self.gone),
        )
        text = "".join(export.line for export in lines).encode()
        self.text = spliced(self.text, start, end, text)

    def _section(self, location: str) -> tuple[int, int] | None:
        """Return where the lines of an image begin and end."""
        begin = f"\n{location}/".encode()
        start = self.text.find(begin)
        if start < 0:
            return None
        return start + 1, self.text.index(b"\n", self.text.rfind(begin) + 1) + 1

    def _place(self, image: Image, images: Sequence[Image]) -> int:
        """Return where the first lines of an image belong: behind those of the images before it."""
        ends = [self.text.index(b"\n") + 1]
        for before in images[: images.index(image)]:
            section = self._section(before.location)
            ends += [section[1]] if section is not None else []
        return ends[-1]

    def _roots(self, start: int, end: int) -> tuple[list[Range], int]:
        """Return the addresses that an image's versions are exported to, and where these lines
        end."""
        ranges: list[Range] = []
        match = _LINE.match(self.text, start)
        while match is not None and match["path"].endswith(b"/versions") and match.start() < end:
            block = IPNetwork(match["ip"].decode())
            ranges.append((block.first, block.last))
            start = match.end()
            match = _LINE.match(self.text, start)
        return ranges, start


def _without(ranges: Iterable[Range], address: int) -> Iterator[Range]:
    """Yield ranges with one address less."""
    for first, last in ranges:
        if first <= address <= last:
            yield from ((a, b) for a, b in ((first, address - 1), (address + 1, last)) if a <= b)
        else:
            yield first, last


def settings() -> bytes:
    """Return the file below ``nfs.conf.d`` (nfs.conf(5)): on a port of its own choice mountd, which
    NFS 3 needs, would be out of reach behind a firewall."""
    return f"{header('settings of the NFS server')}[mountd]\nport={MOUNTD_PORT}\n".encode()
