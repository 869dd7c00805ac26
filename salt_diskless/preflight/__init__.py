"""Checks of the boot server itself that are made before anything is written.

Each module has a function ``problems(site, platform)`` that reads the machine, changes nothing, and
yields a :class:`Problem` for each thing that keeps this machine from being the boot server that the
pillar describes.
"""

from __future__ import annotations

import os

from salt_diskless.cluster.errors import ClusterError, Problem
from salt_diskless.cluster.model import Cluster, Site
from salt_diskless.platform import Platform
from salt_diskless.preflight import (
    daemons,
    filesystems,
    foreign_files,
    interfaces,
    names,
    nfs_root,
    nfs_settings,
    paths,
    tftp_root,
    vanished,
)

#: The modules that are asked, in the order of the message.
_MODULES = (
    *(interfaces, names, paths, filesystems, foreign_files),
    *(tftp_root, nfs_settings, nfs_root, daemons),
)


def problems(site: Site, platform: Platform, cluster: Cluster | None = None) -> list[Problem]:
    """Return all that keeps this machine from being the boot server that the pillar describes.

    cluster
        The whole one, where the site has all nodes that are to be served and not only new ones.
    """
    if uid := os.geteuid():
        # The record of the project's own files is root's: without it they look like another's.
        right = "run the command, or the minion, as root, which services and their files need"
        return [Problem("user", f"uid {uid}", right)]
    found = [problem for module in _MODULES for problem in module.problems(site, platform)]
    if cluster is not None:
        found += vanished.problems(cluster, site, platform)
    return found


def require(site: Site, platform: Platform, cluster: Cluster | None = None) -> None:
    """Raise :class:`ClusterError` with every problem that :func:`problems` returns."""
    _refuse(problems(site, platform, cluster))


def require_paths(site: Site, platform: Platform) -> None:
    """Raise :class:`ClusterError` where an image or another path of the pillar leads into something
    that is not the project's."""
    _refuse([*paths.problems(site, platform)])


def _refuse(wrong: list[Problem]) -> None:
    if wrong:
        raise ClusterError(wrong, "on this boot server")
