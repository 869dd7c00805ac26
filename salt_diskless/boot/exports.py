"""The kernel NFS server's exports: exports(5)."""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator
from typing import NamedTuple

from netaddr import IPAddress, iprange_to_cidrs

from salt_diskless.cluster import Node, Site
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
        for block in blocks(node.ip for node in nodes):
            yield Export(f"{image.location}/versions", block, ROOT_OPTIONS)
        for node in nodes:
            yield Export(f"{image.location}/snapshot/{node.name}", str(node.ip), SNAPSHOT_OPTIONS)
            if node.settings.swap.kind == "nfs" or node.name in leaving:
                yield Export(f"{image.location}/swap/{node.name}", str(node.ip), SNAPSHOT_OPTIONS)


def blocks(addresses: Iterable[IPAddress]) -> Iterator[str]:
    """Yield the fewest blocks that hold just these addresses: a cluster's root is a few lines."""
    numbers = sorted({int(address) for address in addresses})
    start = 0
    for index in range(1, len(numbers) + 1):
        if index == len(numbers) or numbers[index] != numbers[index - 1] + 1:
            first, last = IPAddress(numbers[start], 4), IPAddress(numbers[index - 1], 4)
            for block in iprange_to_cidrs(first, last):
                yield str(block.ip) if block.prefixlen == 32 else str(block)
            start = index


def render(exports: Iterable[Export]) -> bytes:
    """Return the file below ``exports.d``."""
    lines = [header("NFS exports of the diskless nodes")]
    lines += [f"{export.path} {export.client}({export.options})\n" for export in exports]
    return "".join(lines).encode()


def settings() -> bytes:
    """Return the file below ``nfs.conf.d`` (nfs.conf(5)): on a port of its own choice mountd, which
    NFS 3 needs, would be out of reach behind a firewall."""
    return f"{header('settings of the NFS server')}[mountd]\nport={MOUNTD_PORT}\n".encode()
