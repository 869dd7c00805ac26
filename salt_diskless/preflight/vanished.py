"""Whether the pillar removes all served nodes of something at once: a mistake of indentation or a
registry that does not answer looks like that, and nodes would not boot any more."""

from __future__ import annotations

import functools
import os
import re
import stat
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, TypeVar

from netaddr import IPAddress

from salt_diskless import tree
from salt_diskless.boot import dhcpd
from salt_diskless.cluster.errors import Problem
from salt_diskless.cluster.model import Cluster, Site
from salt_diskless.cluster.ranges import fold
from salt_diskless.platform import Platform
from salt_diskless.services import told

_RIGHT = (
    "{right}; if these nodes are to go, set diskless:allow_no_nodes: true, apply, and remove "
    "that key again"
)
_T = TypeVar("_T")
_HOST_NAME = re.compile(rb"^host (\S+) \{$", re.MULTILINE)
_SNAPSHOT_NAME = re.compile(rb"/snapshot/([^\s/]+) ")
_SNAPSHOT = re.compile(rb"^(/\S*)/snapshot/([^\s/]+) ", re.MULTILINE)


def problems(cluster: Cluster, site: Site, platform: Platform) -> Iterator[Problem]:
    """Yield a problem for each of these that loses all nodes that are served and gets no other: the
    boot server; a network; an image; the registry."""
    if cluster.allow_no_nodes:
        return
    every = {*_of_file(platform.dhcp_config, _host_names)}
    every |= {*_of_file(platform.exports_file, _exported_names)}
    gone = {name.decode() for name in every - {name.encode() for name in cluster.nodes}}
    if not gone:
        return
    served = _of_file(platform.dhcp_config, _hosts)
    exported = _of_file(platform.exports_file, _exports)
    if not site.nodes:
        yield _problem("diskless:nodes", gone, "no node of this boot server", "add them")
        return
    yield from _networks(served, site, gone)
    yield from _images(exported, cluster, site, gone)
    if told.had_registry() and not cluster.has_registry:
        yield _problem(
            "diskless:registry",
            gone,
            "nothing of the master's registry",
            "read in the master's log why its ext_pillar diskless_nodes adds nothing to the pillar",
        )


def _problem(path: str, gone: Iterable[str], lacks: str, right: str) -> Problem:
    return Problem(path, f"{lacks}, while it still serves {fold(gone)}", _RIGHT.format(right=right))


def _networks(served: Iterable[tuple[str, str]], site: Site, gone: set[str]) -> Iterator[Problem]:
    """Yield a problem for each network without nodes, listed or not, where all nodes that are
    served go."""
    ranges = [(net.subnet.first, net.subnet.last, name) for name, net in site.networks.items()]
    of_network: dict[str, set[str]] = {}
    for name, ip in served:
        value = int(IPAddress(ip))
        network = next((name for first, last, name in ranges if first <= value <= last), "")
        of_network.setdefault(network, set()).add(name)
    used = {node.network.name for node in site.nodes.values()}
    for network, names in of_network.items():
        if network not in used and names <= gone:
            lacks = f"no node of the network {network}" if network else "no network of these nodes"
            right = "add its nodes" if network else "add the network and its nodes"
            path = "diskless:nodes" if network else "diskless:networks"
            yield _problem(path, names, lacks, right)


def _images(
    exported: Iterable[tuple[str, str]], cluster: Cluster, site: Site, gone: set[str]
) -> Iterator[Problem]:
    """Yield a problem for each image without nodes, listed or not, where all nodes that are served
    go."""
    of_location: dict[str, set[str]] = {}
    for name, location in exported:
        of_location.setdefault(location, set()).add(name)
    images = {image.location: image.name for image in cluster.images.values()}
    used = {node.image.location for node in site.nodes.values()}
    for location, names in of_location.items():
        if location in used or not names <= gone:
            continue
        if location in images:
            lacks = f"no node that uses the image {images[location]}"
            yield _problem("diskless:nodes", names, lacks, "add its nodes")
        else:
            lacks = f"no image with the location {location}"
            yield _problem("diskless:images", names, lacks, "add the image and its nodes")


def _of_file(path: str, parse: Callable[[bytes], Sequence[_T]]) -> Sequence[_T]:
    """Return what ``parse`` finds in a file of the project; nothing in anybody else's. A file that
    has not changed is parsed once."""
    try:
        status = os.lstat(path)
    except OSError:
        return ()
    if not stat.S_ISREG(status.st_mode):
        return ()
    return _parsed(path, parse, (status.st_ino, status.st_mtime_ns, status.st_size))


@functools.lru_cache(maxsize=8)
def _parsed(
    path: str, parse: Callable[[bytes], Sequence[Any]], _status: tuple[int, int, int]
) -> Sequence[Any]:
    data = tree.read(path) or b""
    return parse(data) if tree.is_marked(data) else ()


def _host_names(config: bytes) -> Sequence[bytes]:
    """Return the name of each host of dhcpd's configuration: mostly nothing more is needed."""
    return _HOST_NAME.findall(config)


def _exported_names(text: bytes) -> Sequence[bytes]:
    return _SNAPSHOT_NAME.findall(text)


def _hosts(config: bytes) -> Sequence[tuple[str, str]]:
    """Return name and address of each host of dhcpd's configuration."""
    return [(name, ip) for name, (_, ip) in dhcpd.hosts(config).items()]


def _exports(text: bytes) -> Sequence[tuple[str, str]]:
    """Return name and image location of each node in a file of exports."""
    return [(name.decode(), location.decode()) for location, name in _SNAPSHOT.findall(text)]
