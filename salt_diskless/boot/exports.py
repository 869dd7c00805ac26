"""The kernel NFS server's exports: exports(5)."""

from __future__ import annotations

import re
from collections.abc import Container, Iterable, Iterator, Sequence
from typing import NamedTuple

from netaddr import IPAddress, IPNetwork, iprange_to_cidrs

from salt_diskless.boot.ordered import place
from salt_diskless.cluster import Image, Node, Site
from salt_diskless.tree import header

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
        yield from _of_version(image.location, (int(node.ip) for node in nodes))
        for node in nodes:
            yield from _of_node(node, leaving)


def _of_version(location: str, addresses: Iterable[int]) -> Iterator[Export]:
    for block in blocks(addresses):
        yield Export(f"{location}/versions", block, ROOT_OPTIONS)


def _of_node(node: Node, leaving: Container[str]) -> Iterator[Export]:
    """Yield what is exported to one node alone."""
    location = node.image.location
    yield Export(f"{location}/snapshot/{node.name}", str(node.ip), SNAPSHOT_OPTIONS)
    if node.settings.swap.kind == "nfs" or node.name in leaving:
        yield Export(f"{location}/swap/{node.name}", str(node.ip), SNAPSHOT_OPTIONS)


def blocks(addresses: Iterable[int]) -> Iterator[str]:
    """Yield the fewest blocks that hold just these addresses: a cluster's root is a few lines."""
    numbers = sorted({*addresses})
    start = 0
    for index in range(1, len(numbers) + 1):
        if index == len(numbers) or numbers[index] != numbers[index - 1] + 1:
            first, last = IPAddress(numbers[start], 4), IPAddress(numbers[index - 1], 4)
            for block in iprange_to_cidrs(first, last):
                yield str(block.ip) if block.prefixlen == 32 else str(block)
            start = index


def render(exports: Iterable[Export]) -> bytes:
    """Return the file below ``exports.d``."""
    lines = [header("NFS exports of the diskless nodes"), *(export.line for export in exports)]
    return "".join(lines).encode()


def with_node(
    text: bytes, node: Node, images: Sequence[Image], leaving: Container[str] = ()
) -> bytes:
    """Return a file of exports with one node more, which it must not have yet.

    images
        All that the boot server may have, in the order of the file.
    leaving
        As for :func:`exports`.
    """
    location = node.image.location
    start, end = _section(text, location) or (_section_place(text, node.image, images),) * 2
    roots, rest = _roots(text, start, end)
    versions = "".join(one.line for one in _of_version(location, {*roots, int(node.ip)}))
    at = place(text, _LINE, node.ip, rest, end)
    own = "".join(one.line for one in _of_node(node, leaving))
    return b"".join((text[:start], versions.encode(), text[rest:at], own.encode(), text[at:]))


def without_node(text: bytes, name: str) -> bytes:
    """Return a file of exports without a node of this name."""
    for kind in ("snapshot", "swap"):
        at = text.find(f"/{kind}/{name} ".encode())
        found = _LINE.match(text, text.rfind(b"\n", 0, at) + 1) if at >= 0 else None
        if found is None:
            continue
        location = found["path"].decode().removesuffix(f"/{kind}/{name}")
        address = int(IPAddress(found["ip"].decode()))
        text = text[: found.start()] + text[found.end() :]
        section = _section(text, location)
        if section is not None:
            roots, rest = _roots(text, *section)
            versions = "".join(one.line for one in _of_version(location, {*roots} - {address}))
            text = text[: section[0]] + versions.encode() + text[rest:]
    return text


def difference(before: bytes, after: bytes) -> tuple[list[Export], list[Export]]:
    """Return what one file of exports has that the other has not, and the other way round."""
    there, then = ({*text.splitlines(keepends=True)} for text in (before, after))
    return _read(there - then), _read(then - there)


def _read(lines: Iterable[bytes]) -> list[Export]:
    matches = (_LINE.fullmatch(line) for line in sorted(lines))
    return [Export(*(part.decode() for part in match.groups())) for match in matches if match]


def _section(text: bytes, location: str) -> tuple[int, int] | None:
    """Return where the lines of an image begin and end."""
    begin = f"\n{location}/".encode()
    start = text.find(begin)
    return (start + 1, text.index(b"\n", text.rfind(begin) + 1) + 1) if start >= 0 else None


def _section_place(text: bytes, image: Image, images: Sequence[Image]) -> int:
    """Return where the first lines of an image belong: behind those of the images before it."""
    ends = [text.index(b"\n") + 1]
    for before in images[: images.index(image)]:
        section = _section(text, before.location)
        ends += [section[1]] if section is not None else []
    return ends[-1]


def _roots(text: bytes, start: int, end: int) -> tuple[set[int], int]:
    """Return the addresses that an image's versions are exported to, and where these lines end."""
    addresses: set[int] = set()
    match = _LINE.match(text, start)
    while match is not None and match["path"].endswith(b"/versions") and match.start() < end:
        block = IPNetwork(match["ip"].decode())
        addresses.update(range(block.first, block.last + 1))
        start = match.end()
        match = _LINE.match(text, start)
    return addresses, start


def settings() -> bytes:
    """Return the file below ``nfs.conf.d`` (nfs.conf(5)): on a port of its own choice mountd, which
    NFS 3 needs, would be out of reach behind a firewall."""
    return f"{header('settings of the NFS server')}[mountd]\nport={MOUNTD_PORT}\n".encode()
