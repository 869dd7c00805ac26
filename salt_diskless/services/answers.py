"""What machines that are no node are told when they ask, each by a file below the TFTP root: that
they are registered, or rejected. One that has no file yet goes on asking."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterable, Iterator

from salt_diskless import tree
from salt_diskless.boot import pxelinux
from salt_diskless.cluster import Site
from salt_diskless.cluster.ranges import fold
from salt_diskless.platform import Platform

_NAME = re.compile(r"01((?:-[0-9a-f]{2}){6})")


def given(platform: Platform) -> Iterator[tuple[str, str]]:
    """Yield each MAC that has an answer, with that: one of ``registered`` and ``rejected``."""
    with contextlib.suppress(FileNotFoundError):
        for name in sorted(os.listdir(_directory(platform))):
            match = _NAME.fullmatch(name)
            if match is not None:
                mac = match[1][1:].replace("-", ":")
                yield mac, decision(platform, mac) or ""


def decision(platform: Platform, mac: str) -> str | None:
    """Return the answer that a MAC has, or None."""
    there = tree.read(path(platform, mac))
    return None if there is None else there.decode(errors="replace").partition("\n")[2].strip()


def give(platform: Platform, macs: Iterable[str], answer: str) -> list[str]:
    """Have these machines be told something; return those that were not told so before."""
    files: dict[str, tree.Content] = {
        path(platform, mac): pxelinux.answer(mac, answer) for mac in sorted(macs)
    }
    difference = tree.compare(files)
    tree.apply(difference, files)
    return [_mac(name) for name in (*difference.added, *difference.changed)]


def register(site: Site, platform: Platform, test: bool = False) -> dict[str, object]:
    """Tell all nodes of a boot server that they are registered, as ``diskless_node.add`` does, and
    return the changes with nodes folded: one that waits at its console boots then, also where no
    master hears of it. Nodes are only told so where machines wait: on a boot server that has a
    network with a ``discovery_range``, whichever of its networks the node is in. What is no node
    any more loses its answer with its loader's file.
    """
    discovers = any(network.discovery_range is not None for network in site.networks.values())
    nodes = {node.mac: node.name for node in site.nodes.values()} if discovers else {}
    files: dict[str, tree.Content] = {
        path(platform, mac): pxelinux.answer(mac, pxelinux.REGISTERED) for mac in nodes
    }
    difference = tree.compare(files)
    if not test:
        tree.apply(difference, files)
    changes = {what: getattr(difference, what) for what in ("added", "changed")}
    return {
        what: {"nodes": fold(nodes[_mac(name)] for name in paths)}
        for what, paths in changes.items()
        if paths
    }


def withdraw(platform: Platform, macs: Iterable[str]) -> list[str]:
    """Have these machines be told nothing any more; return those that were told something."""
    difference = tree.compare({}, [path(platform, mac) for mac in macs])
    tree.apply(difference, {})
    return [_mac(name) for name in difference.removed]


def path(platform: Platform, mac: str) -> str:
    """Return the path of a machine's answer."""
    return f"{_directory(platform)}/{pxelinux.mac_name(mac)}"


def leftovers(platform: Platform) -> Iterator[str]:
    """Yield the half-written answers that a killed writer left."""
    return tree.leftovers(_directory(platform))


def _directory(platform: Platform) -> str:
    return f"{platform.tftp_root}/{pxelinux.REGISTRY}"


def _mac(file: str) -> str:
    return os.path.basename(file).removeprefix("01-").replace("-", ":")
