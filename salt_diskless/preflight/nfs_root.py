"""Exports of the admin that are the root of NFS 4 (``fsid=0``, exports(5)): a client with such a
root looks for every path below that directory, so a node does not find its own root."""

from __future__ import annotations

import re
from collections.abc import Iterator

from netaddr import AddrFormatError, IPNetwork

from salt_diskless.cluster.errors import Problem
from salt_diskless.cluster.model import Site
from salt_diskless.cluster.ranges import fold
from salt_diskless.platform import Platform
from salt_diskless.services import exportfs

_ROOT = re.compile(r"(?:^|,)\s*fsid=(?:0|root)(?:,|$)")
_CLIENT = re.compile(r"([^\s()]*)\(([^()]*)\)")


def problems(site: Site, platform: Platform) -> Iterator[Problem]:
    """Yield a problem for each export with ``fsid=0`` whose clients are nodes with NFS 4."""
    for file, path, rest in exportfs.lines_of_others(platform.exports_file):
        defaults = next((word for word in rest.split() if word.startswith("-")), "")
        clients = _CLIENT.findall(rest)
        if _ROOT.search(defaults[1:]):
            bare = (word for word in rest.split() if "(" not in word and word != defaults)
            clients = [(name, "fsid=0") for name, _ in clients] + [(w, "fsid=0") for w in bare]
        for client, options in clients:
            if path == "/" or not _ROOT.search(options):
                continue
            names = _nodes(site, client)
            if names:
                yield Problem(
                    file,
                    f"{path} {client}(fsid=0)",
                    f"remove fsid=0, which NFS 4 does not need: with it, {fold(names)} would look "
                    f"for their roots below {path}; or give these nodes nfs: 3",
                )


def _nodes(site: Site, client: str) -> list[str]:
    """Return the nodes with NFS 4 that a client of exports(5) stands for; not by names."""
    nodes = [node for node in site.nodes.values() if str(node.settings.nfs).startswith("4")]
    if client in ("", "*"):
        return [node.name for node in nodes]
    try:
        block = IPNetwork(client)
    except (AddrFormatError, ValueError):
        return []
    return [node.name for node in nodes if node.ip in block]
